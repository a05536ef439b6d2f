"""What a person sees of a latent while a sampler runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import cascade_core as core
from . import host

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

Show = Callable[["Tensor"], "Image.Image"]  # the first image of a latent (N, C, h, w), in model space


def choose_previewer(stage: core.Handle, wired: core.Handle | None) -> core.Handle | None:
    """The wired previewer; the built-in one for the built-in Stage C, where the host wants previews; else None."""
    if wired is not None or stage.kind != "stage_c" or not host.wants_previews():
        return wired
    for name, path in core.built_in("previewer").items():
        previewer = core.load("previewer", path, name=name, device=host.device(), placement=host.placement())
        if previewer.family == stage.family:
            return previewer
    return None


def choose_picture(stage: core.Handle, previewer: core.Handle | None) -> Show | None:
    """How steps are shown; None where nobody wants to see them, or where nothing can show this family."""
    if previewer is not None:
        return lambda x0: to_picture(core.preview_pixels(previewer, x0[:1]))
    return host.rough_preview(stage.kind) if stage.family == core.PUBLISHED_FAMILY else None


def to_picture(pixels: Tensor) -> Image.Image:
    """The first of (B, 3, H, W), in 0..1."""
    import torch
    from PIL import Image

    return Image.fromarray(pixels[0].movedim(0, -1).mul(255).round().to(torch.uint8).numpy())
