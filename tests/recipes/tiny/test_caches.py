"""Caches of the recipe: filled once, continued, and never read for other weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stable_cascade_nodes.cascade_core.builtin import weights_path
from stable_cascade_nodes.cascade_core.models.effnet import Effnet
from stable_cascade_nodes.cascade_core.models.text import TextEncoder
from stable_cascade_nodes.recipes.tiny import caches, networks, training_data
from stable_cascade_nodes.recipes.tiny.caption_kinds import VARIANTS, composed_caption, token_row
from stable_cascade_nodes.recipes.tiny.data import training_scene


def test_a_cache_goes_on_where_it_stopped(tmp_path: Path) -> None:
    made: list[int] = []

    def make(indices: range) -> np.ndarray:
        made.extend(indices)
        return np.array([[index, -index] for index in indices])

    caches.Cache(tmp_path / "rows.npy", 10, (2,), np.int64).fill(make, 4, batch=3)
    again = caches.Cache(tmp_path / "rows.npy", 10, (2,), np.int64)
    again.fill(make, 10, batch=3)
    assert made == list(range(10))
    assert again.filled == 10
    assert again[np.array([7, 2])].tolist() == [[7, -7], [2, -2]]


def test_other_weights_have_other_latents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = {kind: tmp_path / f"{kind}.safetensors" for kind in ("stage_a", "effnet")}
    for kind, path in weights.items():
        path.write_bytes(weights_path(kind).read_bytes())
    for module in (training_data, networks):
        monkeypatch.setattr(module, "weights_path", lambda kind: weights[kind])
    data = training_data.Data(tmp_path, amounts=training_data.Amounts(pictures=2, latents=2))
    both = torch.arange(2)
    before = data.latents_a()(both), data.latents_c()(both)
    changed = networks.shipped(Effnet)
    changed.mapper[0].weight.mul_(2)
    networks.ship(changed)
    assert torch.equal(data.latents_a()(both), before[0])
    after = data.latents_c()(both)
    assert torch.allclose(after, networks.shipped(Effnet)(data.encoded()(both)), atol=0.01)
    assert (after - before[1]).abs().max() > 0.1
    again = training_data.Data(tmp_path, amounts=data.amounts)
    assert torch.equal(again.latents_c()(both), data.latents_c()(both))


def test_tables_in_memory_are_those_in_files(tmp_path: Path) -> None:
    few = training_data.Amounts(pictures=6, latents=6, wider=4, large=2)
    files, memory = (training_data.Data(tmp_path / name, amounts=few) for name in ("files", "memory"))
    memory.draw_ahead()
    rows = torch.tensor([5, 0])
    for read in (
        training_data.Data.encoded,
        training_data.Data.labels,
        training_data.Data.edges,
        training_data.Data.masks,
    ):
        assert torch.equal(read(files)(rows), read(memory)(rows))
    assert list(tmp_path.glob("files/*.npy")) and not list(tmp_path.glob("memory/*.npy"))


def test_captions_are_encoded_as_prompts_are(tmp_path: Path) -> None:
    data = training_data.Data(tmp_path, amounts=training_data.Amounts(pictures=4, latents=4))
    captions = [composed_caption(training_scene(i), np.random.default_rng(i)) for i in range(4)]
    ids = np.stack([np.tile(token_row(caption), (VARIANTS, 1)) for caption in captions])
    data.tables.draw({"tokens_plain": lambda index: ids[index]}, 4)
    sequence, pooled = data.texts("plain")(torch.arange(4))
    theirs = networks.shipped(TextEncoder).encode(captions)
    assert torch.allclose(sequence, theirs.sequence, atol=1e-5) and torch.allclose(pooled, theirs.pooled, atol=1e-5)
    dropped = data.texts("plain", drop=1.0)(torch.arange(4)).pooled
    assert torch.allclose(dropped, networks.shipped(TextEncoder).encode([""]).pooled.expand(4, -1), atol=1e-5)
