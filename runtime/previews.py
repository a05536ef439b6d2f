"""Previews: a latent as a picture for the person who waits, while a sampler runs or to choose from."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..cascade_core.builtin import built_in
from ..cascade_core.files import atomic
from . import host

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from ..cascade_core.models.handle import Handle

Show = Callable[["Tensor"], "Image.Image"]  # the first image of a latent (N, C, h, w), in model space


def choose_previewer(stage: Handle, wired: Handle | None) -> Handle | None:
    """The wired previewer; the built-in one for the built-in Stage C, where the host wants previews; else None."""
    from ..cascade_core.files.load import load

    here = host.current()
    if wired is not None or stage.kind != "stage_c" or not here.wants_previews():
        return wired
    for name, path in built_in("previewer").items():
        previewer = load("previewer", path, name=name, device=here.device(), placement=here.placement())
        if previewer.family == stage.family:
            return previewer
    return None


def choose_picture(stage: Handle, previewer: Handle | None) -> Show | None:
    """The picture of a step; None where nobody wants to see one, or where nothing can show this family."""
    from ..cascade_core.files.metadata import PUBLISHED_FAMILY
    from ..cascade_core.pipeline import preview_pixels

    if previewer is not None:
        return lambda x0: to_picture(preview_pixels(previewer, x0[:1]))
    return host.current().rough_preview(stage.kind) if stage.family == PUBLISHED_FAMILY else None


def keep(previewer: Handle, latent: Tensor) -> list[dict[str, str]]:
    """A latent of Stage C (N, 16, h, w) as N pictures in the temporary folder; their files in the editor's form."""
    from ..cascade_core.pipeline import preview_pixels

    folder = host.current().temporary_directory()
    folder.mkdir(parents=True, exist_ok=True)
    run = uuid.uuid4().hex[:8]
    names = [f"cascade_preview_{run}_{number:02}.png" for number in range(1, len(latent) + 1)]
    for name, pixels in zip(names, preview_pixels(previewer, latent), strict=True):
        with atomic.whole(folder / name) as path:
            to_picture(pixels[None]).save(path, format="PNG", compress_level=1)
    return [{"filename": name, "subfolder": "", "type": "temp"} for name in names]


def to_picture(pixels: Tensor) -> Image.Image:
    """The first of (B, 3, H, W), in 0..1."""
    import torch
    from PIL import Image

    return Image.fromarray(pixels[0].movedim(0, -1).mul(255).round().to(torch.uint8).numpy())
