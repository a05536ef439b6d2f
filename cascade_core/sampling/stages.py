"""Sampling Stage C and Stage B: the inputs are checked at once, then a generator yields one step at a time.

The x0 of the last step is the result. Progress, preview and cancel belong to the caller's loop.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CascadeError
from ..models.config import StageBConfig, StageCConfig
from ..models.family import check_family, check_kind, describe
from ..models.handle import Handle
from ..models.stage_b import StageB
from ..models.stage_c import StageC
from .activations import stage_bytes
from .condition import Condition, check_conditions
from .control import check_control, project
from .denoise import Branch, Predictor, controls_of, make_denoise, plan
from .guidance import Guidance, RescaleOver
from .masked import fit_noise_mask, keep_unmasked
from .noise import Noise, image_seeds, stage_b_seed
from .process import TARGETS, Process
from .samplers import SAMPLERS

Prepare = Callable[[torch.device], tuple[list[Branch], list[Branch]]]  # the positive and the negative ones


@dataclass(frozen=True)
class Step:
    """What one evaluation predicts: x0 (N, C, h, w) float32, on the model's device."""

    index: int  # from 0
    total: int
    x0: Tensor


@dataclass(frozen=True)
class Settings:
    """A run: exactly `steps` evaluations from r = denoise to 0."""

    steps: int
    sampler: str
    shift: float
    denoise: float
    start_shift: float  # of the noise on the latent that a run below denoise 1 starts from
    guidance: Guidance

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise CascadeError(f"sampler: expected one of {', '.join(SAMPLERS)}, found {self.sampler}")
        if self.steps < 1:
            raise CascadeError(f"steps: expected at least 1, found {self.steps}")
        if not 0 < self.denoise <= 1:
            raise CascadeError(f"denoise: expected over 0 and at most 1, found {self.denoise}")
        if self.shift <= 0:
            raise CascadeError(f"shift: expected over 0 (1 is no shift), found {self.shift}")


def sample_stage_c(
    handle: Handle,
    positive: Sequence[Condition],
    negative: Sequence[Condition],
    latent: Tensor,
    *,
    seed: int,
    steps: int = 20,
    cfg: float = 4.0,
    sampler: str = "ddpm",
    shift: float = 2.0,
    denoise: float = 1.0,
    cfg_rescale: float = 0.7,
    rescale_over: RescaleOver = "image",
    cfg_start_percent: float = 0.0,
    cfg_end_percent: float = 1.0,
    batch_index: Sequence[int] | None = None,
    noise_shift: Literal["same", "official"] = "same",
    latent_family: str | None = None,
    size: tuple[int, int] | None = None,
    noise_mask: Tensor | None = None,
) -> Iterator[Step]:
    """Text to the latent of Stage C.

    latent (N, 16, h, w): its size, and below denoise 1 the picture to start from. noise_shift: the noise that is put on
    that picture has the sampler's shift, or as in the official notebook none. batch_index: each image's place in the
    batch of this seed. size: the pixels (height, width) that the latent stands for, to check hints with. noise_mask: as
    in `fit_noise_mask`, 1 where the latent is made anew; the rest of it stays, at any denoise. Raises CascadeError
    where the inputs do not fit, before anything is computed.
    """
    check_kind(handle, "stage_c")
    config = cast(StageCConfig, handle.config)
    check_family(handle, "latent", latent_family)
    _check_latent("latent", latent, config.channels)
    widths = {"sequence": config.c_clip_text, "pooled": config.c_clip_text_pooled, "images": config.c_clip_img}
    _check_conditions(handle, positive, negative, widths, len(latent))
    if noise_shift not in ("same", "official"):
        raise CascadeError(f"noise_shift: expected same or official, found {noise_shift}")
    for control in controls_of((*positive, *negative)):
        check_control(control, handle, (latent.shape[-2], latent.shape[-1]), len(latent), size)
    guidance = Guidance(cfg, cfg_rescale, rescale_over, cfg_start_percent, cfg_end_percent)
    settings = Settings(steps, sampler, shift, denoise, shift if noise_shift == "same" else 1.0, guidance)
    most_images = max((_image_count(condition) for condition in positive), default=0)
    negative = [_with_zero_images(condition, most_images, config.c_clip_img) for condition in negative]
    network = cast(StageC, handle.module)

    def tokens(condition: Condition) -> int:
        return condition.sequence.shape[1] + config.c_clip_seq * (1 + max(1, _image_count(condition)))

    def branch(condition: Condition, device: torch.device) -> Branch:
        parts = [condition.sequence, condition.pooled, *([] if condition.images is None else [condition.images])]
        batch = max(len(part) for part in parts)
        context = network.prepare(*(_to_batch(part.to(device, handle.dtype), batch) for part in parts))
        return Branch(condition.strength, context, batch, tokens(condition), condition.controls)

    def prepare(device: torch.device) -> tuple[list[Branch], list[Branch]]:
        return [branch(c, device) for c in positive], [branch(c, device) for c in negative]

    seeds = image_seeds(seed, _indices(batch_index, len(latent)))
    longest = max((tokens(condition) for condition in (*positive, *negative)), default=0)
    mask = None if noise_mask is None else fit_noise_mask(noise_mask, len(latent), (latent.shape[-2], latent.shape[-1]))
    return _start(handle, settings, positive, negative, latent, seeds, prepare, longest, mask)


def sample_stage_b(
    handle: Handle,
    positive: Sequence[Condition],
    negative: Sequence[Condition],
    stage_c: Tensor,
    latent: Tensor,
    *,
    seed: int,
    steps: int = 10,
    cfg: float = 1.1,
    sampler: str = "ddpm",
    shift: float = 1.0,
    denoise: float = 1.0,
    cfg_rescale: float = 0.7,
    rescale_over: RescaleOver = "image",
    cfg_start_percent: float = 0.0,
    cfg_end_percent: float = 1.0,
    batch_index: Sequence[int] | None = None,
    stage_c_family: str | None = None,
    latent_family: str | None = None,
) -> Iterator[Step]:
    """The latent of Stage C to that of Stage B, in model space.

    stage_c (1 or N, 16, hc, wc) is stretched to the picture, whatever its aspect. latent (N, 4, h, w) as in
    `sample_stage_c`; its sides need not fit the network's patches. Of the conditions the pooled vectors are read. The
    unconditional pass has those of `negative`, and zeros for the latent of Stage C.
    """
    check_kind(handle, "stage_b")
    config = cast(StageBConfig, handle.config)
    check_family(handle, "stage_c", stage_c_family)
    check_family(handle, "latent", latent_family)
    _check_latent("latent", latent, config.channels)
    _check_latent("stage_c", stage_c, config.c_effnet)
    if len(stage_c) not in (1, len(latent)):
        raise CascadeError(
            f"`stage_c`: expected one latent or as many as `latent` has ({len(latent)}), found {len(stage_c)}: "
            "give both the same batch size"
        )
    _check_conditions(handle, positive, negative, {"pooled": config.c_clip}, len(latent))
    guidance = Guidance(cfg, cfg_rescale, rescale_over, cfg_start_percent, cfg_end_percent)
    settings = Settings(steps, sampler, shift, denoise, shift, guidance)
    h, w = latent.shape[-2:]
    # Drawn and denoised at whole patches, of which the deepest level needs one, and cropped in the end; what is beyond
    # the edge continues the edge.
    smallest = config.patch_size * 2 ** (len(config.c_hidden) - 1)
    right, bottom = (max(-side % config.patch_size, smallest - side) for side in (w, h))
    padding = (0, right, 0, bottom)
    padded = F.pad(latent.float(), padding, mode="replicate")
    network = cast(StageB, handle.module)

    def branch(condition: Condition, effnet: Tensor) -> Branch:
        pooled = condition.pooled.to(effnet)
        batch = max(len(pooled), len(effnet))
        size = (padded.shape[-2], padded.shape[-1])
        context = network.prepare(_to_batch(effnet, batch), _to_batch(pooled, batch), size)
        return Branch(condition.strength, context, batch, config.c_clip_seq)

    def prepare(device: torch.device) -> tuple[list[Branch], list[Branch]]:
        effnet = stage_c.to(device, handle.dtype)
        zeros = torch.zeros_like(effnet[:1])
        return [branch(c, effnet) for c in positive], [branch(c, zeros) for c in negative]

    positive, negative = ([replace(c, controls=()) for c in conditions] for conditions in (positive, negative))
    seeds = [stage_b_seed(s) for s in image_seeds(seed, _indices(batch_index, len(latent)))]
    run = _start(handle, settings, positive, negative, padded, seeds, prepare, config.c_clip_seq)
    return (replace(step, x0=step.x0[..., :h, :w]) for step in run)


def _start(
    handle: Handle,
    settings: Settings,
    positive: Sequence[Condition],
    negative: Sequence[Condition],
    latent: Tensor,
    seeds: Sequence[int],
    prepare: Prepare,
    tokens: int,
    mask: Tensor | None = None,
) -> Iterator[Step]:
    """What can be known without the network, at once; then the generator that uses it."""
    process = Process(TARGETS[handle.target], handle.x0_clamp)
    times = process.timesteps(settings.steps, settings.denoise, settings.shift)
    steps = plan(times.r[:-1], positive, negative, settings.guidance)
    images, channels, h, w = latent.shape
    batch = images * max(len(active.positive) + len(active.negative) for active in steps)
    contexts = images * (len(positive) + len(negative))
    room = stage_bytes(handle.config, (h, w), batch, contexts, tokens, handle.dtype)
    controls = [control for control in controls_of((*positive, *negative)) if any(control in s.controls for s in steps)]

    @torch.inference_mode()
    def run() -> Iterator[Step]:
        projected = {control: project(control, (h, w)) for control in controls}
        device = handle.acquire(room)
        maps = {
            control: [None if one is None else one.to(device, handle.dtype) for one in of_blocks]
            for control, of_blocks in projected.items()
        }
        branches = prepare(device)
        modulation = cast(StageB | StageC, handle.module).modulate(times.condition.to(device))
        predict = Predictor(handle, room, modulation, steps, *branches, images, maps)
        noise = Noise(seeds, (channels, h, w), device)
        original = latent.to(device, torch.float32)
        x = first = noise()
        if settings.denoise < 1:
            x = process.diffuse(original, first, torch.tensor([settings.denoise]), settings.start_shift)
        denoise = make_denoise(predict, settings.guidance, process, times)
        if mask is not None:
            denoise = keep_unmasked(denoise, original, mask.to(device), first, times.table)
        for index, x0, _ in SAMPLERS[settings.sampler](denoise, x, times.table, noise):
            yield Step(index, settings.steps, x0)

    return run()


def _check_latent(name: str, latent: Tensor, channels: int) -> None:
    if latent.ndim != 4 or latent.shape[1] != channels or 0 in latent.shape:
        raise CascadeError(
            f"`{name}`: expected a latent of shape (batch, {channels}, height, width), found {tuple(latent.shape)}: "
            f"connect one with {channels} channels"
        )


def _check_conditions(
    handle: Handle,
    positive: Sequence[Condition],
    negative: Sequence[Condition],
    widths: dict[str, int],
    batch: int,
) -> None:
    for name, conditions in (("positive", positive), ("negative", negative)):
        for condition in conditions:
            check_family(handle, name, condition.family)
        check_conditions(name, conditions, describe(handle), widths, batch)


def _indices(batch_index: Sequence[int] | None, images: int) -> Sequence[int]:
    """Which image of the seed's batch each one is."""
    if batch_index is None:
        return range(images)
    if len(batch_index) != images:
        raise CascadeError(f"batch_index: expected one number for each of {images} images, found {len(batch_index)}")
    return batch_index


def _image_count(condition: Condition) -> int:
    return 0 if condition.images is None else condition.images.shape[1]


def _with_zero_images(condition: Condition, count: int, width: int) -> Condition:
    """The unconditional side gets as many image embeddings as the other has, zeros, and so equally many tokens."""
    missing = count - _image_count(condition)
    if count <= 1 or missing <= 0:
        return condition  # where there is none, the network itself feeds one of zeros
    images = condition.sequence.new_zeros(1, 0, width) if condition.images is None else condition.images
    return replace(condition, images=torch.cat([images, images.new_zeros(len(images), missing, width)], dim=1))


def _to_batch(x: Tensor, batch: int) -> Tensor:
    return x.expand(batch, *x.shape[1:])
