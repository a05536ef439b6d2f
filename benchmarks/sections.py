"""What is measured beside the pairs of networks: the device itself, the built-in world, large pictures, a training."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..cascade_core.builtin import built_in
from ..cascade_core.files.load import load
from ..cascade_core.kinds import KINDS
from ..cascade_core.memory import OneAtATime
from ..cascade_core.models.adapters import adapted
from ..cascade_core.models.config import PRESETS
from ..cascade_core.models.handle import Handle
from ..cascade_core.pipeline import Cascade, decode_pixels, encode_text, text_to_image
from ..cascade_core.sampling.latent import Latent
from ..cascade_core.sampling.samplers import SAMPLERS
from ..cascade_core.sampling.settings import STAGE_C_DEFAULTS
from ..cascade_core.sampling.sizes import CELL, stage_b_size
from ..cascade_core.sampling.stages import sample_stage_c
from ..cascade_core.training.branches import Branches
from ..cascade_core.training.lora_settings import LoraSettings
from ..cascade_core.training.optimizers import make_optimizers
from .bench import about, rate
from .clock import medians, peak, spent
from .networks import in_type, inputs, network, ours
from .pair import OurPicture, Plan, handle_of
from .report import Report
from .training_memory import step

Presets = Mapping[str, str]
LARGE_SIZE = 4  # times the sides of the size that is asked for
PROMPTS = (
    "a large red circle at the top left on a white background",
    "three green squares on a gray background",
    "a face with brown skin, long black hair, glasses and a smile on a sky background",
)


def device(report: Report, device: torch.device, presets: Presets, size: int) -> None:
    """Names and versions, and what the device can do at most: bytes copied and products of matrices a second."""
    report.say("device", **about(device))
    floats = 1 << (29 if device.type == "cuda" else 22)
    source = torch.randn(floats, device=device)
    target = torch.empty_like(source)
    taken = medians({"copy": lambda: target.copy_(source)}, device)["copy"]
    teraflops = {str(dtype): rate(device, dtype) / 1e12 for dtype in (torch.bfloat16, torch.float16, torch.float32)}
    report.say("ceilings", gigabytes_a_second=2 * source.nbytes / taken / 1e9, teraflops=teraflops)


def world(report: Report, device: torch.device, presets: Presets, size: int) -> None:
    """The built-in world's pictures on the device beside the CPU's, in each mode; and steps that wait for nothing."""
    expected = _pictures(_cascade(_built_in(torch.device("cpu"))))
    for mode in ("off", "graphs", "blocks"):
        with report.attempt(f"world {mode}"):
            placement = OneAtATime(device, small=0)  # each stage leaves before the next: the weights move about
            models = {kind: _compiled(one, mode) for kind, one in _built_in(device, placement).items()}
            found = _pictures(_cascade(models))
            off = (found - expected).abs() * 255
            report.say("world", mode=mode, largest=float(off.max()), mean=float(off.mean()))
    with report.attempt("waiting"):
        _waiting(report, device)


def _built_in(device: torch.device, placement: OneAtATime | None = None) -> dict[str, Handle]:
    kinds = ("text_encoder", "stage_c", "stage_b", "stage_a")
    paths = {kind: next(iter(built_in(kind).values())) for kind in kinds}
    return {kind: load(kind, path, dtype="float32", device=device, placement=placement) for kind, path in paths.items()}


def _cascade(models: Mapping[str, Handle]) -> Cascade:
    return Cascade(models["text_encoder"], models["stage_c"], models["stage_b"], models["stage_a"])


def _compiled(handle: Handle, mode: str) -> Handle:
    return replace(handle, compile=mode) if handle.kind in ("stage_b", "stage_c") else handle


def _pictures(cascade: Cascade) -> Tensor:
    return torch.cat([text_to_image(cascade, prompt, width=256, height=256, batch=2, seed=7) for prompt in PROMPTS])


def _waiting(report: Report, device: torch.device) -> None:
    """How often Python waits for the device within the steps of each sampler, but for the first step."""
    models = _built_in(device)
    positive, negative = ([encode_text(models["text_encoder"], text)] for text in (PROMPTS[0], ""))
    counts: dict[str, int | str] = {}
    for sampler in SAMPLERS:
        settings = replace(STAGE_C_DEFAULTS, steps=5, sampler=sampler)
        try:
            empty = Latent(torch.zeros(1, 16, 6, 6))
            run = sample_stage_c(models["stage_c"], positive, negative, empty, seed=0, settings=settings)
            next(run)
            counts[sampler] = _waits(lambda run=run: [None for _ in run], device)
        except Exception as error:
            counts[sampler] = f"{type(error).__name__}: {str(error)[:80]}"
    report.say("waiting", times=counts)


def _waits(run: Callable[[], Any], device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            run()
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in said)


@torch.inference_mode()
def large(report: Report, device: torch.device, presets: Presets, size: int) -> None:
    """A picture of four times the sides: one evaluation of Stage B, and Stage A's decoder."""
    side = LARGE_SIZE * size
    with report.attempt("large stage_a"):
        for dtype in (torch.float32, torch.bfloat16):
            handle = handle_of("stage_a", in_type(network("stage_a", presets["stage_a"], device), dtype))
            latent = torch.randn(1, 4, *stage_b_size(side, side))
            decode_pixels(handle, latent[..., :64, :64])
            memory = peak(lambda handle=handle, latent=latent: decode_pixels(handle, latent), device)
            taken = spent(lambda handle=handle, latent=latent: decode_pixels(handle, latent), device)
            report.say("large stage_a", size=side, dtype=str(dtype), bytes=memory, seconds=taken)
    with report.attempt("large stage_b"):
        module = in_type(network("stage_b", presets["stage_b"], device), torch.bfloat16)
        given = inputs("stage_b", presets["stage_b"], side, 2, device).to(torch.bfloat16)
        run = ours(module, given)
        memory = peak(run, device)
        report.say("large stage_b", size=side, bytes=memory, seconds=medians({"run": run}, device, rounds=3)["run"])


def training(report: Report, device: torch.device, presets: Presets, size: int) -> None:
    """A step of a LoRA of rank 16 over Stage C, whose activations are computed again: seconds, and bytes in all."""
    base = in_type(network("stage_c", presets["stage_c"], device), torch.bfloat16)
    torch.cuda.empty_cache()
    branches = Branches(base, LoraSettings(rank=16), 1).to(device)
    module: Any = adapted(base, branches.by_weight())
    module.checkpointing = True
    (optimizer,) = make_optimizers(branches, "adamw", 1e-4, 0.01, (0.9, 0.99))
    for pixels in (3 * size // 4, size):
        for batch in (1, 4):
            with report.attempt("training"), torch.device(device):

                def run(batch: int = batch, cells: int = pixels // CELL) -> None:
                    step(module, branches, optimizer, batch, cells)

                run()
                whole = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
                memory = peak(run, device)
                seconds = medians({"step": run}, device, rounds=5)["step"]
                report.say(
                    "training",
                    preset=presets["stage_c"],
                    size=pixels,
                    batch=batch,
                    seconds=seconds,
                    bytes=None if memory is None else memory + whole,
                )


def moving(report: Report, device: torch.device, presets: Presets, size: int) -> None:
    """Seconds until a model lies on the device and until it is gone, and a picture of one model at a time."""
    module = in_type(network("stage_c", presets["stage_c"], device), torch.bfloat16).to("cpu")
    other = torch.nn.Linear(1, 1)
    weights = sum(tensor.nbytes for tensor in module.parameters())
    placement = OneAtATime(device, small=0)
    for turn in range(2):
        started = time.monotonic()
        placement.acquire(module)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        there = time.monotonic()
        placement.acquire(other)
        gone = time.monotonic()
        report.say("moving", turn=turn, bytes=weights, seconds=there - started, away=gone - there)
    modules = {"stage_c": module}
    for kind in ("stage_b", "stage_a"):
        modules[kind] = in_type(network(kind, presets[kind], device), torch.bfloat16).to("cpu")
    plan = Plan(dict(presets), device, size, [torch.bfloat16], [])
    picture = OurPicture(plan, modules, 1, "off", OneAtATime(device))
    with report.attempt("one at a time"):
        placement.acquire(other)
        memory = peak(picture, device)
        report.say("one at a time", size=size, bytes=memory, seconds=spent(picture, device))


def text(report: Report, device: torch.device, presets: Presets, size: int) -> None:
    """A prompt through a text encoder of the published size."""
    from ..cascade_core.models.tokenizer import WordTokenizer

    preset = "tiny" if presets["stage_c"] == "tiny" else "published"
    config = PRESETS["text_encoder"][preset]
    for dtype in (torch.float32, torch.bfloat16):
        with torch.device(device), torch.inference_mode(), report.attempt("text"):
            words = tuple(f"word{number}" for number in range(config.vocab_size - 2))
            tokenizer = WordTokenizer(words, config.max_positions)
            module: Any = KINDS["text_encoder"].network_class()(config, tokenizer).eval().to(dtype)
            run = medians({"text": lambda module=module: module.encode(["word1 word2"])}, device)["text"]
            report.say("text", dtype=str(dtype), seconds=run)


SECTIONS: dict[str, Callable[[Report, torch.device, Presets, int], None]] = {
    "device": device,
    "world": world,
    "text": text,
    "large": large,
    "training": training,
    "moving": moving,
}
