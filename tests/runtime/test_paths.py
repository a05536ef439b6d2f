"""Names out of workflows: which file one may mean, and what leads out of its folder."""

from pathlib import Path

import pytest

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files import picture_files
from stable_cascade_nodes.runtime import paths


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize("name", ["../secret.png", "a/../../secret.png", "/etc/passwd", "..\\secret.png"])
def test_names_that_lead_out_of_their_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(CascadeError, match="leads out of"):
        paths.inside(tmp_path / "input", name)


def test_links_that_lead_out_of_their_folder(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    touch(tmp_path / "secret.png")
    (tmp_path / "input" / "file.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "input" / "folder").symlink_to(tmp_path)
    for name in ("file.png", "folder/secret.png"):
        with pytest.raises(CascadeError, match=f"'{name}' is a link that leads out of"):
            paths.inside(tmp_path / "input", name)


def test_links_within_a_folder_and_to_it(tmp_path: Path) -> None:
    touch(tmp_path / "disk" / "a.png")
    (tmp_path / "disk" / "b.png").symlink_to("a.png")
    (tmp_path / "input").symlink_to(tmp_path / "disk")
    assert paths.inside(tmp_path / "input", "b.png") == tmp_path / "input" / "b.png"


@pytest.mark.parametrize("name", ["a\0.png", "\ud800.png"])
def test_a_name_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(CascadeError, match="is not the name of a file"):
        paths.inside(tmp_path, name)
    assert not paths.is_inside(tmp_path, tmp_path / name)


def test_names_that_stay_inside(tmp_path: Path) -> None:
    assert paths.inside(tmp_path, "a/../b.png") == tmp_path / "b.png"
    assert paths.inside(tmp_path, "sub\\b.png") == tmp_path / "sub" / "b.png"


def test_annotated_names() -> None:
    assert paths.split_annotation("a.png [output]") == ("a.png", "output")
    assert paths.split_annotation("a.png[temp]") == ("a.png", "temp")
    assert paths.split_annotation("a [b].png") == ("a [b].png", "input")


def test_what_lies_inside_need_not_be_there(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path.parent)
    assert paths.is_inside(tmp_path, tmp_path / "a" / ".." / "b")
    assert paths.is_inside(tmp_path, tmp_path)
    beside = tmp_path.with_name(tmp_path.name + "2")
    for outside in (tmp_path / ".." / "c", tmp_path / "link" / "c", beside, tmp_path / "\0"):
        assert not paths.is_inside(tmp_path, outside)


def test_pictures_are_those_directly_in_the_folder(tmp_path: Path) -> None:
    assert picture_files.names_in(tmp_path / "none") == []
    touch(tmp_path / "b.png")
    touch(tmp_path / "A.JPG")
    touch(tmp_path / "notes.txt")
    touch(tmp_path / "folder.png" / "c.png")
    assert picture_files.names_in(tmp_path) == ["A.JPG", "b.png"]
