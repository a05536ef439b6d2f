"""Stage C, B and A beside other implementations over the same weights: agreement, passes, whole pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..cascade_core.memory import Placement, StayPut
from ..cascade_core.models.compiling import evaluator
from ..cascade_core.models.config import PRESETS
from ..cascade_core.models.handle import Handle
from ..cascade_core.pipeline import decode_pixels, last
from ..cascade_core.sampling.condition import Condition
from ..cascade_core.sampling.latent import Latent
from ..cascade_core.sampling.settings import STAGE_B_DEFAULTS, STAGE_C_DEFAULTS
from ..cascade_core.sampling.sizes import stage_b_size, stage_c_size
from ..cascade_core.sampling.stages import sample_stage_b, sample_stage_c
from .clock import Run, kernels, medians, peak
from .counted import PAIR
from .diffusers_picture import TheirPicture
from .networks import TOKENS, in_type, inputs, network, ours, rms
from .others import block_by_block, peer
from .peers import twin
from .report import Report

KINDS = ("stage_c", "stage_b", "stage_a")
MODES = ("off", "graphs", "blocks")  # of compilation; the first is computing at once
UNCOMPILED = ("ours", "diffusers")  # of which the memory is told
OURS = {"off": "ours", "graphs": "ours-graphs", "blocks": "ours-blocks"}


@dataclass(frozen=True)
class Plan:
    """What is measured of the networks of these presets."""

    presets: dict[str, str]  # by kind
    device: torch.device
    size: int  # pixels a side
    dtypes: Sequence[torch.dtype]
    peers: Sequence[str]  # of pairs.PEERS
    images: Sequence[int] = (1,)  # pictures at once
    modes: Sequence[str] = MODES[:1]
    seconds: float = 2.0  # for the rounds of one comparison
    pictures: bool = False  # whole ones too, in the first type
    steps: tuple[int, int] = (20, 10)  # of Stage C and B in these


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@torch.inference_mode()
def measure(report: Report, plan: Plan) -> None:
    """All of it; a failure is said, and the next is measured."""
    modules: dict[str, Any] = {}
    for kind in reversed(KINDS):
        with report.attempt(f"{kind} agreement"):
            base = network(kind, plan.presets[kind], plan.device)
            if plan.peers or len(plan.modes) > 1:
                _agreement(report, plan, kind, base)
            for dtype in reversed(plan.dtypes):
                modules[kind] = base if dtype == torch.float32 else in_type(base, dtype)
                for images in plan.images:
                    with report.attempt(f"{kind} pass"):
                        _passes(report, plan, kind, modules[kind], images)
            del base
            if plan.device.type == "cuda":
                _kernels(report, plan, kind, modules[kind])
    if plan.pictures and len(modules) == len(KINDS):
        for images in plan.images:
            with report.attempt("pictures"):
                _pictures(report, plan, modules, images)


def _batch(kind: str, images: int) -> int:
    return images * (1 if kind == "stage_a" else PAIR)


def _agreement(report: Report, plan: Plan, kind: str, base: Any) -> None:
    """How far each type, mode and peer is from our float32: root mean square, relative."""
    given = inputs(kind, plan.presets[kind], plan.size, _batch(kind, 1), plan.device)
    expected = ours(base, given)()
    found: dict[str, dict[str, float]] = {}
    for dtype in dict.fromkeys((torch.float32, *plan.dtypes)):
        module, typed = (base, given) if dtype == torch.float32 else (in_type(base, dtype), given.to(dtype))
        runs = _runs(plan, kind, module, typed)
        found[name_of(dtype)] = {name: rms(run(), expected) for name, run in runs.items()}
    report.say(f"{kind} agreement", preset=plan.presets[kind], rms=found)


def _runs(plan: Plan, kind: str, module: Any, given: Any) -> dict[str, Run]:
    """An evaluation in each of our modes and by each peer; what cannot be compiled has one mode."""
    modes = MODES[:1] if kind == "stage_a" else plan.modes
    runs = {OURS[mode]: ours(module, given, _evaluate(module, mode)) for mode in modes}
    plain = given.x.dtype == torch.float32  # in other types torch goes to oneDNN by itself
    peers = [name for name in plan.peers if plain or name != "diffusers-onednn"]
    return runs | {name: peer(name, module, kind, given) for name in peers}


def _evaluate(module: Any, mode: str) -> Any:
    return None if mode == MODES[0] else evaluator(module, mode)


def _passes(report: Report, plan: Plan, kind: str, module: Any, images: int) -> None:
    """Seconds of an evaluation, and the bytes that it takes beyond weights and inputs on a GPU."""
    dtype = next(module.parameters()).dtype
    given = inputs(kind, plan.presets[kind], plan.size, _batch(kind, images), plan.device).to(dtype)
    runs = _runs(plan, kind, module, given)
    report.say(
        f"{kind} pass",
        preset=plan.presets[kind],
        images=images,
        size=plan.size,
        dtype=name_of(dtype),
        seconds=medians(runs, plan.device, seconds=plan.seconds),
        bytes={name: peak(run, plan.device) for name, run in runs.items() if name in UNCOMPILED},
    )


def _kernels(report: Report, plan: Plan, kind: str, module: Any) -> None:
    """Where a GPU's time goes in one evaluation, ours and diffusers'."""
    dtype = next(module.parameters()).dtype
    given = inputs(kind, plan.presets[kind], plan.size, _batch(kind, 1), plan.device).to(dtype)
    runs = {"ours": ours(module, given)}
    if "diffusers" in plan.peers:
        runs["diffusers"] = peer("diffusers", module, kind, given)
    for name, run in runs.items():
        run()
        report.say(f"{kind} kernels", of=name, **kernels(run, plan.device))


def _pictures(report: Report, plan: Plan, modules: dict[str, Any], images: int) -> None:
    """Seconds of whole pictures from an encoded prompt on, and the bytes that they take beyond the weights."""
    runs: dict[str, Run] = {OURS[mode]: OurPicture(plan, modules, images, mode) for mode in plan.modes}
    for name in plan.peers:
        if name in ("diffusers", "diffusers-compiled"):
            others = {kind: twin(module) for kind, module in modules.items()}
            if "compiled" in name:
                for kind in ("stage_b", "stage_c"):
                    block_by_block(others[kind])
            runs[name] = TheirPicture(others, plan.size, images, plan.steps, plan.device)
    report.say(
        "picture",
        presets=plan.presets,
        images=images,
        size=plan.size,
        steps=plan.steps,
        dtype=name_of(plan.dtypes[0]),
        seconds=medians(runs, plan.device, rounds=5, seconds=plan.seconds),
        bytes={name: peak(run, plan.device) for name, run in runs.items() if name in UNCOMPILED},
    )


class OurPicture:
    """Pictures by the samplers, with the official settings, of random conditions."""

    def __init__(
        self, plan: Plan, modules: dict[str, Any], images: int, mode: str, placement: Placement | None = None
    ) -> None:
        self.plan, self.images = plan, images
        self.handles = {kind: handle_of(kind, module, mode, placement) for kind, module in modules.items()}
        config = PRESETS["stage_c"][plan.presets["stage_c"]]
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(1, *shape, generator=generator)

        self.positive, self.negative = (
            [Condition(draw(TOKENS, config.c_clip_text), draw(config.c_clip_text_pooled))] for _ in range(2)
        )

    def __call__(self) -> Tensor:
        side, (c_steps, b_steps) = self.plan.size, self.plan.steps
        sides = self.positive, self.negative
        empty = Latent(torch.zeros(self.images, 16, *stage_c_size(side, side)))
        settings = replace(STAGE_C_DEFAULTS, steps=c_steps)
        stage_c = last(sample_stage_c(self.handles["stage_c"], *sides, empty, seed=1, settings=settings))
        empty = Latent(torch.zeros(self.images, 4, *stage_b_size(side, side)))
        settings = replace(STAGE_B_DEFAULTS, steps=b_steps)
        latent = last(
            sample_stage_b(self.handles["stage_b"], *sides, Latent(stage_c), empty, seed=1, settings=settings)
        )
        return decode_pixels(self.handles["stage_a"], latent)


def handle_of(kind: str, module: Any, mode: str = "off", placement: Placement | None = None) -> Handle:
    """A random network as a loader would give it; where it lies, unless a placement brings it elsewhere."""
    dtype, place = next(module.parameters()).dtype, placement or StayPut()
    return Handle(module, kind, "random", "random", module.config, "epsilon", None, dtype, place, compile=mode)
