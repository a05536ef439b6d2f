"""The stand-in for the host's Canny node: edges by Canny (1986), as the library kornia computes them.

Grey of the ITU-R BT.601 weights, a 5 x 5 Gaussian of deviation 1, Sobel gradients, their directions in steps of 45
degrees; an edge is the largest across its direction; weak ones stay where they touch strong ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import inputs

if TYPE_CHECKING:
    from torch import Tensor

_GREY = (0.299, 0.587, 0.114)
_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
_TINY = 1e-6  # added to a gradient's square
_NEIGHBOURS = ((0, 1), (1, 1), (1, 0), (1, -1))  # (down, right) of a direction of 0, 45, 90 and 135 degrees


class Canny:
    DISPLAY_NAME = "Detect Edges (Canny)"
    CATEGORY = "image/preprocessors"
    DESCRIPTION = "The edges of a picture: strong ones, and weaker ones that continue them."
    FUNCTION, REHEARSE = "execute", "rehearse"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        low, high = inputs.decimal(0.4, 0.01, 0.99), inputs.decimal(0.8, 0.01, 0.99)
        return {"required": {**inputs.wires(image="IMAGE"), "low_threshold": low, "high_threshold": high}}

    def execute(self, image: Tensor, low_threshold: float, high_threshold: float) -> tuple[Tensor]:
        from ...cascade_core.errors import CascadeError

        if low_threshold > high_threshold:
            raise CascadeError(
                f"low_threshold {low_threshold} lies over high_threshold {high_threshold}: exchange them"
            )
        return (edges(image.movedim(-1, 1)[:, :3], low_threshold, high_threshold).movedim(1, -1).repeat(1, 1, 1, 3),)

    def rehearse(self, image: Tensor, low_threshold: float, high_threshold: float) -> tuple[Tensor]:
        from ...nodes import sockets

        return (sockets.placeholder_image(*sockets.image_size("image", image)),)


def edges(pixels: Tensor, low: float, high: float) -> Tensor:
    """Pictures (B, 3 or 1, H, W) in 0..1 -> edges (B, 1, H, W), 1 or 0."""
    import torch
    from torch.nn.functional import max_pool2d

    strength, right, down = _gradients(_blurred(_grey(pixels)))
    candidates = torch.where(_is_ridge(strength, right, down), strength, 0.0)
    found, weak = candidates > high, candidates > low
    while True:  # an edge grows along the weak ones beside it
        grown = weak & (max_pool2d(found.float(), 3, 1, 1) > 0)
        if torch.equal(grown | found, found):
            return found.float()
        found = grown | found


def _grey(pixels: Tensor) -> Tensor:
    if pixels.shape[1] == 1:
        return pixels
    return (pixels * pixels.new_tensor(_GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _blurred(grey: Tensor) -> Tensor:
    import torch
    from torch.nn.functional import conv2d, pad

    x = torch.arange(-2, 3, dtype=grey.dtype, device=grey.device)
    kernel = torch.exp(-x.square() / 2)
    kernel = kernel / kernel.sum()
    padded = pad(grey, (2, 2, 2, 2), mode="reflect")
    return conv2d(conv2d(padded, kernel.view(1, 1, 1, 5)), kernel.view(1, 1, 5, 1))


def _gradients(grey: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Strength, and the change to the right and downwards."""
    from torch.nn.functional import conv2d, pad

    kernel = grey.new_tensor(_SOBEL)[None, None]
    padded = pad(grey, (1, 1, 1, 1), mode="replicate")
    right, down = conv2d(padded, kernel), conv2d(padded, kernel.mT)
    return (right.square() + down.square() + _TINY).sqrt(), right, down


def _is_ridge(strength: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Where both neighbours across an edge, 0 beyond the picture, are weaker."""
    import torch
    from torch.nn.functional import pad

    height, width = strength.shape[-2:]
    direction = torch.round(torch.rad2deg(torch.atan2(down, right)) / 45).long() % 4
    padded = pad(strength, (1, 1, 1, 1))
    ridge = torch.zeros_like(strength, dtype=torch.bool)
    for number, (y, x) in enumerate(_NEIGHBOURS):
        ahead = padded[..., 1 + y : 1 + y + height, 1 + x : 1 + x + width]
        behind = padded[..., 1 - y : 1 - y + height, 1 - x : 1 - x + width]
        ridge |= (direction == number) & (strength > ahead) & (strength > behind)
    return ridge


NODES = (Canny,)
