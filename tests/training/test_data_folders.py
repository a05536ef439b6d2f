"""Folders as four other trainers have them are learned from as they are; what is not used is counted.

Run: pytest tests/training
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.training.data.cache import Cache
from stable_cascade_nodes.cascade_core.training.data.captions import read_table, shuffled
from stable_cascade_nodes.cascade_core.training.data.dataset import Dataset, read_dataset, read_mask, read_pixels
from stable_cascade_nodes.cascade_core.training.data.examples import Examples
from stable_cascade_nodes.cascade_core.training.models import TrainingModels
from stable_cascade_nodes.cascade_core.training.settings import TrainingSettings

TINY = "tiny (built-in)"


@pytest.fixture(scope="module")
def models() -> TrainingModels:
    kinds = ("stage_c", "text_encoder", "effnet")
    return TrainingModels(**{kind: load(kind, built_in(kind)[TINY], name=TINY) for kind in kinds})


def put(path: Path, value: int = 90, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (64, 64), value if mode == "L" else (value,) * len(mode)).save(path)


def one_trainer(folder: Path) -> None:
    for name in ("a", "b"):
        put(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text("a star")
    put(folder / "a-masklabel.png", 255, "L")
    put(folder / "b-condlabel.png")
    put(folder / "lost-masklabel.png", 255, "L")


def kohya(folder: Path) -> None:
    put(folder / "10_zig star" / "a.png")
    (folder / "10_zig star" / "a.caption").write_text("a zig, large")
    put(folder / "10_zig star" / "b.png")  # captioned by its folder
    put(folder / "1_star" / "c.png")
    (folder / "10_zig star" / "a.npz").write_bytes(b"")
    (folder / "set.toml").write_text("")
    (folder / "1_star" / "gone.caption").write_text("of no picture")


def image_folder(folder: Path) -> None:
    rows = [{"file_name": "a.png", "text": "a star"}, {"file_name": "sub/b.png", "text": ["a heart", "one heart"]}]
    for row in rows:
        put(folder / str(row["file_name"]))
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))


def webdataset(folder: Path) -> None:
    folder.mkdir()
    with tarfile.open(folder / "0000.tar", "w") as archive:
        for name in ("0001", "0002"):
            put(folder / f"{name}.jpg")
            (folder / f"{name}.txt").write_text(f"picture {name}")
            (folder / f"{name}.json").write_text("{}")
            for suffix in ("jpg", "txt", "json"):
                archive.add(folder / f"{name}.{suffix}", f"./{name}.{suffix}")
                (folder / f"{name}.{suffix}").unlink()


SHAPES = {
    one_trainer: (
        {"a.png": ("a star",), "b.png": ("a star",)},
        "pictures found: 2, all used; with masks: 1; not used: 1 -condlabel pictures, 1 -masklabel pictures of none",
    ),
    kohya: (
        {"1_star/c.png": ("star",), "10_zig star/a.png": ("a zig, large",), "10_zig star/b.png": ("zig star",)},
        "pictures found: 3, all used; counted 21 times by their folders; not used: 1 .npz,"
        " 1 .caption of no picture, 1 .toml",
    ),
    image_folder: (
        {"a.png": ("a star",), "sub/b.png": ("a heart", "one heart")},
        "pictures found: 2, all used",
    ),
    webdataset: (
        {"0000.tar/0001.jpg": ("picture 0001",), "0000.tar/0002.jpg": ("picture 0002",)},
        "pictures found: 2, all used; not used: 2 .json",
    ),
}


@pytest.mark.parametrize("make", SHAPES)
def test_folders_of_others(make: object, models: TrainingModels, tmp_path: Path) -> None:
    captions, words = SHAPES[make]  # pyright: ignore[reportArgumentType]
    make(tmp_path / "data")  # pyright: ignore[reportCallIssue]
    dataset = read_dataset(tmp_path / "data")
    assert {example.name: example.captions for example in dataset.examples} == captions
    assert dataset.in_words() == words
    examples = encoded(models, dataset, tmp_path)
    batch = examples.batch(np.random.default_rng(0), models.stage_c)
    assert batch.noised.x.shape == (2, 16, 2, 2)


def test_an_archive_is_a_folder(tmp_path: Path) -> None:
    webdataset(tmp_path / "data")
    found = read_dataset(tmp_path / "data" / "0000.tar").examples
    assert [example.name for example in found] == ["0001.jpg", "0002.jpg"]
    assert read_pixels(found[0].picture).shape == (3, 64, 64)
    (tmp_path / "data" / "0000.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(CascadeError, match=r"0000\.tar cannot be read: it is no tar archive"):
        read_dataset(tmp_path / "data")


def test_a_picture_counts_as_often_as_its_folder_says(models: TrainingModels, tmp_path: Path) -> None:
    kohya(tmp_path / "data")
    examples = Examples(models, read_dataset(tmp_path / "data"), TrainingSettings(batch_size=1), Cache(tmp_path))
    counts = np.zeros(3)
    for seed in range(2100):
        np.add.at(counts, examples.draw(np.random.default_rng(seed)), 1)
    assert counts / 100 == pytest.approx([10, 10, 1], rel=0.2)


def encoded(models: TrainingModels, dataset: Dataset, folder: Path, **settings: float) -> Examples:
    given = TrainingSettings(size=64, **{"batch_size": 2, **settings})  # pyright: ignore[reportArgumentType]
    examples = Examples(models, dataset, given, Cache(folder / "cache"))
    for key, make in examples.tasks():
        examples.cache.fill(key, make)
    return examples


def test_masks_say_where_errors_count(models: TrainingModels, tmp_path: Path) -> None:
    one_trainer(tmp_path / "data")
    half = np.zeros((64, 64), np.uint8)
    half[:, 32:] = 255
    Image.fromarray(half).save(tmp_path / "data" / "a-masklabel.png")
    seen = np.full((64, 64, 4), 255, np.uint8)
    seen[:32, :, 3] = 0
    Image.fromarray(seen).save(tmp_path / "data" / "b.png")  # by its transparency
    dataset = read_dataset(tmp_path / "data")
    assert read_mask(dataset.examples[0])[0, 0, :].tolist() == [0.0] * 32 + [1.0] * 32
    areas = encoded(models, dataset, tmp_path, unmasked_weight=0.25).areas([0, 1])
    assert areas is not None
    assert torch.allclose(areas[0, 0], torch.tensor([[0.25, 1.0], [0.25, 1.0]]), atol=0.02)
    assert torch.allclose(areas[1, 0], torch.tensor([[0.25, 0.25], [1.0, 1.0]]), atol=0.02)
    assert encoded(models, dataset, tmp_path).areas([0, 1]) is None


def test_tags_come_in_any_order_but_for_the_first() -> None:
    random = np.random.default_rng(0)
    drawn = {shuffled("[zig], red, large,  on white", 1, random) for _ in range(200)}
    assert len(drawn) == 6 and all(caption.startswith("[zig], ") for caption in drawn)
    assert all(sorted(caption.split(", ")) == sorted(["[zig]", "red", "large", "on white"]) for caption in drawn)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", 'file_name,text\na.png,"a star, red"\n'),
        ("t.tsv", "path\tcaption\na.png\ta star, red\n"),
        ("t.jsonl", '{"image": "a.png", "prompt": "a star, red"}\n'),
        ("t.json", '{"a.png": {"caption": "a star", "tags": "red"}}'),
        ("u.json", '[{"file_name": "a.png", "captions": ["a star, red"]}]'),
    ],
)
def test_tables_of_captions(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_table(tmp_path / name) == {"a.png": ("a star, red",)}
    (tmp_path / name).write_text("{")
    if name != "t.tsv" and name != "t.csv":
        with pytest.raises(CascadeError, match="a table of captions, cannot be read"):
            read_table(tmp_path / name)
