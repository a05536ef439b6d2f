"""The choice of model files by the host's own loaders: folder keys, names, and what a file must hold for each output.

Names lead to a file of one folder key, or to a built-in model, which may be several files. A model's weights are read
when it first computes, so that of a checkpoint only what the workflow uses costs memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...cascade_core.builtin import built_in
from ...cascade_core.errors import CascadeError
from ...cascade_core.kinds import KINDS
from ...cascade_core.wording import all_of, article, nearest_file
from ...runtime import host, model_folders

if TYPE_CHECKING:
    from ...cascade_core.files.model_part import Part
    from ...cascade_core.models.handle import Handle

DIFFUSION = ("stage_c", "stage_b")
CHECKPOINTS: Mapping[str, tuple[str, ...]] = {
    "tiny stage_c (built-in)": ("stage_c", "text_encoder", "effnet", "previewer", "image_encoder"),
    "tiny stage_b (built-in)": ("stage_b", "text_encoder", "stage_a"),
}  # the built-in models as ComfyUI's all-in-one files have the published ones
VAES: Mapping[str, tuple[str, ...]] = {
    "tiny stage_a (built-in)": ("stage_a",),
    "tiny effnet (built-in)": ("effnet", "previewer"),
}


class ModelFile:
    """A loader's file input."""

    RETURN_TYPES: ClassVar[tuple[str, ...]]
    FILE_INPUT: ClassVar[str]
    WHAT: ClassVar[str]  # the file, for people
    FOLDER: ClassVar[str]  # the host's folder key
    KINDS: ClassVar[Sequence[Sequence[str]]]  # for each output the kinds of which it is one
    BUILT_IN: ClassVar[Mapping[str, Sequence[str]]] = {}  # kinds by name, where a name stands for several
    FUNCTION, REHEARSE = "load", "rehearse"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """The file alone; a loader with more inputs has its own."""
        return {"required": {cls.FILE_INPUT: (cls.names(),)}}

    @classmethod
    def names(cls) -> list[str]:
        """What the combo offers: built-in models first, so that a new node has one."""
        return model_folders.offered(cls.choices())

    @classmethod
    def choices(cls) -> dict[str, Path]:
        """The file of each name; of a built-in model of several files the first."""
        if cls.BUILT_IN:
            ours = {name: built_in(kinds[0])[_TINY] for name, kinds in cls.BUILT_IN.items()}
        else:
            ours = built_in(cls.KINDS[0][0])
        return model_folders.first_wins([ours, host.current().model_files((cls.FOLDER,))])

    @classmethod
    def find(cls, name: object) -> Path | None:
        """The file or folder of this name, which comes from a workflow and may be anything; None if there is none."""
        return model_folders.find(cls.choices(), name) if isinstance(name, str) else None

    @classmethod
    def files_of(cls, name: str) -> list[Path]:
        """All files that a name stands for; CascadeError where there is none."""
        if name in cls.BUILT_IN:
            return [built_in(kind)[_TINY] for kind in cls.BUILT_IN[name]]
        found = cls.find(name)
        if found is None:
            from ...cascade_core.files.published import where_to_get

            raise CascadeError(
                f"There is no {cls.WHAT} {name!r:.200} in the model folder {cls.FOLDER}"
                f"{nearest_file(name, cls.choices())}: put the file into {host.current().model_folder(cls.FOLDER)}"
                f"{where_to_get(model_folders.file_name(name), *(kind for kinds in cls.KINDS for kind in kinds))},"
                " or choose another"
            )
        return [found]

    @classmethod
    def check(cls, name: str | None) -> bool | str:
        """For VALIDATE_INPUTS: True, or where a missing file belongs; `name` is None where it is linked."""
        try:
            if name is not None:
                cls.files_of(name)
        except CascadeError as error:
            return str(error)
        return True

    @classmethod
    def IS_CHANGED(cls, **given: Any) -> str:
        """Times and sizes of all files of the model: training may write one again under its name."""
        files = (file for path in cls.files_of(given[cls.FILE_INPUT]) for file in model_folders.belonging(path))
        return " ".join(f"{state.st_mtime_ns} {state.st_size}" for state in (file.stat() for file in files))

    @classmethod
    def parts_of(cls, name: str) -> list[tuple[Path, Part]]:
        """What the files of a name hold; raises CascadeError for what is no part of Stable Cascade."""
        from ...cascade_core.files.identify import identify

        return [(path, part) for path in cls.files_of(name) for part in identify(path)]

    def models(self, name: str, kinds: Sequence[str], rehearsal: bool = False) -> dict[str, Handle]:
        """Those of these kinds that the file holds, by kind; of a rehearsal as their headers describe them."""
        from ...cascade_core.files.load import describe, load

        here = host.current()
        found: dict[str, Handle] = {}
        for path, part in self.parts_of(name):
            if part.kind in kinds:
                options: dict[str, Any] = {"name": name, "dtype": here.dtype(part.kind), "device": here.device()}
                options["tokenizers"] = here.tokenizer_folders()
                if rehearsal:
                    found[part.kind] = describe(part.kind, path, **options)
                else:
                    model = load(part.kind, path, placement=here.placement(), when_used=True, **options)
                    found[part.kind] = replace(model, compile=here.compilation())
        return found

    def model(self, name: str, kinds: Sequence[str], rehearsal: bool = False) -> Handle:
        """The one that the file is chosen for; CascadeError where it holds another."""
        found = self.models(name, kinds, rehearsal)
        for kind in kinds:
            if kind in found:
                return found[kind]
        held = all_of([article(KINDS[part.kind].name) for _, part in self.parts_of(name)])
        wanted = all_of([KINDS[kind].name for kind in kinds], "or")
        raise CascadeError(f"{name} holds {held}, but no {wanted}: choose {article(wanted)} file in this loader")

    def load(self, **given: Any) -> tuple[Any, ...]:
        return self.outputs(given[self.FILE_INPUT], False)

    def rehearse(self, **given: Any) -> tuple[Any, ...]:
        """The models as their headers describe them; a bad file does not make the workflow a bad one."""
        try:
            return self.outputs(given[self.FILE_INPUT], True)
        except CascadeError as error:
            raise OSError(str(error)) from error

    def outputs(self, name: str, rehearsal: bool) -> tuple[Any, ...]:
        """A model for each output; a loader of several has its own."""
        return (self.model(name, self.KINDS[0], rehearsal),)


_TINY = "tiny (built-in)"
