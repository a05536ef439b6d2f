"""The samplers on the real modules of the tiny presets, with random weights, and the memory that they ask for."""

from copy import deepcopy

import pytest
import torch

from stable_cascade_nodes.cascade_core import memory
from stable_cascade_nodes.cascade_core.memory import StayPut
from stable_cascade_nodes.cascade_core.models import chunks
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC
from stable_cascade_nodes.cascade_core.sampling.condition import Condition
from stable_cascade_nodes.cascade_core.sampling.process import CosineSchedule

from .peak import PeakBytes
from .runs import run_b, run_c

CLASSES = {"stage_c": StageC, "stage_b": StageB}


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    made = {kind: network(PRESETS[kind]["tiny"]).eval() for kind, network in CLASSES.items()}
    for network in made.values():
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    return made


@pytest.fixture
def prompt():
    config = PRESETS["stage_c"]["tiny"]

    def make(seed, tokens=7, images=0):
        g = torch.Generator().manual_seed(seed)
        return Condition(
            torch.randn(1, tokens, config.c_clip_text, generator=g),
            torch.randn(1, config.c_clip_text_pooled, generator=g),
            torch.randn(1, images, config.c_clip_img, generator=g) if images else None,
        )

    return make


def test_stage_c_batches_and_separate_passes_agree(networks, handle, prompt):
    model = handle("stage_c", networks["stage_c"], config=networks["stage_c"].config, target="v", x0_clamp=3.0)
    inputs = ([prompt(0, images=2), prompt(1, tokens=12), prompt(2)], [prompt(3)])  # 19, 20, 15 and 19 tokens
    both = list(run_c(model, *inputs, torch.zeros(2, 16, 6, 5), seed=3, steps=3))
    alone = list(run_c(model, *inputs, torch.zeros(1, 16, 6, 5), seed=4, steps=3))
    for together, single in zip(both, alone, strict=True):
        torch.testing.assert_close(together.x0[1:], single.x0, atol=1e-4, rtol=1e-4)
    assert both[-1].x0.std() > 0.1


def test_stage_c_is_what_its_forward_says(networks, handle, prompt):
    network = networks["stage_c"]
    model = handle("stage_c", network, config=network.config, target="v")
    positive = prompt(0)
    step = next(run_c(model, [positive], [], torch.zeros(1, 16, 4, 4), seed=3, steps=5, cfg=1.0))
    x = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(3))
    schedule = CosineSchedule()
    heard = schedule.noise_condition(schedule.log_snr(torch.ones(1), 2.0))
    with torch.no_grad():
        v = network(x, heard, positive.sequence, positive.pooled)
    torch.testing.assert_close(step.x0, 0.01 * x - (1 - 1e-4) ** 0.5 * v, atol=1e-4, rtol=1e-4)


def test_stage_b_takes_odd_sides_and_a_map_of_another_aspect(networks, handle, prompt):
    network = networks["stage_b"]
    model = handle("stage_b", network, config=network.config, target="v", x0_clamp=3.0)
    stage_c = torch.randn(2, 16, 3, 6, generator=torch.Generator().manual_seed(1))
    inputs = ([prompt(0)], [prompt(1)])
    both = list(run_b(model, *inputs, stage_c, torch.zeros(2, 4, 21, 26), seed=3, steps=2))
    alone = list(run_b(model, *inputs, stage_c[1:], torch.zeros(1, 4, 21, 26), seed=4, steps=2))
    assert both[-1].x0.shape == (2, 4, 21, 26)
    torch.testing.assert_close(both[-1].x0[1:], alone[-1].x0, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(4, 4), (4, 21), (17, 15)])  # 16 pixels are the smallest side
def test_stage_b_takes_pictures_smaller_than_its_deepest_cell(networks, handle, prompt, size):
    model = handle("stage_b", networks["stage_b"], config=networks["stage_b"].config, target="v", x0_clamp=3.0)
    maps = torch.ones(1, 16, 1, 1)
    *_, step = run_b(model, [prompt(0)], [prompt(1)], maps, torch.zeros(1, 4, *size), seed=3, steps=2)
    assert step.x0.shape == (1, 4, *size) and step.x0.std() > 0.1


class Asked(StayPut):
    def acquire(self, module, activation_bytes=0):
        self.bytes = activation_bytes
        return super().acquire(module, activation_bytes)


@pytest.mark.parametrize("kind", ["stage_c", "stage_b"])
def test_where_memory_is_short_the_picture_is_the_same(networks, handle, prompt, kind, monkeypatch):
    """A stage that is to be compiled is not, in chunks: what would compile it is not even asked."""
    monkeypatch.setattr(chunks, "TOKENS", 40)
    network = networks[kind]
    found = []
    for total, compiled in ((2**40, "off"), (1, "off"), (1, "graphs")):
        monkeypatch.setattr(memory, "total_bytes", lambda device, total=total: total)
        asked = Asked()
        model = handle(
            kind, network, config=network.config, target="v", x0_clamp=3.0, placement=asked, compile=compiled
        )
        if kind == "stage_c":
            *_, step = run_c(model, [prompt(0)], [prompt(1)], torch.zeros(2, 16, 12, 9), seed=0, steps=2)
        else:
            maps = torch.ones(2, 16, 3, 3)
            *_, step = run_b(model, [prompt(0)], [prompt(1)], maps, torch.zeros(2, 4, 64, 48), seed=0, steps=2)
        found.append((step.x0, asked.bytes))
    (plain, most), (chunked, least), (again, _) = found
    torch.testing.assert_close(chunked, plain, atol=1e-5, rtol=1e-5)
    assert not torch.equal(chunked, plain) and torch.equal(again, chunked)
    assert least < most


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("kind", "reuse"), [("stage_c", 0), ("stage_b", 0), ("stage_b", 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_memory_asked_for_is_enough_and_not_twice_too_much(
    networks, handle, prompt, kind, reuse, dtype, chunked, monkeypatch
):
    monkeypatch.setattr(memory, "total_bytes", lambda device: 1 if chunked else 2**40)
    monkeypatch.setattr(chunks, "TOKENS", 24)
    monkeypatch.setattr(
        torch.backends.mkldnn, "is_available", lambda: False
    )  # whose own layout has no storage to count
    network = deepcopy(networks[kind]).to(dtype)
    network.scale = 2.0**-12 if dtype == torch.float16 else None  # as for a loud stream
    asked = Asked()
    model = handle(kind, network, config=network.config, dtype=dtype, placement=asked)
    stage_c, stage_b = torch.zeros(2, 16, 24, 24), torch.zeros(2, 4, 64, 96)
    positive, negative = [prompt(0)], [prompt(1)]
    measured = PeakBytes([*network.parameters(), stage_c, stage_b])
    with measured:
        if kind == "stage_c":
            list(run_c(model, positive, negative, stage_c, seed=0, steps=2))
        else:
            list(run_b(model, positive, negative, stage_c, stage_b, seed=0, steps=2, reuse_from=reuse))
    assert asked.bytes / (3 if chunked else 2) < measured.peak < asked.bytes
