"""LoRA files in the three dialects that others read: the official one, kohya's and ComfyUI's."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ..errors import CascadeError
from ..files.atomic import whole
from ..files.dtypes import DTYPES, NAMES
from ..files.tensors import write_tensors
from ..kinds import KINDS, LARGE_KINDS
from ..models.adapters import adaptable
from ..models.handle import Handle
from ..models.linear import Weight
from ..models.text import TextEncoder
from .changes import Change, LowRankChange
from .fit import place
from .lora import Lora, NewToken
from .names import changeable, flat
from .order import OFFICIAL, official_order, possible_orders
from .read import EMBEDDING_KEY, EMBEDDINGS, ENTRY, INDICES
from .slots import BIAS
from .tokens import first_rows

DIALECTS = ("official", "kohya", "comfyui")
_PREFIXES = {
    "kohya": {"stage_c": "lora_unet_", "stage_b": "lora_decoder_unet_", "text_encoder": "lora_te_"},
    "comfyui": {
        "stage_c": "diffusion_model.",
        "stage_b": "diffusion_model.",
        "text_encoder": "text_encoders.clip_g.transformer.",
    },
}


def save_lora(
    path: str | os.PathLike[str],
    lora: Lora,
    handles: Sequence[Handle],
    *,
    dialect: str = "official",
    dtype: str = "float32",
) -> None:
    """Write the LoRA; the file appears whole or not at all.

    handles: the models that it belongs to; their weights need no values, but for tokens that start from other words'.
    Raises CascadeError where the dialect has no place for what it changes.
    """
    tensors, filters = _tensors(lora, handles, dialect)
    entry: dict[str, Any] = {"family": lora.family or handles[0].family}
    if filters is not None:
        entry["filters"] = list(filters)
    entry["tokens"] = [
        {"text": token.text, "start": token.start, "pooled": token.pooled, "known": token.known}
        for token in lora.tokens
        for _ in token.rows
    ]
    kept = {
        name: tensor if not tensor.is_floating_point() else tensor.to(DTYPES[dtype]) for name, tensor in tensors.items()
    }
    specs = {name: (NAMES[tensor.dtype], tuple(tensor.shape)) for name, tensor in kept.items()}
    metadata = {"format": "pt", ENTRY: json.dumps(entry)}
    with whole(Path(path)) as temporary:
        write_tensors(temporary, specs, lambda names: ([kept[name]] for name in names), metadata)


def check_dialect(lora: Lora, handles: Sequence[Handle], dialect: str) -> None:
    """CascadeError where `save_lora` would raise it; the tensors need no values."""
    _tensors(lora, handles, dialect)


def _tensors(lora: Lora, handles: Sequence[Handle], dialect: str) -> tuple[dict[str, Tensor], Sequence[str] | None]:
    """The file's tensors, and the filters that choose the weights, in the dialect that numbers them."""
    if dialect not in DIALECTS:
        raise CascadeError(f"dialect: expected {', '.join(DIALECTS)}, found {dialect!r}")
    tensors: dict[str, Tensor] = {}
    filters = None
    placed: set[str] = set()
    if dialect != "kohya" and all(any(h.kind == kind and place(lora, h) for h in handles) for kind in LARGE_KINDS):
        raise CascadeError(f"LoRA {lora.name} is for Stage C and B, which only kohya's names tell apart: write kohya")
    for handle in handles:
        of_kind = place(lora, handle)
        placed |= set(of_kind)
        if dialect == "official" and of_kind:
            tensors, filters = _official(lora, handle)
        elif of_kind:
            tensors |= _named(lora, handle, dialect)
    lost = [name for name in lora.changes if name not in placed]
    if lost:
        kinds = " or ".join(KINDS[handle.kind].name for handle in handles)
        raise CascadeError(f"LoRA {lora.name}: {lost[0]} and {len(lost) - 1} more names are no weights of the {kinds}")
    encoder = next((handle for handle in handles if handle.kind == "text_encoder"), None)
    return tensors | _tokens(lora.tokens, encoder, dialect), filters


def _named(lora: Lora, handle: Handle, dialect: str) -> dict[str, Tensor]:
    """The changes' tensors by names; q, k and v apart, as both programs have them."""
    weights = changeable(handle.module)
    prefix = _PREFIXES[dialect][handle.kind]
    tensors: dict[str, Tensor] = {}
    for name, (weight, rows) in place(lora, handle).items():
        path, _, last = weight.rpartition(".")
        is_bias = last.endswith("bias")
        changes = {path if is_bias or last == "weight" else weight: lora.changes[name]}
        if last.startswith("in_proj_"):
            thirds = _thirds(lora.changes[name], rows, weights[weight])
            changes = {f"{path}.to_{letter}": third for letter, third in thirds.items()}
        for module, change in changes.items():
            key = prefix + (flat(module) if dialect == "kohya" else module)
            if is_bias:
                (tensors[key + BIAS],) = change.tensors(()).values()
                continue
            kernel = weights[weight].shape[2:]
            tensors |= {f"{key}.{end}": tensor for end, tensor in change.tensors(kernel).items()}
            if change.magnitude is not None:
                tensors[f"{key}.dora_scale"] = change.magnitude[(..., *[None] * len(kernel))]
    return tensors


def _thirds(change: Change, rows: tuple[int, int] | None, weight: Weight) -> dict[str, Change]:
    """The change of the fused rows as changes of q, k and v, or the one of them that it is."""
    width = weight.shape[0] // 3
    if rows is not None:
        return {"qkv"[rows[0] // width]: change}
    return {letter: change.part(slice(i * width, (i + 1) * width)) for i, letter in enumerate("qkv")}


def _official(lora: Lora, handle: Handle) -> tuple[dict[str, Tensor], Sequence[str]]:
    """Numbers instead of names, all of one rank, alpha 1."""
    if handle.kind != "stage_c":
        raise CascadeError(
            f"LoRA {lora.name} changes the {KINDS[handle.kind].name}, for which the official dialect has no place:"
            " write kohya or comfyui"
        )
    if any(change.magnitude is not None for change in lora.changes.values()):
        raise CascadeError(f"LoRA {lora.name} is a DoRA, for which the official dialect has no place: write kohya")
    weights = adaptable(handle.module)
    merged: dict[str, list[tuple[LowRankChange, tuple[int, int] | None]]] = {}
    for name, (weight, rows) in place(lora, handle).items():
        change = lora.changes[name]
        if not isinstance(change, LowRankChange):
            raise CascadeError(
                f"LoRA {lora.name}: {name} is a change of no low rank, for which the official dialect has no place:"
                " write kohya or comfyui"
            )
        merged.setdefault(weight, []).append((change, rows))
    told = [] if lora.filters is None else [(lora.filters, official_order(handle.module, lora.filters))]
    orders = (*told, *possible_orders(handle.module, len(merged)))
    found = next((each for each in orders if set(each[1]) == set(merged)), None)
    if found is None:
        raise CascadeError(
            f"LoRA {lora.name} changes {len(merged)} weights, which are not all of those that a filter such as"
            f" {OFFICIAL[0]} chooses; the official dialect only numbers such weights: write kohya or comfyui"
        )
    fused = {weight: _fused(parts, weights[weight]) for weight, parts in merged.items()}
    rank = max(len(down) for down, _ in fused.values())
    tensors: dict[str, Tensor] = {}
    filters, order = found
    for number, weight in enumerate(order):
        down, up = fused[weight]
        missing = rank - len(down)
        tensors[f"weights.{number}.lora_down"] = torch.nn.functional.pad(down, (0, 0, 0, missing))
        tensors[f"weights.{number}.lora_up"] = torch.nn.functional.pad(up * rank, (0, missing))
    return tensors, filters


def _fused(parts: Sequence[tuple[LowRankChange, tuple[int, int] | None]], weight: Weight) -> tuple[Tensor, Tensor]:
    """One down (rank, in) and up (out, rank) for all changes of a weight; their scales are in `up`."""
    downs: list[Tensor] = []
    ups: list[Tensor] = []
    for change, rows in parts:
        if change.down.ndim > 2:
            raise CascadeError("A convolution's kernel has no place in the official dialect: write kohya or comfyui")
        begin, end = rows or (0, weight.shape[0])
        downs.append(change.down)
        ups.append(torch.nn.functional.pad(change.up * change.scale, (0, 0, begin, weight.shape[0] - end)))
    return torch.cat(downs), torch.cat(ups, dim=1)


def _tokens(tokens: Sequence[NewToken], encoder: Handle | None, dialect: str) -> dict[str, Tensor]:
    """As officially; for other programs also whole, where the encoder is at hand."""
    if not tokens:
        return {}
    vocabulary = encoder.config.vocab_size if encoder is not None else 49408  # the published one's
    new_ids = count(vocabulary)
    ids = [next(new_ids) if token.known is None else token.known for token in tokens for _ in token.rows]
    tensors = {EMBEDDINGS: torch.cat([token.rows for token in tokens]), INDICES: torch.tensor(ids)}
    words = None if encoder is None else cast(TextEncoder, encoder.module)
    if dialect != "official" and words is not None and not words.text_projection.weight.is_meta:
        for token in tokens:
            if token.text:
                start = first_rows(words, token)
                tensors[f"bundle_emb.{token.text}.{EMBEDDING_KEY}"] = start.float().cpu() + token.rows
    return tensors
