"""The node that reads a folder of pictures with their captions, for those that train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.builtin import built_in
from ..cascade_core.errors import CascadeError
from ..cascade_core.reading import is_hidden, walk
from ..runtime import host
from . import inputs, sockets

if TYPE_CHECKING:
    from ..cascade_core.training.data.dataset import Dataset


class CascadeDataset:
    DISPLAY_NAME = "Dataset"
    CATEGORY = "Stable Cascade/training"
    DESCRIPTION = (
        "The pictures of a folder and its sub-folders, each with its caption in a text file of the same name, or with"
        " one caption for all."
    )
    SEARCH_ALIASES = ("stable cascade", "training", "captions", "load images", "folder")
    FUNCTION, REHEARSE = "read", "rehearse"
    RETURN_TYPES, RETURN_NAMES = (sockets.DATASET,), ("dataset",)
    OUTPUT_TOOLTIPS = ("The pictures and their captions, for Train LoRA or Train ControlNet.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "folder": inputs.text(
                    "",
                    "Where the pictures are: a full path, or a folder in the input folder. tiny zig (built-in) has"
                    " twelve pictures of a word that the built-in models do not know.",
                ),
            },
            "optional": {
                "caption": inputs.text(
                    "",
                    "One caption for all pictures, such as: a photo of [zig]. {name} in it is the picture's file name,"
                    " {caption} the text of its .txt file. Empty: each picture's .txt file.",
                    several_lines=True,
                ),
            },
        }

    @classmethod
    def IS_CHANGED(cls, folder: str, **_: Any) -> str:
        """The names, times and sizes of all files: whatever is added, taken away or edited counts."""
        from ..cascade_core.training.data.dataset import MOST_ENTRIES

        place = cls._path(folder)
        found = [(place.parent, [], [place.name])] if place.is_file() else walk(place, is_hidden, MOST_ENTRIES)
        states = ((path, path.lstat()) for parent, _, names in found for path in map(parent.joinpath, names))
        return " ".join(f"{path.name} {state.st_mtime_ns} {state.st_size}" for path, state in states)

    def read(self, folder: str, caption: str = "") -> tuple[Dataset]:
        (dataset,) = self.rehearse(folder, caption)
        here = host.current()
        (here.warn if dataset.leaves_out else here.tell)(self.DISPLAY_NAME, dataset.in_words())
        return (dataset,)

    def rehearse(self, folder: str, caption: str = "") -> tuple[Dataset]:
        from ..cascade_core.training.data.dataset import read_dataset

        return (read_dataset(self._path(folder), caption.strip()),)

    @staticmethod
    def _path(folder: str) -> Path:
        if not folder.strip():
            raise CascadeError("folder: expected the folder in which the pictures are, found nothing")
        lesson = built_in("dataset").get(folder.strip())
        return lesson or host.current().input_directory() / Path(folder.strip()).expanduser()


NODES = (CascadeDataset,)
