"""API prompts as Python, and a ComfyUI of one's own that answers them with tensors (native/answer_prompts.py)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from .lanes import Lane

PROGRAM = Path(__file__).parent / "native" / "answer_prompts.py"
Link = tuple[str, int]


class Prompt:
    """An API prompt in the making: `add` puts a node in and gives its first output, `out(link, 1)` is its second."""

    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {}

    def add(self, class_type: str, **inputs: Any) -> Link:
        node = str(len(self.nodes) + 1)
        self.nodes[node] = {"class_type": class_type, "inputs": inputs}
        return node, 0


def out(link: Link, slot: int) -> Link:
    return link[0], slot


class Failed(Exception):
    """What ComfyUI said of a prompt that it did not run to its end, and the class of the node that failed."""

    def __init__(self, node: str, message: str) -> None:
        super().__init__(f"{node}: {message}")
        self.node, self.message = node, message


class InProcess:
    """One process, as context manager. `folder` is its base directory: custom_nodes, models, input, output."""

    def __init__(self, lane: Lane, folder: Path, threads: str = "1") -> None:
        self.folder = folder
        self._environment = os.environ | {"OMP_NUM_THREADS": threads}
        arguments = ("--cpu", "--base-directory", str(folder), "--disable-api-nodes")
        database = ("--database-url", "sqlite:///:memory:")
        self._command = [lane.python, str(PROGRAM), str(lane.path), *arguments, *database]

    def __enter__(self) -> InProcess:
        with (self.folder / "comfyui.log").open("w") as log:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(
                self._command, stdin=pipe, stdout=pipe, stderr=log, text=True, cwd=self.folder, env=self._environment
            )
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, prompt: Prompt, *links: Link) -> list[Any]:
        """The values on these wires, None for a node without outputs; Failed where the prompt does not run."""
        file = self.folder / "tensors.safetensors"
        wanted = {str(index): link for index, link in enumerate(links)}
        assert self._process.stdin is not None
        print(json.dumps({"prompt": prompt.nodes, "wanted": wanted, "file": str(file)}), file=self._process.stdin)
        self._process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            error = answer["error"]
            node = prompt.nodes[error["node"]]["class_type"] if error["node"] else "the harness"
            raise Failed(node, error["message"])
        tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}  # the next answer overwrites it
        return [_with_tensors(answer["values"][name], tensors) for name in wanted]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            log = (self.folder / "comfyui.log").read_text(errors="replace")
            raise RuntimeError(f"ComfyUI ended with {self._process.wait()}:\n{log[-4000:]}")
        return json.loads(line)


def _with_tensors(value: Any, tensors: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"tensor"}:
            return tensors[value["tensor"]]
        return {key: _with_tensors(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_tensors(item, tensors) for item in value]
    return value
