"""`cascade run` and `cascade validate`: what they print, write and return."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stable_cascade_nodes.runtime.local import LocalHost

from ..headless.graph.fake_nodes import node

Cascade = Callable[..., Any]
PICTURE = {"1": node("Paint", red=0.25), "2": node("SaveImage", "Picture out", images=["1", 0], filename_prefix="a")}
BROKEN_BESIDE = PICTURE | {"3": node("Show", "Number out", value=["4", 0]), "4": node("Number", value=999)}


def test_prints_each_written_file(cascade: Cascade, folders: Path) -> None:
    answer = cascade("run", PICTURE | {"3": node("SaveImage", images=["1", 0], filename_prefix="deep/b")})
    assert answer.code == 0
    assert answer.lines == [str(folders / "output" / "a_00001_.png"), str(folders / "output" / "deep" / "b_00001_.png")]
    assert all(Path(line).is_file() for line in answer.lines)
    assert "Picture out" in answer.err


def test_previews_are_not_results(cascade: Cascade, folders: Path) -> None:
    prompt = PICTURE | {"3": node("PreviewImage", images=["1", 0])}
    answer = cascade("run", prompt)
    assert answer.lines == [str(folders / "output" / "a_00001_.png")]
    (told,) = [line.partition("preview: ")[2] for line in answer.err.splitlines() if "preview: " in line]
    assert Path(told).is_file()
    answer = cascade("run", prompt, "--json")
    (preview,) = json.loads(answer.out)["previews"]
    assert Path(preview).is_file() and preview != told


def test_previews_stay_when_the_program_ends(folders: Path) -> None:
    """What else lies in the temporary folder goes, and without previews the folder too."""
    source = [
        "import stable_cascade_nodes.runtime.host as host, sys",
        "here = host.configure(keeps_previews=sys.argv[1] == 'keep').temporary_directory()",
        "(here / 'typed').mkdir()",
        "sys.argv[2] == 'preview' and (here / 'preview_00001_.png').touch()",
        "print(here)",
    ]
    for keeps, shown, left in (("keep", "preview", ["preview_00001_.png"]), ("keep", "", None), ("", "preview", None)):
        ran = subprocess.run(
            [sys.executable, "-c", "\n".join(source), keeps, shown], capture_output=True, text=True, check=True
        )
        folder = Path(ran.stdout.strip())
        assert (sorted(path.name for path in folder.iterdir()) if folder.exists() else None) == left
        shutil.rmtree(folder, ignore_errors=True)


def test_what_a_killed_program_left_goes_with_the_next(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its temporary folder, but for previews that were to stay; that of a living program does not."""
    source = [
        "import os, sys, stable_cascade_nodes.runtime.host as host",
        "here = host.configure(keeps_previews=sys.argv[1] == 'keep').temporary_directory()",
        "(here / 'page').mkdir()",
        "(here / 'preview_00001_.png').touch()",
        f"(here / '.{'0' * 32}.part').touch()",
        "print(here)",
        "os.kill(os.getpid(), 9)",
    ]
    (folders / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(folders / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)

    def run(keeps: str) -> Path:
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(source), keeps], capture_output=True, check=False, text=True
        )
        return Path(done.stdout.strip())

    gone, kept = run(""), run("keep")
    assert not gone.exists() and kept.exists()
    other = LocalHost()
    living = other.temporary_directory()
    assert [path.name for path in kept.iterdir()] == ["preview_00001_.png"]
    last = run("")
    assert living.is_dir() and last.is_dir()
    LocalHost().temporary_directory()
    assert living.is_dir() and not last.exists()


def test_a_temporary_folder_goes_at_whatever_moment_its_program_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before_its_lock, foreign, unlocked = (tmp_path / f"cascade_{name}" for name in ("abc_1234", "work", "abcd5678"))
    for folder in (before_its_lock, foreign, unlocked):
        folder.mkdir()
    (unlocked / "x").touch()
    dead = tmp_path / "cascade_dead5678"
    (dead / "page").mkdir(parents=True)
    (dead / ".lock").touch()

    source = [  # whoever removes what another left
        "import os, shutil, sys, stable_cascade_nodes.runtime.host as host",
        "shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), 9)",
        "host.configure().temporary_directory()",
    ]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", "\n".join(source)], env=environment, check=False).returncode == -9
    assert dead.is_dir()
    own = LocalHost().temporary_directory()
    assert set(tmp_path.iterdir()) == {own, foreign, unlocked}


def test_a_temporary_folder_that_was_taken_for_a_dead_ones_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program looks between the folder's making and its lock's."""
    names = iter([tmp_path / "cascade_11111111", tmp_path / "cascade_22222222"])
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: str(next(names)))
    (tmp_path / "cascade_22222222").mkdir()
    assert LocalHost().temporary_directory() == tmp_path / "cascade_22222222"
    assert (tmp_path / "cascade_22222222" / ".lock").is_file()


def test_a_title_that_several_nodes_have_is_told_with_the_id(cascade: Cascade) -> None:
    prompt = PICTURE | {"3": node("SaveImage", "Picture out", images=["1", 0], filename_prefix="b")}
    told = cascade("run", prompt).err
    assert "s  Picture out (node 2)\n" in told and "s  Picture out (node 3)\n" in told
    assert "s  Picture out\n" in cascade("run", PICTURE).err


def test_output_goes_where_it_is_told(cascade: Cascade, folders: Path) -> None:
    answer = cascade("run", PICTURE, "--output", folders / "new" / "deep")
    assert answer.lines == [str(folders / "new" / "deep" / "a_00001_.png")]


def test_json_is_one_object(cascade: Cascade, folders: Path) -> None:
    answer = cascade("run", PICTURE, "--json")
    found = json.loads(answer.out)
    assert answer.code == 0
    assert list(found) == ["files", "seconds", "nodes", "previews"]
    assert found["files"] == [str(folders / "output" / "a_00001_.png")]
    assert found["seconds"] > 0
    assert list(found["nodes"]["2"]) == ["class_type", "title", "seconds", "cached"]
    assert found["nodes"]["2"]["title"] == "Picture out"
    assert found["nodes"]["2"]["cached"] is False


def test_identical_outputs_are_written_and_printed_once(cascade: Cascade) -> None:
    answer = cascade("run", PICTURE | {"3": PICTURE["2"]})
    assert len(answer.lines) == 1


def test_a_broken_output_stops_everything(cascade: Cascade, folders: Path) -> None:
    answer = cascade("run", BROKEN_BESIDE)
    assert (answer.code, answer.out) == (2, "")
    assert 'node 4 "Number" (Number), input "value": expected a number from 0 to 100, found 999' in answer.err
    assert not list((folders / "output").iterdir())


def test_partial_runs_the_outputs_that_are_fine(cascade: Cascade, folders: Path) -> None:
    answer = cascade("run", BROKEN_BESIDE, "--partial")
    assert answer.code == 2
    assert answer.lines == [str(folders / "output" / "a_00001_.png")]
    assert "found 999" in answer.err
    found = json.loads(cascade("run", BROKEN_BESIDE, "--partial", "--json").out)
    assert list(found["nodes"]) == ["1", "2"]


def test_partial_with_nothing_fine(cascade: Cascade) -> None:
    answer = cascade("run", {"3": BROKEN_BESIDE["3"], "4": BROKEN_BESIDE["4"]}, "--partial")
    assert (answer.code, answer.out) == (2, "")


def test_a_failure_while_running(cascade: Cascade) -> None:
    answer = cascade("run", {"1": node("Fails", "Unlucky"), "2": node("Show", value=["1", 0])})
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.splitlines()[-1] == 'cascade: node 1 "Unlucky" (Fails) failed: this node always fails'
    assert "Traceback" not in answer.err


REFUSED = PICTURE | {"3": node("Choosy", "Mine", value=13), "4": node("Show", value=["3", 0])}


def test_what_a_node_refuses_beforehand_is_a_bad_workflow(cascade: Cascade, folders: Path, calls: list[Any]) -> None:
    answer = cascade("run", REFUSED)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == 'cascade: node 3 "Mine" (Choosy): 13 does not suit me\n'
    assert not calls and not list((folders / "output").iterdir())
    answer = cascade("run", REFUSED, "--json")
    assert answer.code == 2
    assert {key: json.loads(answer.out)[key] for key in ("files", "nodes")} == {"files": [], "nodes": {}}


def test_partial_runs_what_nobody_refuses(cascade: Cascade, folders: Path, calls: list[Any]) -> None:
    answer = cascade("run", REFUSED, "--partial")
    assert answer.code == 2
    assert answer.lines == [str(folders / "output" / "a_00001_.png")]
    assert "13 does not suit me" in answer.err
    assert [name for name, _ in calls] == ["Paint"]
    answer = cascade("run", {key: REFUSED[key] for key in "34"}, "--partial")
    assert (answer.code, answer.out) == (2, "")


def test_what_fails_to_load_is_a_failure_while_running(cascade: Cascade, calls: list[Any]) -> None:
    answer = cascade("run", PICTURE | {"3": node("Loads", "Mine"), "4": node("Show", value=["3", 0])})
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == 'cascade: node 3 "Mine" (Loads) failed: this node always fails\n'
    assert [name for name, _ in calls] == ["Loads"]


def test_what_was_written_before_a_failure_is_told(cascade: Cascade) -> None:
    prompt = PICTURE | {"3": node("Crash", value=["4", 0]), "4": node("Number", value=1)}
    answer = cascade("run", prompt)
    assert answer.code == 1
    assert len(answer.lines) == 1
    answer = cascade("run", prompt, "--json")
    assert answer.code == 1
    assert len(json.loads(answer.out)["files"]) == 1


def test_a_bug_shows_where_it_happened_with_debug(cascade: Cascade) -> None:
    answer = cascade("run", {"1": node("Crash", value=1)})
    assert answer.code == 1 and "Traceback" not in answer.err
    told = answer.err.splitlines()[-1]
    assert told.startswith('cascade: node 1 "Crash" (Crash) failed: RuntimeError: a bug; ') and "--debug" in told
    answer = cascade("run", {"1": node("Crash", value=1)}, "--debug")
    written = Path(answer.err.splitlines()[-1].rpartition(" ")[2])
    text = written.read_text("utf-8")
    written.unlink()
    assert answer.code == 1 and text.startswith("Traceback") and "RuntimeError: a bug" in text


def test_out_of_memory_comes_with_advice(cascade: Cascade) -> None:
    answer = cascade("run", {"1": node("RunOut", value=1)})
    assert answer.code == 1
    assert "60 GiB; choose a smaller size" in answer.err
    assert "Traceback" not in answer.err


def test_ctrl_c(cascade: Cascade) -> None:
    answer = cascade("run", {"1": node("Stop", value=1)})
    assert answer.code == 130
    assert answer.err.splitlines()[-1] == "cascade: stopped"


def test_ctrl_c_leaves_nothing_half_written(cascade: Cascade, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Path]] = []

    def save(self: Image.Image, path: Path, **_: Any) -> None:
        path.write_bytes(b"half of a picture")
        seen.append(list((folders / "output").iterdir()))
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Image.Image, "save", save)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        answer = cascade("run", PICTURE)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (answer.code, answer.out) == (130, "")
    assert [len(files) for files in seen] == [1]
    assert not list((folders / "output").iterdir())


def test_a_picture_carries_its_workflow(cascade: Cascade) -> None:
    editor = {
        "version": 0.4,
        "nodes": [
            {"id": 1, "type": "Paint", "widgets_values": [0.25], "outputs": [{"name": "IMAGE", "type": "IMAGE"}]},
            {
                "id": 2,
                "type": "SaveImage",
                "widgets_values": ["a"],
                "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
            },
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"]],
    }
    answer = cascade("run", editor, "--set", "Paint.red=0.75", "--set", "Save Image.filename_prefix=b")
    assert answer.code == 0, answer.err
    with Image.open(answer.lines[0]) as picture:
        text: dict[str, str] = dict(picture.text)  # type: ignore[attr-defined]
        assert picture.getpixel((0, 0)) == (191, 0, 0)
    assert json.loads(text["prompt"])["1"]["inputs"] == {"red": 0.75}
    kept = json.loads(text["workflow"])
    assert [entry["widgets_values"] for entry in kept["nodes"]] == [[0.75], ["b"]]
    for again in (kept, json.loads(text["prompt"])):  # either form makes the same picture
        with Image.open(cascade("run", again).lines[0]) as picture:
            assert picture.getpixel((0, 0)) == (191, 0, 0)


def test_validate(cascade: Cascade, folders: Path) -> None:
    answer = cascade("validate", PICTURE)
    assert answer.code == 0
    assert answer.out.endswith(": no problems (nodes: 2, outputs: 1)\n")
    answer = cascade("validate", BROKEN_BESIDE)
    assert (answer.code, answer.out) == (2, "")
    assert "found 999" in answer.err
    assert not list((folders / "output").iterdir())


def test_validate_json(cascade: Cascade) -> None:
    assert json.loads(cascade("validate", PICTURE, "--json").out) == {"valid": True, "outputs": ["2"], "problems": []}
    answer = cascade("validate", BROKEN_BESIDE, "--json")
    found = json.loads(answer.out)
    assert (answer.code, found["valid"], found["outputs"]) == (2, False, ["2"])
    problem = found["problems"][0]
    assert (problem["kind"], problem["node"], problem["input"]) == ("value_bigger_than_max", "4", "value")
    assert problem["message"] in answer.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--input", "missing"], "--input: expected a folder, found 'missing'"),
        (["--models", "missing"], "--models: expected a folder, found 'missing'"),
        (["--output", "file"], "--output: expected a folder, found the file 'file'"),
        (["--device", "abacus"], "device"),
        (["--set"], "--set"),
        (["--sett", "1.a=2"], "--sett"),
    ],
)
def test_bad_arguments(cascade: Cascade, folders: Path, arguments: list[str], expected: str) -> None:
    (folders / "file").touch()
    try:
        answer = cascade("run", PICTURE, *arguments)
    except SystemExit as error:  # argparse's way out
        assert error.code == 2
    else:
        assert answer.code == 2
        assert expected in answer.err
    assert not list((folders / "output").iterdir())
