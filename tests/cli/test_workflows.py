"""`cascade workflows`, and shipped workflows by name."""

import json
from pathlib import Path

import pytest

from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import shipped


def test_every_shipped_workflow_is_listed_with_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (shipped.FOLDER.parent / "README.md").read_text(encoding="utf-8")
    assert main(["workflows", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == shipped.names()
    assert next(iter(found)) == "text_to_image"
    for about in found.values():
        assert Path(about["path"]).is_file()
        assert f"| {about['purpose']} |" in readme
        assert not set(about["purpose"]) & set("`*_") and "](" not in about["purpose"]  # a terminal shows it as it is


def test_a_copy_never_replaces(new_program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workflows", "inpainting", "--to", "."]) == 0
    copied = new_program / capsys.readouterr().out.strip()
    assert copied.read_bytes() == shipped.path_of("inpainting").read_bytes()
    copied.write_text("mine")
    assert main(["workflows", "inpainting", "--to", "deep/new"]) == 0  # a folder comes into being
    assert (new_program / "deep" / "new" / "inpainting.json").is_file()
    assert main(["workflows", "inpainting", "--to", "."]) == 2
    assert (copied.read_text(), "inpainting.json" in capsys.readouterr().err) == ("mine", True)


@pytest.mark.parametrize(
    "arguments",
    [["workflows", "inpaint"], ["workflows", "--to", "."], ["workflows", "canny", "--to", f"{__file__}/no"]],
)
def test_what_cannot_be_copied(new_program: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(new_program.iterdir())


@pytest.mark.parametrize("name", ["text_to_image", "text_to_image.json"])
def test_a_name_is_enough(new_program: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["validate", name]) == 0
    assert str(shipped.FOLDER) in capsys.readouterr().out
    (new_program / "text_to_image.json").write_text("[]")  # what lies here goes before
    assert main(["validate", "text_to_image.json"]) == 2


def test_a_folder_of_its_name_hides_no_workflow(new_program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `run text_to_image -o text_to_image` leaves one."""
    for name in ("text_to_image", "inpainting.json"):
        (new_program / name).mkdir()
        for command in ("validate", "export"):
            assert main([command, name]) == 0, (command, name)
    capsys.readouterr()
    assert main(["doctor", "text_to_image"]) == 0
    assert "no model files in" in capsys.readouterr().out  # doctor takes folders
