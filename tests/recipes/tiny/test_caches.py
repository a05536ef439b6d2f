"""Caches of the recipe: filled once, continued, and never read for other weights."""

from pathlib import Path

import numpy as np
import pytest

from stable_cascade_nodes.recipes.tiny import caches


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
    monkeypatch.setattr(caches, "PICTURES", 2)
    monkeypatch.setattr(caches, "LATENTS", 2)
    monkeypatch.setattr(caches, "weights_path", lambda kind: tmp_path / f"{kind}.safetensors")
    for kind in ("stage_a", "effnet"):
        (tmp_path / f"{kind}.safetensors").write_bytes(b"first")
    before = caches.pictures_cache(tmp_path)[1].path, caches.latents_cache(tmp_path).path
    (tmp_path / "effnet.safetensors").write_bytes(b"second")
    after = caches.pictures_cache(tmp_path)[1].path, caches.latents_cache(tmp_path).path
    assert before[0] == after[0] and before[1] != after[1]
