"""One tab of the page as it is drawn: what people see at first, all else under Advanced, and what comes of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import groupby
from typing import Any

import gradio as gr

from ..headless.built_in import is_built_in
from ..runtime import host
from . import assets, components, examples, labels, tabs
from .gallery import QUIET
from .handlers import Given, Handlers
from .picture_input import PictureInput
from .results import Results
from .runs import Runner
from .tabs import ORDER, Field, Tab

SIDE_BY_SIDE = ("width", "height", "left", "right", "top", "bottom", "strength", "name", "tokens", "steps")
OUTCOME = (
    "What comes of it: the file `NAME.safetensors` in `models/loras` or `models/controlnet`; sample pictures and the"
    " curve of the loss, here and in `output/training/NAME`. Cancel keeps what was learned; Train goes on from there."
)
NOT_YET = "This cannot run yet: model files are missing. The box with *Look again* says which."
LORA = "lora_name"
OWN_LORA = "One of your own: put its file into the folder `{}`, then press *Look again* and choose it."
SIZES = "The built-in models know squares of 256; the published ones sides of 1024 to 1536."
LONG_HELP = 130  # characters of an explanation that need the page's width


class Panel:
    """The components of one tab."""

    def __init__(self, tab: Tab, others: Sequence[Tab], runner: Runner) -> None:
        """others: all tabs, one of which has made each picture."""
        self.tab, self.tabs, self.runner, self.nodes = tab, others, runner, runner.nodes
        self.handlers = Handlers(tab, runner)
        self.components: list[Any] = [None] * len(tab.fields)
        self.pictures: dict[int, PictureInput] = {}  # by the index of their field
        self.look_again: list[Any] = []  # buttons beside lists of files
        self.examples: dict[bool, list[Any]] = {True: [], False: []}  # for built-in models, and for others

    def build(self, opened: Any) -> None:
        """Draw the tab, within `opened`, its gr.Tab."""
        wanting = self.handlers.find_wanting({})
        fields = enumerate(self.tab.fields)
        self.chosen = [index for index, field in fields if field.name == LORA or field.place == "Models"]
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                gr.Markdown(self.tab.purpose, elem_classes=["purpose"])
                self._open()
                if self.tab.trains:
                    gr.Markdown(OUTCOME, elem_classes=["outcome"])
                self.reason = gr.Markdown(NOT_YET, visible=bool(wanting.words), elem_classes=["hint", "not-yet"])
                with gr.Row(elem_classes=["actions"]):
                    make = gr.Button(
                        "Train" if self.tab.trains else "Make",
                        variant="primary",
                        elem_classes=["make"],
                        min_width=80,
                        interactive=not wanting.words,
                    )
                    cancel = gr.Button(
                        "Cancel", variant="stop", elem_classes=["cancel"], min_width=80, interactive=False
                    )
                with gr.Accordion("Advanced", open=False, elem_classes=["advanced"]):
                    for heading in labels.ORDER:
                        self._heading(heading)
                    if self.tab.note:
                        with gr.Accordion("About this workflow", open=False):
                            gr.Markdown(self.tab.note)
                    save = gr.Button("Save as workflow", size="sm", elem_classes=["save"])
            with gr.Column(scale=5, min_width=320, elem_classes=["results"]):
                with gr.Column(visible=bool(wanting.words), elem_classes=["wanting-box"]) as self.wanting:
                    self.wanting_words = gr.HTML(wanting.words, padding=False)
                    self.command = gr.Textbox(
                        wanting.command,
                        label="This command gets them",
                        interactive=False,
                        buttons=["copy"],
                        max_lines=3,
                        visible=bool(wanting.command),
                        elem_classes=["command"],
                    )
                    again = gr.Button("Look again", size="sm", elem_classes=["look-again"])
                    self.elsewhere = gr.Button(
                        "Text to image works without a download: go there",
                        size="sm",
                        visible=self.tab.key != tabs.FIRST and any(tab.key == tabs.FIRST for tab in self.tabs),
                        elem_classes=["elsewhere"],
                    )
                self.results = Results(self.tabs, self.runner, self.tab.key, make, cancel)
        self.masks = [index for index, picture in self.pictures.items() if picture.field.mask]
        masks = [self.pictures[index].view for index in self.masks]
        self.inputs = [*self.components, *masks, self.number, self.parted]
        self.results.show_when(make, self._run, self.inputs)
        self._save(save)
        self._look_for_models(opened, again)

    def show(self, found: Sequence[Any]) -> dict[Any, Any]:
        """Updates that make the tab show these values."""
        shown: dict[Any, Any] = {self.parted: self._are_parted(found)}
        for index, (field, component, value) in enumerate(zip(self.tab.fields, self.components, found, strict=True)):
            if field.entry.choices is None:
                shown[component] = components.value(field, value)
                continue
            offered = components.choices(field)
            if value not in [choice for _, choice in offered]:
                offered.append((f"{value} (not here)", value))
            shown[component] = gr.Dropdown(choices=offered, value=value)
            if index in self.pictures:
                shown[self.pictures[index].view] = self.pictures[index].shown(str(value))
        return shown

    def shown_by(self) -> list[Any]:
        """All that `show` may change."""
        return [*self.components, *(picture.view for picture in self.pictures.values()), self.parted, self.number]

    def _open(self) -> None:
        """Draw what people see at first."""
        numbered = [(index, field) for index, field in enumerate(self.tab.fields) if field.is_open]
        numbered.sort(key=lambda pair: ORDER.index(pair[1].name))
        seeds = [pair for pair in numbered if pair[1].is_seed and pair[0] in self.tab.seeds]
        for aside, found in groupby(
            (pair for pair in numbered if pair not in seeds), key=lambda pair: pair[1].name in SIDE_BY_SIDE
        ):
            with gr.Row() if aside else nullcontext():
                for index, field in found:
                    self._field(index, field)
        if any(field.name == "width" for _, field in numbered):
            gr.Markdown(SIZES, elem_classes=["hint", "sizes"])
        with gr.Row(elem_classes=["seed"]):
            self.number = gr.Number(
                1,
                label="Pictures",
                minimum=1,
                maximum=self.runner.limit,
                precision=0,
                min_width=100,
                visible=not (self.tab.trains or self.tab.has_drafts),
                elem_classes=["input-number"],
            )
            for index, field in seeds:
                self._field(index, field)

    def _heading(self, heading: str) -> None:
        """Draw the fields of a heading of Advanced, in the file's order."""
        found = [(index, field) for index, field in enumerate(self.tab.fields) if field.place == heading]
        if heading == "Seeds":
            self._seeds(found)
            return
        if not found:
            return
        with gr.Accordion(heading, open=False, elem_classes=["heading"]):
            for wide, fields in groupby(found, key=lambda pair: _is_wide(pair[1])):
                with nullcontext() if wide else gr.Row():
                    for index, field in fields:
                        self._field(index, field)

    def _seeds(self, found: Sequence[tuple[int, Field]]) -> None:
        """Draw whether stages have seeds of their own, and those."""
        are_parted = self._are_parted([field.value for field in self.tab.fields])
        with gr.Accordion("Seeds", open=False, visible=bool(found), elem_classes=["heading"]):
            self.parted = gr.Checkbox(
                are_parted,
                label="Each stage has a seed of its own",
                info="Else they all have the first one.",
                visible=len(self.tab.seeds) > 1,
                elem_classes=["input-parted"],
            )
            for index, field in found:
                with gr.Row(visible=are_parted or index == self.tab.seeds[0]) as row:
                    self._field(index, field)
                if index != self.tab.seeds[0]:
                    self.parted.change(lambda on: gr.Row(visible=on is True), self.parted, row, **QUIET)

    def _field(self, index: int, field: Field) -> None:
        label = self.tab.label(field)
        if field.takes_picture:
            self.pictures[index] = PictureInput(field, label)
            self.components[index] = self.pictures[index].component
            return
        if field.name == LORA:
            self._lora(index, field, label)
            return
        self.components[index] = component = components.make(field, label)
        if field.is_seed and field.is_open:
            again = gr.Button("Random", size="sm", min_width=90, elem_classes=["random"])
            again.click(None, None, component, js=assets.RANDOM_SEED)
        if field.is_prompt:
            self._examples(field, component)

    def _lora(self, index: int, field: Field, label: str) -> None:
        """Draw the list of LoRAs, and how one of one's own comes into it."""
        with gr.Row(elem_classes=["choose"]):
            self.components[index] = components.make(field, label)
            self.look_again.append(gr.Button("Look again", size="sm", elem_classes=["bring", "look-for-loras"]))
        if len(self.look_again) == 1:
            folder = host.current().model_folder("loras").absolute()
            gr.Markdown(OWN_LORA.format(folder), elem_classes=["hint", "own-lora"])

    def _examples(self, field: Field, component: Any) -> None:
        """Prompts to click, of which those for the chosen models can be seen."""
        for built_in in (True, False):
            with gr.Row(visible=built_in == self._has_built_in_words({}), elem_classes=["examples"]) as row:
                for text in examples.prompts(self.tab.key, built_in, str(field.value)):
                    button = gr.Button(text, size="sm", min_width=0, elem_classes=["example"])
                    button.click(None, button, component, js="text => text")
            self.examples[built_in].append(row)

    def _has_built_in_words(self, chosen: Mapping[int, Any]) -> bool:
        """Whether a built-in text encoder is chosen, with these values in the fields of these indices."""
        named = [chosen.get(index, self.tab.fields[index].value) for index in self.tab.text_encoders]
        return bool(named) and all(map(is_built_in, named))

    def _look_for_models(self, opened: Any, again: Any) -> None:
        """Models are looked for when the tab is opened, when another is chosen, and when the button is used."""
        parts = [self.components[index] for index in self.chosen]
        shown = [self.wanting, self.wanting_words, self.command, self.results.make, self.reason]
        shown += [*self.examples[True], *self.examples[False]]

        def describe(*sent: Any) -> list[Any]:
            chosen = dict(zip(self.chosen, sent, strict=True))
            found = self.handlers.find_wanting(chosen)
            busy = bool(self.runner.under_way(self.tab.key))
            built_in = self._has_built_in_words(chosen)
            return [
                gr.Column(visible=bool(found.words)),
                found.words,
                gr.Textbox(found.command, visible=bool(found.command)),
                gr.Button(interactive=not found.words and not busy),
                gr.Markdown(visible=bool(found.words)),
                *(gr.Row(visible=built_in) for _ in self.examples[True]),
                *(gr.Row(visible=not built_in) for _ in self.examples[False]),
            ]

        def look(*chosen: Any) -> list[Any]:
            now = tabs.read(self.tab.path, self.nodes).fields  # as the nodes declare them: files may have come
            offered = [gr.Dropdown(choices=components.choices(now[index])) for index in self.chosen]
            return [*describe(*chosen), *offered]

        opened.select(describe, parts, shown, **QUIET)
        for button in (again, *self.look_again):
            button.click(look, parts, [*shown, *parts], **QUIET)
        for part in parts:
            part.input(describe, parts, shown, **QUIET)

    def _are_parted(self, found: Sequence[Any]) -> bool:
        """Whether the stages have different seeds among these values."""
        return len({str(found[index]) for index in self.tab.seeds}) > 1

    def _given(self, sent: Sequence[Any]) -> Given:
        """What the page sends, in the order of `inputs`."""
        count = len(self.tab.fields)
        masks = dict(zip(self.masks, sent[count:-2], strict=True))
        return Given(sent[:count], masks, *sent[-2:])

    def _run(self, *sent: Any) -> Iterator[list[Any]]:
        for view in self.handlers.run(self._given(sent)):
            yield self.results.updates(view)

    def _save(self, button: Any) -> None:
        text, name = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")

        def save(*sent: Any) -> list[Any]:
            written, file, message = self.handlers.save(self._given(sent))
            return [written, file, message or gr.skip()]

        done = button.click(save, self.inputs, [text, name, self.results.status], **QUIET)
        done.then(None, [text, name], js=assets.SAVE_FILE)


def _is_wide(field: Field) -> bool:
    """Whether a field has a row to itself."""
    explained = len(str(field.entry.options.get("tooltip"))) > LONG_HELP
    return field.takes_picture or explained or bool(field.entry.options.get("multiline"))
