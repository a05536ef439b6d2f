"""The definition of a node class: its inputs, hidden inputs and outputs.

It is read from the V1 attributes (`INPUT_TYPES`, `RETURN_TYPES`, ...) that ComfyUI reads too, or from a server's
answer to `GET /object_info`, a JSON object of node classes by id: so a workflow with nodes of other packs can be
converted where those packs are not installed. No node is ever called here.
"""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .wording import WorkflowError, is_list, is_object, show

Classes = Mapping[str, type[Any]]  # node classes by node id

DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"  # each of its choices brings inputs of its own
GROWING = "COMFY_AUTOGROW_V3"  # a group of inputs, which has one more whenever the last is linked
MATCHING = "COMFY_MATCHTYPE_V3"  # a socket whose type is that of what is linked to its fellows

RUNS_HERE = "runs_here"  # an option of ours: the choices of a combo that a stand-in has, where the host's are more
CONTROL = "control_after_generate"  # says how a value changes after queueing; the widget for that has this name too
SEEDS = frozenset({"seed", "noise_seed"})  # integers that get such a widget by their name

_TYPED = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", DYNAMIC_COMBO})  # types that a person can type
_DRAWN = _TYPED | frozenset(  # types that the editor or one of its own extensions draws as a widget
    [
        "MARKDOWN",
        "TEXTAREA",
        "COLOR",
        "CHART",
        "GALLERIA",
        "IMAGECOMPARE",
        "MULTISELECT",
        "SELECTBUTTON",
        "TREESELECT",
        "FILEUPLOAD",
        "WEBCAM",
        "AUDIO_RECORD",
        "LOAD_3D",
        "LOAD_3D_ANIMATION",
        "PREVIEW_3D",
        "PREVIEW_3D_ANIMATION",
        "LOAD_3D_ADVANCED",
        "CAMERA_ANGLE_VIEW",
        "CAMERA_INFO_STATE",
        "LIGHT_INFO_PREVIEW",
        "BOUNDING_BOX",
        "BOUNDING_BOXES",
        "COLORS",
        "COMPOSITOR",
        "CURVE",
        "PAINTER",
        "RANGE",
        "RESOLUTION_PREVIEW",
        "VIDEO_EDIT",
    ]
)
_UNFOLDING = re.compile(r"COMFY_\w+_V\d+|COMFY_BRANCH_\w+")  # types that stand for something else than one input
_HIDDEN = frozenset({"PROMPT", "EXTRA_PNGINFO", "UNIQUE_ID"})  # hidden inputs that can be filled in here

# Display names of the editor's own for classes that ComfyUI gives none: 1.27 for 0.3.64, and 1.58 for 0.33.
_OLD_EDITOR_NAMES = {
    "ImageBlend": "Image Blend",
    "ImageBlur": "Image Blur",
    "ImageQuantize": "Image Quantize",
    "ImageScaleToTotalPixels": "Scale Image to Total Pixels",
    "ImageSharpen": "Image Sharpen",
}
_EDITOR_NAMES = {
    "EmptyCosmosLatentVideo": "Empty Cosmos Latent Video",
    "EmptyHunyuanImageLatent": "Empty Hunyuan Image Latent",
    "EmptyLTXVLatentVideo": "Empty LTXV Latent Video",
    "EmptyLatentHunyuan3Dv2": "Empty Hunyuan 3D v2 Latent",
    "EmptyTrellis2LatentStructure": "Empty Trellis2 Latent Structure",
    "Pixal3DConditioning": "Pixal3D Conditioning",
    "StableCascade_EmptyLatentImage": "Empty Stable Cascade Latent Image",
    "StableCascade_StageC_VAEEncode": "Stable Cascade Stage C VAE Encode",
    "TextEncodeQwenImageEdit": "Text Encode Qwen Image Edit",
    "TextEncodeQwenImageEditPlus": "Text Encode Qwen Image Edit Plus",
    "Trellis2Conditioning": "Trellis2 Conditioning",
    "Trellis2ShapeStage": "Trellis2 Shape Stage",
    "Trellis2TextureStage": "Trellis2 Texture Stage",
    "VAEDecodeHunyuan3D": "Hunyuan 3D VAE Decode",
    "VaeDecodeShapeTrellis": "Trellis2 VAE Decode Shape",
    "VaeDecodeStructureTrellis2": "Trellis2 VAE Decode Structure",
    "VaeDecodeTextureTrellis": "Trellis2 VAE Decode Texture",
}
_NEW_SERVER = "has_intermediate_output"  # a field that servers of the newer editors have for every node


@dataclass(frozen=True)
class Input:
    """One declared input. `declared` is its type as written: a list for an old-style combo.

    `brings` has the inputs that each choice of a dynamic combo brings, and at "" those of which a growing group has a
    set again and again.
    """

    name: str
    declared: Any
    options: Mapping[str, Any]
    required: bool
    brings: Mapping[str, Sequence["Input"]] = field(default_factory=dict[str, Sequence["Input"]])

    @property
    def type(self) -> str:
        return self.declared if isinstance(self.declared, str) else "COMBO"

    @property
    def types(self) -> frozenset[str]:
        """`INT,FLOAT` means either."""
        return frozenset(part.strip() for part in self.type.split(","))

    @property
    def is_understood(self) -> bool:
        """False for a type of inputs that unfold in a way that is not known here: it has more or fewer values."""
        if self.type == GROWING:  # of single sockets
            return len(self.brings[""]) == 1 and not self.brings[""][0].has_widget
        return self.type in (DYNAMIC_COMBO, MATCHING) or not _UNFOLDING.fullmatch(self.type)

    @property
    def may_be_drawn(self) -> bool:
        """Whether a pack's own script may draw a widget for it, of which no declaration tells."""
        kind = self.options.get("widgetType") or self.type
        return kind not in _DRAWN and kind not in (GROWING, MATCHING) and kind.isidentifier()

    @property
    def choices(self) -> Sequence[Any] | None:
        """The values of a combo; None for any other type, and where only a server knows them."""
        if self.type == DYNAMIC_COMBO:
            return list(self.brings)
        if self.type != "COMBO":
            return None
        return self.options.get("options") if isinstance(self.declared, str) else self.declared

    @property
    def choices_here(self) -> Sequence[Any] | None:
        """Those of the choices that run outside ComfyUI."""
        return self.options.get(RUNS_HERE, self.choices)

    @property
    def takes_files(self) -> bool:
        """Whether the editor offers to upload a file for it."""
        return any(option.endswith("_upload") and self.options[option] for option in self.options)

    def names_file(self, value: object) -> bool:
        """Whether a value of such an input is the name of a file; the default of an optional one stands for none."""
        return self.takes_files and isinstance(value, str) and (self.required or value != self.default)

    @property
    def takes_constant(self) -> bool:
        return bool(self.types & (_TYPED | {"*"}))

    @property
    def has_widget(self) -> bool:
        """Whether the editor draws a widget for it, and so gives it a place in `widgets_values`."""
        return (self.options.get("widgetType") or self.type) in _DRAWN and not self.options.get("forceInput")

    @property
    def has_control(self) -> bool:
        """Integers named like seeds have one unless they decline; other integers and combos where they ask for it."""
        asked = self.options.get(CONTROL)
        if self.type == "INT" and asked is None:
            return self.name in SEEDS
        return self.type in ("INT", "COMBO") and bool(asked)

    @property
    def default(self) -> Any:
        """The widget's value before anybody touches it; None for a combo that has nothing to choose from."""
        default = self.options.get("default")
        if self.type == DYNAMIC_COMBO:
            return self.choices[0] if self.choices else None
        if self.type == "IMAGECOMPARE":
            return ["", ""]
        if self.type == "COMBO":
            if self.options.get("multi_select"):
                return []
            return default or (self.choices[0] if self.choices else None)
        return {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}.get(self.type, "") if default is None else default


@dataclass(frozen=True)
class Definition:
    """The declarations of one class; `hidden` maps a keyword to what goes there (`PROMPT`, ...).

    `node_class` is None where only a server has the class: enough to convert a workflow, not to run it.
    `for_old_editor` is true where an old server says so, one of the time of the editor 1.27: that editor drew some
    nodes otherwise.
    """

    node_class: Any
    inputs: Mapping[str, Input]
    hidden: Mapping[str, str]
    outputs: Sequence[Any]
    is_output: bool
    takes_lists: bool
    for_old_editor: bool = False


def define(node_class: type[Any]) -> Definition:
    """The definition of a class that is installed here."""
    declared: Mapping[str, Any] = node_class.INPUT_TYPES()
    inputs: dict[str, Input] = {}
    for section in ("required", "optional"):
        for name, spec in declared.get(section, {}).items():
            options: Mapping[str, Any] = spec[1] if len(spec) > 1 else {}
            brings = _read_brought(f"{node_class.__name__}, input {name}", spec[0], options)
            inputs[name] = Input(name, spec[0], options, section == "required", brings)
    return Definition(
        node_class,
        inputs,
        declared.get("hidden", {}),
        tuple(node_class.RETURN_TYPES),
        getattr(node_class, "OUTPUT_NODE", False) is True,
        bool(getattr(node_class, "INPUT_IS_LIST", False)),
    )


Definitions = Mapping[str, Definition]


class _LazyDefinitions(Definitions):
    def __init__(self, classes: Classes) -> None:
        self._classes = classes
        self._known: dict[str, Definition] = {}

    def __getitem__(self, name: str) -> Definition:
        if name not in self._known:
            self._known[name] = define(self._classes[name])
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._classes  # without asking the class

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)


def definitions(classes: Classes) -> Definitions:
    """The definition of every class, each read once, when it is first wanted."""
    return _LazyDefinitions(classes)


def define_all(class_types: Iterable[str], classes: Classes) -> dict[str, Definition]:
    """The definitions of those types that have a class, each read once and now."""
    return {name: define(classes[name]) for name in dict.fromkeys(class_types) if name in classes}


def unsupported(node_class: type[Any]) -> str | None:
    """The reason why a class cannot run outside ComfyUI's server, or None."""
    if hasattr(node_class, "define_schema"):
        return "a V3 node class"
    if inspect.iscoroutinefunction(getattr(node_class, node_class.FUNCTION)):
        return "an asynchronous node"
    definition = define(node_class)
    for entry in definition.inputs.values():
        for option in ("lazy", "rawLink"):
            if entry.options.get(option):
                return f"the {option} input {entry.name}"
    unknown = sorted(set(definition.hidden.values()) - _HIDDEN)
    return f"the hidden input {unknown[0]}" if unknown else None


def read_object_info(info: Mapping[str, Any]) -> tuple[Definitions, Mapping[str, str]]:
    """Definitions and display names by node id. Raises WorkflowError, naming the entry, for anything else."""
    definitions: dict[str, Definition] = {}
    names: dict[str, str] = {}
    for name, entry in info.items():
        declared = entry.get("input") if is_object(entry) else None
        outputs = entry.get("output") if is_object(entry) else None
        if not is_object(entry) or not is_object(declared) or not is_list(outputs):
            raise WorkflowError(
                f"object_info: expected inputs and outputs of the node {show(name)}, as a server's /object_info has "
                f"them, found {show(entry)}"
            )
        hidden: Any = declared.get("hidden")
        definitions[name] = Definition(
            node_class=None,
            inputs=_read_inputs(name, entry, declared),
            hidden=hidden if is_object(hidden) else {},
            outputs=tuple(outputs),
            is_output=entry.get("output_node") is True,
            takes_lists=False,
            for_old_editor=_NEW_SERVER not in entry,
        )
        own = _OLD_EDITOR_NAMES if definitions[name].for_old_editor else _EDITOR_NAMES
        names[name] = str(entry.get("display_name") or own.get(name, name))
    return definitions, names


def _read_inputs(name: str, entry: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Input]:
    """Required inputs, then optional ones, each in the order that `input_order` says: JSON objects may lose theirs."""
    order: Any = entry.get("input_order")
    inputs: dict[str, Input] = {}
    for section in ("required", "optional"):
        specs: Any = declared.get(section) or {}
        first: Any = (order.get(section) if is_object(order) else None) or []
        if not is_object(specs) or not is_list(first):
            raise WorkflowError(f"object_info: expected {section} inputs of the node {show(name)}, found {show(specs)}")
        listed = [str(known) for known in first]
        for input_name in [known for known in listed if known in specs] + [new for new in specs if new not in listed]:
            spec: Any = specs[input_name]
            if not is_list(spec) or not spec or not isinstance(spec[0], str | list):
                expected = f"the type of input {show(input_name)} of the node {show(name)}"
                raise WorkflowError(f"object_info: expected {expected}, found {show(spec)}")
            options: Any = spec[1] if len(spec) > 1 else {}
            settings: Mapping[str, Any] = options if is_object(options) else {}
            brings = _read_brought(f"{name}, input {input_name}", spec[0], settings)
            inputs[input_name] = Input(input_name, spec[0], settings, section == "required", brings)
    return inputs


def _read_brought(place: str, declared: Any, options: Mapping[str, Any]) -> dict[str, Sequence[Input]]:
    """`Input.brings`, each name as it is written in the declaration."""
    written: list[Any] = []
    if declared == DYNAMIC_COMBO:
        listed: Any = options.get("options")
        written = listed if is_list(listed) else [None]
    elif declared == GROWING:
        template: Any = options.get("template")
        written = [{"key": "", "inputs": template.get("input")} if is_object(template) else None]
    brings: dict[str, Sequence[Input]] = {}
    for choice in written:
        inner: Any = choice.get("inputs") if is_object(choice) else None
        if not is_object(choice) or not isinstance(choice.get("key"), str) or not is_object(inner):
            expected = f"what a {declared} brings, of the node {place}"
            raise WorkflowError(f"object_info: expected {expected}, found {show(choice)}")
        brings[choice["key"]] = tuple(_read_inputs(place, {}, inner).values())
    return brings
