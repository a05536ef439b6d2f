"""A training as a node or the command carries it out: in its folders, with progress, previews and cancel."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..cascade_core.errors import CascadeError
from ..cascade_core.kinds import KINDS
from ..cascade_core.training.kinds import TRAININGS, Model
from . import host, previews
from .face_detectors import DETECTORS

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from ..cascade_core.lora.lora import Lora
    from ..cascade_core.models.handle import Handle
    from ..cascade_core.training.data.dataset import Dataset
    from ..cascade_core.training.data.latent_set import LatentSet
    from ..cascade_core.training.data.prompts import Prompts
    from ..cascade_core.training.run import Report
    from ..cascade_core.training.task import Task

STATES = "training"  # folder of the states, in the output folder
NAME = re.compile(r"\w[\w .+-]*")
LONGEST_NAME = 200  # bytes: of 255 that a name may have, `.safetensors` and what others add take some

MOST_LINES = 10  # about how far a training is


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished training, with the last sample pictures (3, H, W) and their files, or with the curve's file alone."""

    task: Task
    pictures: tuple[Tensor, ...]
    files: tuple[Path, ...]


class RefusedError(CascadeError):
    """What a person asked for cannot be trained so."""


class Training:
    """A training that a person asked for. Nothing is computed or written before `carry_out`."""

    def __init__(self, kind: str, dataset: Dataset | LatentSet | Prompts, name: str, inputs: Mapping[str, Any]) -> None:
        """inputs: models by their kinds, and settings as a widget gives them. CascadeError for what does not fit."""
        from ..cascade_core.training.models import StageBModels, StageCModels, TrainingModels

        self.dataset: Any = dataset
        self.kind, self.name, self.about = kind, name, TRAININGS[kind]
        entries = self.about.inputs()
        models = {key: value for key, value in inputs.items() if isinstance(entries[key], Model)}
        self.start: Handle | None = models.pop("controlnet", None)
        given = {key: value for key, value in inputs.items() if not isinstance(entries[key], Model)}
        self.settings: Any = self.about.settings.read(given)
        if getattr(self.settings, "architecture", None) is not None:
            models["stage_c"] = self._new_stage_c(models)
        pictured = StageBModels if kind == "stage_b" else TrainingModels
        self.models: Any = (pictured if "effnet" in models else StageCModels)(**models)
        self.folder, self.target = self._places()

    def check(self) -> Lora | Handle | None:
        """The result by shapes alone, or None for a stage; CascadeError where the training cannot begin."""
        from ..cascade_core.training import controlnet, distill, lora

        if self.kind == "lora":
            return lora.untrained_lora(self.models, self.settings, self.name)
        if self.kind in distill.TASKS and not self.settings.whole:
            return distill.undistilled_lora(self.kind, self.models, self.settings, self.name)
        if self.kind != "controlnet":
            return None  # a stage
        width = DETECTORS[self.settings.detector].width if self.settings.hint == "identity" else None
        dataset = cast("Dataset", self.dataset)
        return controlnet.untrained_controlnet(self.models, dataset, self.settings, self.name, self.start, width)

    def carry_out(self, tell: Callable[[str], None] | None = None, command: str = "") -> Trained:
        """Take all steps that are left, with progress, previews and cancel, and write the finished file.

        command: by which it was begun, for its report.
        tell: hears where it begins, where no terminal shows a bar now and then how far it is, and where the report is.
        RefusedError where it cannot begin, CascadeError where another process trains in the same folder.
        """
        from ..cascade_core.files.owner import owned
        from ..cascade_core.training import sharded

        with owned(self.folder) if sharded.rank() == 0 else nullcontext():
            return self._carry_out(tell or (lambda words: None), {"command": command} if command else {})

    def _carry_out(self, tell: Callable[[str], None], told: Mapping[str, str]) -> Trained:
        from ..cascade_core.training.models import dtype_of
        from ..cascade_core.training.remarks import remarks
        from ..cascade_core.training.report import FILE
        from ..cascade_core.training.run_log import CURVE
        from ..cascade_core.training.start import start_training

        identity = getattr(self.settings, "hint", None) == "identity"
        detector = DETECTORS[self.settings.detector].make() if identity else None
        places = self.folder, self.target
        try:
            run = start_training(self.kind, self.models, self.dataset, self.settings, *places, self.start, detector)
        except CascadeError as error:
            raise RefusedError(str(error)) from error
        title = self.about.title or f"Train {KINDS[self.kind].name}"
        here = host.current()
        for remark in remarks(self.models, self.dataset, self.settings):
            here.warn(title, remark)
        pictures: tuple[Tensor, ...] = ()
        files: tuple[Path, ...] = ()
        models = (f"{name} {handle.name} ({dtype_of(handle)})" for name, handle in self.models.named().items())
        run.told = {"models": "; ".join(models), **told}
        steps, done = self.settings.steps, run.done
        if done:
            finished = "this training is finished: only its file is written again"
            tell(f"{finished}, after step {done}" if run.is_finished else f"going on from step {done} of {steps}")
        every = max(self.settings.save_every, -(-steps // MOST_LINES))
        with here.together(*self.models.named().values()):
            with here.progress(f"{title}: encode", len(run.task.encode())) as advance:
                for _ in run.encode():
                    here.check_cancel()
                    advance(None)
            with here.progress(title, steps - done, done) as advance, closing(run.train()) as reports:
                for report in reports:
                    at = report.progress.step
                    if report.pictures:
                        pictures, files = report.pictures, report.files
                    here.check_cancel()
                    if report.progress.losses:
                        words = _course(report)
                        advance(partial(_side_by_side, report.pictures) if report.pictures else None, words)
                        if at % every == 0 and not sys.stderr.isatty():
                            tell(f"step {at} of {steps}: {words}")
        for note in run.notes:
            here.warn(title, note)
        tell(f"its report is {self.folder / FILE}")
        return Trained(run.task, pictures, files or (self.folder / CURVE,))

    def _new_stage_c(self, models: Mapping[str, Any]) -> Handle:
        from ..cascade_core.training.from_scratch import new_stage_c

        here = host.current()
        encoders = models["text_encoder"], models.get("image_encoder")
        return new_stage_c(self.settings, *encoders, device=here.device(), placement=here.placement())

    def sample_shape(self) -> tuple[int, int, int]:
        """Number, height and width of the sample pictures that `carry_out` will give, or of the curve."""
        from ..cascade_core.training.run_log import CURVE_SIZE
        from ..cascade_core.training.samples import sample_side

        count = len(self.settings.prompts) if self.settings.sample_every else 0
        side = sample_side(self.models, self.settings.size)
        return (1, *CURVE_SIZE) if not count or side is None else (count, side, side)

    def _places(self) -> tuple[Path, Path]:
        """The folder of the state, and the finished file."""
        if not NAME.fullmatch(self.name):
            raise CascadeError(
                f"name: expected letters, digits, spaces and . _ + - after a letter or digit, found {self.name!r:.80}"
            )
        if len(self.name.encode()) > LONGEST_NAME:
            raise CascadeError(f"name: expected at most {LONGEST_NAME} bytes, found {len(self.name.encode()):,}")
        folder = host.current().output_directory() / STATES / self.name
        is_whole = getattr(self.settings, "whole", False)
        key = TRAININGS["stage_c"].folder_key if is_whole else self.about.folder_key
        return folder, host.current().model_folder(key) / f"{self.name}.safetensors"


def _course(report: Report) -> str:
    """In words, how it goes."""
    told = f"loss {report.loss:.3g}"
    return told if report.validation is None else f"{told}, validation {report.validation:.3g}"


def _side_by_side(pictures: tuple[Tensor, ...]) -> Image.Image:
    """Pictures (3, H, W) next to each other."""
    import torch

    return previews.to_picture(torch.cat(pictures, dim=-1)[None])
