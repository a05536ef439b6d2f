"""The kinds of change that files hold for one weight: low rank (LoRA), LoHa, LoKr, IA3, a full difference.

Each knows the shape that it was made for, and becomes a branch beside a weight. Over any of them may lie DoRA's
magnitudes (see `fit.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

import torch
from torch import Tensor

from ..errors import CascadeError
from ..models.adapters import Branch, Computed, Dense, LowRank
from ..models.linear import Weight

Rows = tuple[int, int] | None  # the first row of a weight and the last + 1; None for all


@dataclass(frozen=True, eq=False)
class Change(ABC):
    """The change of one weight, or of some of its rows.

    magnitude: of DoRA (Liu et al. 2024), the length of each row (out, 1) or of each column (1, in) of the changed
    weight.
    """

    magnitude: Tensor | None = field(default=None, kw_only=True)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """(out, in[, height, width]) of the weight that it was made for, as far as the file tells it."""

    @abstractmethod
    def branch(self, weight: Weight, strength: float, dtype: torch.dtype, rows: Rows) -> Branch:
        """The change of `weight`, which is these rows of a whole one, times `strength`; without the magnitudes."""

    @abstractmethod
    def tensors(self, kernel: Sequence[int]) -> dict[str, Tensor]:
        """The tensors by their last names in LyCORIS's and ComfyUI's files; kernel: of a convolution's weight."""

    @abstractmethod
    def part(self, rows: slice) -> Change:
        """The change of these rows alone; CascadeError where it has no such form."""

    def fits(self, shape: Sequence[int]) -> bool:
        """Is a weight of this shape one that it was made for? Kernels may lie flat in the file."""
        own = self.shape
        same = own[1:] == tuple(shape[1:]) or (min(len(own), len(shape)) == 2 and prod(own[1:]) == prod(shape[1:]))
        return own[0] == shape[0] and same

    def _magnitudes(self, rows: slice) -> Tensor | None:
        if self.magnitude is not None and self.magnitude.shape[0] == 1:
            raise CascadeError(
                "DoRA by columns over fused q, k, v has no form with these apart: keep the file as it is"
            )
        return None if self.magnitude is None else self.magnitude[rows]


@dataclass(frozen=True, eq=False)
class LowRankChange(Change):
    """scale * up @ down; down (rank, in[, height, width]), up (out, rank).

    A `down` without height and width acts alike on a whole kernel.
    """

    down: Tensor
    up: Tensor
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.up.shape[0], *self.down.shape[1:])

    def fits(self, shape: Sequence[int]) -> bool:
        out, inner, *kernel = self.shape
        return (out, inner) == tuple(shape[:2]) and kernel in ([*shape[2:]], [])

    def branch(self, weight: Weight, strength: float, dtype: torch.dtype, rows: Rows) -> Branch:
        return LowRank(self.down.to(dtype), self.up.to(dtype), self.scale * strength, rows)

    def tensors(self, kernel: Sequence[int]) -> dict[str, Tensor]:
        down = self.down[..., None, None] if kernel and self.down.ndim == 2 else self.down
        return {
            "lora_down.weight": down.expand(*down.shape[:2], *kernel),
            "lora_up.weight": self.up[..., None, None] if kernel else self.up,
            "alpha": torch.tensor(self.scale * len(self.down)),
        }

    def part(self, rows: slice) -> Change:
        return replace(self, up=self.up[rows], magnitude=self._magnitudes(rows))


@dataclass(frozen=True, eq=False)
class HadamardChange(Change):
    """LoHa: scale * (up1 @ down1) * (up2 @ down2), element by element (Hyeon-Woo et al. 2022, FedPara, eq. 1)."""

    up1: Tensor
    down1: Tensor
    up2: Tensor
    down2: Tensor
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.up1.shape[0], *self.down1.shape[1:])

    def branch(self, weight: Weight, strength: float, dtype: torch.dtype, rows: Rows) -> Branch:
        factors = (self.up1, self.down1.flatten(1), self.up2, self.down2.flatten(1))
        return Computed(_hadamard, [f.to(dtype) for f in factors], weight.shape, self.scale * strength, rows)

    def tensors(self, kernel: Sequence[int]) -> dict[str, Tensor]:
        return {
            "hada_w1_a": self.up1,
            "hada_w1_b": self.down1.flatten(1),
            "hada_w2_a": self.up2,
            "hada_w2_b": self.down2.flatten(1),
            "alpha": torch.tensor(self.scale * len(self.down1)),
        }

    def part(self, rows: slice) -> Change:
        return replace(self, up1=self.up1[rows], up2=self.up2[rows], magnitude=self._magnitudes(rows))


@dataclass(frozen=True, eq=False)
class KroneckerChange(Change):
    """LoKr: scale * w1 (x) w2, the Kronecker product (Yeh et al. 2023, LyCORIS, sec. 3).

    w1 (a, c), w2 (b, d[, height, width]): a change of (ab, cd[, height, width]).
    """

    w1: Tensor
    w2: Tensor
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        (a, c), (b, d, *kernel) = self.w1.shape, self.w2.shape
        return (a * b, c * d, *kernel)

    def branch(self, weight: Weight, strength: float, dtype: torch.dtype, rows: Rows) -> Branch:
        factors = (self.w1.to(dtype), self.w2.flatten(1).to(dtype))
        return Computed(torch.kron, factors, weight.shape, self.scale * strength, rows)

    def tensors(self, kernel: Sequence[int]) -> dict[str, Tensor]:
        return {"lokr_w1": self.w1 * self.scale, "lokr_w2": self.w2}  # of whole factors no program reads alpha

    def part(self, rows: slice) -> Change:
        raise CascadeError("LoKr over fused q, k, v has no form with these apart: keep the file as it is")


@dataclass(frozen=True, eq=False)
class Difference(Change):
    """A full difference: what is added to a weight, a bias or a norm, of its own shape."""

    values: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    def branch(self, weight: Weight, strength: float, dtype: torch.dtype, rows: Rows) -> Branch:
        return Dense((strength * self.values).reshape(weight.shape).to(dtype), rows)

    def tensors(self, kernel: Sequence[int]) -> dict[str, Tensor]:
        return {"diff": self.values}

    def part(self, rows: slice) -> Change:
        return replace(self, values=self.values[rows], magnitude=self._magnitudes(rows))


@dataclass(frozen=True, eq=False)
class Scaling(Change):
    """IA3 (Liu et al. 2022): W * factors, along the rows or, `on_input`, the columns; factors (n,)."""

    factors: Tensor
    on_input: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.factors.shape)

    def fits(self, shape: Sequence[int]) -> bool:
        return len(shape) > 1 and shape[int(self.on_input)] == len(self.factors)

    def branch(self, weight: Weight, strength: float, dtype: torch.dtype, rows: Rows) -> Branch:
        axis = [-1 if i == int(self.on_input) else 1 for i in range(weight.ndim)]
        change = weight.float() * (strength * self.factors).to(weight.device).reshape(axis)
        return Dense(change.to(dtype), rows)

    def tensors(self, kernel: Sequence[int]) -> dict[str, Tensor]:
        shape = (1, -1, *[1] * len(kernel)) if kernel else (-1,)
        return {"weight": self.factors.reshape(shape), "on_input": torch.tensor(self.on_input)}

    def part(self, rows: slice) -> Change:
        return self if self.on_input else replace(self, factors=self.factors[rows])


def _hadamard(up1: Tensor, down1: Tensor, up2: Tensor, down2: Tensor) -> Tensor:
    return (up1 @ down1) * (up2 @ down2)
