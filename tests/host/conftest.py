"""A real ComfyUI with this pack, and a real browser on it, once for all tests of this folder.

COMFYUI_PATH names ComfyUI's folder and COMFYUI_PYTHON its Python; COMFYUI_FRONT_END, the `static` folder of an editor,
where it is not the installed one. Run: make test-host, or pytest -m host tests/host
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import stable_cascade_nodes

from .browser import Editor, browser_paths
from .server import ComfyUI

ROOT = Path(stable_cascade_nodes.__file__).parent
HERE = Path(__file__).parent

Start = Callable[..., ComfyUI]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.host)


@pytest.fixture(scope="session")
def start_comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts further servers, for tests that need one of their own: `start_comfyui("--preview-method", "auto")`."""
    python, path = os.environ.get("COMFYUI_PYTHON"), os.environ.get("COMFYUI_PATH")
    if not python or not path:
        pytest.skip("set COMFYUI_PATH to a ComfyUI folder and COMFYUI_PYTHON to its Python to run this")
    with ExitStack() as servers:

        def start(*arguments: str, pack: Path | None = ROOT, folder: Path | None = None) -> ComfyUI:
            folder = folder or tmp_path_factory.mktemp("comfyui")
            if front_end := os.environ.get("COMFYUI_FRONT_END"):
                arguments = (*arguments, "--front-end-root", front_end)
            return servers.enter_context(ComfyUI(Path(python), Path(path), folder, pack, arguments))

        yield start


@pytest.fixture(scope="session")
def comfyui(start_comfyui: Start) -> ComfyUI:
    """A running server with this pack, shared by all tests: leave nothing running in it."""
    return start_comfyui()


@pytest.fixture(scope="session")
def editor(comfyui: ComfyUI) -> Iterator[Editor]:
    """The editor of `comfyui` in a headless Chromium."""
    found = browser_paths()
    if found is None:
        pytest.skip("chromium and chromedriver are needed on the PATH to run this")
    with Editor(comfyui.url, *found) as opened:
        yield opened


@pytest.fixture
def clean(editor: Editor) -> Editor:
    """The editor with nothing shown and nothing complained of yet."""
    editor.forget()
    return editor


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: the folder COMFYUI_SCREENSHOTS where it is set, else one of pytest's temporary folders."""
    return Path(os.environ.get("COMFYUI_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
