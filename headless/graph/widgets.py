"""The widgets and slots that the editor draws for a node, in its order, and what the widgets hold.

`widgets_values` is positional, so every widget that has a place in it matters, also those that only serve the
editor: the control after a seed, upload buttons. A bypassed node passes links by the position of its slots.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .definition import Definition, Input
from .layout import Node, Slot
from .shapes import is_list, is_object

CONTROL = "control_after_generate"  # what happens to the value after queueing
_SEEDS = frozenset({"seed", "noise_seed"})  # the editor draws a control beside integers of these names
_UPLOADS = ("image_upload", "video_upload", "animated_image_upload")
_WITH_PLAYER = frozenset({"LoadAudio", "SaveAudio", "PreviewAudio", "SaveAudioMP3", "SaveAudioOpus"})
_WITH_VIEW = {"SaveGLB": "PREVIEW_3D", "Preview3D": "PREVIEW_3D", "Preview3DAnimation": "PREVIEW_3D_ANIMATION"}
_LOAD_3D = {
    "upload 3d model": "upload3dmodel",
    "upload extra resources": "uploadExtraResources",
    "clear": "clear",
}  # buttons, which the editor sends like any value


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
    """What the editor draws for every node of one class."""

    def __init__(self, kind: str, definition: Definition) -> None:
        self.definition = definition
        self.widgets = list(_draw(kind, definition))
        self.outputs = [output if isinstance(output, str) else "COMBO" for output in definition.outputs]
        self._defaults = {widget.name: widget.value for widget in self.widgets}
        self._entries = {widget.name: widget.entry for widget in self.widgets}
        self._placed = [widget.name for widget in self.widgets if widget.has_place]
        self._slots = list(_draw_slots(definition, self.widgets))
        self._forced, self._length_with_forced = self._count_forced()

    def slots(self, node: Node) -> list[Slot]:
        """The inputs of a node in the editor's order: sockets, those of widgets, then what only the file has.

        What the file says of an input goes by its name; one that the file draws on a widget that is gone goes too.
        """
        written = {slot.name: slot.link for slot in node.inputs}
        slots = [Slot(slot.name, slot.type, written.pop(slot.name, None), slot.widget) for slot in self._slots]
        return slots + [slot for slot in node.inputs if slot.name in written and not slot.widget]

    def read(self, values: Any) -> dict[str, Any]:
        """What each widget holds, by name; what the file lacks is the widget's own value."""
        held = dict(self._defaults)
        if is_object(values):  # some packs write these themselves; the stock editor has no use for them
            written = {name: value for name, value in values.items() if name in held}
        elif is_list(values):
            written = {name: values[at] for name, at in zip(self._placed, self._kept(values), strict=False)}
        else:
            written = {}
        return held | {name: _shown(self._entries[name], value) for name, value in written.items()}

    def write(self, values: list[Any], name: str, value: Any) -> None:
        """Put a value where `read` finds it, with what the widgets before it hold where the list is too short."""
        index = self._placed.index(name)
        kept = self._kept(values)
        if index < len(kept):
            values[kept[index]] = value
        else:
            values.extend(self._defaults[before] for before in self._placed[len(kept) : index])
            values.append(value)

    def _count_forced(self) -> tuple[frozenset[int], int]:
        """Old files gave a place also to inputs that their class forces to be sockets; they are told by their length.

        The editor pairs inputs with values one by one, and so forgets that a control has a place of its own.
        """
        entries = [
            e for e in self.definition.inputs.values() if e.name in self._defaults or e.options.get("forceInput")
        ]
        controls = sum(bool(entry.options.get(CONTROL)) or entry.name in _SEEDS for entry in entries)
        forced = frozenset(index for index, entry in enumerate(entries) if entry.options.get("forceInput"))
        return forced, len(entries) + controls + ("upload" in self._defaults)

    def _kept(self, values: list[Any]) -> list[int]:
        """The indices of the values that belong to widgets."""
        dropped = self._forced if len(values) == self._length_with_forced else ()
        return [index for index in range(len(values)) if index not in dropped]


class Drawings:
    """What the editor draws for each class that has a definition; looked up when it is first wanted."""

    def __init__(self, definitions: Mapping[str, Definition]) -> None:
        self._definitions = definitions
        self._known: dict[str, Drawing | None] = {}

    def get(self, kind: str) -> Drawing | None:
        if kind not in self._known:
            definition = self._definitions.get(kind)
            self._known[kind] = None if definition is None else Drawing(kind, definition)
        return self._known[kind]


def write_text(value: Any) -> str:
    """A value as JavaScript writes it into a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    if is_list(value):
        return ",".join(write_text(part) for part in value)
    return "[object Object]" if is_object(value) else str(value)


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
        yield Widget(CONTROL, value="randomize", in_prompt=False)
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
    asked = entry.options.get(CONTROL)
    if entry.type == "INT" and asked is None:
        return entry.name in _SEEDS
    return entry.type in ("INT", "COMBO") and bool(asked)


def _is_upload(entry: Input) -> bool:
    return entry.required and entry.type == "COMBO" and any(entry.options.get(key) is True for key in _UPLOADS)


def _shown(entry: Input | None, value: Any) -> Any:
    """What a widget makes of a value: a box of several lines holds text, with one kind of line end."""
    if entry is None or entry.type != "STRING" or not entry.options.get("multiline"):
        return value
    return write_text(value).replace("\r\n", "\n").replace("\r", "\n")
