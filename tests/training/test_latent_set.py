"""Latents with captions to learn from: what is read is what was written, whatever lies in which file.

Run: pytest tests/training
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stable_cascade_nodes.benchmarks.latent_reading import measure
from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.training.data import latent_files
from stable_cascade_nodes.cascade_core.training.data.cache import Cache
from stable_cascade_nodes.cascade_core.training.data.latent_set import EncodedExamples, read_latents
from stable_cascade_nodes.cascade_core.training.models import StageCModels
from stable_cascade_nodes.cascade_core.training.settings import TrainingSettings

from .latents import TINY, captions_of, write_latents


@pytest.fixture(scope="module")
def models() -> StageCModels:
    return StageCModels(*(load(kind, built_in(kind)[TINY], name=TINY) for kind in ("stage_c", "text_encoder")))


def examples_of(models: StageCModels, target: Path, **settings: float) -> EncodedExamples:
    given = TrainingSettings(**{"batch_size": 2, "caption_dropout": 0.0, **settings})  # pyright: ignore[reportArgumentType]
    examples = EncodedExamples(models, read_latents([target]), given, Cache(target.parent / "cache"))
    for key, make in examples.tasks():
        examples.cache.fill(key, make)
    return examples


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_each_latent_comes_with_its_own_captions(models: StageCModels, tmp_path: Path, precision: str) -> None:
    target = tmp_path / "l.safetensors"
    write_latents(target, 11, in_a_file=4, precision=precision)
    stored = {name: tensor for path in latent_files.members(target) for name, tensor in load_file(path).items()}
    examples = examples_of(models, target)
    assert len(examples) == len(stored) == 11
    for index, name in enumerate(sorted(stored)):
        assert torch.equal(examples.latent(index), stored[name].float())
        assert list(examples.captions_at(index)) == list(captions_of(index)) or [""]


def test_a_batch_has_one_size_and_all_latents_come_alike(models: StageCModels, tmp_path: Path) -> None:
    write_latents(tmp_path / "l.safetensors", 9, in_a_file=4)  # two of each three are wide
    examples = examples_of(models, tmp_path / "l.safetensors")
    counts = np.zeros(9)
    for step in range(1500):
        indices = examples.draw(np.random.default_rng(step))
        assert examples.latents(indices).shape[0] == 2
        np.add.at(counts, indices, 1)
    assert counts.min() > 0.8 * counts.max()


def test_of_several_captions_each_is_drawn_and_some_are_left_out(models: StageCModels, tmp_path: Path) -> None:
    write_latents(tmp_path / "l.safetensors", 3, in_a_file=4)
    examples = examples_of(models, tmp_path / "l.safetensors", caption_dropout=0.2)
    random = np.random.default_rng(0)
    drawn = [examples.captions_of([2], random)[0] for _ in range(600)]
    shares = {caption: drawn.count(caption) / 600 for caption in {*drawn}}
    assert {*shares} == {"", *captions_of(2)}
    assert all(0.15 < share < 0.33 for share in shares.values())  # of 0.2 and three of 0.8 / 3


def test_text_is_encoded_as_in_the_cache_of_pictures(models: StageCModels, tmp_path: Path) -> None:
    from stable_cascade_nodes.cascade_core.training.data.texts import Texts

    captions = ["a red star", "", "a blue circle on a white background"]
    cached, computed = Texts(models.text_encoder, Cache(tmp_path)), Texts(models.text_encoder, None)
    for key, make in cached.tasks(captions):
        cached.cache.fill(key, make)  # pyright: ignore[reportOptionalMemberAccess]
    for one, other in zip(cached.encodings(captions), computed.encodings(captions), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert computed.tasks(captions) == []


def test_files_that_do_not_belong_together_are_refused(models: StageCModels, tmp_path: Path) -> None:
    write_latents(tmp_path / "l.safetensors", 4, in_a_file=4)
    write_latents(tmp_path / "m.safetensors", 4, in_a_file=4, precision="float32")
    both = read_latents([tmp_path / "l.safetensors", tmp_path / "m.safetensors"])
    examples = EncodedExamples(models, both, TrainingSettings(), Cache(tmp_path / "cache"))
    with pytest.raises(CascadeError, match=r"m\.safetensors was written by .* train on files that one encoder wrote"):
        [make() for _, make in examples.tasks()]
    with pytest.raises(CascadeError, match=r"There are no latents in .*nothing\.safetensors"):
        read_latents([tmp_path / "nothing.safetensors"])
    write_latents(tmp_path / "other.safetensors", 2, in_a_file=4, family="stable-cascade")
    with pytest.raises(CascadeError, match="`latents` comes from a published model"):
        EncodedExamples(models, read_latents([tmp_path / "other.safetensors"]), TrainingSettings(), Cache(tmp_path))


def test_memory_does_not_grow_with_the_latents(tmp_path: Path) -> None:
    few, many = (measure(tmp_path / str(rows), rows, 640) for rows in (1000, 8000))
    assert (few["rows"], many["rows"]) == (1000, 8000)
    assert many["most"] - many["before"] < few["most"] - few["before"] + 10  # MB


@pytest.mark.slow
def test_a_million_latents_take_the_memory_of_their_indices(tmp_path: Path) -> None:
    found = measure(tmp_path, 1_000_000, 64_000)
    assert found["rows"] == 1_000_000
    assert found["most"] - found["before"] < 64  # MB
