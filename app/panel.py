"""One tab of the page as it is drawn: its fields, its buttons, and which handler each of them calls."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import gradio as gr

from ..cascade_core.errors import CascadeError
from . import assets, components, pictures, tabs, training, wording
from .gallery import QUIET, Gallery
from .handlers import Given, Handlers
from .runs import Runner
from .tabs import Field, Tab

FOUR = 4  # pictures of the second button
ACCORDIONS = (("models", "Models"), ("more", "More"))


class Panel:
    """The components of one tab."""

    def __init__(self, tab: Tab, others: Sequence[Tab], runner: Runner) -> None:
        """others: all tabs, one of which has made each picture."""
        self.tab, self.tabs, self.runner, self.nodes = tab, others, runner, runner.nodes
        self.handlers = Handlers(tab, runner)
        self.components: list[Any] = [None] * len(tab.fields)
        self.views: dict[int, Any] = {}  # index of a field that takes a picture -> the component that shows it
        self.masks: list[int] = []  # those whose view can be painted on

    def build(self) -> None:
        """Draw the tab; within `gr.Tab`."""
        status_id = f"status-{self.tab.key}"
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                self._group("open")
                for place, title in ACCORDIONS:
                    if any(field.place == place for field in self.tab.fields):
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
                self.gallery = Gallery(self.tabs, self.runner, "Result", columns=2)
        inputs = [*self.components, *(self.views[index] for index in self.masks)]
        unlimited = {**QUIET, "concurrency_limit": None}
        for button, count in ((make, 1), (four, FOUR)):
            button.click(None, js=assets.SHOW_STATUS.format(status_id))
            button.click(self._run(count), inputs, [status, *self.gallery.outputs], **unlimited)
        cancel.click(self.handlers.cancel, **unlimited)
        self._save(save, inputs, status)
        self._describe_again()

    def show(self, found: Sequence[Any]) -> dict[Any, Any]:
        """Updates that make the tab show these values."""
        shown: dict[Any, Any] = {}
        for index, (field, component, value) in enumerate(zip(self.tab.fields, self.components, found, strict=True)):
            if field.entry.choices is None:
                shown[component] = components.value(field, value)
                continue
            offered = components.choices(field)
            if value not in [choice for _, choice in offered]:
                offered.append((f"{value} (not here)", value))
            shown[component] = gr.Dropdown(choices=offered, value=value)
            if index in self.views:
                shown[self.views[index]] = self._view(index, str(value))
        return shown

    def _group(self, place: str) -> None:
        """The fields of a place, node by node."""
        numbered = [(index, c) for index, c in enumerate(self.tab.fields) if c.place == place]
        for (node, title), found in groupby(numbered, key=lambda pair: (pair[1].node, pair[1].title)):
            fields = list(found)
            with gr.Group(elem_classes=[f"node-{node}"]):
                if len(fields) == 1:
                    index, field = fields[0]
                    self._field(index, field, title if self._is_wide(field) else f"{title}: {_words(field)}")
                    continue
                gr.Markdown(title, elem_classes=["group-title"])
                for index, field in fields:
                    if self._is_wide(field):
                        self._field(index, field, _words(field))
                with gr.Row():
                    for index, field in fields:
                        if not self._is_wide(field):
                            self._field(index, field, _words(field))

    @staticmethod
    def _is_wide(field: Field) -> bool:
        return field.takes_picture or field.is_seed or bool(field.entry.options.get("multiline"))

    def _field(self, index: int, field: Field, label: str) -> None:
        if field.is_seed:
            with gr.Row(elem_classes=["seed"]):
                self.components[index] = components.make(field, label)
                again = gr.Button("Random", size="sm", min_width=90, elem_classes=["random"])
            again.click(None, None, self.components[index], js=assets.RANDOM_SEED)
            return
        self.components[index] = component = components.make(field, label)
        if field.takes_picture:
            self._picture(index, field, component)

    def _picture(self, index: int, field: Field, component: Any) -> None:
        """A list of pictures, a button to bring one, and the picture; where its mask is used, to paint on."""
        bring = gr.UploadButton("Upload a picture", file_types=["image"], size="sm", elem_classes=["bring"])
        message = gr.HTML()
        if field.mask:
            self.masks.append(index)
            gr.Markdown(
                "Paint over what is to be made anew. Without paint it is what is transparent in the picture.",
                padding=True,
            )
            view = gr.ImageEditor(
                label="Mask",
                value=self._view(index, str(field.value)),
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
                value=self._view(index, str(field.value)),
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
                return gr.skip(), gr.skip(), wording.error(error)
            return gr.Dropdown(choices=components.choices(field), value=name), self._view(index, name), ""

        bring.upload(brought, bring, [component, view, message], **QUIET)

    def _view(self, index: int, name: object) -> Any:
        """A picture as its view takes it."""
        picture = pictures.view(name) if isinstance(name, str) else None
        if not self.tab.fields[index].mask:
            return picture
        return {"background": picture, "layers": [], "composite": picture}

    def _models(self) -> None:
        """Draw which of the tab's models are missing."""
        self.models = gr.HTML(self.handlers.describe_models({}))
        self.again = gr.Button("Look again", size="sm", elem_classes=["look-again"])

    def _describe_again(self) -> None:
        """Models are looked for when another is chosen, and, with what can be chosen now, when the button is used."""
        indices = [index for index, field in enumerate(self.tab.fields) if field.place == "models"]
        parts = [self.components[index] for index in indices]

        def describe(*chosen: Any) -> str:
            return self.handlers.describe_models(dict(zip(indices, chosen, strict=True)))

        def look(*chosen: Any) -> list[Any]:
            now = tabs.read(self.tab.path, self.nodes).fields  # as the nodes declare them: files may have come
            return [describe(*chosen), *(gr.Dropdown(choices=components.choices(now[index])) for index in indices)]

        if parts:
            self.again.click(look, parts, [self.models, *parts], **QUIET)
        for part in parts:
            part.input(describe, parts, self.models, **QUIET)

    def _given(self, sent: Sequence[Any]) -> Given:
        """The values that the page sends, those of the masks apart."""
        count = len(self.tab.fields)
        return sent[:count], dict(zip(self.masks, sent[count:], strict=True))

    def _run(self, count: int) -> Any:
        def run(*sent: Any) -> Iterator[list[Any]]:
            for status, found in self.handlers.run(count, self._given(sent)):
                same = [gr.skip()] * len(self.gallery.outputs)
                yield [status, *(same if found is None else self.gallery.updates(found))]

        return run

    def _save(self, button: Any, inputs: Sequence[Any], status: Any) -> None:
        text, name = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")

        def save(*sent: Any) -> list[Any]:
            written, file, message = self.handlers.save(self._given(sent))
            return [written, file, message or gr.skip()]

        done = button.click(save, inputs, [text, name, status], **QUIET)
        done.then(None, [text, name], js=assets.SAVE_FILE)


def _words(field: Field) -> str:
    return field.name.replace("_", " ")
