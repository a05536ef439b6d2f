"""web/pictures: what the editor shows for the built-in pictures is what the nodes draw.

    python -m tests.test_shown_pictures

writes them anew. Run: pytest tests/test_shown_pictures.py
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import stable_cascade_nodes
from stable_cascade_nodes.cascade_core.builtin.pictures import BUILT_IN_PICTURES

WEB = Path(stable_cascade_nodes.__file__).parent / "web"
FOLDER = WEB / "pictures"


def file_of(name: str) -> Path:
    """As web/pictures.js finds it."""
    known = re.fullmatch(r"(.+) \(built-in\)", name)
    assert known, name
    return FOLDER / f"{known[1].replace(' ', '_')}.png"


def test_there_is_a_file_for_each_and_no_other() -> None:
    assert sorted(FOLDER.iterdir()) == sorted(map(file_of, BUILT_IN_PICTURES))
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 50_000


@pytest.mark.parametrize("name", BUILT_IN_PICTURES)
def test_they_are_what_the_nodes_draw(name: str) -> None:
    drawn = BUILT_IN_PICTURES[name].draw()
    with Image.open(file_of(name)) as shown:
        assert (shown.mode, shown.size) == (drawn.mode, drawn.size)
        apart = np.abs(np.asarray(shown).astype(int) - np.asarray(drawn))
    assert apart.max() <= 2  # another Pillow may round otherwise


if __name__ == "__main__":
    for each, scene in BUILT_IN_PICTURES.items():
        scene.draw().save(file_of(each), optimize=True)
