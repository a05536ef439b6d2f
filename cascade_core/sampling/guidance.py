"""Classifier-free guidance: how a conditional and an unconditional prediction become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..errors import CascadeError
from .times import within

if TYPE_CHECKING:
    from torch import Tensor

RescaleOver = Literal["image", "batch"]


@dataclass(frozen=True)
class Guidance:
    """Guidance (Ho and Salimans 2022) by `cfg`, with its standard deviation restored (Lin et al. 2023, eq. 14-16).

    It works on the network's raw prediction, be that the noise or v, as officially. `over`: the deviations are those of
    each image, or officially of the whole batch, which makes an image depend on the others. Outside start..end percent,
    and where cfg is 1, there is a single conditional pass.
    """

    cfg: float
    rescale: float = 0.7  # rho: 0 is plain guidance, 1 gives the prediction the conditional's deviation
    over: RescaleOver = "image"
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if self.over not in ("image", "batch"):
            raise CascadeError(f"rescale_over: expected image or batch, found {self.over}")
        if self.start > self.end:
            raise CascadeError(
                f"cfg_start_percent {self.start} lies after cfg_end_percent {self.end}: exchange them, or set cfg to 1"
            )

    def active(self, r: float) -> bool:
        return self.cfg != 1 and within(r, self.start, self.end)

    def combine(self, cond: Tensor, uncond: Tensor) -> Tensor:
        """Two float32 predictions (N, C, H, W) -> the guided one."""
        guided = uncond + self.cfg * (cond - uncond)
        return self.rescale * guided * (self._std(cond) / (self._std(guided) + 1e-9)) + (1 - self.rescale) * guided

    def _std(self, x: Tensor) -> Tensor:
        return x.std() if self.over == "batch" else x.std(dim=(1, 2, 3), keepdim=True)
