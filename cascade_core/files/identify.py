"""Identification of a file or folder, from its header alone: no tensor is read but what says a weight's format.

What the metadata says under `cascade` wins and may carry a configuration of any width; so does the config.json of a
component's folder. Without them the names and shapes of the tensors are held against the signatures, one row per part
and layout. Knows nothing of modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from ..errors import CascadeError
from ..kinds import KINDS
from ..models.config import PRESETS, ControlNetConfig
from ..wording import all_of, article, first_of
from .diffusers_config import read_config
from .header import Header, read_header
from .layouts import layout_of
from .metadata import METADATA_KEY, preset_of, read_entry
from .model_part import Part, behind
from .other_models import OtherModel, name_other_model
from .quantised import EXPECTED, name_quantisation, plain
from .shards import components
from .signatures import DIALECTS, LORA_WIDTHS, SIGNATURES, Probe, Signature
from .tensor_info import TensorInfo

REPEATS = ("blocks", "block_repeat", "levels", "bottleneck_blocks", "layers")
"""Fields of configurations that say how often what has tensors is repeated; the last number of each stage does, too."""
KNOWN_FORMS = "the official files, ComfyUI's and diffusers' are known here"


def identify(path: Path) -> tuple[Part, ...]:
    """The parts of Stable Cascade that a file or folder holds, at least one; raises CascadeError for anything else.

    One for a loose file, a set of shards or a component's folder; several for an all-in-one file or the folder of a
    diffusers pipeline.
    """
    folders = components(path) if path.is_dir() else ()
    parts = tuple(part for folder in folders for part in identify(folder))
    return parts or tuple(map(_buildable, find_parts(plain(read_header(path)))))


def find_parts(header: Header) -> tuple[Part, ...]:
    """The parts that a header names."""
    if METADATA_KEY in header.metadata:
        return (_from_metadata(header),)
    quantised = name_quantisation(header.tensors, header.metadata)
    # Some formats have low-rank weights of their own, by names that LoRAs have, too.
    found = _from_config(header) or (() if quantised else _from_lora(header)) or _from_signatures(header)
    if not found:
        raise _explain(header, quantised)
    if quantised:
        held = all_of([article(KINDS[part.kind].name) for part in found])
        raise CascadeError(
            f"{header.path.name} holds {held} in {quantised}, which cannot be read here: {EXPECTED}: choose the model's"
            " bfloat16 file"
        )
    return found


def find_part(parts: Sequence[Part], kind: str, file: str) -> Part:
    """The part of this kind; raises CascadeError with what `file` holds instead and where that is chosen."""
    for part in parts:
        if part.kind == kind:
            return part
    wanted = f"{article(KINDS[kind].name)} file in the {KINDS[kind].name} loader"
    held = [f"{KINDS[part.kind].name}{_size(part)}" for part in parts]
    if len(parts) > 1:
        raise CascadeError(f"{file} holds {all_of(held)}, but no {KINDS[kind].name}: choose {wanted}")
    (part,) = parts
    if part.kind in PRESETS:
        name = KINDS[part.kind].name
        raise CascadeError(f"{file} is {article(name)} file{_size(part)}: choose it in the {name} loader, and {wanted}")
    raise CascadeError(
        f"{file} is {article(held[0])}, which belongs in the model folder {KINDS[part.kind].folders[0]}: choose"
        f" {wanted}"
    )


def _size(part: Part) -> str:
    told = ", for ".join(filter(None, (part.mode, part.preset if part.kind in PRESETS else "")))
    return f" ({told})" if told else ""


def _from_metadata(header: Header) -> Part:
    entry = read_entry(header.metadata[METADATA_KEY], header.path.name)
    return Part(
        header,
        entry.kind,
        preset_of(entry.kind, entry.config),
        entry.config,
        layout_of(entry.kind, header.tensors),
        family=entry.family,
        target=entry.target,
        x0_clamp=entry.x0_clamp,
        vocabulary=entry.vocabulary,
        ignored=_ignored(entry.kind, header.tensors),
    )


def _from_config(header: Header) -> tuple[Part, ...]:
    """The part that a component's config.json describes; none where there is none, or it is of another class."""
    told = None if header.config is None else read_config(header.config, header.path.name)
    if told is None:
        return ()
    kind, config = told
    if not any(
        row.kind == kind and "" in row.prefixes and not _missing(row.keys, header.tensors) for row in SIGNATURES
    ):
        return ()
    layout = layout_of(kind, header.tensors)
    return (Part(header, kind, preset_of(kind, config), config, layout, ignored=_ignored(kind, header.tensors)),)


def _buildable(part: Part) -> Part:
    """The part; CascadeError where its configuration has more blocks than the file has tensors: building has no end."""
    counts: Any = [getattr(part.config, name, 0) for name in REPEATS]
    stages: Any = getattr(part.config, "stages", ())
    values: list[Any] = list(getattr(part.config, "__dict__", {}).values())
    lengths = [len(cast(tuple[Any, ...], value)) for value in values if isinstance(value, tuple)]
    if max([_sum([*counts, *(stage[-1] for stage in stages)]), *lengths]) > len(part.names):
        raise CascadeError(
            f"{part.header.path.name} describes a {KINDS[part.kind].name} that cannot be built: it has more blocks than"
            f" the file has tensors, {len(part.names):,}"
        )
    return part


def _sum(counts: Any) -> int:
    return sum(map(_sum, cast(list[Any], counts))) if isinstance(counts, list | tuple) else abs(counts)


def _from_lora(header: Header) -> tuple[Part, ...]:
    found = [one.name for one in DIALECTS if any(re.match(one.pattern, name) for name in header.tensors)]
    if not found:
        return ()
    sides = {side for info in header.tensors.values() for side in info.shape}
    preset = next((preset for width, preset in LORA_WIDTHS.items() if width in sides), "")
    mode = "kohya, Stage C and B" if found[:2] == ["kohya, Stage B", "kohya"] else found[0]
    return (Part(header, "lora", preset, mode=mode),)


def _from_signatures(header: Header) -> tuple[Part, ...]:
    """Each kind once: a part behind a prefix, or the whole file."""
    found: dict[str, Part] = {}
    for signature in SIGNATURES:
        for prefix in signature.prefixes:
            tensors = behind(prefix, header.tensors)
            if signature.kind in found or _missing(signature.keys, tensors) or not _marked(signature, tensors):
                continue
            width = _length(signature.probe, tensors)
            if width in signature.presets:
                found[signature.kind] = _recognised(signature, signature.presets[width], prefix, header, tensors)
    return tuple(found.values())


def _recognised(
    signature: Signature, preset: str, prefix: str, header: Header, tensors: Mapping[str, TensorInfo]
) -> Part:
    kind = signature.kind
    mode = None
    if signature.modes is not None:
        channels = _length(signature.mode, tensors)
        mode = signature.modes.get(channels, f"for a hint of {channels} channels")
    ignored = tuple(name for name in tensors if _is_ignored(name, signature.ignored))
    config = PRESETS.get(kind, {}).get(mode or preset)
    if isinstance(config, ControlNetConfig):
        config = replace(config, c_proj=_length(signature.probe, tensors))
    return Part(header, kind, preset, config, signature.layout, prefix, mode=mode, ignored=ignored)


def _explain(header: Header, quantised: str | None) -> CascadeError:
    """Why a header names no part: another model, a size of one's own, a part with missing names, or unknown."""
    file, tensors = header.path.name, header.tensors
    other = name_other_model(tensors)
    if other:
        return OtherModel(f"{file} is {other[0]}, not a part of Stable Cascade: {other[1]}")
    if quantised:
        return CascadeError(
            f"{file} holds weights in {quantised}, which cannot be read here: {EXPECTED}: choose the model's bfloat16"
            " file"
        )
    rows = [(row, behind(prefix, tensors)) for row in SIGNATURES for prefix in row.prefixes]
    lacking = [(_missing(row.keys, seen) + ([] if _marked(row, seen) else [row.mark]), row, seen) for row, seen in rows]
    close = [entry for entry in lacking if len(entry[0]) <= len(entry[1].keys) // 2]
    if close:
        missing, row, seen = min(close, key=lambda entry: len(entry[0]))
        looks = f"{file} looks like {article(KINDS[row.kind].name)} file"
        if missing:
            return CascadeError(
                f"{looks} with {row.layout} names, but it lacks {first_of(missing)}: it is not whole, or its names were"
                " changed; use the original file"
            )
        tensor, axis = row.probe
        shape = list(seen[tensor].shape) if tensor in seen else "missing"
        known = ", ".join(f"{length} ({name})" for length, name in row.presets.items())
        return CascadeError(
            f"{looks}, but of an unknown size: {tensor} has the shape {shape}, expected {known} along axis {axis}; a"
            " size of one's own is told by the file's metadata or a config.json beside it"
        )
    kinds = all_of([kind.name for kind in KINDS.values()], "or")
    return CascadeError(
        f"{file} is no part of Stable Cascade ({KNOWN_FORMS}): expected {kinds}, found"
        f" {len(tensors)} tensors ({first_of(sorted(tensors)) or 'none'}): choose another file"
    )


def _missing(keys: Iterable[str], tensors: Mapping[str, TensorInfo]) -> list[str]:
    return [key for key in keys if key not in tensors]


def _marked(signature: Signature, tensors: Mapping[str, TensorInfo]) -> bool:
    return any(signature.mark in name for name in tensors)


def _length(probe: Probe, tensors: Mapping[str, TensorInfo]) -> int:
    """The length of the probed axis; 0 where there is none."""
    tensor, axis = probe
    shape = tensors[tensor].shape if tensor in tensors else ()
    return shape[axis] if axis < len(shape) else 0


def _ignored(kind: str, tensors: Mapping[str, TensorInfo]) -> tuple[str, ...]:
    patterns = [pattern for row in SIGNATURES if row.kind == kind for pattern in row.ignored]
    return tuple(name for name in tensors if _is_ignored(name, patterns))


def _is_ignored(name: str, patterns: Iterable[str]) -> bool:
    return any(name.startswith(pattern[:-1]) if pattern[-1] == "*" else name == pattern for pattern in patterns)
