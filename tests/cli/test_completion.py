"""What a shell is offered: the answers of the real command, asked as argcomplete's shell functions ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stable_cascade_nodes.headless import shipped


def offered(line: str, tmp_path: Path) -> list[str]:
    answers = tmp_path / "answers"
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(answers)}
    code = "import sys; from stable_cascade_nodes.cli.main import main; sys.argv[0] = 'cascade'; sys.exit(main())"
    environment = os.environ | asked | {"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    return [answer.strip() for answer in answers.read_text().split("\n") if answer]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("cascade va", ["validate"]),
        ("cascade run --pro", ["--prompt"]),
        ("cascade nodes CascadeStageA", ["CascadeStageADecode", "CascadeStageALoader"]),
        ("cascade run text_to_i", ["text_to_image"]),
        ("cascade nonsense --x", []),
    ],
)
def test_what_is_offered(line: str, wanted: list[str], tmp_path: Path) -> None:
    assert offered(line, tmp_path) == wanted


def test_files_are_offered_beside_the_shipped_workflows(tmp_path: Path) -> None:
    for name in ("mine.json", "mine.txt"):
        (tmp_path / name).touch()
    found = offered("cascade validate ", tmp_path)
    assert set(shipped.names()) <= set(found) and "mine.json" in found and "mine.txt" not in found
