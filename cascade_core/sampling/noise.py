"""Noise with one seed per image, so that an image of a batch can be made again alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

MASK = 2**64 - 1


def image_seeds(seed: int, indices: Sequence[int]) -> list[int]:
    """The seed of each image of a batch: (seed + index) mod 2^64."""
    return [(seed + index) & MASK for index in indices]


def stage_b_seed(seed: int) -> int:
    """The seed of an image's Stage B, a stream of its own where both samplers have the same seed.

    One step of SplitMix64 (Steele et al. 2014). Stage C takes the seed as it is, so that its first noise is that of
    `torch.manual_seed(seed)`, as in the official code and in ComfyUI. The official code has no rule for B. Torch's
    CPU generator looks at the low 32 bits of a seed, so these are mixed: an offset would be some other picture's seed.
    """
    z = (seed + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


class Noise:
    """Standard normal noise (N, C, H, W) in float32: one CPU generator per image draws all of its noise in order."""

    def __init__(self, seeds: Sequence[int], shape: tuple[int, int, int], device: torch.device) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.shape = shape
        self.device = device

    def __call__(self) -> Tensor:
        drawn = [torch.randn(self.shape, generator=generator) for generator in self.generators]
        return torch.stack(drawn).to(self.device)
