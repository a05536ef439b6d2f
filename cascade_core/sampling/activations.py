"""Memory that a computation takes beside the weights, for whoever must make room for it.

All are estimates from above, in bytes, with little to spare: too much would push other models off the device in vain.
The factors were measured on the real modules, published and tiny: how many units are alive at the peak, one unit being
the largest activation that a block hands on.
"""

import torch

from ..models.clip_config import TextConfig, VisionConfig
from ..models.config import ControlNetConfig, EffnetConfig, PreviewerConfig, StageAConfig, StageBConfig, StageCConfig

STAGE_UNITS = 10  # 9.0: the residual block of the first level, with its four times wider hidden layer, and its skip
HALF_UNITS = 18  # 17.0: the same in float16, where a block with a skip has its hidden layer in float32
CHUNK_UNITS = 9  # 5.2 to 8.3: the same in chunks of tokens, of which the hidden layer is small; most by plain attention
CHECKPOINT_UNITS = 1  # a block whose activations are computed again
BLOCK_UNITS = 8  # a block whose activations are kept, on average of residual, timestep and attention blocks
BACKWARD_UNITS = 46  # the residual block whose gradients are being computed
STAGE_LATENTS = 12  # float32 latents alive at once: x, x0, noise, predictions and the temporaries of guidance
STAGE_A_UNITS = 8  # 7.0: the same kind of block
PREVIEWER_UNITS = 3  # 2.0: a layer's input and output
EFFNET_UNITS = 6  # 6.0 published, 3.5 tiny: the layers at half the picture's size
IMAGE_UNITS = 4  # 3.3 to 3.8: as in the text encoder
TEXT_UNITS = 3  # 2.4 to 2.6 of the width and the hidden layer's together, each before and after its norm or GELU


def stage_bytes(
    config: StageBConfig | StageCConfig,
    size: tuple[int, int],
    batch: int,
    prepared: int,
    tokens: int,
    dtype: torch.dtype,
    chunked: bool = False,
    kept: bool = False,
) -> int:
    """An evaluation of Stage B or C.

    size: latent (h, w). batch: latents in one evaluation, the unconditional ones included. prepared: conditions
    times images. tokens: text tokens of each condition. chunked: by `chunks.call_in_chunks`. kept: with an
    Inner. No later level is larger than the first.
    """
    first = (size[0] // config.patch_size) * (size[1] // config.patch_size) * config.c_hidden[0]
    widths = zip(config.level_config, config.c_hidden, config.blocks[0], reversed(config.blocks[1]), strict=True)
    kv = sum(2 * width * letters.count("A") * (down + up) for letters, width, down, up in widths)
    skips = len(config.c_hidden) > 1
    units = CHUNK_UNITS if chunked else HALF_UNITS if skips and dtype == torch.float16 else STAGE_UNITS
    networks = ((units + kept) * batch * first + prepared * (tokens * kv + first)) * dtype.itemsize
    return networks + STAGE_LATENTS * batch * config.channels * size[0] * size[1] * torch.float32.itemsize


def training_bytes(
    config: StageBConfig | StageCConfig,
    size: tuple[int, int],
    batch: int,
    tokens: int,
    dtype: torch.dtype,
    checkpointing: bool,
) -> int:
    """An evaluation of Stage B or C and its gradients: what is kept of each block, and what one block needs at once."""
    first = (size[0] // config.patch_size) * (size[1] // config.patch_size) * config.c_hidden[0]
    runs = zip(config.level_config, config.blocks[0], reversed(config.blocks[1]), strict=True)
    blocks = sum(len(letters) * (down + up) for letters, down, up in runs)
    kept = blocks * (CHECKPOINT_UNITS if checkpointing else BLOCK_UNITS) + BACKWARD_UNITS
    return stage_bytes(config, size, batch, batch, tokens, dtype) + kept * batch * first * dtype.itemsize


def stage_a_bytes(config: StageAConfig, size: tuple[int, int], dtype: torch.dtype) -> int:
    """One latent (h, w) to pixels, or back. The first level is the largest, and half as wide for each level below."""
    halvings = config.levels - 1
    first = size[0] * size[1] * 4**halvings * (config.c_hidden // 2**halvings)
    folded = 4 * config.c_hidden**2  # a weight into which the block's scalars are folded
    return (STAGE_A_UNITS * first + folded) * dtype.itemsize


def previewer_bytes(config: PreviewerConfig, size: tuple[int, int], batch: int, dtype: torch.dtype) -> int:
    """Latents (h, w) of Stage C to small pictures."""
    largest = max(width * 4**doublings for doublings, width in enumerate(config.widths))
    return PREVIEWER_UNITS * batch * size[0] * size[1] * largest * dtype.itemsize


def effnet_bytes(config: EffnetConfig, size: tuple[int, int], batch: int, dtype: torch.dtype) -> int:
    """Pictures of (H, W) pixels to their latents of Stage C."""
    colours = 2 * 3  # their mean and deviation
    return (EFFNET_UNITS * batch * (size[0] // 2) * (size[1] // 2) * config.stem + colours) * dtype.itemsize


def image_encoder_bytes(config: VisionConfig, dtype: torch.dtype) -> int:
    """One picture to its vector, the resized picture in float32 included."""
    tokens = (config.image_size // config.patch_size) ** 2 + 1
    pictures = 2 * 3 * config.image_size**2 * torch.float32.itemsize
    return IMAGE_UNITS * tokens * (config.hidden_size + config.intermediate_size) * dtype.itemsize + pictures


def controlnet_bytes(config: ControlNetConfig, size: tuple[int, int], batch: int, dtype: torch.dtype) -> int:
    """Hints for a latent (h, w) to its maps: the first layers have the largest activations, or the maps themselves."""
    halved = (EFFNET_UNITS * config.stem + 4 * config.c_in) * 16**2  # and the hint in another layout
    first = halved if config.bottleneck == "effnet" else 2 * config.c_wide + config.c_in
    last = len(config.proj_blocks) * config.c_proj + 3 * config.c_out
    return batch * size[0] * size[1] * max(first, last) * dtype.itemsize


def text_bytes(config: TextConfig, rows: int, dtype: torch.dtype) -> int:
    """Rows of tokens, each of full length, through the text encoder."""
    return TEXT_UNITS * rows * config.max_positions * (config.hidden_size + config.intermediate_size) * dtype.itemsize
