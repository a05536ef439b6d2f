"""Made-up files of latents, as `cascade encode` writes them."""

from __future__ import annotations

from pathlib import Path

import torch

from stable_cascade_nodes.cascade_core.training.data import latent_files

TINY = "tiny (built-in)"
CAPTIONS = ("a red star", "ein roter Stern für dich", "a star")


def captions_of(number: int) -> tuple[str, ...]:
    """The captions of picture `number`: none to three."""
    return tuple(f"{caption} {number}" for caption in CAPTIONS[: (number + 1) % 4])


def write_latents(
    target: Path, count: int, in_a_file: int = 1000, precision: str = "float16", family: str = "tiny"
) -> None:
    """`count` random latents with the names 00.png, 01.png, ...: of each three one is square, two are wide."""
    generator = torch.Generator().manual_seed(0)
    origin = latent_files.Origin(family, TINY, "x", precision)
    writer = latent_files.Writer(target, origin, in_a_file, None, lambda path: None)
    for number in range(count):
        height, width = (128, 128) if number % 3 == 0 else (128, 256)
        latent = torch.randn(16, *latent_files.stage_c_size(width, height), generator=generator)
        picture = latent_files.Picture((height, width), number, f"{number:02}.png", captions_of(number))
        writer.add(f"{number:02}.png", latent.to(getattr(torch, precision)), picture)
    writer.flush(last=True)
