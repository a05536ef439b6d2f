"""Native nodes of text and conditioning and ours in one graph of a real ComfyUI, on random weights.

Run: COMFYUI_PATH=... COMFYUI_PYTHON=... pytest -m host tests/host/test_native_mix.py
"""

from __future__ import annotations

import json
import math
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from stable_cascade_nodes.benchmarks.peers import deviation
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.models.clip_config import PUBLISHED_TEXT
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.models.text import TextEncoder
from stable_cascade_nodes.cascade_core.models.tokenizer import PublishedTokenizer
from stable_cascade_nodes.cascade_core.sampling.condition import Condition
from stable_cascade_nodes.cascade_core.sampling.latent import Latent
from stable_cascade_nodes.cascade_core.sampling.settings import SamplerSettings
from stable_cascade_nodes.cascade_core.sampling.stages import sample_stage_c

from . import random_models as files
from .in_process import Failed, InProcess, Link, Prompt
from .lanes import Lane
from .mixed_graphs import EQUAL, RED, SIZE, native_text, sampled_b, sampled_c, samples, start

TEXTS = {
    "plain": RED,
    "empty": "",
    "weights": r"a (red:1.4) [..] ((shiny)) star, \(1990\), (blue:0.5) (pale (sky:1.2):0.8)",
    "long": "a painting of an old lighthouse by the sea, " * 10,
    "long with weights": "a painting of an old lighthouse, " * 10 + "(very tall grey stone:1.3) " + "waves, " * 20,
    "unicode": "Café — naïve 中文, “quotes” & émigré's 100%! 🌟🚀 #tag_x\n\tnew line ...",
}
BLUE = "a blue circle, oil painting"


class Encoded(NamedTuple):
    sequence: Tensor  # (1, T, 1280)
    pooled: Tensor  # (1, 1280)

    @classmethod
    def of(cls, conditioning: list[Any]) -> Encoded:
        """The only entry of a CONDITIONING."""
        ((sequence, options),) = conditioning
        return cls(sequence, options["pooled_output"])


@pytest.fixture(scope="module")
def comfy(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with start(lane, tmp_path_factory.mktemp("native")) as comfy:
        yield comfy


@pytest.fixture(scope="module")
def stage_c(comfy: InProcess) -> Handle:
    """The narrow Stage C, in this process."""
    return load("stage_c", comfy.folder / "models" / "diffusion_models" / files.STAGE_C)


@pytest.fixture(scope="module")
def prompts(comfy: InProcess) -> dict[str, Encoded]:
    """RED and BLUE as native nodes encode them."""
    prompt = Prompt()
    return {text: Encoded.of(*comfy.ask(prompt, native_text(prompt, text))) for text in (RED, BLUE)}


def our_text(prompt: Prompt, text: str) -> Link:
    encoder = prompt.add("CascadeTextEncoderLoader", model_name=files.TEXT_ENCODER)
    return prompt.add("CascadeTextEncode", text_encoder=encoder, text=text)


def in_range(prompt: Prompt, conditioning: Link, start: float, end: float) -> Link:
    return prompt.add("ConditioningSetTimestepRange", conditioning=conditioning, start=start, end=end)


def combined(prompt: Prompt, first: Link, second: Link) -> Link:
    return prompt.add("ConditioningCombine", conditioning_1=first, conditioning_2=second)


# Text.


@pytest.mark.parametrize("name", TEXTS)
def test_native_text_encoder_equals_ours(comfy: InProcess, name: str) -> None:
    prompt = Prompt()
    native, ours = map(Encoded.of, comfy.ask(prompt, native_text(prompt, TEXTS[name]), our_text(prompt, TEXTS[name])))
    found = deviation(ours.sequence, native.sequence), deviation(ours.pooled, native.pooled)
    print(
        f"{name}: sequence {found[0]:.1e}, pooled {found[1]:.1e} of the largest magnitude; {native.sequence.shape[1]}"
    )
    assert max(found) < EQUAL
    assert native.sequence.shape[1] == (154 if name.startswith("long") else 77)
    assert 0.5 < native.sequence.std() < 2 and native.sequence.std(dim=1).min() > 0.1  # neither blown up nor flat


def test_native_tokens_equal_ours(lane: Lane) -> None:
    """Pieces, weights and chunks of prompts whose brackets have partners."""
    words = (
        "red", "star", "tall lighthouse", "Café", "naïve", "中文", "🌟", "it's", "100%", "[x]", "{y}", "...", "#tag",
        "1.3", "I'LL", "ﬁ", "Ω", "İ", "ß", "٣", r"\(", r"\)", "\\ ", "\n", "  ", ":", "\u200b", "<b>", "&amp;",
        "(:1.2)",
    )  # fmt: skip
    endings = ("", "", ":1.3", ":0.5", ": 1.2 ", ":-1", ":.7", ":2.", ":x", ":", ":1.1:1.3")
    rng = random.Random(0)

    def draw(depth: int = 0) -> str:
        parts = [
            f"({draw(depth + 1)}{rng.choice(endings)})" if depth < 3 and rng.random() < 0.15 else rng.choice(words)
            for _ in range(rng.choice((1, 2, 3, 6, 9, 30)))
        ]
        return rng.choice((" ", "", ", ")).join(parts)

    texts = [
        *TEXTS.values(),
        "()",
        "((((a))))",
        "<|endoftext|> a",
        "red " * 75,
        "red " * 76,
        *(draw() for _ in range(400)),
    ]
    program = Path(__file__).parent / "native" / "native_tokens.py"
    command = [lane.python, str(program), str(lane.path), "--cpu"]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    native: list[list[list[list[float]]]] = json.loads(done.stdout)

    tokenizer = PublishedTokenizer(lane.path / "comfy" / "sd1_tokenizer")
    small = replace(PUBLISHED_TEXT, hidden_size=8, intermediate_size=8, layers=1, heads=1)
    encoder = TextEncoder(small, tokenizer)
    for text, theirs in zip(texts, native, strict=True):
        chunks = encoder._split(text, truncate=False)
        ids, _ = encoder._pad(chunks)
        assert ids.tolist() == [[token for token, _ in chunk] for chunk in theirs], text
        weights = [[1.0, *(weight for _, weight in chunk)] for chunk in chunks]
        for mine, chunk in zip(weights, theirs, strict=True):
            padded = mine + [1.0] * (len(chunk) - len(mine))
            assert padded == pytest.approx([weight for _, weight in chunk]), text
    assert sum(len(chunks) > 1 for chunks in native) > 100


# Conditioning.


def test_native_conditioning_leads_our_samplers_as_ours_does(comfy: InProcess) -> None:
    prompt = Prompt()
    full = {"steps": 4, "cfg": 4.0, "sampler": "ddpm"}
    pictures: list[Link] = []
    for encode in (native_text, our_text):
        positive, negative = encode(prompt, RED), encode(prompt, BLUE)
        c = sampled_c(prompt, positive, negative, **full)
        pictures += [c, sampled_b(prompt, c, positive, negative)]
    c = sampled_c(prompt, negative, positive, **full)
    native_c, native_b, our_c, our_b, other_c = samples(comfy, prompt, *pictures, c)
    print(f"Stage C {deviation(native_c, our_c):.1e}, Stage B {deviation(native_b, our_b):.1e}")
    assert deviation(native_c, our_c) < EQUAL and deviation(native_b, our_b) < EQUAL
    assert deviation(other_c, our_c) > 0.1


def test_combined_conditions_are_averaged_by_strength(comfy: InProcess) -> None:
    """One step without guidance is linear in the prediction: the mean shows in the latent."""
    prompt = Prompt()
    red, blue = native_text(prompt, RED), native_text(prompt, BLUE)
    long = native_text(prompt, TEXTS["long"])  # two chunks: a pass of its own
    heavy = prompt.add("ConditioningSetAreaStrength", conditioning=blue, strength=3.0)
    conditions = [red, blue, long, combined(prompt, red, red), combined(prompt, red, blue)]
    conditions += [combined(prompt, red, heavy), combined(prompt, red, long)]
    of_c = samples(comfy, prompt, *(sampled_c(prompt, condition) for condition in conditions))
    c = sampled_c(prompt, red)
    of_b = samples(comfy, prompt, *(sampled_b(prompt, c, x, steps=1, cfg=1.0) for x in conditions))
    for stage, (r, b, long_r, same, mean, weighted, unequal) in (("C", of_c), ("B", of_b)):
        apart = deviation(b, r)
        found = [
            deviation(same, r),
            deviation(mean, (r + b) / 2),
            deviation(weighted, (r + 3 * b) / 4),
            deviation(unequal, (r + long_r) / 2),
        ]
        print(f"Stage {stage}: {', '.join(f'{x:.1e}' for x in found)}; the prompts are {apart:.1e} apart")
        assert max(found) < 1e-5 and apart > 1e-3


def test_average_concat_and_zero_out(comfy: InProcess, prompts: dict[str, Encoded], stage_c: Handle) -> None:
    prompt = Prompt()
    red, blue = native_text(prompt, RED), native_text(prompt, BLUE)
    links = [
        prompt.add("ConditioningAverage", conditioning_to=red, conditioning_from=blue, conditioning_to_strength=0.25),
        prompt.add("ConditioningConcat", conditioning_to=red, conditioning_from=blue),
        prompt.add("ConditioningZeroOut", conditioning=red),
    ]
    r, b = prompts[RED], prompts[BLUE]
    expected = {
        "average": Encoded(0.25 * r.sequence + 0.75 * b.sequence, 0.25 * r.pooled + 0.75 * b.pooled),
        "concat": Encoded(torch.cat([r.sequence, b.sequence], dim=1), r.pooled),
        "zero out": Encoded(torch.zeros_like(r.sequence), torch.zeros_like(r.pooled)),
    }
    found = samples(comfy, prompt, *(sampled_c(prompt, link, red, steps=3, cfg=4.0) for link in links))
    for (name, encoded), latent in zip(expected.items(), found, strict=True):
        settings = SamplerSettings(steps=3, cfg=4.0, shift=2.0, sampler="ddim")
        empty = Latent(torch.zeros(1, 16, *latent.shape[-2:]))
        *_, step = sample_stage_c(stage_c, [Condition(*encoded)], [Condition(*r)], empty, seed=5, settings=settings)
        print(f"{name}: {deviation(latent, step.x0):.1e}")
        assert deviation(latent, step.x0) < EQUAL


def test_timestep_ranges_choose_who_speaks_when(comfy: InProcess, prompts: dict[str, Encoded], stage_c: Handle) -> None:
    prompt = Prompt()
    red, blue = native_text(prompt, RED), native_text(prompt, BLUE)

    def both(first: Link, second: Link) -> Link:
        return combined(prompt, in_range(prompt, first, 0.0, 0.5), in_range(prompt, second, 0.5, 1.0))

    links = [red, both(red, red), in_range(prompt, red, 0.0, 1.0), both(red, blue)]
    # Five steps lie at 0, 20, 40, 60 and 80 percent.
    plain, parted, whole, mixed = samples(comfy, prompt, *(sampled_c(prompt, link, steps=5) for link in links))
    assert torch.equal(parted, plain) and torch.equal(whole, plain)

    noise = torch.randn(mixed.shape[1:], generator=torch.Generator().manual_seed(5))[None]
    expected = ddim_by_hand(stage_c, lambda percent: prompts[RED if percent < 0.5 else BLUE], noise, steps=5)
    red_alone = ddim_by_hand(stage_c, lambda percent: prompts[RED], noise, steps=5)
    print(f"by hand: red alone {deviation(plain, red_alone):.1e}, red then blue {deviation(mixed, expected):.1e}")
    assert deviation(plain, red_alone) < EQUAL and deviation(mixed, expected) < EQUAL
    assert deviation(mixed, plain) > 1e-3

    # Where a step lies on both ranges, both speak.
    links = [both(red, blue), combined(prompt, red, blue)]
    ranged, pair = samples(comfy, prompt, *(sampled_c(prompt, link, steps=2) for link in links))
    averaged = ddim_by_hand(stage_c, lambda percent: prompts[RED], noise, steps=2, second=prompts[BLUE])
    assert deviation(ranged, averaged) < EQUAL and deviation(ranged, pair) > 1e-3

    with pytest.raises(Failed, match=r"expected a condition for every step.*0 to 0\.5 at strength 1") as failed:
        samples(comfy, prompt, sampled_c(prompt, in_range(prompt, red, 0.0, 0.5), red, steps=5))
    assert failed.value.node == "CascadeStageCSampler"


@torch.inference_mode()
def ddim_by_hand(
    stage_c: Handle, at: Callable[[float], Encoded], x: Tensor, steps: int, second: Encoded | None = None
) -> Tensor:
    """The last x0 of a run from noise, without guidance; at a step at the middle `second` has an equal say."""
    network: Any = stage_c.module
    s, shift = 0.008, 2.0

    def cos2(r: float) -> float:
        return math.cos((s + r) / (1 + s) * math.pi / 2) ** 2

    def log_snr(r: float) -> float:
        low, high = (math.log(v / (1 - v)) for v in (1e-4, 0.9999))
        var = min(max(cos2(r) / cos2(0), 1e-4), 0.9999)
        return min(max(math.log(var / (1 - var)) - 2 * math.log(shift), low), high)

    def coefficients(r: float) -> tuple[float, float]:
        signal = 1 / (1 + math.exp(-log_snr(r)))
        return math.sqrt(signal), math.sqrt(1 - signal)

    x0 = x
    for step in range(steps):
        percent, following = step / steps, (step + 1) / steps
        (a, b), (a_next, b_next) = coefficients(1 - percent), coefficients(1 - following)
        told = math.acos(math.sqrt(a * a * cos2(0))) / (math.pi / 2) * (1 + s) - s
        eps = network(x, torch.tensor([told]), *at(percent))
        if second is not None and percent == 0.5:
            eps = (eps + network(x, torch.tensor([told]), *second)) / 2
        x0 = (x - b * eps) / a
        x = a_next * x0 + b_next * eps
    return x0


REFUSALS = {
    "area": ("an area", {"width": 64, "height": 64, "x": 0, "y": 0, "strength": 1.0}, "ConditioningSetArea"),
    "mask": ("a mask", {"strength": 1.0, "set_cond_area": "default"}, "ConditioningSetMask"),
    "control": ("a native ControlNet", {"strength": 1.0}, "ControlNetApply"),
}


@pytest.mark.parametrize("key", REFUSALS)
@pytest.mark.parametrize("stage", ["C", "B"])
def test_what_cannot_be_honoured_is_refused_by_name(comfy: InProcess, key: str, stage: str) -> None:
    words, inputs, class_type = REFUSALS[key]
    prompt = Prompt()
    red = native_text(prompt, RED)
    if key == "mask":
        inputs = inputs | {"mask": prompt.add("SolidMask", value=1.0, width=64, height=64)}
    if key == "control":
        net = prompt.add("ControlNetLoader", control_net_name=files.CONTROL)
        image = prompt.add("EmptyImage", width=64, height=64, batch_size=1, color=0)
        inputs = inputs | {"control_net": net, "image": image}
    refused = prompt.add(class_type, conditioning=red, **inputs)
    empty = prompt.add("CascadeEmptyLatents", **SIZE, batch_size=1)
    sampler = sampled_c(prompt, refused, red) if stage == "C" else sampled_b(prompt, empty, red, refused)
    with pytest.raises(Failed) as failed:
        comfy.ask(prompt, sampler)
    assert failed.value.node == f"CascadeStage{stage}Sampler"
    name = "positive" if stage == "C" else "negative"
    assert f"`{name}` carries {words}" in failed.value.message and f"`{key}`" in failed.value.message
    assert "take that node out" in failed.value.message
