"""Painted masks on their way: the page sends their layers as forms, which wait in memory for the event that uses them.

Gradio calls what a form names; it keeps every layer, under any id, until its event comes, which may be never. Here a
form is looked through as messages are, and what waits is bounded.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from starlette.datastructures import FormData, UploadFile

FUNCTION = "accept_blobs"  # of the one component that takes forms
TYPES = ("layer", "background", "composite")
LAYERS = ("null", *"01234567")  # their numbers; what is no layer has none
MOST, MOST_EACH = 256, 64  # blobs in all, and of one visitor
LARGEST, LARGEST_EACH = 128 * 2**20, 72 * 2**20  # bytes of them
NAME = re.compile(r"[\w-]{1,64}", re.ASCII)  # of a session or a blob, which the page draws at random


class Blob(NamedTuple):
    """One part of a painted picture, as a form brings it."""

    component: int
    session: str
    id: str


class _Waiting(NamedTuple):
    component: int
    visitor: str
    session: str


def read(form: FormData, components: Iterable[int]) -> Blob:
    """What a form brings. ValueError where it is none of the page's own."""
    fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    files = [value for value in form.values() if isinstance(value, UploadFile)]
    index, component = fields.get("index") or "null", fields.get("component_id", "")
    if fields.get("fn_name") != FUNCTION or not component.isdecimal() or int(component[:9]) not in components:
        raise ValueError("expected the layer of a painted picture")
    if fields.get("type") not in TYPES or index not in LAYERS:
        raise ValueError(f"expected one of at most {len(LAYERS) - 1} layers")
    names = [fields.get("session_hash", ""), fields.get("id", "")]
    if not all(map(NAME.fullmatch, names)) or len(files) != 1:
        raise ValueError("expected one file, of a page")
    return Blob(int(component), *names)


class Blobs:
    """What waits, by the components' own stores."""

    def __init__(self, editors: Mapping[int, Any]) -> None:
        """editors: the components that take forms, by their ids."""
        self.editors = editors
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()

    def make_room(self, blob: Blob, visitor: str, size: int) -> None:
        """Remove the oldest until so many bytes more are within the bounds."""
        self._waiting = OrderedDict((id, about) for id, about in self._waiting.items() if id in self._store(about))
        self._waiting.setdefault(blob.id, _Waiting(blob.component, visitor, blob.session))
        self._waiting.move_to_end(blob.id)
        for each, most, largest in ((True, MOST_EACH, LARGEST_EACH), (False, MOST, LARGEST)):
            while True:
                ids = [id for id, about in self._waiting.items() if not each or about.visitor == visitor]
                held = sum(_size(self._store(self._waiting[id]).get(id)) for id in ids)
                if len(ids) <= most and held + size <= largest:
                    break
                if ids[0] == blob.id:  # its own parts alone are too much
                    self._store(self._waiting[blob.id]).pop(blob.id, None)
                    break
                self._remove(ids[0])

    def forget(self, session: str) -> None:
        """Remove what a session has left."""
        for id in [id for id, about in self._waiting.items() if about.session == session]:
            self._remove(id)

    def _store(self, about: _Waiting) -> dict[str, Any]:
        return self.editors[about.component].blob_storage

    def _remove(self, id: str) -> None:
        self._store(self._waiting.pop(id)).pop(id, None)


def _size(parts: Any) -> int:
    """The bytes of Gradio's EditorDataBlobs."""
    if parts is None:
        return 0
    return sum(len(part) for part in (parts.background, parts.composite, *parts.layers) if part is not None)
