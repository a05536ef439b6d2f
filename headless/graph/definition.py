"""What a node class declares: its inputs, hidden inputs and outputs.

Read from the V1 attributes (`INPUT_TYPES`, `RETURN_TYPES`, ...) that ComfyUI reads too, or from what a server
tells of them (object_info.py). A class is only looked at here, never called.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Registry = Mapping[str, type[Any]]  # node id -> class

WIDGETS = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})  # the types whose value a person can type
# The types that the editor draws as a widget; beside the above, what its own extensions draw.
_DRAWN = WIDGETS | frozenset(
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
    ]
)
_HIDDEN = frozenset({"PROMPT", "EXTRA_PNGINFO", "UNIQUE_ID"})  # what the executor can fill in


@dataclass(frozen=True)
class Input:
    """One declared input. `declared` is its type as written: a list for an old-style combo."""

    name: str
    declared: Any
    options: Mapping[str, Any]
    required: bool

    @property
    def type(self) -> str:
        return self.declared if isinstance(self.declared, str) else "COMBO"

    @property
    def types(self) -> frozenset[str]:
        """`INT,FLOAT` means either."""
        return frozenset(part.strip() for part in self.type.split(","))

    @property
    def choices(self) -> Sequence[Any] | None:
        """The values of a combo; None for any other type, and where only a server knows them."""
        if self.type != "COMBO":
            return None
        return self.options.get("options") if isinstance(self.declared, str) else self.declared

    @property
    def takes_constant(self) -> bool:
        return bool(self.types & (WIDGETS | {"*"}))

    @property
    def has_widget(self) -> bool:
        """Whether the editor draws a widget for it, and so gives it a place in `widgets_values`."""
        return (self.options.get("widgetType") or self.type) in _DRAWN and not self.options.get("forceInput")

    @property
    def default(self) -> Any:
        """What the widget shows before anybody touches it; None for a combo that has nothing to choose from."""
        default = self.options.get("default")
        if self.type == "COMBO":
            if self.options.get("multi_select"):
                return []
            return default or (self.choices[0] if self.choices else None)
        return {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}.get(self.type, "") if default is None else default


@dataclass(frozen=True)
class Definition:
    """What one class declares; `hidden` maps a keyword to what goes there (`PROMPT`, ...).

    `node_class` is None where only a server has the class: enough to convert a workflow, not to run it.
    """

    node_class: Any
    inputs: Mapping[str, Input]
    hidden: Mapping[str, str]
    outputs: Sequence[Any]
    is_output: bool
    takes_lists: bool


def define(node_class: type[Any]) -> Definition:
    declared: Mapping[str, Any] = node_class.INPUT_TYPES()
    inputs: dict[str, Input] = {}
    for section in ("required", "optional"):
        for name, spec in declared.get(section, {}).items():
            options: Mapping[str, Any] = spec[1] if len(spec) > 1 else {}
            inputs[name] = Input(name, spec[0], options, section == "required")
    return Definition(
        node_class,
        inputs,
        declared.get("hidden", {}),
        tuple(node_class.RETURN_TYPES),
        getattr(node_class, "OUTPUT_NODE", False) is True,
        bool(getattr(node_class, "INPUT_IS_LIST", False)),
    )


class _Definitions(Mapping[str, Definition]):
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[str, Definition] = {}

    def __getitem__(self, name: str) -> Definition:
        if name not in self._known:
            self._known[name] = define(self._registry[name])
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._registry  # without asking the class

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry)

    def __len__(self) -> int:
        return len(self._registry)


def definitions(registry: Registry) -> Mapping[str, Definition]:
    """What the classes of a registry declare; each is asked once, when it is first wanted."""
    return _Definitions(registry)


def define_all(class_types: Iterable[str], registry: Registry) -> dict[str, Definition]:
    """Definitions of those classes that the registry has; each class is asked once."""
    return {name: define(registry[name]) for name in dict.fromkeys(class_types) if name in registry}


def unsupported(node_class: type[Any]) -> str | None:
    """What keeps a class from running outside ComfyUI's server, or None."""
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
