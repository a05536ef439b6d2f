"""Training a LoRA: what it learns, from what, and what it leaves alone. Run: pytest tests/training"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.lora.attach import attach_lora, fuse_lora
from stable_cascade_nodes.cascade_core.lora.read import read_lora
from stable_cascade_nodes.cascade_core.models.linear import Held
from stable_cascade_nodes.cascade_core.training.data.cache import fingerprint
from stable_cascade_nodes.cascade_core.training.data.dataset import read_dataset
from stable_cascade_nodes.cascade_core.training.data.prompts import draw_prompts
from stable_cascade_nodes.cascade_core.training.lora import LoraTask, untrained_lora
from stable_cascade_nodes.cascade_core.training.lora_settings import LoraSettings, read_tokens
from stable_cascade_nodes.cascade_core.training.models import TrainingModels
from stable_cascade_nodes.cascade_core.training.run import Report, TrainingRun
from stable_cascade_nodes.cascade_core.training.start import train_lora

TINY = "tiny (built-in)"
SETTINGS: dict[str, Any] = {"size": 64, "steps": 4, "batch_size": 2, "learning_rate": 1e-2, "save_every": 2}


def start(models: TrainingModels, pictures: Path, folder: Path, **settings: Any) -> tuple[TrainingRun, LoraTask]:
    chosen = LoraSettings(**{**SETTINGS, **settings})
    return train_lora(models, read_dataset(pictures), chosen, folder, folder / "lora.safetensors")


def finish(run: TrainingRun) -> list[Report]:
    list(run.encode())
    return list(run.train())


def parameters(models: TrainingModels) -> Iterator[torch.Tensor]:
    for handle in models.named().values():
        yield from handle.module.parameters()


def test_it_learns_and_the_models_stay_as_they_are(models: TrainingModels, pictures: Path, tmp_path: Path) -> None:
    before = {name: fingerprint(handle.module) for name, handle in models.named().items()}
    samples = {"prompts": ("a red circle", "a [zig]"), "sample_every": 2}
    run, task = start(models, pictures, tmp_path / "run", tokens=(("[zig]", "^star$"),), **samples)
    assert untrained_lora(models, task.settings, "x").changes.keys() == task.result("x").changes.keys()
    with torch.inference_mode():  # as the host calls nodes
        reports = finish(run)
    assert [report.progress.step for report in reports] == [1, 2, 3, 4]
    assert [len(report.pictures) for report in reports] == [0, 2, 0, 2]
    assert all(path.is_file() for report in reports for path in report.files)
    assert {name: fingerprint(handle.module) for name, handle in models.named().items()} == before
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in parameters(models))
    assert not any(handle.module.training for handle in models.named().values())
    assert not models.stage_c.module.checkpointing

    lora = read_lora(tmp_path / "run" / "lora.safetensors", "lora")
    (token,) = lora.tokens
    assert token.text == "[zig]" and token.rows.abs().sum() > 0
    assert all(change.down.abs().sum() > 0 for change in lora.changes.values())
    attached, report = attach_lora(models.stage_c, lora)
    assert attached is not models.stage_c and not report.unmatched


def test_a_step_computes_the_official_loss(models: TrainingModels, pictures: Path, tmp_path: Path) -> None:
    """By hand: the noise predicted at uniform times, each error weighted by b²; before anything is learned."""
    epsilon = replace(models, stage_c=replace(models.stage_c, target="epsilon"))
    options: dict[str, Any] = {"caption_dropout": 0.0, "image_dropout": 1.0, "batch_size": 1}
    run, task = start(epsilon, pictures, tmp_path / "run", **options)
    list(run.encode())
    torch.manual_seed(1)
    loss = task.loss(np.random.default_rng(5))["denoising"]

    (index,) = task.examples.draw(np.random.default_rng(5))
    pixels = task.examples.pixels(index)[None]
    latent = models.effnet.module(pixels)
    sequence, pooled = models.text_encoder.module.encode([f"a [zig] {index}"], truncate=True)  # type: ignore[operator]
    torch.manual_seed(1)
    r = 1 - torch.rand(1) + 0.001
    noise = torch.randn_like(latent)
    variance = (
        torch.cos((r + 0.008) / 1.008 * torch.pi / 2) ** 2 / torch.cos(torch.tensor(0.008 / 1.008) * torch.pi / 2) ** 2
    )
    a, b = variance.sqrt(), (1 - variance).sqrt()
    predicted = models.stage_c.module(a * latent + b * noise, r, sequence, pooled, None)
    assert loss.item() == pytest.approx(((predicted - noise).square().mean() * b**2).item(), rel=1e-4)


def test_checkpointing_changes_no_gradient(models: TrainingModels, pictures: Path, tmp_path: Path) -> None:
    gradients: list[list[torch.Tensor]] = []
    for checkpointing in (False, True):
        run, task = start(models, pictures, tmp_path / "run", checkpointing=checkpointing)
        list(run.encode())
        for branch in task.module.by_name().values():
            branch.down.data.normal_(std=0.01, generator=torch.Generator().manual_seed(3))
        torch.manual_seed(1)
        task.loss(np.random.default_rng(5))["denoising"].backward()
        gradients.append([p.grad for p in task.module.parameters() if p.grad is not None])
    assert len(gradients[0]) > 10
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_is_trained_is_float32_over_a_half_precise_base(
    models: TrainingModels, pictures: Path, tmp_path: Path, dtype: str
) -> None:
    stage_c = load("stage_c", built_in("stage_c")[TINY], name=TINY, dtype=dtype)
    run, task = start(replace(models, stage_c=stage_c), pictures, tmp_path / "run", steps=2)
    finish(run)
    assert {parameter.dtype for parameter in task.module.parameters()} == {torch.float32}
    assert all(branch.down.abs().sum() > 0 for branch in task.module.by_name().values())
    assert stage_c.module.get_parameter("clf.1.weight").dtype == getattr(torch, dtype)


def test_keeping_holds_predictions_without_the_new_word(models: TrainingModels, pictures: Path, tmp_path: Path) -> None:
    """Trained with it, ordinary prompts change less than without, over the same steps."""
    changes: list[float] = []
    for weight in (0.0, 20.0):
        keep: dict[str, Any] = {"keep": ("a {red|blue} circle",), "keep_weight": weight, "keep_count": 4}
        options: dict[str, Any] = {"steps": 12, "tokens": (("[zig]", ""),), "image_dropout": 1.0, **keep}
        run, task = start(models, pictures, tmp_path / f"run{weight}", **options)
        finish(run)
        with torch.no_grad():
            sequence, pooled = models.text_encoder.module.encode(["a red circle"])  # type: ignore[operator]
            x, r = torch.randn(1, 16, 2, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0.8])
            before, after = (net.module(x, r, sequence, pooled) for net in (models.stage_c, task.stage_c))
        changes.append(float((after - before).square().mean()))
    assert changes[1] < 0.5 * changes[0]


def test_prompts_to_keep_are_drawn_the_same_every_time() -> None:
    drawn = draw_prompts(("a {red|blue} {star|{big |}heart}", "a face"), 6)
    assert drawn == draw_prompts(("a {red|blue} {star|{big |}heart}", "a face"), 6)
    assert drawn[1::2] == ["a face"] * 3
    assert all("{" not in prompt for prompt in drawn)


def test_resumed_only_with_what_it_began_with(models: TrainingModels, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    finish(start(models, pictures, folder)[0])
    with pytest.raises(
        CascadeError, match=r"4 steps that began otherwise: learning_rate was 0\.01, is 0\.02; rank was 4"
    ):
        start(models, pictures, folder, learning_rate=0.02, rank=8)
    with pytest.raises(CascadeError, match="4 steps already, and 3 are asked for"):
        start(models, pictures, folder, steps=3)
    longer, _ = start(models, pictures, folder, steps=6, save_every=1, prompts=("a",), sample_every=3)
    assert longer.done == 4
    assert [report.progress.step for report in finish(longer)] == [5, 6]
    (pictures / "0.txt").write_text("another")
    with pytest.raises(CascadeError, match=r"pictures were changed, or their captions were \(0\.png\)"):
        start(models, pictures, folder, steps=6)
    other = replace(models, effnet=load("effnet", built_in("effnet")[TINY], dtype="bfloat16"))
    with pytest.raises(CascadeError, match="the dtype of effnet was float32, is bfloat16"):
        start(other, pictures, folder, steps=6)
    module = deepcopy(models.effnet.module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    with pytest.raises(CascadeError, match="the model effnet was"):
        start(replace(models, effnet=replace(models.effnet, module=module)), pictures, folder, steps=6)


def test_stopped_and_resumed_is_as_never_stopped(models: TrainingModels, pictures: Path, tmp_path: Path) -> None:
    finish(start(models, pictures, tmp_path / "whole")[0])
    run, _ = start(models, pictures, tmp_path / "parts")
    list(run.encode())
    reports = run.train()
    next(reports)
    reports.close()
    again, _ = start(models, pictures, tmp_path / "parts")
    assert again.done == 1  # saved as it was stopped
    finish(again)
    whole, parts = (tmp_path / name / "lora.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    steps = [line.split(",")[0] for line in (tmp_path / "parts" / "curve.jsonl").read_text().splitlines()]
    assert steps == [f'{{"step": {step}' for step in (1, 2, 3, 4)]
    assert Image.open(tmp_path / "parts" / "curve.png").size == (900, 420)


def test_everything_is_encoded_once_and_what_is_damaged_again(
    models: TrainingModels, pictures: Path, tmp_path: Path
) -> None:
    run, task = start(models, pictures, tmp_path / "run")
    assert len(task.encode()) == 3 + 4  # pictures; their captions and the empty one
    list(run.encode())
    entries = sorted((tmp_path / "run" / "cache").iterdir())
    assert len(entries) == 7
    entries[3].write_bytes(entries[3].read_bytes()[:50])  # as a disk may do to a file
    times = [path.stat().st_mtime_ns for path in entries]
    list(run.encode())
    assert [path.stat().st_mtime_ns == before for path, before in zip(entries, times, strict=True)] == [
        number != 3 for number in range(7)
    ]
    assert all(task.cache.get(key) for key, _ in task.encode())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank: expected 1 to 1024, found 0"),
        ({"optimizer": "lion"}, "optimizer: expected one of adamw"),
        ({"loss_weight": "p3"}, "loss_weight: expected one of auto"),
        ({"caption_dropout": 1.5}, "caption_dropout: expected 0.0 to 1.0"),
        ({"learning_rate": 0.0}, "learning_rate: expected 1e-07 to 1.0"),
        ({"dialect": "latin"}, "dialect: expected one of"),
        ({"filters": ("nothing",)}, "no weight of this Stage C lies in a module whose name contains nothing"),
        ({"tokens": (("[zig]", "^nosuchword$"),)}, "no word of the text encoder matches"),
    ],
)
def test_what_cannot_be_is_refused(
    models: TrainingModels, pictures: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(CascadeError, match=message):
        start(models, pictures, tmp_path / "run", **settings)


def test_models_of_two_families_are_refused(models: TrainingModels) -> None:
    with pytest.raises(CascadeError, match="`effnet` comes from"):
        replace(models, effnet=replace(models.effnet, family="stable-cascade"))


def test_lines_of_tokens() -> None:
    assert read_tokens("[zig]=^star$\n\n [zag] ") == (("[zig]", "^star$"), ("[zag]", ""))
    with pytest.raises(CascadeError, match=r"expected lines such as \[zig\]"):
        read_tokens("=^star$")


def test_a_lora_over_eight_bits_learns_as_over_what_these_stand_for(
    models: TrainingModels, pictures: Path, tmp_path: Path
) -> None:
    """The weights stay 8 bits and as they are; the branches move as beside their decoded values, but for rounding."""
    quantised = load("stage_c", built_in("stage_c")[TINY], name=TINY, dtype="int8")
    held = {name: child for name, child in quantised.module.named_modules() if isinstance(child, Held)}
    assert len(held) > 20
    plain = load("stage_c", built_in("stage_c")[TINY], name=TINY, dtype="float32")
    weights = dict(plain.module.named_parameters())
    with torch.no_grad():
        for name, child in held.items():
            weights[name].copy_(child.value().float())
    before = {name: fingerprint(child) for name, child in held.items()}
    found: list[dict[str, torch.Tensor]] = []
    for name, stage_c in (("int8", quantised), ("decoded", plain)):
        run, task = start(replace(models, stage_c=stage_c), pictures, tmp_path / name, checkpointing=False)
        finish(run)
        found.append({key: tensor.clone() for key, tensor in task.module.state_dict().items()})
    assert {name: fingerprint(child) for name, child in held.items()} == before
    assert all(torch.allclose(tensor, found[1][name], atol=2e-3) for name, tensor in found[0].items())


@pytest.mark.parametrize(
    "options", [{}, {"dora": True, "dialect": "kohya"}, {"tokens": (("[zig]", "^star$"),)}], ids=str
)
def test_the_text_encoder_learns_too(
    models: TrainingModels, pictures: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    """Its branches say the same from the file as in training; the encoder itself stays as it is."""
    before = fingerprint(models.text_encoder.module)
    settings: dict[str, Any] = {"text_rank": 3, "keep": ("a {red|blue} circle",), "keep_weight": 1.0, "keep_count": 2}
    run, task = start(models, pictures, tmp_path / "run", **settings, **options)
    assert untrained_lora(models, task.settings, "x").changes.keys() == task.result("x").changes.keys()
    finish(run)
    assert fingerprint(models.text_encoder.module) == before
    prompts = ["a red circle", "a blue star"]
    with torch.no_grad():
        plain, learned = (h.module.encode(prompts) for h in (models.text_encoder, task.text_encoder))  # type: ignore[operator]
    assert all((one - other).abs().max() > 1e-3 for one, other in zip(plain, learned, strict=True))
    lora = read_lora(tmp_path / "run" / "lora.safetensors", "lora")
    attached, report = attach_lora(models.text_encoder, lora)
    layers = len(models.text_encoder.module.text_model.encoder.layers)  # type: ignore[union-attr, arg-type]
    assert len(report.matched) == 6 * layers and not report.unmatched  # q, k, v, out, fc1, fc2
    with torch.no_grad():
        again = attached.module.encode(prompts)  # type: ignore[operator]
    for one, other in zip(learned, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_learning_text_encoder_is_resumed_exactly(models: TrainingModels, pictures: Path, tmp_path: Path) -> None:
    finish(start(models, pictures, tmp_path / "whole", text_rank=2)[0])
    run, task = start(models, pictures, tmp_path / "parts", text_rank=2)
    assert len(task.encode()) == 3  # pictures alone: what captions are encoded to changes
    list(run.encode())
    reports = run.train()
    next(reports)
    reports.close()
    finish(start(models, pictures, tmp_path / "parts", text_rank=2)[0])
    whole, parts = (tmp_path / name / "lora.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    with pytest.raises(CascadeError, match="text_rank: the official dialect has no place for the text encoder"):
        LoraSettings(text_rank=2, dialect="official")


def test_an_official_file_of_any_filters_comes_back(models: TrainingModels, pictures: Path, tmp_path: Path) -> None:
    run, task = start(models, pictures, tmp_path, filters=("attn", "mapper"), dialect="official")
    finish(run)
    read = read_lora(tmp_path / "lora.safetensors")
    assert read.filters == ("attn", "mapper")
    attached, report = attach_lora(models.stage_c, read)
    named, _ = attach_lora(models.stage_c, task.result("named"))
    assert not report.unmatched and len(read.changes) == len(task.result("named").changes)
    fused, expected = (fuse_lora(each).module.state_dict() for each in (attached, named))
    for name, weight in expected.items():
        torch.testing.assert_close(fused[name], weight, rtol=1e-5, atol=1e-6)


def test_what_the_official_dialect_cannot_hold_is_refused_at_the_start(models: TrainingModels) -> None:
    settings = LoraSettings(**SETTINGS, filters=("depthwise",), dialect="official")
    with pytest.raises(CascadeError, match="kernel has no place in the official dialect: write kohya"):
        untrained_lora(models, settings, "x")
