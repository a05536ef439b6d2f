"""What travels as VAE: Stage A, or the effnet and the previewer, which ComfyUI has as encoder and decoder of Stage C.

Letters: B batch, h w latent and H W pixel sides. IMAGE is (B, H, W, C) in 0..1. Values are the host's, which are not
clamped where Stage A decodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ...cascade_core.errors import CascadeError
from ...cascade_core.kinds import STAGE_A_SCALE
from ...cascade_core.sampling.sizes import CELL, CELL_B
from ...nodes import sockets
from ...runtime import host

if TYPE_CHECKING:
    from torch import Tensor

    from ...cascade_core.models.handle import Handle


@dataclass(frozen=True)
class Vae:
    """One or two models of a file, by what they do."""

    name: str
    encoder: Handle | None
    decoder: Handle | None

    @property
    def is_stage_a(self) -> bool:
        model = self.encoder or self.decoder
        return model is not None and model.kind == "stage_a"

    @property
    def cell(self) -> int:
        """Pixels of a picture for each cell of what `encode` makes of it, along a side."""
        return CELL_B if self.is_stage_a else CELL


def from_models(name: str, models: Mapping[str, Handle]) -> Vae | None:
    """The VAE of the models in a file, by kind; None where there is nothing that a VAE does."""
    stage_a = models.get("stage_a")
    encoder, decoder = (stage_a, stage_a) if stage_a else (models.get("effnet"), models.get("previewer"))
    return Vae(name, encoder, decoder) if encoder or decoder else None


def encode(vae: Vae | None, image: Tensor) -> sockets.Latent:
    """A picture as a latent: its middle in whole cells; one picture after another, for memory."""
    import torch

    from ...cascade_core import tiles
    from ...cascade_core.images import encode_resized

    model = encoder(vae)
    pixels = sockets.to_pixels(_whole_cells(image, CELL_B if model.kind == "stage_a" else CELL), "pixels")
    if model.kind != "stage_a":
        samples = torch.cat([encode_resized(model, one) for one in pixels.split(1)])
    else:
        samples = tiles.encode(model, pixels, partial(host.current().walk, "Stage A")) * STAGE_A_SCALE
    return {"samples": samples, sockets.FAMILY: model.family}


def encoded(vae: Vae | None, image: Tensor) -> sockets.Latent:
    """The placeholder of `encode`."""
    import torch

    model = encoder(vae)
    batch, height, width = sockets.image_size("pixels", image)
    cell = CELL_B if model.kind == "stage_a" else CELL
    samples = torch.empty(batch, model.config.c_latent, height // cell, width // cell, device="meta")
    return {"samples": samples, sockets.FAMILY: model.family}


def decode(vae: Vae | None, latent: sockets.Latent, side: int | None = None) -> Tensor:
    """The picture of a latent, (B, 4h, 4w, 3) by Stage A, (B, 8h, 8w, 3) by the previewer.

    side: cells of Stage A's tiles at most; they change nothing of the picture.
    """
    from ...cascade_core import tiles
    from ...cascade_core.pipeline import preview_pixels

    model, samples = _decodable(vae, latent)
    if model.kind != "stage_a":
        return sockets.to_image(preview_pixels(model, samples))
    along = partial(host.current().walk, "Stage A")
    return sockets.to_image(tiles.decode(model, samples / STAGE_A_SCALE, along, side or tiles.SIDES[0]))


def decoded(vae: Vae | None, latent: sockets.Latent) -> Tensor:
    """The placeholder of `decode`."""
    model, samples = _decodable(vae, latent)
    factor = CELL_B if model.kind == "stage_a" else model.config.factor
    return sockets.placeholder_image(len(samples), factor * samples.shape[2], factor * samples.shape[3])


def encoder(vae: Vae | None, stage: str | None = None) -> Handle:
    """The model that encodes; CascadeError where there is none, or it is not the one of this stage, "stage_c"."""
    if vae is None or vae.encoder is None:
        raise CascadeError(_nothing(vae, "encode a picture", "the effnet, or Stage A"))
    if stage == "stage_c" and vae.is_stage_a:
        raise CascadeError(
            f"`vae` is Stage A ({vae.name}), which makes latents of Stage B: connect the effnet, which is the VAE of"
            " a Stage C checkpoint"
        )
    return vae.encoder


def _decodable(vae: Vae | None, latent: sockets.Latent) -> tuple[Handle, Tensor]:
    from ...cascade_core.models.family import check_family

    if vae is None or vae.decoder is None:
        raise CascadeError(_nothing(vae, "decode a latent", "Stage A, or the previewer"))
    model = vae.decoder
    check_family(model, "samples", latent.get(sockets.FAMILY))
    return model, sockets.samples_of("samples", latent, model.config.c_latent)


def _nothing(vae: Vae | None, act: str, wanted: str) -> str:
    if vae is None:
        return f"`vae` is empty: the file of its loader holds nothing to {act} with. Connect {wanted}, by Load VAE"
    return f"`vae` is {vae.name}, which cannot {act}: connect {wanted}"


def _whole_cells(image: Tensor, cell: int) -> Tensor:
    """The middle of an IMAGE, in whole cells."""
    height, width = image.shape[1:3]
    if min(height, width) < cell:
        raise CascadeError(
            f"`pixels`: expected at least {cell} pixels a side, found {width} x {height}: connect a larger picture"
        )
    top, left = height % cell // 2, width % cell // 2
    return image[:, top : top + height // cell * cell, left : left + width // cell * cell]
