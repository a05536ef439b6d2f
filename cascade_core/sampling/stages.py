"""Sampling Stage C and Stage B: the inputs are checked at once, then a generator yields one step at a time.

The x0 of the last step is the result. Progress, preview and cancel belong to the caller's loop.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CascadeError
from ..models.body import Prepared
from ..models.config import StageBConfig, StageCConfig
from ..models.family import check_kind
from ..models.handle import Handle
from ..models.stage_b import StageB
from ..models.stage_c import StageC
from .activations import stage_bytes
from .checks import check_conditions, check_controls, check_latent
from .condition import Condition, controls_of
from .control import project
from .denoise import Predictor, make_denoise, plan
from .latent import Latent
from .masked import fit_noise_mask, keep_unmasked
from .noise import Noise, image_seeds, stage_b_seed
from .process import TARGETS, Process
from .samplers import SAMPLERS
from .settings import STAGE_B_DEFAULTS, STAGE_C_DEFAULTS, SamplerSettings


@dataclass(frozen=True)
class Step:
    """A step's prediction: x0 (N, C, h, w) float32, on the model's device."""

    index: int  # counts from 0
    total: int
    x0: Tensor


def sample_stage_c(
    handle: Handle,
    positive: Sequence[Condition],
    negative: Sequence[Condition],
    latent: Latent,
    *,
    seed: int,
    settings: SamplerSettings = STAGE_C_DEFAULTS,
) -> Iterator[Step]:
    """Text to the latent of Stage C.

    latent: its size, and below denoise 1 the picture to start from; where its noise mask is 0 it stays, at any denoise.
    seed: of the batch's first image. Raises CascadeError where the inputs do not fit, before anything is computed.
    """
    check_kind(handle, "stage_c")
    config = cast(StageCConfig, handle.config)
    check_latent(handle, "latent", latent, config.channels)
    widths = {"sequence": config.c_clip_text, "pooled": config.c_clip_text_pooled, "images": config.c_clip_img}
    check_conditions(handle, positive, negative, widths, len(latent.samples))
    check_controls(handle, (*positive, *negative), latent)
    most_images = max((condition.image_count for condition in positive), default=0)
    positive = [replace(condition) for condition in positive]  # told apart, where one is given twice
    negative = [_with_zero_images(condition, most_images, config.c_clip_img) for condition in negative]
    network = cast(StageC, handle.module)

    def prepare_one(condition: Condition, device: torch.device) -> Prepared:
        parts = [condition.sequence, condition.pooled, *([] if condition.images is None else [condition.images])]
        batch = max(len(part) for part in parts)
        return network.prepare(*(_to_batch(part.to(device, handle.dtype), batch) for part in parts))

    def prepare(device: torch.device) -> Mapping[Condition, Prepared]:
        return {condition: prepare_one(condition, device) for condition in (*positive, *negative)}

    def tokens(condition: Condition) -> int:
        return condition.sequence.shape[1] + config.c_clip_seq * (1 + max(1, condition.image_count))

    longest = max((tokens(condition) for condition in (*positive, *negative)), default=0)
    seeds = image_seeds(seed, latent.places)
    return _start(handle, settings, positive, negative, latent, seeds, prepare, longest)


def sample_stage_b(
    handle: Handle,
    positive: Sequence[Condition],
    negative: Sequence[Condition],
    stage_c: Latent,
    latent: Latent,
    *,
    seed: int,
    settings: SamplerSettings = STAGE_B_DEFAULTS,
) -> Iterator[Step]:
    """The latent of Stage C to that of Stage B, in model space.

    stage_c, one or as many as `latent`, is stretched to the picture, whatever its aspect. latent and seed are as in
    `sample_stage_c`; its sides need not fit the network's patches, and it has no mask. Of the conditions the pooled
    vectors are read. The unconditional pass has those of `negative`, and zeros for the latent of Stage C.
    """
    check_kind(handle, "stage_b")
    config = cast(StageBConfig, handle.config)
    check_latent(handle, "stage_c", stage_c, config.c_effnet)
    check_latent(handle, "latent", latent, config.channels)
    images = len(latent.samples)
    if len(stage_c.samples) not in (1, images):
        raise CascadeError(
            f"`stage_c`: expected one latent or as many as `latent` has ({images}), found {len(stage_c.samples)}: "
            "give both the same batch size"
        )
    if latent.noise_mask is not None:
        raise CascadeError(
            "`latent` carries a noise_mask (Set Latent Noise Mask): Stage B works out the whole picture and cannot"
            " honour that: put the mask on the latent of Stage C, and paste the result back into the original"
        )
    check_conditions(handle, positive, negative, {"pooled": config.c_clip}, images)
    if latent.batch_index is None and len(stage_c.samples) == images:
        latent = replace(latent, batch_index=stage_c.batch_index)
    h, w = latent.cells
    # Drawn and denoised at whole patches, of which the deepest level needs one, and cropped in the end; what is beyond
    # the edge continues the edge.
    smallest = config.patch_size * 2 ** (len(config.c_hidden) - 1)
    right, bottom = (max(-side % config.patch_size, smallest - side) for side in (w, h))
    padded = replace(latent, samples=F.pad(latent.samples.float(), (0, right, 0, bottom), mode="replicate"))
    network = cast(StageB, handle.module)
    positive, negative = ([replace(c, controls=()) for c in conditions] for conditions in (positive, negative))

    def prepare_one(condition: Condition, effnet: Tensor) -> Prepared:
        pooled = condition.pooled.to(effnet)
        batch = max(len(pooled), len(effnet))
        return network.prepare(_to_batch(effnet, batch), _to_batch(pooled, batch), padded.cells)

    def prepare(device: torch.device) -> Mapping[Condition, Prepared]:
        effnet = stage_c.samples.to(device, handle.dtype)
        zeros = torch.zeros_like(effnet[:1])
        return {c: prepare_one(c, effnet) for c in positive} | {c: prepare_one(c, zeros) for c in negative}

    seeds = [stage_b_seed(s) for s in image_seeds(seed, latent.places)]
    run = _start(handle, settings, positive, negative, padded, seeds, prepare, config.c_clip_seq)
    return (replace(step, x0=step.x0[..., :h, :w]) for step in run)


def _start(
    handle: Handle,
    settings: SamplerSettings,
    positive: Sequence[Condition],
    negative: Sequence[Condition],
    latent: Latent,
    seeds: Sequence[int],
    prepare: Callable[[torch.device], Mapping[Condition, Prepared]],
    tokens: int,
) -> Iterator[Step]:
    """Plan a run, which needs no network, and give the generator that performs it.

    prepare: all conditions of both sides for the network. tokens: text tokens of the longest condition.
    """
    images, channels, h, w = latent.samples.shape
    mask = None if latent.noise_mask is None else fit_noise_mask(latent.noise_mask, images, (h, w))
    process = Process(TARGETS[handle.target], handle.x0_clamp)
    times = process.timesteps(settings.steps, settings.denoise, settings.shift)
    steps = plan(times.r[:-1], positive, negative, settings.guidance)
    batch = images * max(len(sides.positive) + len(sides.negative) for sides in steps)
    room = stage_bytes(handle.config, (h, w), batch, images * (len(positive) + len(negative)), tokens, handle.dtype)
    controls = [one for one in controls_of((*positive, *negative)) if any(one in sides.controls for sides in steps)]

    @torch.inference_mode()
    def run() -> Iterator[Step]:
        projected = {control: project(control, (h, w)) for control in controls}
        device = handle.acquire(room)
        maps = {
            control: [None if one is None else one.to(device, handle.dtype) for one in of_blocks]
            for control, of_blocks in projected.items()
        }
        prepared = prepare(device)
        modulation = cast(StageB | StageC, handle.module).modulate(times.condition.to(device))
        predict = Predictor(handle, room, images, steps, modulation, prepared, maps)
        noise = Noise(seeds, (channels, h, w), device)
        original = latent.samples.to(device, torch.float32)
        x = first = noise()
        if settings.denoise < 1:
            x = process.diffuse(original, first, torch.tensor([settings.denoise]), settings.start_shift)
        denoise = make_denoise(predict, settings.guidance, process, times)
        if mask is not None:
            denoise = keep_unmasked(denoise, original, mask.to(device), first, times.table)
        for index, x0, _ in SAMPLERS[settings.sampler].run(denoise, x, times.table, noise):
            yield Step(index, settings.steps, x0)

    return run()


def _with_zero_images(condition: Condition, count: int, width: int) -> Condition:
    """The unconditional side gets as many image embeddings as the other has, zeros, and so equally many tokens."""
    missing = count - condition.image_count
    if count <= 1 or missing <= 0:
        return replace(condition)  # where there is none, the network itself feeds one of zeros
    images = condition.sequence.new_zeros(1, 0, width) if condition.images is None else condition.images
    return replace(condition, images=torch.cat([images, images.new_zeros(len(images), missing, width)], dim=1))


def _to_batch(x: Tensor, batch: int) -> Tensor:
    return x.expand(batch, *x.shape[1:])
