"""The whole page: tabs of the workflows, the gallery, that of a shared file, and where a picture restores settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ..cascade_core.errors import CascadeError
from ..headless import graph
from . import output_pictures, pictures, shared_file, wording
from .gallery import QUIET, Gallery
from .panel import Panel
from .runs import Runner
from .tabs import Tab

GALLERY = "the gallery"  # no file's name: it is the id of a tab


def build(tabs: Sequence[Tab], problems: Sequence[str], runner: Runner) -> gr.Blocks:
    """The page; `problems` says why files of the workflows folder have no tab."""
    with gr.Blocks(title="Stable Cascade", analytics_enabled=False) as page:
        with gr.Row(elem_classes=["head"]):
            gr.HTML(
                "<h1>Stable Cascade</h1><p>Each tab is a workflow file, run as <code>cascade run</code> does.</p>"
                "<p>The built-in models know a toy world of shapes and cartoon faces; real photos want the published"
                " models.</p>"
            )
            drop = gr.UploadButton(
                "Restore settings: drop a picture anywhere, or choose one",
                file_types=list(shared_file.TAKEN),
                size="sm",
                min_width=260,
                elem_classes=["drop"],
            )
        notice = gr.HTML(wording.problem(problems) if problems else "", elem_id="notice")
        panels = [Panel(tab, tabs, runner) for tab in tabs]
        with gr.Tabs(selected=tabs[0].key if tabs else GALLERY) as chooser:
            with gr.Tab("Gallery", id=GALLERY) as gallery_tab:
                gallery = Gallery(tabs, runner, "The output folder, the latest first", columns=4, beside=True)
            for panel in panels:
                with gr.Tab(panel.tab.title, id=panel.tab.key):
                    panel.build()
            with gr.Tab(shared_file.TITLE, id=shared_file.KEY):
                tried = shared_file.build(tabs, runner)
        gallery_tab.select(
            lambda: gallery.updates([(path, "") for path in output_pictures.latest()]), None, gallery.outputs, **QUIET
        )
        page.load(lambda: _running(runner, tabs) or gr.skip(), None, notice, **QUIET)
        _restoring(panels, chooser, notice, drop, [gallery, tried, *(panel.gallery for panel in panels)], runner)
    return page


def _running(runner: Runner, tabs: Sequence[Tab]) -> str:
    """The notice of a page that is opened while something runs; empty where nothing does."""
    running = runner.running
    titles = {shared_file.KEY: shared_file.TITLE, **{tab.key: tab.title for tab in tabs}}
    if running is None or running.tab not in titles:
        return ""
    return wording.notice(
        f"{titles[running.tab]} is running: Cancel in its tab stops it, and its pictures come into the gallery."
    )


def _restoring(
    panels: Sequence[Panel],
    chooser: Any,
    notice: Any,
    drop: Any,
    galleries: Sequence[Gallery],
    runner: Runner,
) -> None:
    tabs = [panel.tab for panel in panels]
    targets = [chooser, notice, *(c for panel in panels for c in [*panel.components, *panel.views.values()])]

    def restore(path: str, name: str) -> dict[Any, Any]:
        made = output_pictures.origin(Path(path), tabs, runner.nodes)
        if made.tab is None or made.values is None:
            advice = f"try it in the tab {shared_file.TITLE}, or put it into the workflows folder and start again"
            problem = f"{name}: expected the workflow of one of the tabs, found another: {advice}"
            return {notice: wording.problem([problem])}
        panel = panels[tabs.index(made.tab)]
        return {
            chooser: gr.Tabs(selected=made.tab.key),
            notice: wording.notice(f"{made.tab.title} has the settings of {name}."),
            **panel.show(made.values),
        }

    def dropped(path: str | None) -> dict[Any, Any]:
        if path is None:
            return {notice: ""}
        name = Path(path).name
        try:
            pictures.refuse_large(Path(path), name)
            return restore(path, name)
        except graph.WorkflowError as error:
            return {notice: wording.problem([message.replace(path, name) for message in error.messages])}
        except CascadeError as error:
            return {notice: wording.error(error)}

    def chosen(path: str) -> dict[Any, Any]:
        return restore(path, Path(path).name) if path else {notice: ""}

    drop.upload(dropped, drop, targets, **QUIET)
    for gallery in galleries:
        gallery.restore.click(chosen, gallery.chosen, targets, **QUIET)
