"""The customs of other trainers' folders of pictures: masks, repeats, and what of them is not used here.

OneTrainer: `cat-masklabel.png` beside `cat.png` says where its errors count. kohya: the pictures of a folder
`10_zig cat` count ten times, and are captioned by its name where they have no other caption.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

MASK, OTHER_LABEL = "-masklabel", "-condlabel"
FOLDER = re.compile(r"(\d{1,4})_(.+)")
UNUSED = (".npz", ".npy", ".pt", ".safetensors", ".toml", ".yaml", ".yml", ".json", ".csv", ".parquet")
CAPTIONS = (".txt", ".caption")


def is_label(name: str) -> bool:
    """Whether a picture says something of another one, by its name."""
    return PurePosixPath(name).stem.endswith((MASK, OTHER_LABEL))


def mask_of(name: str, labels: Collection[str]) -> str | None:
    """The name of a picture's mask, where it is among the labels."""
    wanted = PurePosixPath(name).with_name(f"{PurePosixPath(name).stem}{MASK}.png").as_posix()
    return wanted if wanted in labels else None


def folder_of(name: str) -> tuple[int, str]:
    """How often a picture counts, and the caption that its folder's name stands for; empty in another folder."""
    found = FOLDER.fullmatch(PurePosixPath(name).parent.name)
    return (max(1, int(found[1])), found[2].replace("_", " ")) if found else (1, "")


def count_unused(names: Iterable[str], pictures: Collection[str], used: Collection[str]) -> dict[str, int]:
    """How many files of each kind are of no use: what trainers keep beside pictures, and captions of no picture."""
    stems = {name.rpartition(".")[0] for name in pictures}
    counts: dict[str, int] = {}
    for name in names:
        stem, suffix = name.rpartition(".")[0], PurePosixPath(name).suffix.lower()
        kind = suffix if suffix in UNUSED else ""
        if is_label(name) and name not in used:
            kind = f"{OTHER_LABEL} pictures" if stem.endswith(OTHER_LABEL) else f"{MASK} pictures of none"
        elif suffix in CAPTIONS and stem not in stems:
            kind = f"{suffix} of no picture"
        if kind:
            counts[kind] = counts.get(kind, 0) + 1
    return counts
