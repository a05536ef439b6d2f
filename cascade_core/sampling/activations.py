"""How much memory an evaluation takes beside the weights, for whoever must make room for it."""

import torch

from ..models.config import StageBConfig, StageCConfig

UNITS = 16  # measured on the real modules, eager: 13.5 to 15.7 in every preset and type, at 6 x 6 to 256 x 256
LATENTS = 12  # float32 latents alive at once: x, x0, noise, predictions and the temporaries of guidance


def activation_bytes(
    config: StageBConfig | StageCConfig,
    size: tuple[int, int],
    batch: int,
    contexts: int,
    tokens: int,
    dtype: torch.dtype,
) -> int:
    """An estimate from above of the peak in bytes.

    size: latent (h, w). batch: latents in one evaluation, the unconditional ones included. contexts: prepared
    conditions times images. tokens: text tokens of each. One unit is the first level's activation, its tokens times its
    width; the residual block there, with its four times wider hidden layer, is the peak: no later level is larger.
    """
    first = (size[0] // config.patch_size) * (size[1] // config.patch_size) * config.c_hidden[0]
    widths = zip(config.level_config, config.c_hidden, config.blocks[0], reversed(config.blocks[1]), strict=True)
    kv = sum(2 * width * letters.count("A") * (down + up) for letters, width, down, up in widths)
    networks = (UNITS * batch * first + contexts * (tokens * kv + first)) * dtype.itemsize
    return networks + LATENTS * batch * config.channels * size[0] * size[1] * torch.float32.itemsize
