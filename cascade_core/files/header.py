"""The header of a file, a set of files or a component's folder: names, types and shapes. No tensor is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import CascadeError
from ..reading import open_file
from ..wording import first_of, printable
from .not_weights import START, explain_start
from .pickled import begins_pickled, is_old_pickle, open_pickled, read_pickled
from .safetensors_header import begins_safetensors, read_safetensors
from .shards import INDEX, component_config, component_weights, listed_in, siblings
from .tensor_info import TensorInfo
from .wording import damaged

if TYPE_CHECKING:
    from torch import Tensor

    from .quantised import QuantisedLayer


@dataclass(frozen=True)
class Header:
    """`tensors` by their names, of all files together; `config` is the config.json of a component's folder.

    A weight of `quantised` is shown in `tensors` as what it stands for; `stored` has the tensors that it is made of.
    """

    path: Path  # the file or folder that was asked for
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    config: Mapping[str, Any] | None = None
    quantised: Mapping[str, QuantisedLayer] = field(default_factory=dict[str, "QuantisedLayer"])
    stored: Mapping[str, TensorInfo] = field(default_factory=dict[str, TensorInfo])

    def as_stored(self) -> Header:
        """The same with the file's own tensors, and no weight made of them."""
        return replace(self, tensors={**self.tensors, **self.stored}, quantised={}, stored={})


def read_header(path: Path) -> Header:
    """The header of weights: a file, a shard or the index JSON of a set (with its siblings), or a component's folder.

    What the bytes are counts, not the suffix. One CascadeError says what a file is that holds no weights, what is
    damaged about one that does, or which file of a set is missing.
    """
    places: Mapping[str, str] = {}
    if path.is_dir():
        files = component_weights(path)
    elif INDEX.fullmatch(path.name):
        files, places = listed_in(path)
    else:
        files = siblings(path)
    tensors, metadata = _merge(files)
    lost = [name for name, file in places.items() if name not in tensors or tensors[name].file.name != file]
    if lost:
        raise CascadeError(damaged(path.name, f"its files lack {len(lost)} tensors that it names: {first_of(lost)}"))
    return Header(path, tensors, metadata, component_config(path))


@contextmanager
def open_tensors(header: Header) -> Generator[Callable[[str], Tensor]]:
    """`get(name)`: a tensor of the header on the CPU, its pages read when they are used; files are opened lazily.

    A quantised weight is decoded, into float32.
    """
    from safetensors import SafetensorError, safe_open

    with ExitStack() as opened:

        @cache
        def getter(path: Path) -> Callable[[str], Tensor]:
            with open_file(path) as file:
                start = file.read(START)
            # In this order: a safetensors header's length may begin as pickles do.
            if not begins_safetensors(start) and begins_pickled(start):
                return open_pickled(path).__getitem__
            return opened.enter_context(cast(Any, safe_open)(path, framework="pt", device="cpu")).get_tensor

        def get_stored(name: str) -> Tensor:
            path = (header.stored.get(name) or header.tensors[name]).file
            try:
                return getter(path)(name)
            except (SafetensorError, OSError, KeyError) as error:
                raise CascadeError(f"{path.name} cannot be read: {printable(error)}") from error

        def get(name: str) -> Tensor:
            layer = header.quantised.get(name)
            return get_stored(name) if layer is None else layer.read(get_stored).float()

        yield get


def _merge(files: Sequence[Path]) -> tuple[Mapping[str, TensorInfo], Mapping[str, str]]:
    tensors: dict[str, TensorInfo] = {}
    metadata: dict[str, str] = {}
    for file in files:
        more, entries = _read_file(file)
        twice = sorted(tensors.keys() & more.keys())
        if twice:
            raise CascadeError(
                f"{file.name} repeats {len(twice)} tensors of another file of its set ({first_of(twice)}): they do not"
                " belong together; download the set again"
            )
        tensors |= more
        metadata |= entries
    return tensors, metadata


def _read_file(path: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """Tensors and metadata of one file, by what it begins with."""
    try:
        with open_file(path) as file:
            start, size = file.read(START), os.fstat(file.fileno()).st_size
            if begins_safetensors(start):
                return read_safetensors(path, file, size)
        if begins_pickled(start) or is_old_pickle(path):
            return read_pickled(path), {}
    except OSError as error:
        raise CascadeError(f"{path.name} cannot be read ({error.strerror}): {path}") from error
    raise CascadeError(explain_start(path.name, start, size))
