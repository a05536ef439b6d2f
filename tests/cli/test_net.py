"""Whatever happens in a command is told in one sentence, with the right exit code, on any terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from errno import EACCES, ENAMETOOLONG
from pathlib import Path

import pytest

import stable_cascade_nodes
from stable_cascade_nodes.cli import validate
from stable_cascade_nodes.cli.main import main

ROOT = Path(stable_cascade_nodes.__file__).parent
WORKFLOW = ROOT / "workflows" / "text_to_image.json"


def command(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, str(ROOT), *arguments]
    return subprocess.run(words, check=False, timeout=120, **{"capture_output": True, **options})  # pyright: ignore[reportArgumentType, reportCallIssue]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (RecursionError("maximum recursion depth exceeded"), 2, "nested too deeply"),
        (MemoryError(), 1, "out of memory: MemoryError; choose smaller sizes"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1, "out of memory"),
        (RuntimeError("not enough memory: you tried to allocate 5 bytes"), 1, "out of memory"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"), 1, "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), 1, "out of memory"),
        (ImportError("libx.so: failed to map segment from shared object"), 1, "out of memory"),
        (UnicodeEncodeError("ascii", "\xe9", 0, 1, "ordinal not in range"), 1, "a text cannot be read or written"),
        (OSError(EACCES, "Permission denied", "/x"), 1, "/x: Permission denied"),
        (OSError(ENAMETOOLONG, "File name too long", "x" * 5000), 2, "File name too long"),
        (ZeroDivisionError("division by zero\nand more"), 1, "ZeroDivisionError: division by zero; this is a fault of"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_one_sentence(
    error: Exception, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(validate, "check", fail)
    assert main(["validate", str(WORKFLOW)]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cascade: ") and words in line and len(line) < 300

    assert main(["validate", str(WORKFLOW), "--debug"]) == code
    _, told = capsys.readouterr().err.splitlines()
    written = Path(told.rpartition(" ")[2])
    assert "Traceback" in written.read_text("utf-8") and "in fail" in written.read_text("utf-8")
    written.unlink()


def test_a_long_message_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "x" * 100_000]) == 2
    assert len(capsys.readouterr().err) < 2000


def test_of_very_many_messages_the_first_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = {str(number): {"class_type": "SaveImage", "inputs": {"images": ["x", 0]}} for number in range(2000)}
    (tmp_path / "x.json").write_text(json.dumps(nodes), "utf-8")
    assert main(["validate", str(tmp_path / "x.json")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 101
    assert all(line.startswith("cascade: node ") for line in lines[:100]) and lines[100].endswith("more like these")


def test_a_full_disk_under_stdout() -> None:
    with open("/dev/full", "wb") as full:
        done = command("workflows", stdout=full, capture_output=False, stderr=subprocess.PIPE)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert "No space left on device" in line


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-"])
def test_closed_streams(tmp_path: Path, closed: str) -> None:
    """A bar has nowhere to be drawn, and what is opened next must not be taken for the stream."""
    words = ["run", "text_to_image", "--size", "64x64", "--steps", "1", "-o", "out"]
    line = ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, str(ROOT), *words]
    done = subprocess.run(line, cwd=tmp_path, check=False, timeout=120, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_a_workflow_from_stdin(name: str) -> None:
    done = command("validate", name, input=WORKFLOW.read_bytes())
    assert done.returncode == 0 and b"no problems" in done.stdout, done.stderr


def test_a_workflow_from_a_process_substitution() -> None:
    words = f"'{sys.executable}' '{ROOT}' validate <(cat '{WORKFLOW}')"
    done = subprocess.run(["bash", "-c", words], check=False, capture_output=True, timeout=120)
    assert done.returncode == 0 and b"no problems" in done.stdout, done.stderr


class TestNames:
    @pytest.fixture
    def odd(self, tmp_path: Path) -> bytes:
        """A file whose name is no UTF-8 and has characters that a terminal obeys."""
        name = os.fsencode(tmp_path) + b"/a\xff\x1b[31mb.json"
        with open(name, "wb") as file:
            file.write(WORKFLOW.read_bytes())
        return name

    @pytest.mark.parametrize("coding", ["utf-8", "ascii"])
    def test_a_pipe_gets_the_name_as_it_is(self, odd: bytes, coding: str) -> None:
        environment = os.environ | {"PYTHONIOENCODING": coding}
        done = command("validate", os.fsdecode(odd), env=environment)
        assert done.returncode == 0 and done.stdout.startswith(odd + b": no problems"), done

    def test_a_terminal_gets_no_control_characters(self, odd: bytes) -> None:
        ours, theirs = pty.openpty()
        done = command("validate", os.fsdecode(odd), stdout=theirs, capture_output=False, stderr=subprocess.PIPE)
        os.close(theirs)
        shown = os.read(ours, 4096)
        os.close(ours)
        assert done.returncode == 0 and rb"a\udcff\x1b[31mb.json: no problems" in shown and b"\x1b" not in shown

    def test_stderr_gets_none_either(self, odd: bytes) -> None:
        with open(odd, "wb") as file:
            file.write(b"{")
        done = command("validate", os.fsdecode(odd))
        assert done.returncode == 2 and rb"a\udcff\x1b[31mb.json" in done.stderr and b"\x1b" not in done.stderr
