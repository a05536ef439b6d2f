"""Sampling Stage C and Stage B: the inputs are checked at once, then a run yields one step at a time.

The x0 of the last step is the result. Progress, preview and cancel belong to the caller's loop. `sample_stage_c` and
`sample_stage_b` go by a person's settings and one seed for each image; `run_stage_c` and `run_stage_b` by any course.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CascadeError
from ..memory import is_short
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
from .course import Course, make_course
from .denoise import Predictor, make_denoise, plan
from .latent import Latent
from .masked import fit_noise_mask, keep_unmasked
from .noise import image_seeds, stage_b_seed
from .process import TARGETS, Process
from .schedules import evaluated
from .settings import STAGE_B_DEFAULTS, STAGE_C_DEFAULTS, SamplerSettings
from .times import Time


@dataclass(frozen=True)
class Step:
    """A step's prediction: x0 (N, C, h, w) float32, on the model's device."""

    index: int  # counts from 0
    total: int
    x0: Tensor
    x: Tensor  # where the step leads to, likewise, at `time`: x / a is ComfyUI's latent, with the noise that is left
    time: Time


@dataclass(frozen=True)
class Run:
    """The steps of a run, none of which is taken yet."""

    total: int
    steps: Iterator[Step]

    def __iter__(self) -> Iterator[Step]:
        return self.steps

    def __next__(self) -> Step:
        return next(self.steps)


def sample_stage_c(
    handle: Handle,
    positive: Sequence[Condition],
    negative: Sequence[Condition],
    latent: Latent,
    *,
    seed: int,
    settings: SamplerSettings = STAGE_C_DEFAULTS,
) -> Run:
    """Text to the latent of Stage C.

    latent: its size, and below denoise 1 the picture to start from; where its noise mask is 0 it stays, at any denoise.
    seed: of the batch's first image. Raises CascadeError where the inputs do not fit, before anything is computed.
    """
    return run_stage_c(
        handle,
        positive,
        negative,
        latent,
        lambda: make_course(settings, process_of(handle), image_seeds(seed, latent.places)),
    )


def run_stage_c(
    handle: Handle,
    positive: Sequence[Condition],
    negative: Sequence[Condition],
    latent: Latent,
    course: Callable[[], Course],
    even_images: bool = True,
) -> Run:
    """The same by any course, which is made when the model and the latent are known to fit.

    even_images: a negative condition gets as many image embeddings as the positive ones have, zeros.
    """
    check_kind(handle, "stage_c")
    config = cast(StageCConfig, handle.config)
    check_latent(handle, "latent", latent, config.channels)
    widths = {"sequence": config.c_clip_text, "pooled": config.c_clip_text_pooled, "images": config.c_clip_img}
    check_conditions(handle, positive, negative, widths, len(latent.samples))
    check_controls(handle, (*positive, *negative), latent)
    most_images = max((condition.image_count for condition in positive), default=0) if even_images else 0
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
    return _start(handle, course(), positive, negative, latent, prepare, longest)


def sample_stage_b(
    handle: Handle,
    positive: Sequence[Condition],
    negative: Sequence[Condition],
    stage_c: Latent,
    latent: Latent,
    *,
    seed: int,
    settings: SamplerSettings = STAGE_B_DEFAULTS,
) -> Run:
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
    if latent.batch_index is None and len(stage_c.samples) == images:
        latent = replace(latent, batch_index=stage_c.batch_index)
    positive = [replace(condition, stage_c=stage_c.samples) for condition in positive]
    zeros = stage_c.samples.new_zeros(1, *stage_c.samples.shape[1:])
    negative = [replace(condition, stage_c=zeros) for condition in negative]
    seeds = [stage_b_seed(one) for one in image_seeds(seed, latent.places)]
    return run_stage_b(handle, positive, negative, latent, lambda: make_course(settings, process_of(handle), seeds))


def run_stage_b(
    handle: Handle,
    positive: Sequence[Condition],
    negative: Sequence[Condition],
    latent: Latent,
    course: Callable[[], Course],
) -> Run:
    """The same by any course; every condition has its own `stage_c`."""
    check_kind(handle, "stage_b")
    config = cast(StageBConfig, handle.config)
    check_latent(handle, "latent", latent, config.channels)
    check_conditions(handle, positive, negative, {"pooled": config.c_clip}, len(latent.samples))
    h, w = latent.cells
    # Drawn and denoised at whole patches, of which the deepest level needs one, and cropped in the end; what is beyond
    # the edge continues the edge.
    smallest = config.patch_size * 2 ** (len(config.c_hidden) - 1)
    right, bottom = (max(-side % config.patch_size, smallest - side) for side in (w, h))
    padded = replace(latent, samples=F.pad(latent.samples.float(), (0, right, 0, bottom), mode="replicate"))
    network = cast(StageB, handle.module)
    positive, negative = ([replace(c, controls=()) for c in conditions] for conditions in (positive, negative))

    def prepare_one(condition: Condition, device: torch.device) -> Prepared:
        pooled = condition.pooled.to(device, handle.dtype)
        given = condition.stage_c
        effnet = pooled.new_zeros(1, config.c_effnet, 1, 1) if given is None else given.to(pooled)
        batch = max(len(pooled), len(effnet))
        return network.prepare(_to_batch(effnet, batch), _to_batch(pooled, batch), padded.cells)

    def prepare(device: torch.device) -> Mapping[Condition, Prepared]:
        return {condition: prepare_one(condition, device) for condition in (*positive, *negative)}

    run = _start(handle, course(), positive, negative, padded, prepare, config.c_clip_seq)
    steps = (replace(step, x0=step.x0[..., :h, :w], x=step.x[..., :h, :w]) for step in run)
    return Run(run.total, steps)


def process_of(handle: Handle) -> Process:
    """The diffusion process that a model was trained on."""
    return Process(TARGETS[handle.target], handle.x0_clamp)


def _start(
    handle: Handle,
    course: Course,
    positive: Sequence[Condition],
    negative: Sequence[Condition],
    latent: Latent,
    prepare: Callable[[torch.device], Mapping[Condition, Prepared]],
    tokens: int,
) -> Run:
    """Plan a run, which needs no network, and give the generator that performs it.

    prepare: all conditions of both sides for the network. tokens: text tokens of the longest condition.
    """
    _check_reuse(handle, course.reuse_from)
    images, channels, h, w = latent.samples.shape
    mask = None if latent.noise_mask is None else fit_noise_mask(latent.noise_mask, images, (h, w))
    times = evaluated(course.times)
    steps = plan([time.r for time in times], positive, negative, course.guidance)
    batch = images * max(len(sides.positive) + len(sides.negative) for sides in steps)
    prepared_images = images * (len(positive) + len(negative))
    kept = course.reuse_from > 0
    room = partial(stage_bytes, handle.config, (h, w), batch, prepared_images, tokens, handle.dtype, kept=kept)
    controls = [one for one in controls_of((*positive, *negative)) if any(one in sides.controls for sides in steps)]
    total = len(course.times) - 1

    @torch.inference_mode()
    def run() -> Iterator[Step]:
        projected = {control: project(control, (h, w)) for control in controls}
        device = handle.acquire(room(chunked=True))  # what it takes at least; each step asks for its own
        chunked = is_short(device, room())
        maps = {
            control: [None if one is None else one.to(device, handle.dtype) for one in of_blocks]
            for control, of_blocks in projected.items()
        }
        prepared = prepare(device)
        network_times = torch.tensor([time.condition for time in times], device=device)
        modulation = cast(StageB | StageC, handle.module).modulate(network_times)
        predict = Predictor(
            handle, room(chunked=chunked), chunked, images, steps, modulation, prepared, maps, course.reuse_from
        )
        noise = course.noise((images, channels, h, w), device)
        original = latent.samples.to(device, torch.float32)
        denoise = make_denoise(predict, course.guidance, process_of(handle), times)
        if mask is not None:
            denoise = keep_unmasked(denoise, original, mask.to(device), noise.kept)
        first = course.start(original, noise.first)
        for index, x0, x in course.sampler.run(denoise, first, course.times, noise.draw):
            yield Step(index, total, x0, x, course.times[index + 1])

    return Run(total, run())


def _check_reuse(handle: Handle, level: int) -> None:
    most = len(handle.config.c_hidden) - 1 if handle.kind == "stage_b" else 0
    if level > most:
        raise CascadeError(
            f"reuse_from: expected at most {most}, the innermost level of {handle.name}, found {level}"
            if most
            else f"reuse_from: only Stage B of several levels can reuse them, found {level}: set it to 0"
        )


def _with_zero_images(condition: Condition, count: int, width: int) -> Condition:
    """The unconditional side gets as many image embeddings as the other has, zeros, and so equally many tokens."""
    missing = count - condition.image_count
    if count <= 1 or missing <= 0:
        return replace(condition)  # where there is none, the network itself feeds one of zeros
    images = condition.sequence.new_zeros(1, 0, width) if condition.images is None else condition.images
    return replace(condition, images=torch.cat([images, images.new_zeros(len(images), missing, width)], dim=1))


def _to_batch(x: Tensor, batch: int) -> Tensor:
    return x.expand(batch, *x.shape[1:])
