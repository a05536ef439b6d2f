"""The widgets and slots that the editor draws for a node, in its order.

`widgets_values` is positional, so every widget that has a place in it matters, also those that only serve the
editor: the control after a seed, upload buttons. A bypassed node passes links by the position of its slots.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .definition import Definition, Definitions, Input
from .texts import write_text
from .wording import is_list, is_object

LinkId = int | str | None

_CONTROL = "control_after_generate"  # the widget that says how a value changes after queueing
_SEEDS = frozenset({"seed", "noise_seed"})  # integers that get a control by their name
_UPLOADS = ("image_upload", "video_upload", "animated_image_upload")
_WITH_PLAYER = frozenset({"LoadAudio", "SaveAudio", "PreviewAudio", "SaveAudioMP3", "SaveAudioOpus"})
_WITH_VIEW = {"SaveGLB": "PREVIEW_3D", "Preview3D": "PREVIEW_3D", "Preview3DAnimation": "PREVIEW_3D_ANIMATION"}
_LOAD_3D = {  # buttons, which the editor sends like any value
    "upload 3d model": "upload3dmodel",
    "upload extra resources": "uploadExtraResources",
    "clear": "clear",
}


@dataclass(frozen=True)
class Slot:
    """An input as it is drawn: `widget` if it belongs to one; `link` is None where nothing arrives."""

    name: str
    type: str
    link: LinkId
    widget: bool = False


@dataclass(frozen=True)
class Widget:
    """`entry` is the declared input that it belongs to, None for what only the editor has.

    Some of the latter have an input slot too, of the type `socket`.
    """

    name: str
    entry: Input | None = None
    value: Any = ""  # before anybody touches it
    socket: str = ""
    in_prompt: bool = True
    has_place: bool = True  # in `widgets_values`


class Drawing:
    """The widgets, input slots and output types that the editor draws for every node of one class."""

    def __init__(self, kind: str, definition: Definition) -> None:
        self.definition = definition
        self.widgets = list(_draw(kind, definition))
        self.outputs = [output if isinstance(output, str) else "COMBO" for output in definition.outputs]
        self.defaults: Mapping[str, Any] = {widget.name: widget.value for widget in self.widgets}
        self._entries = {widget.name: widget.entry for widget in self.widgets}
        self._placed = [widget.name for widget in self.widgets if widget.has_place]
        self._slots = list(_draw_slots(definition, self.widgets))
        self._old_places = self._count_old_places()

    def slots(self, written: Sequence[Slot]) -> list[Slot]:
        """The inputs of a node in the editor's order: sockets, those of widgets, then what only the file has.

        What the file says of an input (`written`) goes by its name; a slot that the file draws on a widget that is
        gone goes too.
        """
        links = {slot.name: slot.link for slot in written}
        slots = [Slot(slot.name, slot.type, links.pop(slot.name, None), slot.widget) for slot in self._slots]
        return slots + [slot for slot in written if slot.name in links and not slot.widget]

    def read(self, values: Any) -> dict[str, Any]:
        """The value of each widget, by name; what the file lacks is the widget's own value."""
        written: dict[str, Any] = {}
        if is_object(values):  # some packs write these themselves; the stock editor has no use for them
            written = {name: value for name, value in values.items() if name in self.defaults}
        elif is_list(values):
            written = {name: values[at] for name, at in zip(self._placed, self._find_places(values), strict=False)}
        return {**self.defaults, **{name: _shown(self._entries[name], value) for name, value in written.items()}}

    def write(self, values: list[Any], name: str, value: Any) -> None:
        """Put a value where `read` finds it, with the defaults of the widgets before it where the list is too short."""
        index = self._placed.index(name)
        places = self._find_places(values)
        if index < len(places):
            values[places[index]] = value
        else:
            values.extend(self.defaults[before] for before in self._placed[len(places) : index])
            values.append(value)

    def _find_places(self, values: list[Any]) -> list[int]:
        """The indices of the values that belong to widgets, in the order of the widgets."""
        if len(values) == len(self._old_places):
            return [index for index, is_forced in enumerate(self._old_places) if not is_forced]
        return list(range(len(values)))

    def _count_old_places(self) -> list[bool]:
        """One entry for each value that an old file has: whether it belongs to an input that is forced to be a socket.

        Old editors gave those a place too. The editor knows such a file by the number of its values. It pairs inputs
        with values one by one, and so forgets that a control has a place of its own: controls and the upload button
        count at the end.
        """
        inputs = self.definition.inputs.values()
        entries = [entry for entry in inputs if entry.name in self.defaults or entry.options.get("forceInput")]
        controls = sum(bool(entry.options.get(_CONTROL)) or entry.name in _SEEDS for entry in entries)
        uploads = int("upload" in self.defaults)
        return [bool(entry.options.get("forceInput")) for entry in entries] + [False] * (controls + uploads)


class Drawings:
    """The drawing of each class that has a definition, made when it is first wanted."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._known: dict[str, Drawing | None] = {}

    def get(self, kind: str) -> Drawing | None:
        if kind not in self._known:
            definition = self._definitions.get(kind)
            self._known[kind] = None if definition is None else Drawing(kind, definition)
        return self._known[kind]


def _draw(kind: str, definition: Definition) -> Iterator[Widget]:
    inputs = definition.inputs.values()
    for entry in inputs:
        if entry.has_widget:
            yield from _draw_input(entry)
    if kind in _WITH_PLAYER:
        yield Widget("audioUI", socket="AUDIO_UI", has_place=False)
    if kind in _WITH_VIEW:
        yield Widget("image", socket=_WITH_VIEW[kind])
    audio = definition.inputs.get("audio")
    if audio is not None and audio.options.get("audio_upload") is True:
        yield Widget("upload", socket="AUDIOUPLOAD", in_prompt=False)
    elif any(_is_upload(entry) for entry in inputs):
        yield Widget("upload", value="image", socket="IMAGEUPLOAD", in_prompt=False)
    if kind == "PreviewAny":
        yield Widget("preview", has_place=False)
    if any(entry.type == "WEBCAM" for entry in inputs):
        yield Widget("waiting for camera...", value="capture")


def _draw_input(entry: Input) -> Iterator[Widget]:
    kind = entry.options.get("widgetType") or entry.type
    if kind in ("LOAD_3D", "LOAD_3D_ANIMATION"):
        yield from (Widget(name, value=value) for name, value in _LOAD_3D.items())
    yield Widget(entry.name, entry, entry.default)
    remote: Any = entry.options.get("remote")
    if is_object(remote) and remote.get("refresh_button"):
        yield Widget("Auto-refresh after generation", value=False, in_prompt=False)
        yield Widget("refresh", value="refresh")
    if _has_control(entry):
        yield Widget(_CONTROL, value="randomize", in_prompt=False)
        if kind == "COMBO":
            yield Widget("control_filter_list", in_prompt=False)


def _draw_slots(definition: Definition, widgets: list[Widget]) -> Iterator[Slot]:
    for entry in sorted(definition.inputs.values(), key=lambda entry: entry.has_widget):
        if not (entry.has_widget and entry.options.get("socketless")):
            yield Slot(entry.name, entry.type, None, entry.has_widget)
    for widget in widgets:
        if widget.socket:
            yield Slot(widget.name, widget.socket, None, True)


def _has_control(entry: Input) -> bool:
    """Integers named like seeds have one unless they decline; other integers and combos where they ask for it."""
    asked = entry.options.get(_CONTROL)
    if entry.type == "INT" and asked is None:
        return entry.name in _SEEDS
    return entry.type in ("INT", "COMBO") and bool(asked)


def _is_upload(entry: Input) -> bool:
    return entry.required and entry.type == "COMBO" and any(entry.options.get(key) is True for key in _UPLOADS)


def _shown(entry: Input | None, value: Any) -> Any:
    """A value as its widget has it: a box of several lines holds text, with one kind of line end."""
    if entry is None or entry.type != "STRING" or not entry.options.get("multiline"):
        return value
    return write_text(value).replace("\r\n", "\n").replace("\r", "\n")
