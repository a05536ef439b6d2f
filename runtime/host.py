"""The host of the nodes: where files lie, where models compute, and who hears of it.

Nodes ask `current()` and nowhere else. It is ComfyUI where that runs them (`comfyui.ComfyUIHost`), and a program of its
own anywhere else (`local.LocalHost`). What both answer alike stands here.
"""

from __future__ import annotations

import logging
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..cascade_core.errors import CascadeError, Withheld
from ..cascade_core.files import picture_files
from ..cascade_core.wording import nearest_file
from . import model_folders, paths

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

    from ..cascade_core.memory import Placement
    from ..cascade_core.models.handle import Handle
    from .local import Audience, LocalHost

Preview = Callable[[], "Image.Image"]  # makes the picture of a step; called only where somebody looks at it


class Advance(Protocol):
    """A step is taken: the picture of it, and a few words that stand beside the bar."""

    def __call__(self, preview: Preview | None = None, words: str = "") -> None: ...


Item = TypeVar("Item")

TOKENIZER = "tokenizer"  # in a folder of text encoders: CLIP's vocabulary for all of them
COMFYUI_TOKENIZER = Path("comfy") / "sd1_tokenizer"  # under ComfyUI's folder: its copy of CLIP's vocabulary


class Host(ABC):
    """What nodes need of where they run."""

    @abstractmethod
    def output_directory(self) -> Path: ...

    @abstractmethod
    def input_directory(self) -> Path: ...

    @abstractmethod
    def temporary_directory(self) -> Path:
        """A folder for previews, which nobody keeps."""

    def directory(self, kind: str) -> Path:
        """The folder that editors call `input`, `output` or `temp`."""
        known = {"input": self.input_directory, "output": self.output_directory, "temp": self.temporary_directory}
        return known[kind]()

    @abstractmethod
    def comfyui_directory(self) -> Path | None:
        """ComfyUI's own folder; None where there is none."""

    @abstractmethod
    def model_folders(self, key: str) -> list[Path]:
        """The folders of this key, at least one, in the order in which they are searched."""

    def model_folder(self, key: str) -> Path:
        """Where a person should put a file of this key: the folder of the key's own name where there is one."""
        found = self.model_folders(key)
        return next((folder for folder in found if folder.name == key), found[0])

    def model_files(self, keys: Sequence[str]) -> dict[str, Path]:
        """Models under these folder keys by name, in order within a key; the first key wins a clash."""
        return model_folders.first_wins(map(self.models_of, keys))

    def models_of(self, key: str) -> dict[str, Path]:
        """Models under one folder key by name."""
        return model_folders.models_of(key, self.model_folders(key))

    def tokenizer_folders(self) -> list[Path]:
        """Where else CLIP's vocabulary may lie, for published text encoders that have none beside them."""
        fetched = [folder / TOKENIZER for folder in self.model_folders("text_encoders")]
        comfyui = self.comfyui_directory()
        return fetched if comfyui is None else [*fetched, comfyui / COMFYUI_TOKENIZER]

    def picture_names(self) -> list[str]:
        """The pictures of the input folder, as a picture combo offers them."""
        return picture_files.names_in(self.input_directory())

    def picture_path(self, name: str) -> Path:
        """The file that a picture name of a workflow means; CascadeError if it is not there or outside its folder."""
        plain, kind = paths.split_annotation(name)
        path = paths.inside(self.directory(kind), plain)
        if not os.path.isfile(path):
            names = self.picture_names() if kind == "input" else ()
            near = nearest_file(plain, names) or ("" if names or kind != "input" else " (which has none)")
            raise CascadeError(
                f"There is no picture {plain!r:.200} in {path.parent}{near}: put the file there, or choose another"
            )
        return path

    @abstractmethod
    def device(self) -> torch.device:
        """Where models compute."""

    def dtype(self, kind: str) -> str:
        """The precision that `auto` means for models of this kind: a name that `load` takes."""
        return "auto"

    def compilation(self) -> str:
        """How stages are evaluated whose loader leaves it open: a name of kinds.COMPILE_NAMES."""
        return "off"

    @abstractmethod
    def placement(self) -> Placement | None:
        """Who brings a model to `device()`, for one handle; None where it stays in the memory it is loaded to."""

    @abstractmethod
    def together(self, *handles: Handle | None) -> AbstractContextManager[None]:
        """For models that compute in turns, such as a stage and its previewer: none pushes out another in here."""

    def keep_whole(self, handle: Handle) -> None:
        """Have all of a model on the device wherever it computes, as what is compiled needs it."""
        return  # as it is where nothing streams

    def wants_previews(self) -> bool:
        """Whether a setting of the host asks for previews where none are wired."""
        return False

    def rough_preview(self, kind: str) -> Callable[[Tensor], Image.Image] | None:
        """The host's own picture of a published latent (N, C, h, w) of this stage, in model space, if it has one."""
        return None

    @contextmanager
    def progress(self, label: str, total: int, before: int = 0) -> Iterator[Advance]:
        """`advance(preview)` after each of `total` steps; here a bar on stderr where a person looks at it.

        before: steps that were taken at another time, after which the bar begins.
        """
        from tqdm import tqdm

        whole = before + total
        with tqdm(total=whole, initial=before, desc=label, file=sys.stderr, disable=None, leave=False) as bar:

            def advance(preview: Preview | None = None, words: str = "") -> None:
                if words:
                    bar.set_postfix_str(words, refresh=False)
                bar.update()

            yield advance

    def walk(self, label: str, items: Sequence[Item]) -> Iterator[Item]:
        """The items, one after the other, with progress and cancelling between them where there are several."""
        if len(items) < 2:
            yield from items
            return
        with self.progress(label, len(items)) as advance:
            for item in items:
                self.check_cancel()
                yield item
                advance(None)

    @abstractmethod
    def check_cancel(self) -> None:
        """Called between steps; raises once what the host stops a node with."""

    def withheld(self) -> object:
        """In place of an output that is not there yet: what takes it does not run, and that is no error."""
        return Withheld()

    def warn(self, node: str, message: str) -> None:
        """Tell the person something that did not stop the node."""
        self.say(logging.WARNING, node, message)

    def tell(self, node: str, message: str) -> None:
        """Tell the person what a node found out, in the same places."""
        self.say(logging.INFO, node, message)

    @abstractmethod
    def say(self, level: int, node: str, message: str) -> None:
        """Bring a message of a node to the person. level: one of `logging`."""


_current: Host | None = None  # until somebody asks or configures


def current() -> Host:
    """The host, chosen when it is first asked for: ComfyUI where it runs, unless `configure` was called."""
    global _current  # noqa: PLW0603  (one program, one host)
    if _current is None:
        from .comfyui import ComfyUIHost, is_running
        from .local import LocalHost

        _current = ComfyUIHost() if is_running() else LocalHost()
    return _current


def configure(
    *,
    output: str | Path | None = None,
    input: str | Path | None = None,
    models: str | Path | None = None,
    device: str | None = None,
    compile: str | None = None,
    audience: Audience | None = None,
    keeps_previews: bool | None = None,
) -> LocalHost:
    """Make this program its own host, also within ComfyUI, and choose for it; what is None stays as it was."""
    global _current  # noqa: PLW0603
    from .local import LocalHost

    host = _current if isinstance(_current, LocalHost) else LocalHost()
    folders = {"output": output, "input": input, "models": models}
    chosen = {name: Path(path).expanduser().absolute() for name, path in folders.items() if path is not None}
    host.settings = replace(host.settings, **chosen)
    others = {"device": device, "compile": compile, "audience": audience, "keeps_previews": keeps_previews}
    host.settings = replace(host.settings, **{name: value for name, value in others.items() if value is not None})
    _current = host
    return host
