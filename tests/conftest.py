"""One thread, a program that a test finds as new, and the built-in models loaded once."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stable_cascade_nodes.runtime import host

from .host import lanes

if TYPE_CHECKING:
    from stable_cascade_nodes.cascade_core.models.handle import Handle
    from stable_cascade_nodes.recipes.tiny.judge import Studio

# Before torch is imported, and for the programs that tests start: networks this small are slower with more threads,
# much slower where several workers test at once, and sums depend in their last bit on how many threads share them.
os.environ["OMP_NUM_THREADS"] = "1"
# A shell that starts the tests in the background has them ignore Ctrl-C, and so the programs that they start and stop.
signal.signal(signal.SIGINT, signal.default_int_handler)


pytest_generate_tests = lanes.generate
pytest_collection_modifyitems = lanes.order
pytest_terminal_summary = lanes.summarise
pytest_xdist_make_scheduler = lanes.schedule


@pytest.fixture(scope="session")
def lane(request: pytest.FixtureRequest) -> lanes.Lane:
    """The ComfyUI that a test runs in; a fixture of what came of one must ask for it, so as to be made for each."""
    if request.param is None:
        pytest.skip("set COMFYUI_PATH to a ComfyUI folder and COMFYUI_PYTHON to its Python to run this")
    return request.param


@pytest.fixture
def new_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The headless host with nothing configured, in an empty current folder, which is given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(host, "_current", None)
    return tmp_path


@pytest.fixture
def half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that computes in half precision, as a GPU does; others make weights float32 for each product."""
    from stable_cascade_nodes.cascade_core.models import linear

    monkeypatch.setattr(linear, "has_arithmetic", lambda dtype: True)


@pytest.fixture
def own_garbage() -> Iterator[None]:
    """Objects of other tests are not looked through by the garbage collector, whose time would count as this test's."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Handle]:
    """`tiny("stage_c")`: a built-in model in float32, by its kind and where there are several its name.

    Shared by all tests of a worker, so none may change it: a test that trains or changes weights loads its own.
    """

    @cache
    def load_once(kind: str, name: str = "tiny (built-in)") -> Handle:
        from stable_cascade_nodes.cascade_core.builtin import built_in
        from stable_cascade_nodes.cascade_core.files.load import load

        return load(kind, built_in(kind)[name], name=name, dtype="float32")

    return load_once


@pytest.fixture(scope="session")
def studio() -> Studio:
    """The built-in cascade as its judges have it; shared like `tiny`."""
    from stable_cascade_nodes.recipes.tiny.judge import Studio

    return Studio.load()
