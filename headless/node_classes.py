"""The node classes that the command runs: this pack's, and stand-ins for the host's own picture nodes."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Nodes(NamedTuple):
    """Node classes and display names, by node id."""

    classes: Mapping[str, type[Any]]
    names: Mapping[str, str]


def load() -> Nodes:
    """All node classes; one of this pack wins over a stand-in of the same id."""
    from ..nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
    from . import native

    return Nodes({**native.CLASSES, **NODE_CLASS_MAPPINGS}, {**native.NAMES, **NODE_DISPLAY_NAME_MAPPINGS})
