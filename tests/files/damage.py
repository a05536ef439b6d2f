"""Three hundred files that are no sound part of Stable Cascade, each with what is to be said of it.

All are made anew from names and shapes, of zeros that take no room; nothing is drawn by chance.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from stable_cascade_nodes.cascade_core.files.layouts import from_official
from stable_cascade_nodes.cascade_core.models.config import PRESETS

from .networks import Shapes, official_shapes

BYTES = {"F32": 4, "BF16": 2, "F8_E4M3": 1, "I64": 8}
HALF = "is damaged or its download is not complete"


@dataclass(frozen=True)
class Damage:
    """A file to be made, the kind that a person takes it for, and a regular expression of what is said of it."""

    name: str
    kind: str
    make: Callable[[Path], Path]  # into an empty folder
    says: str
    harm: str = ""  # the class of damage, where the same is said of several classes


@dataclass(frozen=True)
class Sound:
    """A file before it is damaged."""

    kind: str
    dtype: str
    shapes: Shapes
    metadata: dict[str, str]

    def header(self) -> dict[str, Any]:
        entries: dict[str, Any] = {"__metadata__": self.metadata} if self.metadata else {}
        end = 0
        for name, shape in self.shapes.items():
            start, end = end, end + prod(shape) * BYTES[self.dtype]
            entries[name] = {"dtype": self.dtype, "shape": list(shape), "data_offsets": [start, end]}
        return entries

    @property
    def data(self) -> int:
        return sum(prod(shape) for shape in self.shapes.values()) * BYTES[self.dtype]

    def write(self, folder: Path) -> Path:
        return write(folder / "x.safetensors", self.header(), self.data)


@cache
def sound(name: str) -> Sound:
    """The files that are damaged here: of every size, layout and origin."""
    kind, preset, layout, prefix = {
        "stage_c": ("stage_c", "1B", "official", ""),
        "stage_b": ("stage_b", "700M", "comfyui", ""),
        "decoder": ("stage_b", "1.5B", "diffusers", ""),
        "all_in_one": ("stage_b", "700M", "official", "model.diffusion_model."),
        "stage_a": ("stage_a", "published", "official", ""),
        "effnet": ("effnet", "published", "official", ""),
        "previewer": ("previewer", "published", "official", ""),
        "image_encoder": ("image_encoder", "published", "official", ""),
        "tiny": ("stage_c", "tiny", "official", ""),
    }[name]
    config = PRESETS[kind][preset]
    ours = official_shapes(kind, config)
    theirs = {prefix + new: source.shape(ours) for new, source in from_official(kind, layout, ours).items()}
    told = {"cascade": json.dumps({"kind": kind, "config": asdict(config)})} if preset == "tiny" else {}
    return Sound(kind, "F8_E4M3" if name == "stage_b" else "BF16" if "stage" in name else "F32", theirs, told)


def write(path: Path, header: dict[str, Any] | bytes, data: int, length: int | None = None) -> Path:
    """A safetensors file; `length` is what it says of its header's length, if it lies."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    with path.open("wb") as file:
        file.write((len(raw) if length is None else length).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + data)
    return path


def changed(name: str, case: str, change: Callable[[dict[str, Any]], None], says: str, harm: str = "") -> Damage:
    """A file with a changed header; the data keep their size."""
    file = sound(name)

    def make(folder: Path) -> Path:
        header = json.loads(json.dumps(file.header()))
        change(header)
        return write(folder / "x.safetensors", header, file.data)

    return Damage(f"{name}: {case}", file.kind, make, says, harm)
