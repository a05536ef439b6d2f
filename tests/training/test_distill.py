"""Distillation: what the teacher is asked, and what the student learns of it. Run: pytest tests/training"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files import tensors as writer
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.lora.attach import attach_lora
from stable_cascade_nodes.cascade_core.lora.read import read_lora
from stable_cascade_nodes.cascade_core.training.data.cache import fingerprint
from stable_cascade_nodes.cascade_core.training.data.prompts import read_prompts
from stable_cascade_nodes.cascade_core.training.distill import DistillTask
from stable_cascade_nodes.cascade_core.training.distill_settings import DistillSettings, DistillStageBSettings
from stable_cascade_nodes.cascade_core.training.models import StageCModels
from stable_cascade_nodes.cascade_core.training.run import OtherTrainingError, TrainingRun
from stable_cascade_nodes.cascade_core.training.start import start_training

from .test_state import FullDisk

TINY = "tiny (built-in)"
CLASSES = {"stage_c": DistillSettings, "stage_b": DistillStageBSettings}
SETTINGS: dict[str, Any] = {
    "size": 64,
    "steps": 4,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "save_every": 2,
    "rank": 2,
    "teacher_steps": 4,
    "count": 6,
    "dialect": "kohya",
}


@pytest.fixture(scope="module")
def models() -> StageCModels:
    kinds = ("stage_c", "text_encoder", "stage_b", "previewer")
    return StageCModels(**{kind: load(kind, built_in(kind)[TINY], name=TINY) for kind in kinds})


def start(models: StageCModels, stage: str, folder: Path, **settings: Any) -> TrainingRun:
    folder.mkdir(exist_ok=True)
    path = folder / "prompts.txt"
    path.write_text("a red {circle|star} on a white background\n\na blue heart\n")
    chosen = CLASSES[stage](**{**SETTINGS, **settings})
    target = folder / "fast.safetensors"
    return start_training(f"distill_{stage}", models, read_prompts(path), chosen, folder / "run", target)


def finish(run: TrainingRun) -> list[float]:
    list(run.encode())
    return [sum(report.progress.losses.values()) for report in run.train()]


def cosine(r: float, shift: float) -> tuple[float, float]:
    """a and b at a time, by the formulas of Nichol and Dhariwal."""
    a2 = min(
        max(math.cos((r + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2, 1e-4), 0.9999
    )
    snr = max(a2 / (1 - a2) / shift**2, 1e-4 / 0.9999)
    return math.sqrt(snr / (1 + snr)), math.sqrt(1 / (1 + snr))


def time_of(a: float) -> float:
    """The network's word for the noise: the time that has this a without a shift."""
    return math.acos(a * math.cos(0.008 / 1.008 * math.pi / 2)) / (math.pi / 2) * 1.008 - 0.008


@pytest.mark.parametrize("learns", ["steps", "guidance"])
def test_what_the_teacher_is_asked_by_hand(models: StageCModels, tmp_path: Path, learns: str) -> None:
    """DDIM with guidance, step by step: the places at every second time, and where they lead."""
    run = start(models, "stage_c", tmp_path, learns=learns, teacher_cfg=3.0, count=1)
    list(run.encode())
    task = run.task
    assert isinstance(task, DistillTask)
    (group,) = task.trajectories.groups
    entry = task.cache.get(task.trajectories._key(group))  # pyright: ignore[reportPrivateUsage]

    stage_c, encoder = models.stage_c.module, models.text_encoder.module
    prompt = task.trajectories.prompts[0]
    assert prompt in ("a red circle on a white background", "a red star on a white background")
    given, nothing = (encoder.encode([text]) for text in (prompt, ""))  # type: ignore[operator]
    x = entry["x"][:, 0].float()
    places, guided, x0 = [], [], x
    with torch.no_grad():
        for step in range(4):
            (a, b), (then_a, then_b) = cosine(1 - step / 4, 2), cosine(0.75 - step / 4, 2) if step < 3 else (1.0, 0.0)
            condition = torch.tensor([time_of(a)])
            one, other = stage_c(x, condition, *given), stage_c(x, condition, *nothing)
            v = other + 3.0 * (one - other)
            v = 0.7 * v * one.std() / v.std() + 0.3 * v
            x0 = (a * x - b * v).clamp(-models.stage_c.x0_clamp, models.stage_c.x0_clamp)  # type: ignore[operator]
            if step % 2 == 0:
                places.append(x)
                guided.append(x0)
            x = then_a * x0 + then_b * (x - a * x0) / b
    goals = guided if learns == "guidance" else [x0]
    for name, expected in (("x", places), ("goal", goals)):
        assert torch.allclose(entry[name].float(), torch.stack(expected, 1), atol=2e-2), name


@pytest.mark.parametrize("stage", ["stage_c", "stage_b"])
def test_the_loss_by_hand(models: StageCModels, tmp_path: Path, stage: str) -> None:
    """How far the first guess at a place is from the end of its way, before anything is learned."""
    run = start(models, stage, tmp_path, batch_size=1)
    list(run.encode())
    task = run.task
    assert isinstance(task, DistillTask)
    loss = task.loss(np.random.default_rng(3))["steps"]
    points = task.trajectories.points(np.random.default_rng(3), 1)
    a, b = cosine(1 - int(points.steps) / 2, task.settings.shift)
    sequence, pooled = models.text_encoder.module.encode(points.prompts)  # type: ignore[operator]
    conditioning = (sequence, pooled) if points.stage_c is None else (points.stage_c, pooled)
    with torch.no_grad():
        v = task.teacher.module(points.x, torch.tensor([time_of(a)]), *conditioning)
    square = (a * points.x - b * v - points.goal).square().mean().item()
    assert loss.item() == pytest.approx(math.sqrt(square + 0.00054**2) - 0.00054, rel=1e-4)  # pseudo-Huber


@pytest.mark.parametrize("stage", ["stage_c", "stage_b"])
def test_it_learns_and_the_models_stay_as_they_are(models: StageCModels, tmp_path: Path, stage: str) -> None:
    before = {name: fingerprint(handle.module) for name, handle in models.named().items()}
    run = start(models, stage, tmp_path, steps=40, schedule="constant")
    with torch.inference_mode():  # as the host calls nodes
        losses = finish(run)
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8]), losses
    assert {name: fingerprint(handle.module) for name, handle in models.named().items()} == before
    parameters = [each for handle in models.named().values() for each in handle.module.parameters()]
    assert not any(each.requires_grad or each.grad is not None for each in parameters)
    _, report = attach_lora(getattr(models, stage), read_lora(tmp_path / "fast.safetensors", "fast"))
    assert report.matched and not report.unmatched and not report.unused


@pytest.mark.parametrize("stage", ["stage_c", "stage_b"])
def test_matching_of_distributions(models: StageCModels, tmp_path: Path, stage: str) -> None:
    """Before anything is learned critic and teacher say the same, but for guidance; each loss trains its own half."""

    def losses(folder: str, cfg: float) -> tuple[DistillTask, dict[str, torch.Tensor]]:
        run = start(models, stage, tmp_path / folder, matching=1.0, teacher_cfg=cfg)
        list(run.encode())
        assert isinstance(run.task, DistillTask)
        torch.manual_seed(0)
        return run.task, run.task.loss(np.random.default_rng(3))

    _, found = losses("even", 1.0)
    assert found["matching"].item() == pytest.approx(0, abs=1e-12)
    task, found = losses("guided", 3.0)
    assert found["matching"].item() > 1e-4
    for name, own in (("matching", "branches"), ("critic", "critic")):
        task.module.zero_grad()
        found[name].backward(retain_graph=True)
        learned = {path.partition(".")[0] for path, each in task.module.named_parameters() if each.grad is not None}
        assert learned == {own}, name


def test_sample_pictures_are_of_few_steps(
    models: StageCModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stable_cascade_nodes.cascade_core.training import samples

    asked: list[Any] = []
    sample = samples.sample_stage_c
    monkeypatch.setattr(samples, "sample_stage_c", lambda *a, **k: asked.append(k["settings"]) or sample(*a, **k))
    run = start(models, "stage_c", tmp_path, steps=1, prompts=("a red circle",), sample_every=1)
    list(run.encode())
    (report,) = run.train()
    assert len(report.pictures) == 1 and report.files[0].is_file()
    assert [(each.sampler, each.steps, each.cfg, each.shift) for each in asked] == [("lcm", 2, 1.0, 2.0)]


def test_stopped_and_resumed_is_as_never_stopped(models: StageCModels, tmp_path: Path) -> None:
    whole, parts = (start(models, "stage_c", tmp_path / name) for name in ("whole", "parts"))
    finish(whole)
    list(parts.encode())
    reports = parts.train()
    for _ in range(3):
        next(reports)
    reports.close()
    finish(start(models, "stage_c", tmp_path / "parts"))
    files = [(tmp_path / name / "fast.safetensors").read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]


@pytest.mark.parametrize(("room", "stage"), [(900, "trajectories"), (60_000, "state")])
def test_a_full_disk_says_so_and_no_half_of_a_file_is_left(
    models: StageCModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, stage: str
) -> None:
    """In the teacher's drawing, and later, when the state is saved."""
    run = start(models, "stage_c", tmp_path)
    original = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(writer.Path, "open", lambda path, mode="r", **more: FullDisk(original(path, mode, **more), room))
        with pytest.raises(CascadeError, match=r"No space left on device"):
            finish(run)
    entries = list((tmp_path / "run" / "cache").glob("*"))
    assert [path.suffix for path in entries] == ([] if stage == "trajectories" else [".safetensors"])
    assert not (tmp_path / "run" / "state.safetensors").exists()
    finish(start(models, "stage_c", tmp_path))  # when there is room again
    assert (tmp_path / "fast.safetensors").is_file()


def test_a_file_that_no_state_made_is_never_replaced(models: StageCModels, tmp_path: Path) -> None:
    (tmp_path / "fast.safetensors").write_bytes(b"someone's")
    with pytest.raises(OtherTrainingError, match=r"fast\.safetensors is there already, and .*run has no training"):
        start(models, "stage_c", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fast.safetensors", "prompts.txt"]


def test_resumed_only_with_what_it_began_with(models: StageCModels, tmp_path: Path) -> None:
    finish(start(models, "stage_c", tmp_path, schedule="constant"))
    with pytest.raises(OtherTrainingError, match=r"began otherwise: teacher_cfg was 4.0, is 2.0"):
        start(models, "stage_c", tmp_path, schedule="constant", teacher_cfg=2.0)
    other = replace(models, stage_c=replace(models.stage_c, module=models.previewer.module))  # type: ignore[union-attr]
    with pytest.raises(Exception, match="stage_c"):
        start(other, "stage_c", tmp_path, schedule="constant")
    (tmp_path / "prompts.txt").write_text("a star\n")
    settings = DistillSettings(**{**SETTINGS, "schedule": "constant"})
    with pytest.raises(OtherTrainingError, match="the prompts was"):
        start_training(
            "distill_stage_c",
            models,
            read_prompts(tmp_path / "prompts.txt"),
            settings,
            tmp_path / "run",
            tmp_path / "f",
        )


def test_settings_that_do_not_go_together() -> None:
    with pytest.raises(CascadeError, match="teacher_steps: expected a multiple of student_steps, which is 3, found 20"):
        DistillSettings(student_steps=3)
    with pytest.raises(CascadeError, match="teacher_sampler: expected one of ddim"):
        DistillSettings(teacher_sampler="ddpm")  # adds noise: a place would lead to many ends


def test_prompts_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CascadeError, match=r"p.txt, the prompts, cannot be read as UTF-8 text"):
        read_prompts(tmp_path / "p.txt")
    (tmp_path / "p.txt").write_text("\n \n")
    with pytest.raises(CascadeError, match=r"p.txt is empty: write prompts into it"):
        read_prompts(tmp_path / "p.txt")


@pytest.mark.parametrize("stage", ["stage_c", "stage_b"])
def test_all_weights_of_a_student_become_a_model(models: StageCModels, tmp_path: Path, stage: str) -> None:
    """Chosen as any: its file says what the student said; the teacher stays as it is; stopped, it goes on exactly."""
    teacher = getattr(models, stage)
    before = fingerprint(teacher.module)
    run = start(models, stage, tmp_path / "whole", whole=True, steps=24, schedule="constant")
    with torch.inference_mode():  # as the host calls nodes
        losses = finish(run)
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:6]), losses
    assert fingerprint(teacher.module) == before and not any(p.requires_grad for p in teacher.module.parameters())
    assert isinstance(run.task, DistillTask)
    loaded = load(stage, tmp_path / "whole" / "fast.safetensors")
    assert (loaded.family, loaded.target, loaded.x0_clamp) == (teacher.family, teacher.target, teacher.x0_clamp)
    learned = dict(run.task.student.module.named_parameters())
    for name, parameter in loaded.module.named_parameters():
        assert torch.equal(parameter, learned[name]), name
    changed = [name for name, parameter in teacher.module.named_parameters() if not parameter.equal(learned[name])]
    assert len(changed) > 0.9 * len(learned)

    parts = start(models, stage, tmp_path / "parts", whole=True, steps=24, schedule="constant")
    list(parts.encode())
    reports = parts.train()
    for _ in range(3):
        next(reports)
    reports.close()
    finish(start(models, stage, tmp_path / "parts", whole=True, steps=24, schedule="constant"))
    files = [(tmp_path / name / "fast.safetensors").read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]


def test_the_whole_of_a_student_is_matched_beside_a_critic(models: StageCModels, tmp_path: Path) -> None:
    run = start(models, "stage_c", tmp_path, whole=True, matching=1.0, teacher_cfg=3.0)
    list(run.encode())
    losses = run.task.loss(np.random.default_rng(3))
    for name, own in (("matching", "whole"), ("critic", "critic")):
        run.task.module.zero_grad()
        losses[name].backward(retain_graph=True)
        learned = {path.partition(".")[0] for path, each in run.task.module.named_parameters() if each.grad is not None}
        assert learned == {own}, name
    quantised = replace(models, stage_c=load("stage_c", built_in("stage_c")[TINY], name=TINY, dtype="int8"))
    with pytest.raises(CascadeError, match="has quantised weights, over which a LoRA can be trained, but not all of"):
        start(quantised, "stage_c", tmp_path / "quantised", whole=True)
