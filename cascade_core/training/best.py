"""The finished file as it was at the best validation so far, kept beside the state.

Each is written whole under its step's name. Beside it stays the best of the steps that the state has, so that a process
that is killed at any moment goes on with the best validation so far.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from ..files.atomic import durable
from .validation import has_ended

FOLDER = "best"
KEPT = re.compile(r"(\d+)\.safetensors")


class Best:
    """`values` are the validations by their steps. `step` is whose weights are kept; None: none are."""

    def __init__(self, folder: Path, values: dict[int, float]) -> None:
        """folder: the run's. A file of a step whose validation is not known counts as none."""
        self.folder, self.values = folder / FOLDER, values
        kept = [step for step in self._steps() if step in values]
        self.step = min(kept, key=lambda step: values[step], default=None)

    def takes(self, value: float) -> bool:
        """Whether a validation is better than the one that is kept."""
        return self.step is None or value < self.values[self.step]

    def keep(self, step: int, write: Callable[[Path], None]) -> None:
        """Keep what `write` writes as the file of this step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write(self._path(step))
        self.step = step

    def tidy(self, saved: int) -> None:
        """Remove all files but the kept one and the best until step `saved`, from which a killed run goes on."""
        there = self._steps()
        known = [step for step in there if step in self.values and step <= saved]
        needed = {self.step, min(known, key=lambda step: self.values[step], default=None)}
        for step in there:
            if step not in needed:
                self._path(step).unlink(missing_ok=True)

    def copy_to(self, target: Path) -> None:
        """The kept file becomes `target`, whole or not at all."""
        assert self.step is not None
        with durable(target) as temporary:
            shutil.copyfile(self._path(self.step), temporary)

    def _path(self, step: int) -> Path:
        return self.folder / f"{step:06}.safetensors"

    def _steps(self) -> list[int]:
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(int(match[1]) for path in found if (match := KEPT.fullmatch(path.name)))


def how_ended(step: int, steps: int, patience: int, best: Best) -> str:
    """In words, which weights the file of a training with patience has; empty where it is those of its last step."""
    values, kept = best.values, best.step
    if has_ended(values, patience):
        lowest = min(values, key=lambda each: values[each])
        validations = f"{patience} validation{'s' * (patience > 1)}"
        told = f"stopped at step {step} of {steps}: {validations} no better than step {lowest}'s {values[lowest]:.3g}"
        has = ", whose weights the file has" if kept == lowest else f"; the file has those of step {kept or step}"
        return told + has
    return f"the file has the weights of step {kept}, whose validation was the best" if kept not in (None, step) else ""
