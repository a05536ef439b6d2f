"""The command in this process: with fake nodes and stand-ins for the host's, with its own, or against a fake server."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import native, node_classes

from ..headless.graph import fake_nodes
from .albums import SIZES, scene
from .downloads import Runner
from .fake_hub import FakeHub, serve


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Command = Callable[..., Answer]


def paint(red: float) -> tuple[torch.Tensor]:
    """A small picture (1, 4, 6, 3)."""
    image = torch.zeros(1, 4, 6, 3)
    image[..., 0] = red
    return (image,)


def stop(value: int) -> None:
    raise KeyboardInterrupt


def crash(value: int) -> None:
    raise RuntimeError("a bug")


def run_out(value: int) -> None:
    raise MemoryError("60 GiB")


def refuse(_: object, value: int) -> None:
    raise ValueError(f"{value} does not suit me")


@pytest.fixture
def calls() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def folders(new_program: Path) -> Path:
    """A folder with `input`, `output` and `outside` in it, which is also the current one."""
    for name in ("input", "output", "outside"):
        (new_program / name).mkdir()
    return new_program


@pytest.fixture
def cascade(
    folders: Path,
    calls: list[tuple[str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """`cascade("run", document, "--set", ...)`; a dict or bytes among the arguments is written to a file."""
    classes = fake_nodes.make_classes(calls)
    whole = ("INT", {"default": 1})
    red = ("FLOAT", {"default": 0.5})
    classes["Paint"] = fake_nodes.make_class("Paint", calls, {"red": red}, ("IMAGE",), paint)
    for name, action in (("Stop", stop), ("Crash", crash), ("RunOut", run_out)):
        classes[name] = fake_nodes.make_class(name, calls, {"value": whole}, (), action, OUTPUT_NODE=True)
    asked = {"REHEARSE": "rehearse", "rehearse": refuse}
    classes["Choosy"] = fake_nodes.make_class("Choosy", calls, {"value": whole}, ("INT",), lambda value: (1,), **asked)
    classes["Loads"] = fake_nodes.make_class("Loads", calls, {}, ("INT",), fake_nodes.fail, REHEARSE="call")
    nodes = node_classes.Nodes({**classes, **native.CLASSES}, {**native.NAMES, "Number": "A whole number"})
    monkeypatch.setattr(node_classes, "load", lambda: nodes)

    def run(*arguments: Any) -> Answer:
        texts: list[str] = []
        for index, argument in enumerate(arguments):
            if isinstance(argument, dict | bytes):
                path = folders / f"workflow-{index}.json"
                path.write_bytes(argument if isinstance(argument, bytes) else json.dumps(argument).encode())
                texts.append(str(path))
            else:
                texts.append(str(argument))
        code = main(texts)
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def real_cascade(folders: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command with the real nodes, in an empty folder that is the current one."""

    def run(*arguments: object) -> Answer:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(str(stop.code))
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def album(folders: Path) -> Path:
    """A folder `in` with a few pictures of several sizes and formats."""
    for index, (name, size) in enumerate(SIZES.items()):
        path = folders / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(scene(index)).resize(size).save(path)
    (folders / "in" / "notes.txt").write_text("no picture")
    (folders / "in" / ".hidden.png").write_text("no picture")
    return folders / "in"


@pytest.fixture
def server() -> Iterator[Any]:
    """A stand-in for a ComfyUI."""
    from . import fake_server  # it needs aiohttp

    with fake_server.serve() as fake:
        yield fake


@pytest.fixture
def there(cascade: Command, server: Any) -> Command:
    """`there(document, ...)`: `cascade run` on that server."""
    return lambda *arguments: cascade("run", *arguments, "--server", server.url)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serve() as hub:
        yield hub


@pytest.fixture
def download(
    new_program: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Runner]:
    """`download("essential", "--yes")` of that hub, into a folder of models of its own."""
    import huggingface_hub

    for name in list(os.environ):
        if re.match("HF_|HUGGING|.*_proxy$", name, re.I):
            monkeypatch.delenv(name)
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", partial(huggingface_hub.hf_hub_url, endpoint=hub.url))
    yield Runner(new_program, hub, capsys)
    shutil.rmtree(new_program / "models")  # pytest keeps the folders of three runs
