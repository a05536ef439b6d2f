"""LoRA files to values: every dialect's ends of names, the official numbers, and tokens as others store them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CascadeError
from ..files.fields import fit
from ..files.header import Header, open_tensors, read_header
from ..files.identify import identify
from ..reading import parse_json, read_json
from ..wording import first_of
from .lora import Lora, NewToken
from .slots import ALONE_NOTHING, Group, find_slot

ENTRY = "cascade_lora"  # the name of our metadata entry
PEFT_CONFIG = "adapter_config.json"
EMBEDDING_KEY = "clip_g"  # the tensor of bigG's vectors in ComfyUI's and OneTrainer's embedding files

_NUMBERED = re.compile(r"weights\.\d+")
EMBEDDINGS, INDICES = "embeddings.embeddings", "embeddings.indices"
_BUNDLED = re.compile(rf"bundle_emb\.(?P<text>.+)\.({EMBEDDING_KEY}|text_encoder_2|string_to_param)$")


@dataclass(frozen=True)
class TokenEntry:
    """One row of the embeddings; the fields are those of NewToken."""

    text: str
    start: str
    pooled: bool
    known: int | None = None


@dataclass(frozen=True)
class Entry:
    """The metadata entry of our own files."""

    family: str | None = None
    filters: tuple[str, ...] | None = None
    tokens: tuple[TokenEntry, ...] = ()


def read_lora(path: str | os.PathLike[str], name: str | None = None) -> Lora:
    """The LoRA in a file, whole in memory. Raises CascadeError for what is no LoRA, or a damaged one."""
    path = Path(path)
    (part, *_) = identify(path)
    if part.kind != "lora":
        raise CascadeError(f"{path.name} is no LoRA: put it where it belongs (`cascade doctor` says), choose a LoRA")
    with open_tensors(part.header) as get:
        return _parse(part.header, name or path.name, get)


def read_embedding(path: Path) -> Tensor:
    """The vectors (n, D) of an embedding file for bigG: of its key `clip_g`, or its only tensor."""
    header = read_header(path)
    if f"{EMBEDDING_KEY}_out" in header.tensors:
        raise CascadeError(
            f"{path.name} is an output embedding of OneTrainer ({EMBEDDING_KEY}_out), which is added behind the text"
            f" encoder: expected one of its input ({EMBEDDING_KEY}): train it anew without `output embedding`"
        )
    key = EMBEDDING_KEY if EMBEDDING_KEY in header.tensors else next(iter(header.tensors), "")
    if not key or (key != EMBEDDING_KEY and len(header.tensors) > 1):
        raise CascadeError(
            f"{path.name}: expected an embedding with the tensor {EMBEDDING_KEY}, found"
            f" {first_of(list(header.tensors))}: choose one for the bigG text encoder of SDXL or Stable Cascade"
        )
    with open_tensors(header) as get:
        vectors = get(key).float().clone()
    return vectors[None] if vectors.ndim == 1 else vectors


def _parse(header: Header, name: str, get: Callable[[str], Tensor]) -> Lora:
    entry = _read_entry(header, name)
    groups: dict[str, dict[str, Tensor]] = {}
    bundled: list[NewToken] = []
    others: list[str] = []
    for key in header.tensors:
        slot = find_slot(key, header.tensors)
        bundle = _BUNDLED.match(key)
        if bundle:
            rows = get(key).float().clone()
            bundled.append(NewToken(bundle["text"], rows[None] if rows.ndim == 1 else rows, pooled=False))
        elif slot:
            groups.setdefault(slot[0], {})[slot[1]] = get(key)
        elif key not in (EMBEDDINGS, INDICES):
            others.append(key)
    # Of a kind that is not read here, such as OFT, alpha may be the one name that is.
    foreign = {key.rpartition(".")[0] for key in others}
    groups = {key: group for key, group in groups.items() if group.keys() - ALONE_NOTHING or key not in foreign}
    tokens = _official_tokens(header, entry, name, get)
    said = {token.text for token in tokens}
    tokens += [token for token in bundled if token.text not in said]
    numbered = bool(groups) and all(map(_NUMBERED.fullmatch, groups))
    default = _peft_scale(header.path)
    scale = 1.0 if numbered else None  # the official alpha is 1, and not stored
    changes = {
        key: change
        for module, group in groups.items()
        for key, change in Group(module, name, group, scale, default).changes().items()
    }
    return Lora(
        name,
        {key.removeprefix("weights."): change for key, change in changes.items()} if numbered else changes,
        tuple(tokens),
        entry.family,
        entry.filters,
        numbered,
        tuple(others),
    )


def _official_tokens(header: Header, entry: Entry, name: str, get: Callable[[str], Tensor]) -> list[NewToken]:
    if EMBEDDINGS not in header.tensors or INDICES not in header.tensors:
        return []
    rows, indices = get(EMBEDDINGS).float().clone(), [int(index) for index in get(INDICES)]
    if len(rows) != len(indices) or (entry.tokens and len(entry.tokens) != len(indices)):
        raise CascadeError(f"{name}: {len(rows)} embeddings, but {len(indices)} indices: get the file again")
    tokens: list[NewToken] = []
    for i in sorted(range(len(indices)), key=indices.__getitem__):
        row = rows[i][None]
        if not entry.tokens:
            tokens.append(NewToken("", row, known=indices[i]))
            continue
        about = entry.tokens[i]
        if tokens and about.text and tokens[-1].text == about.text:  # a token of several vectors
            tokens[-1] = replace(tokens[-1], rows=torch.cat([tokens[-1].rows, row]))
        else:
            tokens.append(NewToken(about.text, row, about.start, about.pooled, about.known))
    return tokens


def _peft_scale(path: Path) -> float | None:
    """lora_alpha / r of PEFT's config beside its weights; None where there is none."""
    config = path.with_name(PEFT_CONFIG)
    if path.stem != "adapter_model" or not config.exists():
        return None
    try:
        told = read_json(config)
        if "r" not in told and told.get("peft_type") == "IA3":
            return None
        alpha, rank = float(told.get("lora_alpha", told.get("alpha"))), float(told["r"])  # "alpha" of LoHa and LoKr
        return alpha / (rank**0.5 if told.get("use_rslora") else rank)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise CascadeError(f"{config}: expected PEFT's lora_alpha and r, found {error}: get the file again") from error


def _read_entry(header: Header, name: str) -> Entry:
    text = header.metadata.get(ENTRY)
    if text is None:
        return Entry()
    try:
        return fit(Entry, parse_json(text), strict=False)
    except (ValueError, TypeError) as error:
        raise CascadeError(f"{name}: the metadata entry `{ENTRY}` cannot be used: get the file again") from error
