"""A latent and what is known of it: the core's form of a LATENT."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import CascadeError


@dataclass(frozen=True, eq=False)
class Latent:
    """Latents of Stage C (N, 16, h, w), or of Stage B (N, 4, h, w) in model space."""

    samples: Tensor
    size: tuple[int, int] | None = None  # pixels (height, width) that it stands for; None: unknown
    family: str | None = None  # the models' that made it; None: unknown, or empty
    batch_index: Sequence[int] | None = None  # place of each image in the batch of its seed; None: in order
    noise_mask: Tensor | None = None  # 1 where it is made anew; see `fit_noise_mask` for the shapes

    @property
    def cells(self) -> tuple[int, int]:
        return self.samples.shape[-2], self.samples.shape[-1]

    @property
    def places(self) -> Sequence[int]:
        """Place of each image in the batch of its seed."""
        images = len(self.samples)
        if self.batch_index is None:
            return range(images)
        if len(self.batch_index) != images:
            raise CascadeError(
                f"batch_index: expected one number for each of {images} images, found {len(self.batch_index)}"
            )
        return self.batch_index
