"""Every damaged file ends in one sentence that says what it is and what was expected, and in nothing else."""

import os
import re
from pathlib import Path

import pytest

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files import load
from stable_cascade_nodes.cascade_core.files.identify import identify

from . import damage_forms, damage_headers, damage_tensors
from .damage import Damage

GROUPS = (
    damage_headers.cut_short,
    damage_headers.wrong_length,
    damage_headers.bad_entries,
    damage_headers.flipped_bits,
    damage_tensors.renamed,
    damage_tensors.misshapen,
    damage_tensors.swapped,
    damage_tensors.metadata,
    damage_forms.strangers,
    damage_forms.pickled,
    damage_forms.sets,
    damage_forms.folders,
)
DAMAGES = [damage for group in GROUPS for damage in group()]
ONE_OF_EACH = {
    damage.name for group in GROUPS for damage in {(one.says, one.harm): one for one in reversed([*group()])}.values()
}  # the first of each class: of a group, what is said or done
CASES = [
    pytest.param(damage, id=damage.name, marks=[] if damage.name in ONE_OF_EACH else pytest.mark.slow)
    for damage in DAMAGES
]
LONGEST = 600  # characters that a person reads


def files_in(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_size) for path in folder.rglob("*"))


def open_files() -> int:
    """How many this process has open, where the system tells."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.mark.parametrize("damage", CASES)
def test_one_sentence_and_nothing_else(damage: Damage, tmp_path: Path) -> None:
    path = damage.make(tmp_path)
    before, opened = files_in(tmp_path), open_files()

    with pytest.raises(CascadeError) as caught:
        load.load(damage.kind, path)

    message = str(caught.value)
    assert re.search(damage.says, message), message
    assert re.match(r"\S+ \S", message) and "\n" not in message and message.isprintable(), message
    named = message.split(maxsplit=1)[0].rstrip(":")
    assert named == path.name or named in {Path(name).name for name, _ in before}
    assert len(message) <= LONGEST, message
    assert files_in(tmp_path) == before
    assert open_files() <= opened  # fewer where what earlier tests left is collected meanwhile


@pytest.mark.parametrize("damage", CASES[::7])
def test_telling_what_it_is_raises_nothing_else(damage: Damage, tmp_path: Path) -> None:
    """Some are sound to look at: their parts are told, and only loading finds that a tensor is missing."""
    try:
        assert identify(damage.make(tmp_path))
    except CascadeError as error:
        assert re.search(damage.says, str(error))


def test_there_are_three_hundred_of_them() -> None:
    assert len(DAMAGES) >= 300 and len({damage.name for damage in DAMAGES}) == len(DAMAGES)
