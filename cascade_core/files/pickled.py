"""Tensors out of torch's own files (.pt, .pth, .ckpt, .bin), which are pickles: only with weights_only, only tensors.

Values may lie in an outer "state_dict" entry, as training programs leave them. A file that holds other objects is
refused: to open it would run its code.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ..errors import CascadeError
from ..reading import open_file
from ..wording import printable
from .pickle_scan import LONGEST, TooMuch, foreign_name
from .safetensors_header import LONGEST_NAME, MOST_TENSORS
from .tensor_info import TensorInfo
from .wording import damaged, no_weights

if TYPE_CHECKING:
    from torch import Tensor

SAFE_SINCE = (2, 6)  # before this version of torch, weights_only could be tricked into running code
ZIP = b"PK\x03\x04"  # torch's files since version 1.6
PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))  # and those before
FOREIGN = re.compile(r"Unsupported (global|class)|unsupported class|unrecognized function|Can only")  # torch's words
DEEPEST = 4  # levels of dictionaries that are followed; one that holds itself would have no end
ADVICE = "use the model's .safetensors file"


_BROKEN = (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, MemoryError)
"""The errors of zipfile for an archive that is cut short, or claims what it does not hold."""


def begins_pickled(start: bytes) -> bool:
    return start.startswith((ZIP, *PICKLES))


def is_old_pickle(path: Path) -> bool:
    """Is this a pickle of protocol 0 or 1, which has no mark, with a name in it? torch writes none. Raises OSError."""
    try:
        return foreign_name(_start(path)) is not None
    except TooMuch:
        return False


def read_pickled(path: Path) -> dict[str, TensorInfo]:
    """Names, types and shapes; no tensor is read."""
    from .dtypes import NAMES

    _check(path)
    infos: dict[str, TensorInfo] = {}
    for name, tensor in _load(path, "meta").items():
        dtype = NAMES.get(tensor.dtype)
        if dtype is None or str(tensor.layout) != "torch.strided":
            raise CascadeError(
                f"{path.name} holds a tensor of a kind that no model here has ({tensor.dtype}): {ADVICE}"
            )
        infos[name] = TensorInfo(dtype, tuple(tensor.shape), path)
    return infos


def open_pickled(path: Path) -> Mapping[str, Tensor]:
    """The tensors on the CPU; of newer files, whose tensors lie open in them, only the pages that are used are read.

    One that is called .safetensors is read as a whole.
    """
    return _load(path, "cpu")


def _start(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read(LONGEST)


def _check(path: Path) -> None:
    """CascadeError for a zip file that torch did not write, and for a pickle that is more than tensors."""
    with open_file(path) as file:
        is_zip = file.read(len(ZIP)) == ZIP
        file.seek(0)
        data = _pickle_of(path, file) if is_zip else file.read(LONGEST)
    try:
        name = foreign_name(data)
    except TooMuch as error:
        raise CascadeError(
            no_weights(path.name, f"a pickled file that cannot be opened safely: {error}", ADVICE)
        ) from error
    if name is not None:
        raise _runs_code(path, f" (it wants {printable(name)})")


def _pickle_of(path: Path, file: BinaryIO) -> bytes:
    """The pickle in a zip file that torch wrote; its tensors lie beside it, and nothing is compressed."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if any(name.endswith("/constants.pkl") for name in names):
                raise CascadeError(no_weights(path.name, "a TorchScript program", ADVICE))
            found = next((info for info in archive.infolist() if info.filename.endswith("/data.pkl")), None)
            if found is None:
                raise CascadeError(no_weights(path.name, "a zip archive", "unpack it, and use the weights in it"))
            is_packed = any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist())
            if is_packed or found.file_size > LONGEST:
                raise CascadeError(no_weights(path.name, "a zip archive that torch did not write", ADVICE))
            return archive.read(found)
    except CascadeError:
        raise
    except _BROKEN as error:
        raise CascadeError(damaged(path.name, "it is a torch or zip file without an end")) from error


def _runs_code(path: Path, wants: str = "") -> CascadeError:
    return CascadeError(
        f"{path.name} is a pickled file that holds more than tensors and could run code when it is opened{wants}:"
        f" expected tensors alone; {ADVICE}"
    )


def _load(path: Path, device: str) -> dict[str, Tensor]:
    import torch

    version = tuple(int(digits) for digits in torch.__version__.split(".")[:2])
    if version < SAFE_SINCE:
        raise CascadeError(
            f"{path.name} is a pickled file, which is opened safely by torch 2.6 and newer, found"
            f" {torch.__version__}: {ADVICE}"
        )
    with open_file(path) as file:
        mapped = file.read(len(ZIP)) == ZIP
    try:
        with warnings.catch_warnings():  # this module says once what torch warns of
            warnings.simplefilter("ignore")
            if path.suffix == ".safetensors":  # torch goes by that name, and not by what is in the file
                with open_file(path) as file:
                    found = torch.load(file, map_location=device, weights_only=True)
            else:
                found = torch.load(path, map_location=device, weights_only=True, mmap=mapped and device == "cpu")
    except (OSError, EOFError) as error:
        raise CascadeError(damaged(path.name, "it ends too early")) from error
    except Exception as error:  # torch raises whatever its unpickler stumbles over
        if FOREIGN.search(str(error)):
            raise _runs_code(path) from error
        raise CascadeError(damaged(path.name, "torch cannot read it")) from error
    if isinstance(found, dict) and isinstance(cast(Any, found).get("state_dict"), dict):
        found = cast(dict[Any, Any], found)["state_dict"]
    tensors = dict(islice(_flatten(found, "", set()), MOST_TENSORS + 1))
    if len(tensors) > MOST_TENSORS or any(len(name) > LONGEST_NAME for name in tensors):
        raise CascadeError(no_weights(path.name, "a pickled file of too many tensors, or too long names", ADVICE))
    if not tensors:
        raise CascadeError(no_weights(path.name, "a pickled file that holds no named tensors", ADVICE))
    return tensors


def _flatten(value: Any, name: str, seen: set[int], depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """The tensors of nested dictionaries by their dotted names; counters and settings beside them are left out.

    seen: the dictionaries that were visited, each once: one that holds another twice would double at every level.
    """
    import torch

    if isinstance(value, torch.Tensor) and name:
        yield name, value
    elif isinstance(value, Mapping) and depth < DEEPEST and id(cast(Any, value)) not in seen:
        seen.add(id(cast(Any, value)))
        for key, inner in cast(Mapping[Any, Any], value).items():
            yield from _flatten(inner, f"{name}.{key}" if name else str(key), seen, depth + 1)
