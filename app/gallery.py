"""A gallery on the page: pictures, and how the chosen one was made."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import gradio as gr

from ..headless import graph
from . import assets, output_pictures, wording
from .runs import Runner, Shown
from .tabs import Tab

# For events of the page. With progress shown on some component, if hidden, Gradio's page looks all of it up for each of
# them at every word from the server: with those of all tabs that took a third of a second, five times a second.
QUIET: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": [], "api_visibility": "private"}


class Gallery:
    """`updates` fills `outputs`; `chosen` holds the path of the chosen picture, and `restore` is pressed for it."""

    def __init__(self, tabs: Sequence[Tab], runner: Runner, label: str, columns: int, beside: bool = False) -> None:
        """beside: the details of a picture stand beside the pictures where there is room, else below them."""
        self.tabs, self.nodes, self.beside = tabs, runner.nodes, beside
        with gr.Row() if beside else nullcontext():
            with gr.Column(scale=3, min_width=320) if beside else nullcontext():
                self.pictures = gr.Gallery(
                    label=label,
                    columns=columns,
                    object_fit="contain",
                    height="auto",
                    interactive=False,
                    visible=beside,
                    buttons=["download", "fullscreen"],
                    elem_classes=["pictures", "many"] if beside else ["pictures"],
                )
                self.notices = gr.HTML("<p>Looking for pictures ...</p>" if beside else "", padding=False)
            with gr.Column(scale=2, min_width=320) if beside else nullcontext():
                self.details = gr.HTML(padding=False)
                with gr.Row(visible=False) as self.actions:
                    self.restore = gr.Button("Use these settings", size="sm", elem_classes=["restore"])
                    save = gr.Button("Save its workflow", size="sm", elem_classes=["save-its"])
        self.paths = gr.State([])
        self.chosen = gr.State("")
        self.outputs = [self.pictures, self.paths, self.chosen, self.details, self.actions]
        self.pictures.select(self._choose, self.paths, [self.chosen, self.details, self.actions], **QUIET)
        text, name = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")
        done = save.click(self._workflow, self.chosen, [text, name], **QUIET)
        done.then(None, [text, name], js=assets.SAVE_FILE)

    def updates(self, found: Sequence[Shown]) -> list[Any]:
        """Updates that show these pictures, those that are kept first, and the first of them chosen."""
        ordered = sorted(((path, title) for path, title in found if path.is_file()), key=lambda pair: bool(pair[1]))
        shown = [(str(path), title or output_pictures.caption(path, self.tabs, self.nodes)) for path, title in ordered]
        paths = [str(path) for path, _ in ordered]
        seen = self.beside or bool(shown)
        return [
            gr.Gallery(value=shown, selected_index=None, visible=seen),
            paths,
            *self._show(paths[0] if paths else ""),
        ]

    def _choose(self, paths: Sequence[str], event: gr.SelectData) -> list[Any]:
        index = event.index
        return self._show(paths[index] if isinstance(index, int) and 0 <= index < len(paths) else "")

    def _show(self, path: str) -> list[Any]:
        if not path:
            return ["", "", gr.Row(visible=False)]
        try:
            made = output_pictures.origin(Path(path), self.tabs, self.nodes)
        except graph.WorkflowError:
            made = None
        return [path, wording.details(Path(path).name, made), gr.Row(visible=made is not None)]

    def _workflow(self, path: str) -> list[str]:
        if not path:
            return ["", ""]
        document = output_pictures.origin(Path(path), self.tabs, self.nodes).document
        return [json.dumps(document, indent=1), f"{Path(path).stem}.json"]
