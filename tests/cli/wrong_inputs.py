"""Forty wrong inputs, and what the command answers to each: its exit code and one line.

python -m tests.cli.wrong_inputs     # writes docs/wrong-inputs.md anew
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

import stable_cascade_nodes

ROOT = Path(stable_cascade_nodes.__file__).resolve().parent
DOCUMENT = ROOT / "docs" / "wrong-inputs.md"
HEAD = """# Wrong inputs

Each of these is answered by one line on stderr (of missing models, a second with advice) and an exit code: 2 for a bad
workflow or argument, before anything is computed; 1 for a failure while running; 130 for Ctrl-C. The table is made by
running them (`python -m tests.cli.wrong_inputs`), and a test holds it. `...` stands for the path of a folder or a
Python.

| what is wrong | command | exit | stderr |
|---|---|---|---|
"""
PROGRESS = re.compile(r" *\d+\.\d\d s  ")  # a node that is done
Around = Callable[[Path], dict[str, str]]  # prepares a folder -> variables of the environment


@dataclass(frozen=True)
class Case:
    """A command line in a folder of its own. stdout: a file that it goes to, or "closed"."""

    what: str
    words: Sequence[str]
    code: int = 2
    around: Around = lambda here: {}
    stdout: str = ""


@dataclass(frozen=True)
class Answer:
    code: int
    stdout: str
    stderr: str


def without(module: str) -> Around:
    """A Python that has not this library."""

    def around(here: Path) -> dict[str, str]:
        program = (
            "import sys\nclass Hiding:\n    def __init__(self, finder):\n        self.finder = finder\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        hidden = name.partition('.')[0] == {module!r}\n"
            "        return None if hidden else self.finder.find_spec(name, path, target)\n"
            "    def __getattr__(self, name):\n        return getattr(self.finder, name)\n"
            "sys.meta_path[:] = map(Hiding, sys.meta_path)\n"
        )
        (here / "sitecustomize.py").write_text(program)
        return {"PYTHONPATH": str(here)}

    return around


def holding(name: str, content: bytes | str) -> Around:
    """A file in the folder."""

    def around(here: Path) -> dict[str, str]:
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return {}

    return around


def picture(here: Path) -> dict[str, str]:
    Image.new("RGB", (64, 64), "red").save(here / "plain.png")
    return {}


def prompt(**inputs: object) -> str:
    """A prompt of one node that saves nothing."""
    node = {"class_type": "CascadeEmptyLatents", "inputs": {"width": 256, "height": 256, "batch_size": 1} | inputs}
    return json.dumps({"1": node})


def run(*words: str) -> Sequence[str]:
    return ["run", *words]


CASES = (
    Case("a command that is mistyped", ["rum", "text_to_image"]),
    Case("a workflow in place of a command", ["text_to_image"]),
    Case("a prompt without its option", run("text_to_image", "a", "red", "star")),
    Case("an option that is mistyped", run("text_to_image", "--promt", "a star")),
    Case("an option without its value", run("text_to_image", "--prompt")),
    Case("no workflow", ["run"]),
    Case("a workflow that is mistyped", run("text_to_imge")),
    Case("a workflow that is not there", run("mine.json")),
    Case("a folder in place of a workflow", run(".")),
    Case("an empty file", run("empty.json"), around=holding("empty.json", b"")),
    Case("a file that is no JSON", run("notes.json"), around=holding("notes.json", "a red star")),
    Case("JSON that is no workflow", run("list.json"), around=holding("list.json", "[1, 2]")),
    Case("a workflow without an output", run("none.json"), around=holding("none.json", prompt())),
    Case("a picture without a workflow", run("plain.png"), around=picture),
    Case("a picture that is cut off", run("cut.png"), around=holding("cut.png", b"\x89PNG\r\n\x1a\n\0\0")),
    Case("a node that is mistyped", run("text_to_image", "--set", "Promt.text=a star")),
    Case("an input that is mistyped", run("text_to_image", "--set", "Prompt.txt=a star")),
    Case("--set without an input", run("text_to_image", "--set", "Prompt=a star")),
    Case("--set without a value", run("text_to_image", "--set", "Prompt.text")),
    Case("a seed below zero", run("text_to_image", "--seed", "-1")),
    Case("a text for a number", run("text_to_image", "--set", "Stage C.steps=many")),
    Case("a number out of range", run("text_to_image", "--set", "Stage C.steps=0")),
    Case("a sampler that is mistyped", run("text_to_image", "--set", "Stage C.sampler=eulr")),
    Case("a size of one side", run("text_to_image", "--size", "256")),
    Case("a size that is too small", run("text_to_image", "--size", "8x256")),
    Case("a seed that is no number", run("text_to_image", "--seed", "lucky")),
    Case("a seed that is too large", run("text_to_image", "--seed", str(2**64))),
    Case("no pictures", run("text_to_image", "-n", "0")),
    Case("a picture that is not there", run("canny", "--set", "Picture.image=photo.jpg")),
    Case("a model that is not there", run("text_to_image", "--set", "5.model_name=mine.safetensors")),
    Case("models that are not there", run("published_models")),
    Case("inpainting without a mask", run("inpainting", "--set", "Picture.image=circle (built-in)"), 2),
    Case("a link that a node needs, taken away", run("text_to_image", "--set", "Stage C.stage_c=")),
    Case("a device that is not there", run("text_to_image", "--device", "cuda:99")),
    Case("a folder of models that is not there", run("text_to_image", "--models", "nowhere")),
    Case("a file in place of the output folder", run("text_to_image", "-o", "out"), around=holding("out", b"")),
    Case("an output folder that cannot be written", run("text_to_image", "-o", "/proc/cascade")),
    Case("a server that is not there", run("text_to_image", "--server", "http://127.0.0.1:9")),
    Case("an address that is none", run("text_to_image", "--server", "127.0.0.1")),
    Case("an unknown node", ["nodes", "Stage Z"]),
    Case("an unknown shipped workflow", ["workflows", "text2image"]),
    Case(
        "a model file that is none",
        ["convert", "page.safetensors", "--to", "comfyui"],
        around=holding("page.safetensors", "<html>"),
    ),
    Case("a model file that is not there", ["convert", "missing.safetensors", "--to", "comfyui"]),
    Case("an unknown download", ["download", "everything"]),
    Case("a training without pictures", ["train", "lora", "empty", "--name", "x"], around=holding("empty/a.txt", "x")),
    Case("no torch", run("text_to_image"), around=without("torch")),
    Case("no Pillow", run("text_to_image"), around=without("PIL")),
    Case("no gradio", ["app"], around=without("gradio")),
    Case("a port that is taken by nobody's number", ["app", "--port", "99999"]),
    Case("a full disk behind stdout", ["workflows"], 1, stdout="/dev/full"),
    Case("stdout closed", ["workflows"], 0, stdout="closed"),
)


def ask(case: Case, here: Path) -> Answer:
    """Run a case in an empty folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **case.around(here)}
    command = [sys.executable, "-m", "stable_cascade_nodes", *case.words]
    if case.stdout == "closed":
        command = ["sh", "-c", 'exec "$0" "$@" >&-', *command]
    with open(case.stdout if case.stdout.startswith("/") else os.devnull, "w") as out:
        to = out if case.stdout.startswith("/") else subprocess.PIPE
        ended = subprocess.run(
            command, cwd=here, env=environment, stdin=subprocess.DEVNULL, stdout=to, stderr=subprocess.PIPE, text=True,
            timeout=120, check=False,
        )  # fmt: skip
    told = ended.stderr.replace(str(here), "...").replace(sys.executable, "...").replace(str(ROOT), "...")
    lines = [line for line in told.splitlines() if not PROGRESS.match(line)]
    return Answer(ended.returncode, ended.stdout or "", "\n".join(lines))


def row(case: Case, answer: Answer) -> str:
    words = " ".join(word if word and " " not in word else f'"{word}"' for word in case.words)
    told = answer.stderr.strip().replace("|", "\\|").replace("\n", "<br>")
    return f"| {case.what} | `cascade {words}` | {answer.code} | {told} |\n"


def main() -> None:
    rows: list[str] = []
    for case in CASES:
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            rows.append(row(case, ask(case, Path(folder))))
            print(rows[-1], end="")
    DOCUMENT.write_text(HEAD + "".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
