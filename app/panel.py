"""One tab of the page: its controls, what runs, and what came of it."""

import json
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from ..cascade_core.errors import CascadeError
from ..headless import graph
from . import fields, looks, models, pictures, tabs, training, values, wording
from .runs import Full, Run, Runner
from .shelf import QUIET, Shelf
from .tabs import Control, Tab

FOUR = 4  # pictures of the second button
PAUSE = 0.12  # seconds between what a page is told of a run
CURVE_PAUSE = 2.0  # between drawings of a training's curve
ACCORDIONS = (("models", "Models"), ("more", "More"))


class Panel:
    """The components of one tab, and what happens when they are used."""

    def __init__(self, tab: Tab, others: Sequence[Tab], runner: Runner) -> None:
        """others: all tabs, one of which has made each picture."""
        self.tab, self.tabs, self.runner, self.nodes = tab, others, runner, runner.nodes
        self.components: list[Any] = [None] * len(tab.controls)
        self.views: dict[int, Any] = {}  # index of a control that takes a picture -> what shows it
        self.masks: list[int] = []  # those whose view can be painted on

    def build(self) -> None:
        """Draw the tab; within `gr.Tab`."""
        status_id = f"status-{self.tab.key}"
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                self._group("open")
                for place, title in ACCORDIONS:
                    if any(control.place == place for control in self.tab.controls):
                        with gr.Accordion(title, open=False, elem_classes=[f"place-{place}"]):
                            if place == "models":
                                self._models()
                            self._group(place)
                if self.tab.note:
                    with gr.Accordion("About this workflow", open=False):
                        gr.Markdown(self.tab.note)
                save = gr.Button("Save as workflow", size="sm", elem_classes=["save"])
            with gr.Column(scale=5, min_width=320, elem_classes=["results"]):
                with gr.Row(elem_classes=["actions"]):
                    make = gr.Button("Make", variant="primary", elem_classes=["make"], min_width=80)
                    four = gr.Button(
                        "Make four",
                        elem_classes=["make-four"],
                        min_width=80,
                        visible=not training.trains(self.tab, self.nodes),
                    )
                    cancel = gr.Button("Cancel", variant="stop", elem_classes=["cancel"], min_width=80)
                status = gr.HTML(elem_id=status_id)
                self.shelf = Shelf(self.tabs, self.runner, "Result", columns=2)
        given = [*self.components, *(self.views[index] for index in self.masks)]
        told = {**QUIET, "concurrency_limit": None}
        for button, count in ((make, 1), (four, FOUR)):
            button.click(None, js=looks.SHOW_STATUS.format(status_id))
            button.click(self._handler(count), given, [status, *self.shelf.outputs], **told)
        cancel.click(lambda: self.runner.cancel(self.tab.key) and None, **told)
        self._save(save, given, status)
        self._ask_again()

    def show(self, found: Sequence[Any]) -> dict[Any, Any]:
        """Updates that make the tab show these values."""
        shown: dict[Any, Any] = {}
        for index, (control, component, value) in enumerate(
            zip(self.tab.controls, self.components, found, strict=True)
        ):
            if control.entry.choices is None:
                shown[component] = fields.value(control, value)
                continue
            offered = fields.choices(control)
            if value not in [choice for _, choice in offered]:
                offered.append((f"{value} (not here)", value))
            shown[component] = gr.Dropdown(choices=offered, value=value)
            if index in self.views:
                shown[self.views[index]] = self._view(index, str(value))
        return shown

    def _group(self, place: str) -> None:
        """The controls of a place, node by node."""
        numbered = [(index, c) for index, c in enumerate(self.tab.controls) if c.place == place]
        for (node, title), found in groupby(numbered, key=lambda pair: (pair[1].node, pair[1].title)):
            controls = list(found)
            with gr.Group(elem_classes=[f"node-{node}"]):
                if len(controls) == 1:
                    index, control = controls[0]
                    self._field(index, control, title if self._is_wide(control) else f"{title}: {_words(control)}")
                    continue
                gr.Markdown(title, elem_classes=["group-title"])
                for index, control in controls:
                    if self._is_wide(control):
                        self._field(index, control, _words(control))
                with gr.Row():
                    for index, control in controls:
                        if not self._is_wide(control):
                            self._field(index, control, _words(control))

    @staticmethod
    def _is_wide(control: Control) -> bool:
        return control.takes_picture or control.is_seed or bool(control.entry.options.get("multiline"))

    def _field(self, index: int, control: Control, label: str) -> None:
        if control.is_seed:
            with gr.Row(elem_classes=["seed"]):
                self.components[index] = fields.make(control, label)
                again = gr.Button("Random", size="sm", min_width=90, elem_classes=["random"])
            again.click(None, None, self.components[index], js=looks.RANDOM_SEED)
            return
        self.components[index] = component = fields.make(control, label)
        if control.takes_picture:
            self._picture(index, control, component)

    def _picture(self, index: int, control: Control, component: Any) -> None:
        """A list of pictures, a button to bring one, and the picture; where its mask is used, to paint on."""
        bring = gr.UploadButton("Upload a picture", file_types=["image"], size="sm", elem_classes=["bring"])
        told = gr.HTML()
        if control.mask:
            self.masks.append(index)
            gr.Markdown(
                "Paint over what is to be made anew. Without paint it is what is transparent in the picture.",
                padding=True,
            )
            view = gr.ImageEditor(
                label="Mask",
                value=self._view(index, str(control.value)),
                type="pil",
                sources=(),
                transforms=(),
                layers=False,
                brush=gr.Brush(default_size=40, colors=["#ff3b30"], color_mode="fixed"),
                format="png",
                elem_classes=["mask"],
            )
        else:
            view = gr.Image(
                value=self._view(index, str(control.value)),
                show_label=False,
                interactive=False,
                height=220,
                format="png",
                buttons=[],
            )
        self.views[index] = view
        component.input(lambda name: self._view(index, name), component, view, **QUIET)

        def brought(path: str) -> tuple[Any, Any, str]:
            try:
                name = pictures.keep(Path(path), Path(path).name)
            except CascadeError as error:
                return gr.skip(), gr.skip(), wording.problem([str(error)])
            return gr.Dropdown(choices=fields.choices(control), value=name), self._view(index, name), ""

        bring.upload(brought, bring, [component, view, told], **QUIET)

    def _view(self, index: int, name: object) -> Any:
        """A picture as its view takes it."""
        picture = pictures.view(name) if isinstance(name, str) else None
        if not self.tab.controls[index].mask:
            return picture
        return {"background": picture, "layers": [], "composite": picture}

    def _models(self) -> None:
        """The doctor's verdict on the tab's models."""
        self.verdict = gr.HTML(models.verdict(self.tab, values.workflow(self.tab, [], self.nodes), self.nodes))
        self.again = gr.Button("Look again", size="sm", elem_classes=["look-again"])

    def _ask_again(self) -> None:
        """The verdict is asked for when another model is chosen, and, with what can be chosen now, by its button."""
        indices = [index for index, control in enumerate(self.tab.controls) if control.place == "models"]
        parts = [self.components[index] for index in indices]

        def judge(*chosen: Any) -> str:
            pairs = [(self.tab.controls[index], value) for index, value in zip(indices, chosen, strict=True)]
            changed = [(control, value) for control, value in pairs if value != control.value]
            return models.verdict(self.tab, values.workflow(self.tab, changed, self.nodes), self.nodes)

        def look(*chosen: Any) -> list[Any]:
            offered = [gr.Dropdown(choices=fields.choices(control)) for control in self._fresh(indices)]
            return [judge(*chosen), *offered]

        if parts:
            self.again.click(look, parts, [self.verdict, *parts], **QUIET)
        for part in parts:
            part.input(judge, parts, self.verdict, **QUIET)

    def _fresh(self, indices: Sequence[int]) -> list[Control]:
        """The controls with what their nodes declare now: files may have come since the start."""
        return [tabs.read(self.tab.path, self.nodes).controls[index] for index in indices]

    def _values(self, given: Sequence[Any]) -> list[Any]:
        """What the page sends, with painted masks in the pictures. Raises WorkflowError and CascadeError."""
        found = list(given[: len(self.tab.controls)])
        for index, painted in zip(self.masks, given[len(self.tab.controls) :], strict=True):
            layers = painted.get("layers") if isinstance(painted, dict) else None
            layers = [layer for layer in layers or () if isinstance(layer, Image.Image)]
            if layers and isinstance(found[index], str):
                found[index] = pictures.with_mask(found[index], layers)
        return found

    def _runs(self, count: int, given: Sequence[Any]) -> list[Run]:
        changed = values.changes(self.tab, self._values(given))
        runs: list[Run] = []
        for step in range(count):
            made = values.workflow(self.tab, values.with_seeds(self.tab, changed, step), self.nodes)
            checked = graph.validate(made.prompt, self.nodes.classes)
            if checked.problems:
                raise graph.WorkflowError(*(problem.message for problem in checked.problems))
            runs.append(Run(self.tab.key, checked, made.editor))
        return runs

    def _handler(self, count: int) -> Any:
        def handle(*given: Any) -> Iterator[list[Any]]:
            nothing = [gr.skip()] * len(self.shelf.outputs)
            try:
                runs = self._runs(count, given)
                self.runner.submit(runs)
            except graph.WorkflowError as error:
                yield [wording.problem(error.messages), *nothing]
                return
            except (CascadeError, Full) as error:
                yield [wording.problem([str(error)]), *nothing]
                return
            version, told, curves, due = -1, 0, [], 0.0
            trainings = [folder for run in runs for folder in training.folders(run.checked.prompt, self.nodes)]
            while True:
                version = self.runner.wait(version, seconds=1)
                over = all(run.is_over for run in runs)
                found = [shown for run in runs for shown in run.pictures]
                shelf = self.shelf.updates(found) if len(found) != told else nothing
                told = len(found)
                if trainings and (over or time.monotonic() > due):
                    due = time.monotonic() + CURVE_PAUSE
                    curves = [drawn for folder in trainings if (drawn := training.curve(folder)) is not None]
                yield [wording.status(runs, self.runner, curves), *shelf]
                if over:
                    return
                time.sleep(PAUSE)

        return handle

    def _save(self, button: Any, given: Sequence[Any], status: Any) -> None:
        text, name = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")

        def save(*found: Any) -> list[Any]:
            try:
                made = values.workflow(self.tab, values.changes(self.tab, self._values(found)), self.nodes)
            except graph.WorkflowError as error:
                return ["", "", wording.problem(error.messages)]
            except CascadeError as error:
                return ["", "", wording.problem([str(error)])]
            return [json.dumps(made.editor or made.prompt, indent=1), f"{self.tab.key}.json", gr.skip()]

        done = button.click(save, given, [text, name, status], **QUIET)
        done.then(None, [text, name], js=looks.SAVE_FILE)


def _words(control: Control) -> str:
    return control.name.replace("_", " ")
