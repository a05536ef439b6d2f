"""What a file is, told from its safetensors header alone: no tensor is read.

What the metadata says under `cascade` wins and may carry a configuration of any width. Without it the names and
shapes of the tensors are held against the signatures below, one row per part. Knows nothing of modules.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from .errors import CascadeError
from .models.config import PRESETS
from .models.handle import Target
from .sampling.family import KINDS

METADATA_KEY = "cascade"
PUBLISHED_FAMILY = "stable-cascade"
TARGETS: tuple[Target, ...] = ("epsilon", "v")


@dataclass(frozen=True)
class TensorInfo:
    dtype: str  # safetensors' name: "F32", "BF16", ...
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Identity:
    kind: str
    preset: str  # a name of PRESETS[kind], or "custom"
    config: Any  # the kind's dataclass of models/config.py
    family: str
    target: Target
    x0_clamp: float | None
    vocabulary: tuple[str, ...] | None  # a text encoder's own words
    ignored: tuple[str, ...] = ()  # tensors that the layout carries and the module does not


@dataclass(frozen=True)
class Signature:
    """A part's tensor names, and the one dimension that tells its sizes apart."""

    kind: str
    keys: tuple[str, ...]  # all of them are there
    probe: tuple[str, int]  # (tensor, axis)
    presets: Mapping[int, str]  # length of the probed axis -> preset
    ignored: tuple[str, ...] = ()


OFFICIAL = (
    Signature(
        "stage_c",
        ("clip_txt_mapper.weight", "clip_img_mapper.weight", "clf.1.weight"),
        ("clip_txt_mapper.weight", 0),
        {2048: "3.6B", 1536: "1B"},
    ),
    Signature(
        "stage_b",
        ("effnet_mapper.0.weight", "clip_mapper.weight", "clf.1.weight"),
        ("down_blocks.1.0.channelwise.0.weight", 1),
        {640: "1.5B", 576: "700M"},
    ),
    Signature("stage_a", ("in_block.1.weight", "out_block.0.weight"), ("in_block.1.weight", 0), {192: "published"}),
    Signature("effnet", ("backbone.0.0.weight", "mapper.0.weight"), ("mapper.0.weight", 1), {1280: "published"}),
    Signature("previewer", ("blocks.0.weight", "blocks.6.weight"), ("blocks.0.weight", 0), {512: "published"}),
    Signature(
        "text_encoder",
        ("text_model.embeddings.token_embedding.weight", "text_projection.weight"),
        ("text_model.embeddings.token_embedding.weight", 1),
        {1280: "published"},
        ignored=("text_model.embeddings.position_ids", "logit_scale"),
    ),
    Signature(
        "image_encoder",
        ("vision_model.embeddings.patch_embedding.weight", "visual_projection.weight"),
        ("vision_model.embeddings.patch_embedding.weight", 0),
        {1024: "published"},
        ignored=("vision_model.embeddings.position_ids", "logit_scale"),
    ),
)
LAYOUTS: Mapping[str, tuple[Signature, ...]] = {"official": OFFICIAL}

_NOT_SAFETENSORS = {
    b"PK\x03\x04": "is a pickled file, which can run code when it is opened: use the model's .safetensors file",
    b"\x80": "is a pickled file, which can run code when it is opened: use the model's .safetensors file",
    b"version https://git-lfs": "is a Git LFS pointer, a few lines of text instead of the weights: download the file",
    b"<": "is a web page, not a model: the download was refused or wants a login",
    b"GGUF": "is a GGUF file: use the model's .safetensors file",
}


def read_header(path: Path) -> Header:
    """The header of a safetensors file; one CascadeError for whatever is missing, damaged or something else."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(64)
            length = int.from_bytes(start[:8], "little")
            if size >= 8 and length <= size - 8:
                file.seek(8)
                raw = file.read(length)
            else:
                raw = b""
    except OSError as error:
        raise CascadeError(f"{path.name} cannot be read ({error.strerror}): {path}") from error
    for magic, explanation in _NOT_SAFETENSORS.items():
        if start.startswith(magic) and not raw.startswith(b"{"):
            raise CascadeError(f"{path.name} {explanation}")
    if not raw:
        raise CascadeError(_damaged(path, f"its header wants {length:,} bytes, the file has {size:,}"))
    try:
        entries = json.loads(raw)
        metadata = {str(key): str(value) for key, value in entries.pop("__metadata__", {}).items()}
        tensors = {name: TensorInfo(entry["dtype"], tuple(entry["shape"])) for name, entry in entries.items()}
        end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CascadeError(_damaged(path, "its header is not that of a safetensors file")) from error
    if end != size:
        raise CascadeError(_damaged(path, f"its tensors end at byte {end:,}, the file has {size:,}"))
    return Header(tensors, metadata)


def identify(header: Header, file: str) -> Identity:
    """Kind, preset and configuration; `file` is the name that messages use."""
    if METADATA_KEY in header.metadata:
        return _from_metadata(header.metadata[METADATA_KEY], file)
    for signature in (row for rows in LAYOUTS.values() for row in rows):
        if all(key in header.tensors for key in signature.keys):
            return _from_signature(signature, header, file)
    first = ", ".join(sorted(header.tensors)[:3]) or "none at all"
    raise CascadeError(
        f"{file} is no part of Stable Cascade in a layout that is known here: expected the official single files"
        f" ({', '.join(KINDS[row.kind] for row in OFFICIAL)}), found the tensors {first}, ..."
    )


def _from_signature(signature: Signature, header: Header, file: str) -> Identity:
    tensor, axis = signature.probe
    shape = header.tensors[tensor].shape if tensor in header.tensors else ()
    width = shape[axis] if axis < len(shape) else None
    preset = signature.presets.get(width) if width is not None else None
    if preset is None:
        known = ", ".join(f"{length} ({name})" for length, name in signature.presets.items())
        raise CascadeError(
            f"{file} looks like a {KINDS[signature.kind]}, but of an unknown size: {tensor} has the shape"
            f" {list(shape)}, expected {known} along axis {axis}; a size of one's own is named in the file's metadata"
        )
    config = PRESETS[signature.kind][preset]
    return Identity(signature.kind, preset, config, PUBLISHED_FAMILY, "epsilon", None, None, signature.ignored)


def _from_metadata(text: str, file: str) -> Identity:
    """The `cascade` entry: {"kind", "family", "config": {...}, "target", "x0_clamp", "vocabulary"}."""
    try:
        entry: Any = json.loads(text)
        kind = entry["kind"]
        if kind not in PRESETS:
            raise ValueError(f"kind: expected one of {', '.join(PRESETS)}, found {kind!r}")
        config = _config_from(kind, entry["config"])
        preset = next((name for name, known in PRESETS[kind].items() if known == config), "custom")
        target = entry.get("target", "epsilon")
        if target not in TARGETS:
            raise ValueError(f"target: expected one of {', '.join(TARGETS)}, found {target!r}")
        return Identity(
            kind,
            preset,
            config,
            _fitted(entry.get("family", PUBLISHED_FAMILY), str, "family"),
            target,
            _fitted(entry.get("x0_clamp"), float | None, "x0_clamp"),
            _fitted(entry.get("vocabulary"), tuple[str, ...] | None, "vocabulary"),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else error
        raise CascadeError(f"{file}: the metadata entry `{METADATA_KEY}` cannot be used: {reason}") from error


def _config_from(kind: str, values: dict[str, Any]) -> Any:
    """A JSON object as the kind's dataclass, every field checked against its declared type."""
    cls = cast(type[Any], type(next(iter(PRESETS[kind].values()))))
    hints = get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"config: {', '.join(unknown)} is no field of {cls.__name__}")
    return cls(**{name: _fitted(value, hints[name], f"config.{name}") for name, value in values.items()})


def _fitted(value: Any, hint: Any, name: str) -> Any:
    """A JSON value as the declared type: lists become tuples, whole numbers may stand for floats."""
    arguments = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _fitted(value, hint, name)
    if get_origin(hint) is tuple and isinstance(value, list):
        items = cast(list[Any], value)
        each = [arguments[0]] * len(items) if arguments[-1] is Ellipsis else list(arguments)
        if len(each) == len(items):
            return tuple(_fitted(item, one, name) for item, one in zip(items, each, strict=True))
    elif hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    raise ValueError(f"{name}: expected {getattr(hint, '__name__', hint)}, found {value!r:.80}")


def _damaged(path: Path, reason: str) -> str:
    return f"{path.name} is damaged or its download is not complete ({reason}): download it again"
