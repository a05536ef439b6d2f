"""Ctrl-C while a library is imported that cannot be stopped there: it counts once that library is imported.

What is raised within numpy's and PyTorch's own beginnings is swallowed, or aborts the process, or leaves a library that
cannot be imported again.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

LIBRARIES = ("numpy", "torch")


def let_imports_end() -> None:
    """From now on, in this process."""
    sys.meta_path.insert(0, _Undisturbed())


class _Undisturbed(MetaPathFinder):
    """Finds the libraries as Python does, and holds Ctrl-C back while their modules run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in LIBRARIES else None
        if spec is None or spec.loader is None:
            return None  # the finders behind this one may know it
        run = spec.loader.exec_module

        def run_undisturbed(module: ModuleType) -> None:
            with held_back():
                run(module)

        spec.loader.exec_module = run_undisturbed
        return spec


@contextmanager
def held_back() -> Iterator[None]:
    """Ctrl-C in here does at the end what it does; without effect outside the main thread, which alone hears it."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came = False

    def note(*_: object) -> None:
        nonlocal came
        came = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:  # also where what ran in here failed: it may have failed of it
            before(signal.SIGINT, None)
