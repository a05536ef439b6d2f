"""Fine-tuning Stage C and Stage B: copies learn, the models stay, and stopped runs resume.

Run: pytest tests/training
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.training.data.cache import fingerprint
from stable_cascade_nodes.cascade_core.training.data.dataset import read_dataset
from stable_cascade_nodes.cascade_core.training.models import StageBModels, TrainingModels
from stable_cascade_nodes.cascade_core.training.run import TrainingRun
from stable_cascade_nodes.cascade_core.training.settings import TrainingSettings
from stable_cascade_nodes.cascade_core.training.stages import StageBTask, pyramid_noise
from stable_cascade_nodes.cascade_core.training.start import start_training

from .scenes import write_silhouettes

TINY = "tiny (built-in)"
SETTINGS: dict[str, Any] = {"size": 64, "steps": 4, "batch_size": 2, "learning_rate": 1e-3, "save_every": 2}


@pytest.fixture(scope="module")
def parts() -> dict[str, Handle]:
    kinds = ("stage_c", "stage_b", "stage_a", "text_encoder", "effnet", "previewer")
    return {kind: load(kind, built_in(kind)[TINY], name=TINY) for kind in kinds}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    write_silhouettes(folder, 3)
    return folder


def start(kind: str, parts: dict[str, Handle], pictures: Path, folder: Path) -> TrainingRun:
    dataset, target = read_dataset(pictures), folder / "net.safetensors"
    if kind == "stage_b":
        models = StageBModels(*(parts[name] for name in ("stage_b", "stage_a", "text_encoder", "effnet")))
        return start_training(kind, models, dataset, TrainingSettings(**SETTINGS), folder, target)
    names = ("stage_c", "text_encoder", "effnet", "previewer")
    settings = TrainingSettings(**SETTINGS, prompts=("a red circle",), sample_every=2)
    models = TrainingModels(**{name: parts[name] for name in names})
    return start_training(kind, models, dataset, settings, folder, target)


@pytest.mark.parametrize("kind", ["stage_c", "stage_b"])
def test_a_copy_learns_and_resumes(kind: str, parts: dict[str, Handle], pictures: Path, tmp_path: Path) -> None:
    before = fingerprint(parts[kind].module)
    run = start(kind, parts, pictures, tmp_path / "whole")
    list(run.encode())
    with torch.inference_mode():
        list(run.train())
    assert fingerprint(parts[kind].module) == before and not parts[kind].module.training

    stopped = start(kind, parts, pictures, tmp_path / "parts")
    list(stopped.encode())
    reports = stopped.train()
    next(reports)
    reports.close()
    list(start(kind, parts, pictures, tmp_path / "parts").train())
    whole, resumed = (tmp_path / name / "net.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == resumed.read_bytes()

    net = load(kind, whole)
    base = parts[kind]
    assert (net.config, net.family, net.target, net.x0_clamp) == (base.config, base.family, base.target, base.x0_clamp)
    moved = [
        not torch.equal(tensor, base.module.state_dict()[name]) for name, tensor in net.module.state_dict().items()
    ]
    assert sum(moved) > 0.9 * len(moved)


def test_stage_b_learns_from_latents_of_several_sizes(parts: dict[str, Handle], pictures: Path, tmp_path: Path) -> None:
    run = start("stage_b", parts, pictures, tmp_path)
    assert isinstance(run.task, StageBTask)
    list(run.encode())
    key, _ = run.task.encode()[0]
    entry = run.task.cache.get(key)
    assert {name: tuple(tensor.shape) for name, tensor in entry.items()} == {
        "latent": (4, 16, 16),
        "effnet0": (16, 2, 2),
        "effnet1": (16, 1, 1),
        "effnet2": (16, 1, 1),
    }
    losses = [run.task.loss(np.random.default_rng(seed))["denoising"].item() for seed in range(4)]
    assert all(0 < loss < 3 for loss in losses)


def test_pyramid_noise_has_deviation_1_and_coarse_parts() -> None:
    torch.manual_seed(0)
    noise = pyramid_noise(torch.zeros(64, 4, 32, 32))
    assert float(noise.std()) == pytest.approx(1, abs=0.03)
    coarse = torch.nn.functional.avg_pool2d(noise, 8).std()
    assert float(coarse) > 2 / 8  # ordinary noise would leave 1 / 8
