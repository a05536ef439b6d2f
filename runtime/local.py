"""The host where ComfyUI does not run: a program's own folders, device, memory, progress and cancelling."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..cascade_core.files import atomic, locks
from ..cascade_core.wording import without_controls
from . import devices, model_folders
from .host import Advance, Host, Preview

if TYPE_CHECKING:
    import torch

    from ..cascade_core.memory import OneAtATime, Placement
    from ..cascade_core.models.handle import Handle


GONE, KEPT = "cascade_", "cascade_previews_"  # how the names of temporary folders begin, by what becomes of previews
MADE = re.compile(f"({GONE}|{KEPT})[a-z0-9_]{{8}}")  # all of such a name, as tempfile draws it


class Audience(Protocol):
    """Who hears of a running node in place of stderr, in the thread that runs it."""

    def advance(self, label: str, done: int, total: int, preview: Preview | None) -> None:
        """`done` of `total` steps are taken, 0 at the beginning."""
        ...

    def warn(self, node: str, message: str) -> None: ...


@dataclass(frozen=True)
class Settings:
    """What the program chose; None where it leaves the choice to `LocalHost`."""

    output: Path | None = None
    input: Path | None = None
    models: Path | None = None
    device: str | None = None
    compile: str = "off"
    audience: Audience | None = None
    keeps_previews: bool = False  # they stay in the temporary folder when the program ends


class LocalHost(Host):
    """A program as its own host; `host.configure` makes one, or changes its settings."""

    def __init__(self) -> None:
        self.settings = Settings()
        self._temporary: Path | None = None
        self._placements: dict[torch.device, OneAtATime] = {}
        self._cancelled = threading.Event()

    def output_directory(self) -> Path:
        return self.settings.output or Path("output").absolute()

    def input_directory(self) -> Path:
        return self.settings.input or (self.comfyui_directory() or Path().absolute()) / "input"

    def models_directory(self) -> Path:
        return self.settings.models or (self.comfyui_directory() or Path().absolute()) / "models"

    def temporary_directory(self) -> Path:
        """A folder for previews, and in folders below it for what is gone when the program ends."""
        if self._temporary is None:
            _remove_dead()
            self._temporary, lock = _make_temporary(KEPT if self.settings.keeps_previews else GONE)
            atexit.register(_clear, self._temporary, lock)
        return self._temporary

    def comfyui_directory(self) -> Path | None:
        """ComfyUI's folder, where this pack lies in its `custom_nodes`."""
        pack = Path(os.path.abspath(__file__)).parents[1]  # not resolved: the pack may be a link in custom_nodes
        base = pack.parents[1]
        return base if pack.parent.name == "custom_nodes" and (base / "models").is_dir() else None

    def model_folders(self, key: str) -> list[Path]:
        return model_folders.folders_of(key, self.models_directory())

    def device(self) -> torch.device:
        """Where models compute: what was chosen, else the first GPU that PyTorch has, else the CPU."""
        return devices.choose_device(self.settings.device)

    def compilation(self) -> str:
        return self.settings.compile

    def placement(self) -> Placement | None:
        """One placement for all models of a device; None for the CPU."""
        where = self.device()
        if where.type == "cpu":
            return None
        if where not in self._placements:
            from ..cascade_core.memory import OneAtATime

            self._placements[where] = OneAtATime(where)
        return self._placements[where]

    @contextmanager
    def together(self, *handles: Handle | None) -> Iterator[None]:
        from ..cascade_core.memory import OneAtATime, behind

        roots = [handle.root for handle in handles if handle is not None]
        with ExitStack() as stack:
            for placement in {behind(root.placement) for root in roots}:
                if isinstance(placement, OneAtATime):
                    modules = [root.module for root in roots if behind(root.placement) is placement]
                    stack.enter_context(placement.together(*modules))
            yield

    @contextmanager
    def progress(self, label: str, total: int, before: int = 0) -> Iterator[Advance]:
        """`advance(preview)` after each of `total` steps: to the audience, who needs no `before`, or to stderr."""
        audience = self.settings.audience
        if audience is None:
            with super().progress(label, total, before) as advance:
                yield advance
            return
        done = 0
        audience.advance(label, done, total, None)

        def count(preview: Preview | None = None, words: str = "") -> None:
            nonlocal done
            done += 1
            audience.advance(label, done, total, preview)

        yield count

    @contextmanager
    def heard_by(self, audience: Audience) -> Iterator[None]:
        """In here somebody else hears of running nodes."""
        before = self.settings.audience
        self.settings = replace(self.settings, audience=audience)
        try:
            yield
        finally:
            self.settings = replace(self.settings, audience=before)

    def request_cancel(self) -> None:
        """Stop the node that is running at its next step; for programs that run nodes in another thread."""
        self._cancelled.set()

    def check_cancel(self) -> None:
        """Raises KeyboardInterrupt once after `request_cancel`. Ctrl-C needs no help."""
        if self._cancelled.is_set():
            self._cancelled.clear()
            raise KeyboardInterrupt

    def forget_cancel(self) -> None:
        """Take back a request that came too late, so that it does not stop what runs next."""
        self._cancelled.clear()

    def say(self, level: int, node: str, message: str) -> None:
        audience = self.settings.audience
        if audience is not None:
            audience.warn(node, message)
            return
        print(without_controls(f"{node}: {message}"), file=sys.stderr)


def _make_temporary(prefix: str) -> tuple[Path, int | None]:
    """A new folder, and its lock; None where the file system knows no locks."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        try:
            return folder, locks.take(folder / locks.NAME, makes=True)
        except FileNotFoundError:  # another program took it for a dead one's, since it had no lock yet
            continue
        except OSError:
            return folder, None


def _clear(folder: Path, lock: int | None) -> None:
    """Remove a folder whose lock is ours, but not previews that were to stay.

    The lock goes when all else is gone: who is killed in here leaves the rest to the next.
    """
    atomic.sweep(folder)
    with suppress(OSError):
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name != locks.NAME and not folder.name.startswith(KEPT):
                entry.unlink(missing_ok=True)
    if lock is not None:
        locks.let_go(folder / locks.NAME, lock)
    with suppress(OSError):
        (folder / locks.NAME).unlink(missing_ok=True)
        folder.rmdir()  # unless there are previews


def _remove_dead() -> None:
    """Remove what killed programs left in the system's temporary folder; previews that were to stay do."""
    for folder in Path(tempfile.gettempdir()).glob(f"{GONE}*"):
        with suppress(OSError):  # another person's, or not empty
            if folder.is_symlink() or not MADE.fullmatch(folder.name):
                continue
            lock = locks.take(folder / locks.NAME)
            if lock is not None:
                _clear(folder, lock)
            else:
                folder.rmdir()  # of one that was killed before it had a lock, or when it had none any more
