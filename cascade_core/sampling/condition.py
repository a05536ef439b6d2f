"""What a picture is conditioned on, and when: the core's form of one entry of a CONDITIONING."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import CascadeError
from .control import Control
from .times import within

FIELDS = {"sequence": ("text tokens", 3), "pooled": ("pooled text vectors", 2), "images": ("image embeddings", 3)}


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
    family: str | None = None  # of the encoder; None: unknown
    controls: tuple[Control, ...] = ()  # of Stage C; on a positive condition they act on the unconditional pass too

    def active(self, r: float) -> bool:
        return self.strength > 0 and within(r, self.start, self.end)


def check_conditions(
    name: str, conditions: Sequence[Condition], model: str, widths: Mapping[str, int], batch: int
) -> None:
    """Ranks, widths and batch of the input `name`: `widths` has the fields that are read, `model` says by whom."""
    for condition in conditions:
        if condition.strength < 0:
            raise CascadeError(f"`{name}`: expected a strength of at least 0, found {condition.strength}")
        for field, width in widths.items():
            value: Tensor | None = getattr(condition, field)
            if value is None:
                continue
            shape = tuple(value.shape)
            words, rank = FIELDS[field]
            if len(shape) != rank:
                raise CascadeError(f"`{name}`: expected {words} with {rank} axes, found shape {shape}: encode it anew")
            if shape[-1] != width:
                raise CascadeError(
                    f"{model}, which takes {words} {width} wide, but those of `{name}` are {shape[-1]} wide: "
                    "encode it with the encoder that belongs to this model"
                )
            if shape[0] not in (1, batch):
                raise CascadeError(
                    f"`{name}`: expected one entry or as many as there are images ({batch}), found {shape[0]}: "
                    "encode one prompt, or change the latent's batch size"
                )
