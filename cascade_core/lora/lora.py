"""A LoRA as it lies in a file: changes by the names of its dialect, and the tokens that were trained with it.

Which weight of a network a name means is told by `fit.py`, when there is a network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import CascadeError
from ..models.adapters import Decomposed, LowRank
from .changes import Change, LowRankChange

PATHS = {"stage_c": "", "stage_b": "stage_b.", "text_encoder": "text_encoder."}
"""Prefixes of a module's own path in the names that `lora_of` gives."""


@dataclass(frozen=True, eq=False)
class NewToken:
    """Embeddings of a word of the prompt, one or several vectors.

    text: how prompts say it; empty where the file does not tell (the official trainer keeps that in its settings).
    rows (n, D): what is added to the mean of the embeddings whose vocabulary string matches the regex `start`; to zeros
    where that is empty. pooled: the prompt's pooled vector is read at it, by encoders that read at the greatest id, as
    officially; else at the prompt's end. known: the id of a token of the vocabulary that is changed instead of added.
    """

    text: str
    rows: Tensor
    start: str = ""
    pooled: bool = True
    known: int | None = None


@dataclass(frozen=True, eq=False)
class Lora:
    """`changes` by module, as the file calls them (of a bias with `slots.BIAS` behind); of an official file by its
    numbers, see `order.py`.
    """

    name: str
    changes: Mapping[str, Change]
    tokens: tuple[NewToken, ...] = ()
    family: str | None = None  # None: the file does not say
    filters: tuple[str, ...] | None = None  # an official file numbers weights: these chose the trained ones
    numbered: bool = False
    others: Sequence[str] = ()  # names in the file that are no part of a LoRA as read here


def with_filters(lora: Lora, said: str) -> Lora:
    """An official file's LoRA with the `module_filters` of its training, said with commas between; "" leaves it.

    Raises CascadeError for a file that names its weights.
    """
    filters = tuple(part.strip(" '\"[]") for part in said.split(",")) if said.strip() else None
    if filters is None:
        return lora
    if not lora.numbered:
        raise CascadeError(f"`filters`: LoRA {lora.name} names its weights, which needs none: leave `filters` empty")
    return replace(lora, filters=filters)


def lora_of(
    name: str,
    weights: Mapping[str, Mapping[str, LowRank | Decomposed]],
    tokens: Sequence[NewToken] = (),
    family: str | None = None,
) -> Lora:
    """The trained branches as a LoRA: kind ("stage_c", "stage_b", "text_encoder") -> name of a weight -> its branch.

    A branch beside a third of an attention's fused rows goes by the third's own name, such as `attn.to_q`.
    """
    changes = {
        PATHS[kind] + weight.removesuffix(".weight").removesuffix("_weight"): _frozen(branch)
        for kind, of_kind in weights.items()
        for weight, branch in of_kind.items()
    }
    return Lora(name, changes, tuple(tokens), family)


def _frozen(branch: LowRank | Decomposed) -> Change:
    low, magnitude = (branch.low, branch.magnitude) if isinstance(branch, Decomposed) else (branch, None)
    down, up = _copied(low.down), _copied(low.up)
    return LowRankChange(down, up, low.scale, magnitude=None if magnitude is None else _copied(magnitude)[None])


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32).clone()
