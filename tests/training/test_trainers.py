"""What trainers have, each against its formula: averages, loss weights, masks, validation, early stops, reports.

Run: pytest tests/training
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.sampling.process import TARGETS, Process
from stable_cascade_nodes.cascade_core.training import loop
from stable_cascade_nodes.cascade_core.training import settings as training_settings
from stable_cascade_nodes.cascade_core.training.best import Best
from stable_cascade_nodes.cascade_core.training.data.latent_set import read_latents
from stable_cascade_nodes.cascade_core.training.denoising import Noised, denoising_loss, noised_at
from stable_cascade_nodes.cascade_core.training.loop import Averaged
from stable_cascade_nodes.cascade_core.training.loss_weight import AdaptiveWeight, loss_weight
from stable_cascade_nodes.cascade_core.training.models import StageCModels
from stable_cascade_nodes.cascade_core.training.plan import Plan
from stable_cascade_nodes.cascade_core.training.run import TrainingRun
from stable_cascade_nodes.cascade_core.training.stage_settings import StageCSettings
from stable_cascade_nodes.cascade_core.training.start import start_training
from stable_cascade_nodes.cascade_core.training.state import load_state, save_state
from stable_cascade_nodes.cascade_core.training.validation import has_ended, validate

from .latents import TINY, write_latents


def test_the_average_is_the_official_one() -> None:
    """Every ema_every steps; the weights themselves until ema_start."""
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    averaged = Averaged(module, Plan(40, 1e-3, ema=0.9, ema_every=4, ema_start=12, ema_on_cpu=True))
    expected = module.weight.detach().double().clone()
    for step in range(40):
        module.weight.data.add_(torch.randn(2, 3))
        averaged.update(step)
        number = step + 1
        if number % 4 == 0:
            beta = 0.9 if number > 12 else 0.0
            expected = expected * beta + module.weight.detach().double() * (1 - beta)
        assert torch.allclose(averaged.kept["weight"].double(), expected, atol=1e-6)
    own = module.weight.detach().clone()
    with averaged.shown():
        assert torch.allclose(module.weight.double(), expected, atol=1e-6)
    assert torch.equal(module.weight, own)


def test_the_adaptive_weight_is_the_official_one() -> None:
    """Buckets between 299 ends from -10 to 10, one over a moving mean of the errors (gdf/loss_weights.py)."""
    weight, usual, random = AdaptiveWeight(), [1.0] * 300, np.random.default_rng(0)
    ends = [-10 + 20 * i / 298 for i in range(299)]
    for _ in range(50):
        log_snr, errors = random.uniform(-12, 12, 8), random.uniform(0, 2, 8)
        buckets = [sum(end < value for end in ends) for value in log_snr]
        found = weight.of(torch.tensor(log_snr))
        assert found.tolist() == pytest.approx([1 / usual[bucket] for bucket in buckets], rel=1e-4)
        weight.learn(torch.tensor(log_snr), torch.tensor(errors))
        before = list(usual)
        for bucket, error in zip(buckets, errors, strict=True):
            usual[bucket] = before[bucket] * 0.99 + error * 0.01


@pytest.mark.parametrize("target", ["epsilon", "v"])
def test_other_weights_by_their_formulas(target: str) -> None:
    log_snr = torch.tensor([-9.0, -1.0, 0.0, 1.6, 4.0, 9.0])
    snr = log_snr.exp()
    assert torch.allclose(loss_weight("p2", target).of(log_snr), 1 / (1 + snr))
    whole = snr if target == "epsilon" else snr + 1
    assert torch.allclose(loss_weight("min_snr", target).of(log_snr), snr.clamp(max=5) / whole)
    auto = 1 / (1 + snr) if target == "epsilon" else torch.ones(6)
    assert torch.allclose(loss_weight("auto", target).of(log_snr), auto)


def test_what_the_adaptive_weight_learned_is_in_the_state(tmp_path: Path) -> None:
    module, weight = nn.Linear(2, 2), AdaptiveWeight()
    weight.learn(torch.linspace(-9, 9, 40), torch.rand(40))
    save_state(tmp_path / "s", 1, module, {}, [], "", weight.learned)
    other = AdaptiveWeight()
    assert load_state(tmp_path / "s", module, {}, [], other.learned) == 1
    assert torch.equal(other.errors, weight.errors)


def noised() -> Noised:
    torch.manual_seed(0)
    clean = torch.randn(2, 16, 4, 4)
    return noised_at(torch.tensor([0.3, 0.8]), clean, torch.randn_like(clean), Process(TARGETS["v"]))


def test_nothing_is_learned_outside_of_a_mask() -> None:
    area = torch.zeros(2, 1, 4, 4)
    area[:, :, :2] = 1
    batch = noised()
    masked = Noised(batch.x, batch.condition, batch.target, batch.weight, batch.log_snr, area)
    guess = torch.zeros(2, 16, 4, 4, requires_grad=True)
    loss = denoising_loss(masked.part(slice(None), torch.device("cpu")), lambda x, r: guess)
    loss.backward()
    assert guess.grad is not None
    assert float(guess.grad[:, :, 2:].abs().max()) == 0.0 and float(guess.grad[:, :, :2].abs().min()) > 0.0
    assert float(loss.detach()) == pytest.approx(float((batch.target[:, :, :2] ** 2).mean() / 2), rel=1e-5)


@pytest.mark.parametrize(("limit", "expected"), [(0.5, 0.5), (math.inf, 8.0)])
def test_a_longer_gradient_is_shortened(
    limit: float, expected: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(4.0)
    lengths: list[float] = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            lengths.extend(float(p.grad.norm()) for p in module.parameters() if p.grad is not None)

    monkeypatch.setattr(loop, "make_optimizers", lambda *_, **__: [Watched(module.parameters(), lr=0.0)])
    plan = Plan(1, 1e-3, clip=limit, ema=None)
    list(loop.train(module, lambda random: {"square": module.weight.square().sum()}, plan, tmp_path / "s"))
    assert lengths == pytest.approx([expected], rel=1e-4)


def run_of(folder: Path, **settings: Any) -> TrainingRun:
    if not (folder / "l.safetensors").exists():
        folder.mkdir(exist_ok=True)
        write_latents(folder / "l.safetensors", 24)
    kinds = ("stage_c", "text_encoder", "previewer")
    models = StageCModels(**{kind: load(kind, built_in(kind)[TINY], name=TINY) for kind in kinds})
    given = StageCSettings(**{"size": 64, "steps": 3, "batch_size": 2, "held_out": 0.4, "validate_every": 1} | settings)
    latents = read_latents([folder / "l.safetensors"])
    return start_training("stage_c", models, latents, given, folder / "run", folder / "net.safetensors")


def lines_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "run" / "curve.jsonl").read_text().splitlines()]


def test_validation_is_of_what_is_held_out_at_the_same_noise(tmp_path: Path) -> None:
    run = run_of(tmp_path, learning_rate=1e-7)
    list(run.encode())
    source = run.task.source  # pyright: ignore[reportAttributeAccessIssue]
    sides = [{index for group in source.groups(side) for index in group} for side in (False, True)]
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 24 and len(sides[1]) > 3
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again = validate(run.task, 0), validate(run.task, 0)
    assert first == again != validate(run.task, 1)
    assert torch.equal(torch.get_rng_state(), before)
    list(run.train())
    found = [line["validation"] for line in lines_of(tmp_path)]
    assert found == pytest.approx([first] * 3, rel=1e-3)  # the rate is next to nothing


def test_a_training_ends_where_validation_gets_no_better(tmp_path: Path) -> None:
    lists = [3, 2, 1], [3, 2, 2, 2], [1, 2], [1, 2, 3], []
    assert [has_ended(dict(enumerate(values)), 2) for values in lists] == [
        False,
        True,
        False,
        True,
        False,
    ]
    settings = {"steps": 50, "learning_rate": 0.5, "patience": 2}  # a rate that spoils everything
    run = run_of(tmp_path, **settings)
    list(run.encode())
    list(run.train())
    ended = len(lines_of(tmp_path))
    assert ended < 20 and (tmp_path / "net.safetensors").is_file()
    written = (tmp_path / "net.safetensors").read_bytes()
    list(run_of(tmp_path, **settings).train())  # again: nothing is left to do
    assert len(lines_of(tmp_path)) == ended and (tmp_path / "net.safetensors").read_bytes() == written


@pytest.mark.parametrize("ends", ["by patience", "by its steps"])
def test_with_patience_the_file_has_the_best_weights(ends: str, tmp_path: Path) -> None:
    """Those of a training that was told to stop at that step, also after Ctrl-C and where it had been saved before."""
    steps = 50 if ends == "by patience" else 4
    settings = {"learning_rate": 0.5, "patience": 2 if ends == "by patience" else 9, "save_every": 4}
    whole = run_of(tmp_path / "a", steps=steps, **settings)
    list(whole.encode())
    list(whole.train())
    values = [line["validation"] for line in lines_of(tmp_path / "a")]
    best = values.index(min(values)) + 1
    assert best < len(values)
    only = run_of(tmp_path / "b", steps=best, learning_rate=0.5)
    list(only.encode())
    list(only.train())
    written = (tmp_path / "a" / "net.safetensors").read_bytes()
    assert written == (tmp_path / "b" / "net.safetensors").read_bytes()
    parted = run_of(tmp_path / "c", steps=steps, **settings)
    list(parted.encode())
    reports = parted.train()
    for _ in range(best + 1):
        next(reports)
    reports.close()
    list(run_of(tmp_path / "c", steps=steps, **settings).train())
    assert (tmp_path / "c" / "net.safetensors").read_bytes() == written
    why = f"stopped at step {len(values)} of 50: 2 validations no better than step {best}'s {min(values):.3g}, whose"
    expected = f"{why} weights the file has" if ends == "by patience" else f"the file has the weights of step {best}"
    assert len(whole.notes) == 1 and whole.notes[0].startswith(expected)


def test_patience_that_comes_too_late_is_told(tmp_path: Path) -> None:
    """The best weights were not kept then."""
    settings: dict[str, Any] = {"learning_rate": 0.5}
    first = run_of(tmp_path, steps=4, **settings)
    list(first.encode())
    list(first.train())
    written = (tmp_path / "net.safetensors").read_bytes()
    late = run_of(tmp_path, steps=50, patience=1, **settings)
    assert late.is_finished
    list(late.train())
    (told,) = late.notes
    assert told.startswith("stopped at step 4 of 50: 1 validation no") and told.endswith(
        "; the file has those of step 4"
    )
    assert (tmp_path / "net.safetensors").read_bytes() == written


def test_a_killed_run_still_has_the_best_of_the_steps_that_its_state_has(tmp_path: Path) -> None:
    """Its state is older than the last validations: what they kept does not count, the one before is still there."""
    values = {1: 3.0, 2: 2.0, 5: 1.0}
    best = Best(tmp_path, values)
    for step in values:
        best.keep(step, lambda path, step=step: path.write_text(str(step)) and None)
        best.tidy(saved=step // 4 * 4)
    assert sorted(path.stem for path in (tmp_path / "best").iterdir()) == ["000002", "000005"]
    resumed = Best(tmp_path, {1: 3.0, 2: 2.0})
    assert resumed.step == 2 and resumed.takes(1.9) and not resumed.takes(2.1)
    resumed.copy_to(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "2"


def test_the_file_of_every_few_steps_is_kept(tmp_path: Path) -> None:
    """Each is the file of a training of so many steps, averaged weights and all."""
    options: dict[str, Any] = {"held_out": 0.0, "learning_rate": 0.01, "ema": 0.5, "ema_every": 1, "ema_start": 1}
    run = run_of(tmp_path / "whole", steps=5, keep_every=2, **options)
    list(run.encode())
    list(run.train())
    kept = sorted(path.name for path in (tmp_path / "whole" / "run").glob("net-*"))
    assert kept == ["net-000002.safetensors", "net-000004.safetensors"]
    short = run_of(tmp_path / "short", steps=2, **options)
    list(short.encode())
    list(short.train())
    written = (tmp_path / "short" / "net.safetensors").read_bytes()
    assert (tmp_path / "whole" / "run" / kept[0]).read_bytes() == written


def test_the_report_tells_all_of_it(tmp_path: Path) -> None:
    run = run_of(tmp_path, prompts=("a red <star>",), sample_every=1, ema=0.5, ema_every=1, ema_start=1)
    list(run.encode())
    list(run.train())
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("<img") == 1 + 3  # the curve, and a sample of each step
    for text in ("a step</th>", "files of latents: 1", "memory at most", "held_out", "(best)", "a red &lt;star&gt;"):
        assert text in page


WANDB = """
calls = []
class Image(str): pass
class Run:
    def log(self, values, step): calls.append(("log", step, values))
    def finish(self): calls.append(("finish",))
def init(**settings):
    calls.append(("init", settings))
    return Run()
"""


def test_wandb_is_told_what_the_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in: offline, every line of the log and every sample, also where a training goes on."""
    with pytest.raises(CascadeError, match=r"wandb: it is not installed \(.*pip install wandb\): install it, or leave"):
        monkeypatch.setattr(training_settings, "find_spec", lambda name: None)
        StageCSettings(wandb=True)
    monkeypatch.undo()
    (tmp_path / "wandb.py").write_text(WANDB)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    options: dict[str, Any] = {"wandb": True, "prompts": ("a red star",), "sample_every": 2, "steps": 2}
    for steps in (2, 3):
        run = run_of(tmp_path, **options | {"steps": steps})
        list(run.encode())
        list(run.train())
    calls: list[Any] = sys.modules["wandb"].calls  # type: ignore[attr-defined]
    assert [call[0] for call in calls] == [*("init", "log", "log", "log", "finish"), *("init", "log", "log", "finish")]
    for _, given in (calls[0], calls[5]):
        assert given["mode"] == "offline" and given["dir"] == str(tmp_path / "run") and given["group"] == "run"
        assert given["config"]["batch_size"] == 2
    told = [call[1:] for call in calls if call[0] == "log"]
    assert [step for step, _ in told] == [1, 2, 2, 3, 3]
    for (step, values), line in zip([told[0], told[1], told[3]], lines_of(tmp_path), strict=True):
        assert values == {
            "loss/denoising": line["denoising"],
            **{k: line[k] for k in ("rate", "validation", "seconds")},
        }
        assert step == line["step"]
    assert [Path(path).name for _, values in (told[2], told[4]) for path in values.values()] == [
        "000002-0.png",
        "000003-0.png",
    ]
