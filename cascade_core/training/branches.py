"""The branches that a training learns beside a network's weights, which stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ..errors import CascadeError
from ..lora.order import official_order
from ..models.adapters import Decomposed, LowRank, adaptable, column_lengths, merged
from ..models.linear import Weight
from ..models.stage_c import StageC
from .lora_settings import LoraSettings

FUSED = ".in_proj_weight"  # q, k and v of an attention, below one another


class Branches(nn.Module):
    """The weights of a LoRA, in float32: the branches, and the rows of its new words.

    text: branches beside the text encoder's weights.
    """

    def __init__(
        self, stage: nn.Module, settings: LoraSettings, width: int = 0, text_encoder: nn.Module | None = None
    ) -> None:
        """width: of a word's row. text_encoder: that learns, too, by `text_rank`.

        One of each pair of matrices is drawn, the other zero: nothing changes at first.

        init "official": up is drawn, from N(0, 1); "down": down, from N(0, 1 / inputs), as others do (Hu et al. 2021).
        With `dora` each has the lengths of the weight's columns, too, and q, k and v have branches of their own: files
        have them apart, and so the columns that are measured.
        """
        super().__init__()
        weights = adaptable(stage)
        chosen = official_order(stage, settings.filters)
        if not chosen:
            which = "Stage C" if isinstance(stage, StageC) else "Stage B"
            some = ", ".join(list(weights)[:3])
            raise CascadeError(
                f"filters: no weight of this {which} lies in a module whose name contains"
                f" {' or '.join(settings.filters)}: name a part of one such as {some}"
            )
        self.names: list[str] = []
        self.weights: list[str] = []
        generator = torch.Generator().manual_seed(settings.seed)
        self.branches = nn.ModuleList()
        for weight in chosen:
            for name, rows in _thirds(weight, weights[weight]) if settings.dora else ((weight, None),):
                own = weights[weight] if rows is None else weights[weight][slice(*rows)]
                self.names.append(name)
                self.weights.append(weight)
                low = _low_rank(own, settings, generator)
                self.branches.append(Decomposed(low, _lengths(own), rows) if settings.dora else low)
        self.rows = nn.Parameter(torch.zeros(len(settings.tokens), width)) if settings.tokens else None
        self.text = None
        if text_encoder is not None and settings.text_rank:
            self.text = Branches(text_encoder, settings.of_text())
        self.requires_grad_(True)

    def by_kind(self) -> dict[str, dict[str, LowRank | Decomposed]]:
        """The branches of a LoRA of Stage C by the model that they are beside, see `lora_of`."""
        return {"stage_c": self.by_name()} | ({} if self.text is None else {"text_encoder": self.text.by_name()})

    def by_name(self) -> dict[str, LowRank | Decomposed]:
        """The branches as files name them, see `lora_of`."""
        return dict(zip(self.names, self._all(), strict=True))

    def by_weight(self) -> dict[str, list[LowRank | Decomposed]]:
        """The branches beside each weight, see `adapted`."""
        found: dict[str, list[LowRank | Decomposed]] = {}
        for weight, branch in zip(self.weights, self._all(), strict=True):
            found.setdefault(weight, []).append(branch)
        return found

    def _all(self) -> Sequence[LowRank | Decomposed]:
        return cast(Sequence[LowRank | Decomposed], self.branches)


def _low_rank(own: Weight, settings: LoraSettings, generator: torch.Generator) -> LowRank:
    out, *inner = own.shape
    down, up = torch.zeros(settings.rank, *inner), torch.zeros(out, settings.rank)
    if settings.init == "official":
        up = torch.randn(up.shape, generator=generator)
    else:
        down = torch.randn(down.shape, generator=generator) / down[0].numel() ** 0.5
    return LowRank(down, up, settings.alpha / settings.rank)


def _thirds(name: str, weight: Weight) -> Iterator[tuple[str, tuple[int, int] | None]]:
    """The parts of a weight that files have apart, by name: its rows of q, k and v, or all of it."""
    if not name.endswith(FUSED):
        yield name, None
        return
    width = weight.shape[0] // 3
    for number, letter in enumerate("qkv"):
        yield f"{name.removesuffix(FUSED)}.to_{letter}", (number * width, (number + 1) * width)


def _lengths(own: Weight) -> Tensor:
    """The lengths of the weight's columns, on the CPU; zeros for one without values, whose shape alone is asked for."""
    lengths = column_lengths(merged(own, [], torch.float32))
    return torch.zeros(len(lengths)) if lengths.is_meta else lengths.cpu()
