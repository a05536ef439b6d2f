"""Sockets: their names, and the native values on wires to the core's and back.

IMAGE is (B, H, W, C) in 0..1, pixels of the core are (B, 3, H, W). MASK is (B, H, W), but (H, W) and (B, 1, H, W)
occur; the core's is (B, 1, H, W). Values on wires are shared by the whole graph, so everything here makes new ones.
LATENT of Stage B travels in Stage A space, as ComfyUI's own nodes have it.

When the command rehearses a run, placeholders travel over the same wires: shapes and families without values, on
torch's meta device.

Letters: B batch, T tokens, D width of the sequence, P of the pooled vector, n images, h w latent and H W pixel sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..cascade_core.kinds import KINDS, STAGE_A_SCALE, STAGE_B_CHANNELS, STAGE_C_CHANNELS
from ..cascade_core.sampling.sizes import stage_b_size, stage_c_size

if TYPE_CHECKING:
    from torch import Tensor

    from ..cascade_core.sampling import latent as core
    from ..cascade_core.sampling.condition import Condition
    from ..cascade_core.sampling.control import Control

STAGE_C = KINDS["stage_c"].socket
STAGE_B = KINDS["stage_b"].socket
STAGE_A = KINDS["stage_a"].socket
TEXT_ENCODER = KINDS["text_encoder"].socket
IMAGE_ENCODER = KINDS["image_encoder"].socket
EFFNET = KINDS["effnet"].socket
PREVIEWER = KINDS["previewer"].socket
CONTROLNET = KINDS["controlnet"].socket
HINT = "CASCADE_HINT"  # a Hint
LORA = KINDS["lora"].socket  # a Lora
DATASET = "CASCADE_DATASET"  # a Dataset

FAMILY = "cascade_family"  # in CONDITIONING and LATENT: the models that made it
CONTROLS = "cascade_controls"  # in CONDITIONING: the ControlNets that steer Stage C, a tuple of Control
SIZE = "cascade_size"  # in LATENT: (H, W), the wanted pixels
UNCLIP = "unclip_conditioning"  # in CONDITIONING, native: image embeddings with their strengths
NOISE_MASK = "noise_mask"  # in LATENT, native: 1 where it is made anew

Conditioning = list[list[Any]]  # [[sequence (B, T, D), {"pooled_output": (B, P), ...}], ...]
Latent = dict[str, Any]  # {"samples": (B, C, h, w), ...}

REFUSED = {
    "mask": "a mask (ConditioningSetMask)",
    "area": "an area (ConditioningSetArea)",
    "hooks": "hooks (such as Cond Set Props)",
    "gligen": "GLIGEN boxes",
    "control": "a native ControlNet",
}  # keys of native CONDITIONING that would have to be ignored


def to_image(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) -> IMAGE (B, H, W, 3), float32 on the CPU."""
    return pixels.movedim(1, -1).float().cpu().contiguous()


def image_size(name: str, image: Tensor) -> tuple[int, int, int]:
    """Batch, height and width of the input `name`; CascadeError if it is no IMAGE."""
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise CascadeError(
            f"`{name}`: expected the shape (batch, height, width, 3), found {tuple(image.shape)}: connect a picture"
        )
    return image.shape[0], image.shape[1], image.shape[2]


def to_pixels(image: Tensor, name: str = "image") -> Tensor:
    """IMAGE (B, H, W, 1, 3 or 4) -> (B, 3, H, W); what an alpha channel says is left out."""
    image_size(name, image)
    colours = image[..., :3].float().cpu()
    return colours.expand(-1, -1, -1, 3).movedim(-1, 1).contiguous()


def to_mask(mask: Tensor, image: Tensor) -> Tensor:
    """MASK for a picture -> (B, 1, H, W), of any size; one that masks nothing is of the picture's size.

    For where a picture has no transparency, ComfyUI gives 64 x 64 zeros, which are no mask of another aspect.
    """
    _, height, width = image_size("image", image)
    shaped = mask.reshape(-1, 1, *mask.shape[-2:]) if mask.ndim in (2, 3) else mask
    if shaped.ndim != 4 or shaped.shape[1] != 1 or 0 in shaped.shape:
        raise CascadeError(
            f"`mask`: expected the shape (batch, height, width), found {tuple(mask.shape)}: connect a mask"
        )
    if masks_nothing(shaped):
        return shaped.new_zeros(1, 1, height, width).float().cpu()
    return shaped.float().to("meta" if shaped.is_meta else "cpu")


def masks_nothing(mask: Tensor) -> bool:
    """Whether a MASK is 0 everywhere, as far as is known: of a rehearsal's placeholder nothing is."""
    return not mask.is_meta and not mask.any()


def to_conditioning(condition: Condition) -> Conditioning:
    """An encoded prompt in native form."""
    return [[condition.sequence, {"pooled_output": condition.pooled, FAMILY: condition.family}]]


def to_conditions(name: str, conditioning: Conditioning) -> list[Condition]:
    """Every entry of the input `name`; CascadeError names what cannot be honoured."""
    return [_to_condition(name, sequence, options) for sequence, options in conditioning]


def _to_condition(name: str, sequence: Tensor, options: dict[str, Any]) -> Condition:
    from ..cascade_core.sampling.condition import Condition

    for key, meaning in REFUSED.items():
        if options.get(key) is not None:
            raise CascadeError(
                f"`{name}` carries {meaning}, in its `{key}`: Stable Cascade's samplers cannot honour that, and do not"
                " ignore it: take that node out"
            )
    pooled = options.get("pooled_output")
    if pooled is None:
        raise CascadeError(
            f"`{name}` has no pooled_output, the vector of the whole prompt: encode the text for Stable Cascade"
        )
    return Condition(
        sequence=sequence,
        pooled=pooled,
        images=_images(options),
        controls=options.get(CONTROLS, ()),
        strength=options.get("strength", 1.0),
        start=options.get("start_percent", 0.0),
        end=options.get("end_percent", 1.0),
        family=options.get(FAMILY),
    )


@dataclass(frozen=True, eq=False)
class ImageEmbeddings:
    """ComfyUI's CLIP_VISION_OUTPUT, as far as Stable Cascade reads it."""

    image_embeds: Tensor  # (n, Di)


def with_images(conditioning: Conditioning, embeddings: Tensor, strength: float) -> Conditioning:
    """Every entry with the image embeddings (n, Di) added to those that it has, in the native key."""
    added = {"clip_vision_output": ImageEmbeddings(embeddings), "strength": strength, "noise_augmentation": 0.0}
    return [
        [sequence, {**options, UNCLIP: [*(options.get(UNCLIP) or ()), added]}] for sequence, options in conditioning
    ]


def with_blended_images(conditioning: Conditioning, embeddings: Tensor, strength: float) -> Conditioning:
    """Every entry with one image embedding: the sum of those that it has and of these, each times its strength."""
    import torch

    blended: Conditioning = []
    for sequence, options in with_images(conditioning, embeddings, strength):
        images = _images(options)
        assert images is not None  # some were just added
        bare = {key: value for key, value in options.items() if key != UNCLIP}
        blended += with_images([[sequence, bare]], torch.sum(images[0], dim=0, keepdim=True), 1.0)
    return blended


def with_control(conditioning: Conditioning, control: Control) -> Conditioning:
    """Every entry with one more ControlNet."""
    return [
        [sequence, {**options, CONTROLS: (*options.get(CONTROLS, ()), control)}] for sequence, options in conditioning
    ]


def _images(options: dict[str, Any]) -> Tensor | None:
    """Image embeddings (1, n, Di) times their strengths; a batch of one entry is several references."""
    import torch

    entries = options.get(UNCLIP) or []
    embeddings = [entry["clip_vision_output"].image_embeds * entry.get("strength", 1.0) for entry in entries]
    return torch.cat(embeddings)[None] if embeddings else None


def samples_of(name: str, latent: Latent, channels: int) -> Tensor:
    """The samples (B, channels, h, w) of the input `name`, as they travel."""
    samples: Tensor = latent["samples"]
    if samples.ndim != 4 or samples.shape[1] != channels:
        raise CascadeError(
            f"`{name}`: expected a latent of {'Stage C' if channels == STAGE_C_CHANNELS else 'Stage B'}, of shape"
            f" (batch, {channels}, height, width), found {tuple(samples.shape)}: connect another one"
        )
    return samples


def size_of(latent: Latent) -> tuple[int, int] | None:
    """The pixels (H, W) that a latent stands for; None where it does not say, or was resized since."""
    size, samples = latent.get(SIZE), latent["samples"]
    cells = stage_c_size if samples.shape[1] == STAGE_C_CHANNELS else stage_b_size
    return None if size is None or cells(size[1], size[0]) != tuple(samples.shape[-2:]) else size


def to_latent(name: str, latent: Latent, channels: int) -> core.Latent:
    """The input `name` in model space; CascadeError for a latent of other channels."""
    from ..cascade_core.sampling import latent as core

    samples = samples_of(name, latent, channels)
    if (
        channels == STAGE_B_CHANNELS and not samples.is_meta
    ):  # a placeholder has no values, and torch is slow about them
        samples = samples / STAGE_A_SCALE
    return core.Latent(
        samples,
        size=size_of(latent),
        family=latent.get(FAMILY),
        batch_index=latent.get("batch_index"),
        noise_mask=latent.get(NOISE_MASK),
    )


def placeholder_image(batch: int, height: int, width: int) -> Tensor:
    """An IMAGE of these pixels that has not been computed."""
    import torch

    return torch.empty(batch, height, width, 3, device="meta")


def placeholder_latent(latent: Latent, family: str) -> Latent:
    """The result of `with_samples` for new samples of the same shape, not computed yet."""
    return {**latent, "samples": latent["samples"].to("meta").float(), FAMILY: family}


def with_samples(latent: Latent, samples: Tensor, family: str) -> Latent:
    """The latent with other samples, given in model space, float32 on the CPU, and whatever else it carried."""
    travelling = samples * STAGE_A_SCALE if samples.shape[1] == STAGE_B_CHANNELS else samples
    return {**latent, "samples": travelling.float().cpu(), FAMILY: family}
