"""The node classes that the command runs: this pack's, and stand-ins for the host's own picture nodes."""

from collections import ChainMap
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import comfyui_nodes, graph


class Nodes(NamedTuple):
    """Node classes and display names, by node id."""

    classes: Mapping[str, type[Any]]
    names: Mapping[str, str]

    def definitions(self) -> graph.Definitions:
        """Those of the classes, and of ComfyUI's own that do not run here: a workflow with them can be converted."""
        return ChainMap(graph.definitions(self.classes), comfyui_nodes.DEFINITIONS)  # pyright: ignore[reportArgumentType, reportReturnType]  (only read)

    def all_names(self) -> Mapping[str, str]:
        """The display names of all of these."""
        return ChainMap(dict(self.names), comfyui_nodes.NAMES)  # pyright: ignore[reportArgumentType]  (only read)


def load() -> Nodes:
    """All node classes; one of this pack wins over a stand-in of the same id."""
    from ..nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
    from . import native

    return Nodes({**native.CLASSES, **NODE_CLASS_MAPPINGS}, {**native.NAMES, **NODE_DISPLAY_NAME_MAPPINGS})
