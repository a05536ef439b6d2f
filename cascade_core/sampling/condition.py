"""An encoded prompt with all that steers by it, and when: the core's form of one entry of a CONDITIONING."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from .control import Control
from .times import within


@dataclass(frozen=True, eq=False)
class Condition:
    """One encoded prompt. Its batch B is 1, for all images, or one entry for each image.

    Of several conditions those active at a time are averaged by strength; 0 switches one off.
    """

    sequence: Tensor  # (B, T, D); Stage C alone reads it
    pooled: Tensor  # (B, D)
    images: Tensor | None = None  # (B, n, Di): n image embeddings, for Stage C
    strength: float = 1.0
    start: float = 0.0  # percent of the way from noise to picture, 0..1
    end: float = 1.0
    family: str | None = None  # the encoder's; None: unknown
    stage_c: Tensor | None = None  # (1 or N, 16, h, w), the latent that Stage B works out; None: zeros
    controls: tuple[Control, ...] = ()  # for Stage C
    shares_controls: bool = True  # a positive one's act on negative conditions that have none, too

    def active(self, r: float) -> bool:
        return self.strength > 0 and within(r, self.start, self.end)

    @property
    def image_count(self) -> int:
        return 0 if self.images is None else self.images.shape[1]


def controls_of(conditions: Iterable[Condition]) -> list[Control]:
    """Each control once, as several conditions may share it."""
    return list(dict.fromkeys(control for condition in conditions for control in condition.controls))
