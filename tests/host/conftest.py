"""A real ComfyUI with this pack, and a real browser on it, shared by all tests of a lane (lanes.py).

Run: make test-host, or pytest -m host tests/host; one lane alone: -k 0.3.64
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

import stable_cascade_nodes

from .browser import Browser, Editor, browser_paths
from .lanes import Lane
from .server import ComfyUI

ROOT = Path(stable_cascade_nodes.__file__).parent
HERE = Path(__file__).parent

Start = Callable[..., ComfyUI]
OpenEditor = Callable[[], AbstractContextManager[Editor]]


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.host)


@pytest.fixture(scope="session")
def start_comfyui(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts further servers, for tests that need one of their own: `start_comfyui("--preview-method", "auto")`."""
    with ExitStack() as servers:

        def start(*arguments: str, pack: Path | None = ROOT, folder: Path | None = None) -> ComfyUI:
            folder = folder or tmp_path_factory.mktemp("comfyui")
            server = ComfyUI(Path(lane.python), lane.path, folder, pack, (*arguments, *lane.arguments))
            return servers.enter_context(server)

        yield start


@pytest.fixture(scope="session")
def comfyui(start_comfyui: Start) -> ComfyUI:
    """A running server with this pack, shared by all tests: leave nothing running in it."""
    return start_comfyui()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = browser_paths()
    if found is None:
        pytest.skip("chromium and chromedriver are needed on the PATH to run this")
    with Browser(*found) as browser:
        yield browser


@pytest.fixture(scope="session")
def rendering(request: pytest.FixtureRequest) -> str:
    """How the editor draws nodes: one of those that the lane's editor has."""
    return request.param


@pytest.fixture(scope="module")  # of files that have a server of their own as well
def open_editor(comfyui: ComfyUI, browser: Browser, rendering: str) -> OpenEditor:
    """Opens the editor of `comfyui` in a headless Chromium, in a new tab: `with open_editor() as editor`."""

    @contextmanager
    def opened() -> Iterator[Editor]:
        comfyui.fetch("/settings/Comfy.VueNodes.Enabled", rendering == "nodes2")
        with browser.tab() as driver:
            # The editor would remember drafts of other tabs, and open them.
            driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": comfyui.url, "storageTypes": "all"})
            yield Editor(comfyui.url, driver, rendering)

    return opened


@pytest.fixture
def editor(open_editor: OpenEditor) -> Iterator[Editor]:
    """The editor of `comfyui` in a tab that is this test's alone."""
    with open_editor() as editor:
        yield editor


@pytest.fixture
def clean(editor: Editor) -> Editor:
    """The editor with nothing shown and nothing complained of yet."""
    editor.forget()
    return editor


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: the folder COMFYUI_SCREENSHOTS where it is set, else one of pytest's temporary folders."""
    return Path(os.environ.get("COMFYUI_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
