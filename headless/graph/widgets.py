"""The widgets and slots that the editor draws for a node, in its order.

`widgets_values` is positional, so every widget that has a place in it matters, also those that only serve the
editor: the control after a seed, upload buttons. A bypassed node passes links by the position of its slots.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .definition import CONTROL, DYNAMIC_COMBO, MATCHING, SEEDS, Definition, Definitions, Input
from .texts import write_text
from .unfolding import unfold, unfolds
from .wording import is_list, is_object

LinkId = int | str | None

_UPLOADS = ("image_upload", "video_upload", "animated_image_upload")
_WITH_PLAYER = frozenset({"LoadAudio", "SaveAudio", "PreviewAudio", "SaveAudioMP3", "SaveAudioOpus"})
_WITH_VIEW = {"SaveGLB": "PREVIEW_3D", "Preview3D": "PREVIEW_3D", "Preview3DAnimation": "PREVIEW_3D_ANIMATION"}
_CUSTOM_COMBO = "CustomCombo"
_OPTION = "option"  # of a CustomCombo, whose options a person types: option1, option2, ...
_MOST_OPTIONS = 1000
_CROP = ("x", "y", "width", "height")  # of a bounding box, each with a widget that only draws
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
    send: Callable[[Mapping[str, Any]], Any] | None = None  # its value in a prompt, from all of the node; else its own


class Drawing:
    """The widgets, input slots and output types that the editor draws for a node.

    `values` are the file's for the widgets, and `used` the names of the inputs in the file: what a dynamic combo brings
    and how far a group has grown depends on them.
    """

    def __init__(self, kind: str, definition: Definition, values: Any = None, used: Collection[str] = ()) -> None:
        self.kind = kind
        self.definition = definition
        self.is_dynamic = unfolds(definition)
        self._used = used
        self.outputs = [_output_type(output) for output in definition.outputs]
        self._old_places = _count_old_places(definition)
        self._values = values
        self.placed: list[str] = []  # the widgets that have a place in the file's list
        self.widgets: list[Widget] = []
        for widget in _draw(kind, definition, self._choose, used, values):  # asks `_choose` on the way
            self.widgets.append(widget)
            if widget.has_place:
                self.placed.append(widget.name)
        self.defaults: Mapping[str, Any] = {widget.name: widget.value for widget in self.widgets}
        self.entries = {widget.name: widget.entry for widget in self.widgets}
        chosen = self.read(values)
        sockets_first = sorted(definition.inputs.values(), key=lambda entry: entry.has_widget)
        self.inputs = list(unfold(sockets_first, lambda entry: chosen.get(entry.name, entry.default), used))
        self._slots = list(_draw_slots(definition, self.inputs, self.widgets))

    @property
    def unknown_choice(self) -> Input | None:
        """The first dynamic combo whose choice its declaration does not have: what it brings is not known either."""
        held = self.read(self._values)
        combos = (entry for entry in self.entries.values() if entry is not None and entry.type == DYNAMIC_COMBO)
        return next((entry for entry in combos if held[entry.name] not in (entry.choices or [None])), None)

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
            written = {name: values[at] for name, at in zip(self.placed, self._find_places(values), strict=False)}
        if self.definition.for_old_editor:
            written = {name: _with_one_line_end(self.entries[name], value) for name, value in written.items()}
        return {**self.defaults, **{name: _shown(self.entries[name], value) for name, value in written.items()}}

    def write(self, values: list[Any], name: str, value: Any) -> list[Any]:
        """The list of values with one put where `read` finds it; what is missing before it has the widget's own value.

        A new choice of a dynamic combo brings other widgets, with their own values where they had none before.
        """
        entry = self.entries[name]
        if entry is not None and entry.type == DYNAMIC_COMBO:
            held = self.read(values) | {name: value}
            chosen = Drawing(self.kind, self.definition, held, self._used)
            return [held.get(placed, chosen.defaults[placed]) for placed in chosen.placed]
        index = self.placed.index(name)
        places = self._find_places(values)
        values = [*values, *(self.defaults[before] for before in self.placed[len(places) : index + 1])]
        values[(places + list(range(len(places), len(values))))[index]] = value
        return values

    def _choose(self, combo: Input) -> Any:
        """The value of the dynamic combo whose widget was drawn last."""
        if is_object(self._values):
            return self._values.get(combo.name, combo.default)
        values = self._values if is_list(self._values) else []
        places, last = self._find_places(values), len(self.placed) - 1
        return values[places[last]] if last < len(places) else combo.default

    def _find_places(self, values: list[Any]) -> list[int]:
        """The indices of the values that belong to widgets, in the order of the widgets."""
        if len(values) == len(self._old_places):
            return [index for index, is_forced in enumerate(self._old_places) if not is_forced]
        return list(range(len(values)))


class Drawings:
    """The drawings of nodes: one for each class that has a definition, or for each node where they differ."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._known: dict[str, Drawing | None] = {}

    def are_for_old_editor(self, kinds: Iterable[str]) -> bool:
        """Whether any of the classes comes from a server of the time of the editor 1.27."""
        found = (self._definitions.get(kind) for kind in dict.fromkeys(kinds))
        return any(definition.for_old_editor for definition in found if definition is not None)

    def has(self, kind: str) -> bool:
        return kind in self._definitions

    def of(self, kind: str, values: Any, used: Collection[str]) -> Drawing | None:
        """The drawing of a node of this class, with the file's values for its widgets and its names of inputs."""
        definition = self._definitions.get(kind)
        if definition is None:
            return None
        if kind == _CUSTOM_COMBO or unfolds(definition):
            return Drawing(kind, definition, values, used)
        if kind not in self._known:
            self._known[kind] = Drawing(kind, definition)
        return self._known[kind]


def _count_old_places(definition: Definition) -> list[bool]:
    """One entry for each value that an old file has: whether it belongs to an input that is forced to be a socket.

    Old editors gave those a place too. The editor knows such a file by the number of its values. It pairs inputs with
    values one by one. The editor of 1.27 forgets on the way that a control has a place of its own: there, controls
    count at the end, as the upload button does.
    """
    entries = [entry for entry in definition.inputs.values() if entry.has_widget or entry.options.get("forceInput")]
    places: list[bool] = []
    for entry in entries:
        places.append(bool(entry.options.get("forceInput")))
        if not definition.for_old_editor and entry.options.get(CONTROL):
            places.append(False)
    if definition.for_old_editor:
        places += [False for entry in entries if entry.options.get(CONTROL) or entry.name in SEEDS]
    return places + [False] * (_upload(definition) is not None)


def _draw(
    kind: str, definition: Definition, choose: Callable[[Input], Any], used: Collection[str], values: Any
) -> Iterator[Widget]:
    for entry in unfold(definition.inputs.values(), choose, used):
        if entry.has_widget:
            yield from _draw_input(entry, definition.for_old_editor)
        if entry.type == DYNAMIC_COMBO and is_object(values) and values.get(entry.name) not in (entry.choices or ()):
            own = {name for name in values if name.startswith(f"{entry.name}.")}  # of a choice that is not known
            yield from (Widget(name, has_place=False) for name in sorted(own))
    if kind in _WITH_PLAYER:
        yield Widget("audioUI", socket="AUDIO_UI", has_place=False, in_prompt=definition.for_old_editor)
    if kind in _WITH_VIEW:
        yield Widget("image", socket=_WITH_VIEW[kind])
    if (upload := _upload(definition)) is not None:
        yield upload
    if kind == "PreviewAny" and definition.for_old_editor:
        yield Widget("preview", has_place=False)
    if any(entry.type == "WEBCAM" for entry in definition.inputs.values()):
        yield Widget("waiting for camera...", value="capture")
    if kind == _CUSTOM_COMBO:
        yield Widget("index", value=-1, send=_index_of_choice)
        yield from (Widget(f"{_OPTION}{number}") for number in range(1, 2 + _count_options(values)))


def _draw_input(entry: Input, for_old_editor: bool) -> Iterator[Widget]:
    kind = entry.options.get("widgetType") or entry.type
    if kind in ("LOAD_3D", "LOAD_3D_ANIMATION") and entry.name == "image":  # in others it only shows
        yield from (Widget(name, value=value) for name, value in _LOAD_3D.items())
    yield Widget(
        entry.name,
        entry,
        entry.default,
        has_place=kind != "IMAGECOMPARE",
        send=(lambda held: {"__type__": kind, "__value__": held[entry.name]}) if kind == "CURVE" else None,
    )
    if kind == "BOUNDING_BOX":
        yield from (Widget(f"{entry.name}: {name}", in_prompt=False) for name in _CROP)
    if kind == "AUDIO_RECORD" and not for_old_editor:
        yield Widget(f"{entry.name}#1", in_prompt=False)
    remote: Any = entry.options.get("remote")
    if is_object(remote) and remote.get("refresh_button"):
        yield Widget("Auto-refresh after generation", value=False, in_prompt=False)
        yield Widget("refresh", value="refresh")
    if entry.has_control:
        yield Widget(CONTROL, value="randomize", in_prompt=False)
        if kind == "COMBO":
            yield Widget("control_filter_list", in_prompt=False)


def _draw_slots(definition: Definition, inputs: Iterable[Input], widgets: list[Widget]) -> Iterator[Slot]:
    for entry in inputs:
        if not (entry.has_widget and entry.options.get("socketless") and definition.for_old_editor):
            yield Slot(entry.name, entry.type, None, entry.has_widget)
    for widget in widgets:
        if widget.socket:
            yield Slot(widget.name, widget.socket, None, True)


def _output_type(output: Any) -> str:
    """The type of an output as the editor draws it; one that matches inputs is anything until it is linked."""
    if output == MATCHING:
        return "*"
    return output if isinstance(output, str) else "COMBO"


def _upload(definition: Definition) -> Widget | None:
    """The button that brings a file, where the class has one."""
    audio = definition.inputs.get("audio")
    if audio is not None and audio.options.get("audio_upload") is True:
        return Widget("upload", socket="AUDIOUPLOAD", in_prompt=False)
    if any(_is_upload(entry) for entry in definition.inputs.values()):
        return Widget("upload", value="image", socket="IMAGEUPLOAD", in_prompt=False)
    return None


def _count_options(values: Any) -> int:
    """The options that a person has typed into a CustomCombo, which offers one more; they follow choice and index."""
    options = values[2:_MOST_OPTIONS] if is_list(values) else []
    return next((number for number, option in enumerate(options) if not option), len(options))


def _index_of_choice(held: Mapping[str, Any]) -> int:
    """The place of the choice among the options of a CustomCombo, from 0; -1 where it is none of them."""
    options = [value for name, value in held.items() if name.startswith(_OPTION)]
    return options.index(held["choice"]) if held["choice"] in options else -1


def _is_upload(entry: Input) -> bool:
    return entry.required and entry.type == "COMBO" and any(entry.options.get(key) is True for key in _UPLOADS)


def _shown(entry: Input | None, value: Any) -> Any:
    """A value as its widget has it: a box of several lines holds text."""
    return write_text(value) if entry is not None and _is_box(entry) else value


def _with_one_line_end(entry: Input | None, value: Any) -> Any:
    """A text as the boxes of the old editor have it."""
    if entry is None or not _is_box(entry) or not isinstance(value, str):
        return value
    return value.replace("\r\n", "\n").replace("\r", "\n")


def _is_box(entry: Input) -> bool:
    return entry.type == "STRING" and bool(entry.options.get("multiline"))
