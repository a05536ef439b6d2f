"""Noise with one seed per image, so that an image of a batch can be made again alone."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from math import sqrt
from typing import TypeAlias, cast
from warnings import catch_warnings, simplefilter

import torch
from torch import Tensor

from ..errors import CascadeError

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


def upload(noise: Tensor, device: torch.device) -> Tensor:
    """Noise of the CPU on the device, without waiting: the device goes on with what it has been given to do.

    So the noise of a step is drawn while the device evaluates the network. MPS may read what it did not wait for too
    early.
    """
    pinned = noise.pin_memory() if device.type in ("cuda", "xpu") else noise
    return pinned.to(device, non_blocking=device.type != "mps")


class Noise:
    """Standard normal noise (N, C, H, W) in float32: one CPU generator per image draws all of its noise in order."""

    def __init__(self, seeds: Sequence[int], shape: tuple[int, int, int], device: torch.device) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.shape = shape
        self.device = device

    def __call__(self) -> Tensor:
        drawn = [torch.randn(self.shape, generator=generator) for generator in self.generators]
        return upload(torch.stack(drawn), self.device)


Path: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # the increment of a Brownian path between two sigmas


def check_brownian(sampler: str) -> None:
    """CascadeError where what a sampler's Brownian noise is drawn with is not installed."""
    if find_spec("torchsde") is None:
        raise CascadeError(
            f"sampler {sampler} draws its noise with the package torchsde, which is not installed: run `pip install"
            " torchsde`, or choose another sampler"
        )


class BrownianNoise:
    """Standard normal noise (N, C, H, W) that is increments of Brownian paths over sigma, one path for each seed.

    A seed is that of an image (C, H, W), or of a whole batch (N, C, H, W).

    A path is the same however it is divided into steps (torchsde's BrownianTree). In float32, on the CPU.
    """

    def __init__(
        self, seeds: Sequence[int], shape: tuple[int, ...], span: tuple[float, float], device: torch.device
    ) -> None:
        """shape: of the noise of a seed. span: the smallest and the largest sigma."""
        import torchsde  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]

        start, end = (torch.tensor(sigma, dtype=torch.float32) for sigma in span)
        tree = cast("Callable[..., Path]", torchsde.BrownianTree)
        self.shape = shape
        self.paths = [tree(start, torch.zeros(shape), end, entropy=seed) for seed in seeds]
        self.device = device

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """The increment from a sigma to a smaller one, divided by its deviation."""
        low, high = (torch.tensor(value, dtype=torch.float32) for value in (sigma_next, sigma))
        with catch_warnings():  # it rounds its own ends, and then finds those of the run beyond them
            simplefilter("ignore")
            drawn = torch.cat([path(low, high).reshape(-1, *self.shape[-3:]) for path in self.paths])
        return upload(drawn, self.device) / -sqrt(float(high - low))
