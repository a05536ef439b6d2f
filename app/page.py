"""The whole page: tabs of the workflows, the gallery, that of a shared file, and where a picture restores settings."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ..cascade_core.errors import CascadeError
from ..headless import graph
from . import output_pictures, pictures, shared_file, wording
from .gallery import QUIET, Gallery
from .handlers import follow
from .panel import Panel
from .results import UNLIMITED, Results
from .runs import Runner
from .tabs import FIRST, Tab, values_of

ABOUT = (
    "Say what the picture shows, and press Make."
    ' <span class="more">Drop a picture anywhere to have its settings back.</span>'
)
GALLERY = "the gallery"  # no file's name: it is the id of a tab


def build(tabs: Sequence[Tab], problems: Sequence[str], runner: Runner) -> gr.Blocks:
    """The page; `problems` says why files of the workflows folder have no tab."""
    with gr.Blocks(title="Stable Cascade", analytics_enabled=False) as page:
        with gr.Row(elem_classes=["head"]):
            gr.HTML(f"<h1>Stable Cascade</h1><p>{ABOUT}</p>", padding=False)
            drop = gr.UploadButton(
                "Restore settings from a picture",
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
                with gr.Tab(panel.tab.title, id=panel.tab.key) as tab:
                    panel.build(tab)
            with gr.Tab(shared_file.TITLE, id=shared_file.KEY):
                tried = shared_file.build(tabs, runner)
        for panel in panels:
            panel.elsewhere.click(lambda: gr.Tabs(selected=FIRST), None, chooser, **QUIET)
        gallery_tab.select(lambda: _latest(gallery), None, [gallery.notices, *gallery.outputs], **QUIET)
        if panels:
            page.load(lambda: _under_way(panels, runner), None, _shown_by(panels), **QUIET)
        results = [*(panel.results for panel in panels), tried]
        _seen_again(page, chooser, results, runner)
        _restoring(panels, chooser, notice, drop, [gallery, *(result.gallery for result in results)], runner)
    return page


def _latest(gallery: Gallery) -> list[Any]:
    """Updates that show the output folder's pictures, and what there is to say where there are none."""
    found = output_pictures.latest()
    told = "" if found else "<p>There are no pictures yet.</p>"
    return [told, *gallery.updates([(path, "") for path in found])]


def _shown_by(panels: Sequence[Panel]) -> list[Any]:
    return [component for panel in panels for component in panel.shown_by()]


def _under_way(panels: Sequence[Panel], runner: Runner) -> dict[Any, Any]:
    """Updates that put what runs into its tab's form."""
    runs = runner.under_way()
    panel = next((panel for panel in panels if runs and panel.tab.key == runs[0].tab), None)
    if panel is None:
        return {panels[0].number: gr.skip()}
    return {**panel.show(values_of(panel.tab, runs[0].checked.prompt)), panel.number: gr.Number(len(runs))}


def _seen_again(page: gr.Blocks, chooser: Any, results: Sequence[Results], runner: Runner) -> None:
    """A page that is opened while something runs shows its tab, and how it goes."""

    def follow_again() -> Iterator[dict[Any, Any]]:
        runs = runner.under_way()
        found = next((result for result in results if runs and result.key == runs[0].tab), None)
        if found is None:
            yield {chooser: gr.skip()}
            return
        yield {chooser: gr.Tabs(selected=found.key)}
        for view in follow(runs, runner):
            yield dict(zip(found.outputs, found.updates(view), strict=True))

    targets = [chooser, *(output for result in results for output in result.outputs)]
    page.load(follow_again, None, targets, **UNLIMITED)


def _restoring(
    panels: Sequence[Panel],
    chooser: Any,
    notice: Any,
    drop: Any,
    galleries: Sequence[Gallery],
    runner: Runner,
) -> None:
    tabs = [panel.tab for panel in panels]
    targets = [chooser, notice, *_shown_by(panels)]

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
