"""The nodes' surroundings where ComfyUI does not run: a program's own folders, device, memory, progress and cancelling.

A program may `configure` it; what it leaves open has a sensible value. Nodes ask `host`, which asks here.
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..cascade_core.errors import CascadeError
from . import folders

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from ..cascade_core.memory import Placement
    from ..cascade_core.models.handle import Handle

Preview = Callable[[], "Image.Image"]  # makes the picture of a step; called only where somebody looks at it
Advance = Callable[["Preview | None"], None]


class Audience(Protocol):
    """Who hears of a running node in place of stderr, in the thread that runs it."""

    def advance(self, label: str, done: int, total: int, preview: Preview | None) -> None:
        """`done` of `total` steps are taken, 0 at the beginning."""
        ...

    def warn(self, node: str, message: str) -> None: ...


@dataclass(frozen=True)
class Settings:
    """What the program chose; None where it leaves the choice to this module."""

    output: Path | None = None
    input: Path | None = None
    models: Path | None = None
    device: str | None = None
    audience: Audience | None = None


_settings: Settings | None = None  # until a program configures something
_cancelled = threading.Event()


def configure(
    *,
    output: str | Path | None = None,
    input: str | Path | None = None,
    models: str | Path | None = None,
    device: str | None = None,
    audience: Audience | None = None,
) -> None:
    """Choose folders, device and audience for the whole program; what is None stays as it was."""
    global _settings  # noqa: PLW0603  (one program, one choice)
    chosen = {"output": output, "input": input, "models": models}
    given = {name: Path(path).expanduser().absolute() for name, path in chosen.items() if path is not None}
    _settings = replace(settings(), **given)
    others = {"device": device, "audience": audience}
    _settings = replace(_settings, **{name: value for name, value in others.items() if value is not None})


def configured() -> bool:
    """Whether a program has called `configure`, and so says itself where things are."""
    return _settings is not None


def settings() -> Settings:
    return _settings or Settings()


def output_directory() -> Path:
    return settings().output or Path("output").absolute()


def input_directory() -> Path:
    return settings().input or (folders.base_folder() or Path().absolute()) / "input"


def models_directory() -> Path:
    return settings().models or (folders.base_folder() or Path().absolute()) / "models"


@lru_cache(maxsize=1)
def temporary_directory() -> Path:
    """A folder for previews, gone when the program ends."""
    folder = Path(tempfile.mkdtemp(prefix="cascade_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def model_files(keys: Sequence[str]) -> dict[str, Path]:
    """Models under these folder keys by name; the first key wins a clash."""
    return folders.model_files(models_directory(), keys)


def model_folders(key: str) -> list[Path]:
    """The folders of this key, in the order in which they are searched."""
    return folders.model_folders(models_directory(), key)


def comfyui_tokenizer() -> list[Path]:
    """ComfyUI's copy of CLIP's vocabulary, where this pack lies in its `custom_nodes`."""
    base = folders.base_folder()
    return [] if base is None else [base / folders.COMFYUI_TOKENIZER]


def device() -> torch.device:
    """Where models compute: what was chosen, else a CUDA device if there is one, else the CPU."""
    import torch

    chosen = settings().device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(chosen)
    except RuntimeError as error:
        raise CascadeError(f"device: expected a name such as cpu or cuda:0, found {chosen!r}") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise CascadeError(f"device: {chosen} was chosen, but torch finds no CUDA device here: choose cpu")
    return found


def placement() -> Placement | None:
    """Who brings models to `device()`; None where they stay in the memory that they are loaded to."""
    where = device()
    return None if where.type == "cpu" else _one_at_a_time(where)


@lru_cache(maxsize=4)
def _one_at_a_time(where: torch.device) -> Placement:
    from ..cascade_core.memory import OneAtATime

    return OneAtATime(where)


@contextmanager
def together(handles: Sequence[Handle]) -> Iterator[None]:
    """For models that compute in turns: in here none pushes out another of them."""
    from ..cascade_core.memory import OneAtATime

    by_placement = {h.placement: [o.module for o in handles if o.placement is h.placement] for h in handles}
    with ExitStack() as stack:
        for placement, modules in by_placement.items():
            if isinstance(placement, OneAtATime):
                stack.enter_context(placement.together(*modules))
        yield


@contextmanager
def progress(label: str, total: int) -> Iterator[Advance]:
    """`advance(preview)` after each of `total` steps: to the audience, else to stderr where a person looks at it."""
    audience = settings().audience
    if audience is not None:
        with _told(audience, label, total) as tell:
            yield tell
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=label, file=sys.stderr, disable=None, leave=False) as bar:

        def advance(preview: Preview | None = None) -> None:
            bar.update()

        yield advance


@contextmanager
def _told(audience: Audience, label: str, total: int) -> Iterator[Advance]:
    done = 0
    audience.advance(label, done, total, None)

    def advance(preview: Preview | None = None) -> None:
        nonlocal done
        done += 1
        audience.advance(label, done, total, preview)

    yield advance


def request_cancel() -> None:
    """Stop the node that is running at its next step; for programs that run nodes in another thread."""
    _cancelled.set()


def check_cancel() -> None:
    """Called between steps; raises KeyboardInterrupt once after `request_cancel`. Ctrl-C needs no help."""
    if _cancelled.is_set():
        _cancelled.clear()
        raise KeyboardInterrupt


def forget_cancel() -> None:
    """Take back a request that came too late, so that it does not stop what runs next."""
    _cancelled.clear()


def say(node: str, message: str) -> None:
    """Tell the person something that did not stop the node."""
    audience = settings().audience
    if audience is not None:
        audience.warn(node, message)
        return
    print(f"{node}: {message}", file=sys.stderr)
