"""`cascade download` as tests run it, in this process or as one of its own, against a stand-in of the hub.

huggingface_hub reads its variables once, when it is imported: a test that sets some starts a process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stable_cascade_nodes.cascade_core.files.published import Published
from stable_cascade_nodes.cli.main import main

from .fake_hub import Content, FakeHub
from .published_contents import content_of


class Runner:
    """`cascade download` with a folder of models and a hub."""

    def __init__(self, folder: Path, hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
        self.models = folder / "models"
        self.models.mkdir()
        self.environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf")}
        self.folder = folder
        self.capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """In this process."""
        code = main(["download", *arguments, "--models", str(self.models)])
        return code, *self.capsys.readouterr()

    def start(self, *arguments: str, **changes: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "stable_cascade_nodes", "download", *arguments, "--models", str(self.models)]
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        options = {"text": True, "cwd": self.folder, "env": self.environment, **pipes, **changes}
        return subprocess.Popen(command, **options)

    def process(self, *arguments: str, **changes: Any) -> tuple[int, str, str]:
        process = self.start(*arguments, **changes)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        return process.returncode, out, err

    def there(self, *files: Published) -> None:
        for file in files:
            content_of(file).write(self.models / file.label)

    def found(self) -> dict[str, int]:
        """Every file in the models' folder, also what is hidden, with its size."""
        paths = (path for path in self.models.rglob("*") if path.is_file())
        return {path.relative_to(self.models).as_posix(): path.stat().st_size for path in paths}


def offer(hub: FakeHub, *files: Published) -> None:
    for file in files:
        hub.add(file.repository, file.path, content_of(file))


def is_same(path: Path, expected: Content) -> bool:
    left = path.open("rb")
    with left:
        return all(left.read(len(block)) == block for block in expected.read(0, expected.size)) and not left.read(1)
