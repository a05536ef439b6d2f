"""Folders of drawn pictures for `cascade encode`, and what is found in its files and those of `cascade decode`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cascade_core.builtin.world import Scene, sample_scene
from stable_cascade_nodes.cascade_core.training.data import latent_files

SIZES = {"a.png": (256, 256), "odd/b.jpg": (201, 137), "odd/c.bmp": (137, 201), "odd/deep/d.webp": (333, 64)}
SIZES |= {"e.png": (256, 250), "f.png": (256, 256), "smallest.png": (16, 17)}  # (width, height)
QUICK = ("--steps", "2")
MIXED = [(256, 256), (201, 137), (64, 90), (256, 256), (137, 201)]  # those of `write_album`, one after the other
ENCODE = ("encode", "in", "--shard-size", "4", "--to")
DECODE = ("decode", "one/l.safetensors", "--steps", "1", "--batch", "3", "--output")


def scene(seed: int) -> Scene:
    return sample_scene(np.random.default_rng(seed))


def stored(*paths: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for path in paths for name, tensor in load_file(path).items()}


def entry(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()[latent_files.KEY])


def decoded(folder: Path) -> dict[str, np.ndarray]:
    return {path.relative_to(folder).as_posix(): np.asarray(Image.open(path), np.int16) for path in folder.rglob("*.*")}


def write_album(folder: Path, number: int) -> None:
    folder.mkdir()
    for index in range(number):
        draw(scene(index)).resize(MIXED[index % 5]).save(folder / f"{index:03}.png")
        if index % 3 == 0:
            (folder / f"{index:03}.txt").write_text(f"picture {index}")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def spoil(folder: Path) -> None:
    (folder / "005.png").write_bytes((folder / "003.png").read_bytes()[:300])
    (folder / "zz.jpg").write_text("no picture")
    (folder / "003.txt").write_bytes(b"\xff\xfe\xff")
    (folder / "photo.HEIC").write_text("of a telephone")
