"""Training a ControlNet: its hints, its learning, and how well it steers then. Run: pytest tests/training"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.hints import Detector, apply_control, make_picture_hint
from stable_cascade_nodes.cascade_core.models.config import PRESETS, StageCConfig
from stable_cascade_nodes.cascade_core.models.effnet import IMAGENET_MEAN, IMAGENET_STD
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.models.stage_c import StageC
from stable_cascade_nodes.cascade_core.sampling.latent import Latent
from stable_cascade_nodes.cascade_core.sampling.stages import sample_stage_c
from stable_cascade_nodes.cascade_core.training.controlnet import (
    ControlNetTask,
    build_controlnet,
    shape_controlnet,
    untrained_controlnet,
)
from stable_cascade_nodes.cascade_core.training.controlnet_settings import ControlNetSettings
from stable_cascade_nodes.cascade_core.training.data.cache import fingerprint
from stable_cascade_nodes.cascade_core.training.data.dataset import read_dataset
from stable_cascade_nodes.cascade_core.training.data.masks import random_mask
from stable_cascade_nodes.cascade_core.training.models import TrainingModels
from stable_cascade_nodes.cascade_core.training.run import TrainingRun
from stable_cascade_nodes.cascade_core.training.start import start_training
from stable_cascade_nodes.recipes.tiny import data, judge
from stable_cascade_nodes.recipes.tiny.captions import told_apart
from stable_cascade_nodes.recipes.tiny.judge import Studio
from stable_cascade_nodes.recipes.tiny.reader import matches, read

from .scenes import silhouette, write_silhouettes

TINY = "tiny (built-in)"
SETTINGS: dict[str, Any] = {"size": 64, "steps": 2, "batch_size": 2, "learning_rate": 1e-2}
LAYOUT = ("count", "shape", "size", "place", "relation")
TRIALS = 48


@pytest.fixture(scope="module")
def models() -> TrainingModels:
    kinds = ("stage_c", "text_encoder", "effnet")
    return TrainingModels(**{kind: load(kind, built_in(kind)[TINY], name=TINY) for kind in kinds})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("silhouettes")
    write_silhouettes(folder, 3)
    return folder


def start(
    models: TrainingModels, pictures: Path, folder: Path, detector: Detector | None = None, **settings: Any
) -> tuple[TrainingRun, ControlNetTask]:
    chosen = ControlNetSettings(**{**SETTINGS, **settings})
    dataset = read_dataset(pictures)
    target = folder / "net.safetensors"
    run = start_training("controlnet", models, dataset, chosen, folder, target, detector=detector)
    assert isinstance(run.task, ControlNetTask)
    return run, run.task


def statistics(module: torch.nn.Module) -> list[torch.Tensor]:
    """Copies of what BatchNorm knows of its inputs."""
    return [buffer.clone() for name, buffer in module.named_buffers() if "running" in name]


@pytest.mark.parametrize(
    ("hint", "bottleneck", "shape"),
    [
        ("own", "effnet", (3, 64, 64)),
        ("own", "simple", (3, 64, 64)),
        ("own", "large", (3, 64, 64)),
        ("canny", "auto", (1, 64, 64)),
        ("inpainting", "auto", (4, 64, 64)),
        ("super_resolution", "auto", (16, None, None)),
    ],
)
def test_every_kind_of_hint_teaches(
    models: TrainingModels, pictures: Path, tmp_path: Path, hint: str, bottleneck: str, shape: tuple[Any, ...]
) -> None:
    before = fingerprint(models.stage_c.module)
    run, task = start(models, pictures, tmp_path, hint=hint, bottleneck=bottleneck)
    list(run.encode())
    shown = task.hints.draw([0, 1], np.random.default_rng(0))
    assert all(want in (None, have) for want, have in zip((2, *shape), shown.shape, strict=True))
    norms = statistics(task.module)
    list(run.train())
    assert fingerprint(models.stage_c.module) == before
    assert not any(parameter.grad is not None for parameter in models.stage_c.module.parameters())
    assert all(torch.equal(one, other) for one, other in zip(statistics(task.module), norms, strict=True))
    net = load("controlnet", tmp_path / "net.safetensors")
    assert all(projection[2].weight.abs().sum() > 0 for projection in net.module.projections)
    assert net.config == untrained_controlnet(models, read_dataset(pictures), task.settings, "x").config


class _OneFace:
    """A detector that finds a face in every picture."""

    name, family, width = "one face", "tiny", 128

    def detect(self, picture: torch.Tensor) -> list[Any]:
        from stable_cascade_nodes.cascade_core.hints import FoundFace

        return [FoundFace((0, 0, 32, 64), torch.nn.functional.normalize(torch.ones(128), dim=0))]


def test_faces_are_painted_anew_every_time(models: TrainingModels, pictures: Path, tmp_path: Path) -> None:
    run, task = start(models, pictures, tmp_path, _OneFace(), hint="identity")
    list(run.encode())
    random = np.random.default_rng(0)
    painted = [task.hints.draw([0], random)[0].count_nonzero(dim=0) for _ in range(60)]
    assert {tuple(each.flatten().tolist()) for each in painted} == {(128, 0, 128, 0), (128,) * 4, (0,) * 4}
    list(run.train())
    with pytest.raises(CascadeError, match="is for stable-cascade models"):
        other = _OneFace()
        other.family = "stable-cascade"
        start(models, pictures, tmp_path, other, hint="identity")
    with pytest.raises(CascadeError, match="identity needs a detector"):
        start(models, pictures, tmp_path, hint="identity")


def test_a_new_one_changes_nothing_and_sees_what_the_encoder_sees(models: TrainingModels) -> None:
    settings = ControlNetSettings(hint="own")
    config = shape_controlnet(settings, models.stage_c, models.effnet, 3)
    net = build_controlnet(config, models.effnet.module, 0).eval()
    pixels = torch.rand(2, 3, 64, 64)
    assert all(one is None or not one.any() for one in net(pixels))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    theirs: Any = models.effnet.module
    normalised = (pixels - mean) / std
    inner = (..., slice(1, None), slice(1, None))  # the first layer pads: here with black, there with the mean colour
    torch.testing.assert_close(net.backbone[0](pixels)[inner], theirs.backbone[0](normalised)[inner])
    assert net.backbone(pixels).shape == theirs.backbone(normalised).shape


def test_one_for_a_published_stage_c_has_the_published_shape(models: TrainingModels) -> None:
    with torch.device("meta"):
        stage_c = replace(models.stage_c, module=StageC(StageCConfig()), config=StageCConfig())
    effnet = replace(models.effnet, config=PRESETS["effnet"]["published"])
    shapes = {
        hint: shape_controlnet(ControlNetSettings(hint=hint), stage_c, effnet, channels)
        for hint, channels in (("canny", 1), ("inpainting", 4), ("super_resolution", 16), ("identity", 512))
    }
    assert shapes == {hint: PRESETS["controlnet"][hint] for hint in shapes}


def test_masks_hide_some_and_show_some() -> None:
    random = np.random.default_rng(0)
    shares = [float(random_mask(48, 64, random).mean()) for _ in range(300)]
    assert all(0 <= share <= 1 for share in shares)
    assert 0.25 < float(np.mean(shares)) < 0.6 and sum(0.02 < share < 0.98 for share in shares) > 290


@pytest.mark.slow
def test_own_control_pictures_steer(models: TrainingModels, tmp_path: Path) -> None:
    """Trained on 400 drawn pairs for four minutes, it puts what the held-out control picture shows where it is."""
    write_silhouettes(tmp_path / "pictures", 400)
    learning: dict[str, Any] = {"learning_rate": 2e-3, "schedule": "cosine", "warmup": 20, "checkpointing": False}
    run, _ = start(models, tmp_path / "pictures", tmp_path, size=192, steps=400, batch_size=16, **learning)
    list(run.encode())
    list(run.train())
    net = load("controlnet", tmp_path / "net.safetensors")
    shown = {strength: _steered(net, strength) for strength in (1.0, 0.0)}
    assert shown[1.0] > shown[0.0] + 0.5  # 0.88 and 0.06


def _steered(net: Handle, strength: float) -> float:
    """The share of pictures that show the control picture's layout; prompts tell colours and background alone."""
    studio = Studio.load()
    pairs = zip(*(data.test_scenes(kind, TRIALS) for kind in ("one", "relation")), strict=True)
    scenes = [scene for pair in pairs for scene in pair][:TRIALS]
    prompts = [told_apart(scene) for scene in scenes]
    hint = make_picture_hint(data.to_pixels(np.stack([np.asarray(silhouette(scene)) for scene in scenes])))
    with torch.inference_mode():
        positive = [apply_control(one, net, hint, strength) for one in studio.conditions(prompts)]
        empty = Latent(torch.zeros(len(scenes), 16, data.CELLS, data.CELLS))
        negative = studio.conditions([""])
        steps = sample_stage_c(studio.cascade.stage_c, positive, negative, empty, seed=0, settings=judge.SETTINGS)
        *_, step = steps
        pictures = studio.decode(step.x0, prompts, 0)
    verdicts = [
        matches(read(picture.permute(1, 2, 0).numpy()), scene) for picture, scene in zip(pictures, scenes, strict=True)
    ]
    return float(np.mean([all(verdict[name] for name in LAYOUT if name in verdict) for verdict in verdicts]))
