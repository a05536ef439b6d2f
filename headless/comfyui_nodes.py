"""What ComfyUI's own node classes declare, known without a ComfyUI: enough to convert a workflow, not to run it.

The file beside this one has what ComfyUI 0.33.0 says of them; tests/host/record_comfyui_nodes.py makes it.
"""

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from . import graph

_FILE = Path(__file__).with_suffix(".json.gz")
_T = TypeVar("_T")


class _ByClass(Mapping[str, _T]):
    """Something of each class by its id, read when it is first wanted."""

    def __init__(self, read: Callable[[str], _T]) -> None:
        self._read = cache(read)

    def __getitem__(self, name: str) -> _T:
        if name not in _info():
            raise KeyError(name)
        return self._read(name)

    def __contains__(self, name: object) -> bool:
        return name in _info()

    def __iter__(self) -> Iterator[str]:
        return iter(_info())

    def __len__(self) -> int:
        return len(_info())


@cache
def _info() -> Mapping[str, Any]:
    return json.loads(gzip.decompress(_FILE.read_bytes()))


def _entry(name: str) -> tuple[graph.Definitions, Mapping[str, str]]:
    return graph.read_object_info({name: _info()[name]})


DEFINITIONS: graph.Definitions = _ByClass(lambda name: _entry(name)[0][name])
NAMES: Mapping[str, str] = _ByClass(lambda name: _entry(name)[1][name])
