"""Events of one tab: the values that the page sends, made into runs, files and messages. Draws nothing."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from PIL import Image

from ..cascade_core.errors import CascadeError
from ..headless import graph, missing_models
from . import models, pictures, training, values, wording
from .runs import Full, Run, Runner, Shown
from .tabs import Tab

PAUSE = 0.12  # seconds between two updates of a run
CURVE_PAUSE = 2.0  # between drawings of a training's curve

# The values of the tab's fields, and by the index of its field what was painted on a picture.
Given = tuple[Sequence[Any], Mapping[int, Any]]


class Handlers:
    def __init__(self, tab: Tab, runner: Runner) -> None:
        self.tab, self.runner, self.nodes = tab, runner, runner.nodes

    def run(self, count: int, given: Given) -> Iterator[tuple[str, list[Shown] | None]]:
        """Start `count` runs and follow them to their end: the status as HTML, and all pictures where one is new."""
        try:
            yield from follow(self._runs(count, given), self.runner)
        except (graph.WorkflowError, CascadeError, Full) as error:
            yield wording.error(error), None

    def cancel(self) -> None:
        self.runner.cancel(self.tab.key)

    def save(self, given: Given) -> tuple[str, str, str]:
        """A workflow with these values as JSON, and its file's name; or empty texts and a message as HTML."""
        try:
            made = values.workflow(self.tab, values.changes(self.tab, _with_masks(given)), self.nodes)
        except (graph.WorkflowError, CascadeError) as error:
            return "", "", wording.error(error)
        return json.dumps(made.editor or made.prompt, indent=1), f"{self.tab.key}.json", ""

    def describe_models(self, chosen: Mapping[int, Any]) -> str:
        """HTML on the tab's models, with these values in the fields of these indices."""
        pairs = [(self.tab.fields[index], value) for index, value in chosen.items()]
        changed = [(field, value) for field, value in pairs if value != field.value]
        return models.describe(self.tab, values.workflow(self.tab, changed, self.nodes), self.nodes)

    def _runs(self, count: int, given: Given) -> list[Run]:
        changed = values.changes(self.tab, _with_masks(given))
        runs: list[Run] = []
        for step in range(count):
            made = values.workflow(self.tab, values.with_seeds(self.tab, changed, step), self.nodes)
            checked = graph.validate(made.prompt, self.nodes.classes)
            if checked.problems:
                raise graph.WorkflowError(*missing_models.messages(checked, self.nodes))
            runs.append(Run(self.tab.key, checked, made.editor))
        return runs


def follow(runs: Sequence[Run], runner: Runner) -> Iterator[tuple[str, list[Shown] | None]]:
    """Start runs, and follow them as `Handlers.run` does. Raises Full."""
    runner.submit(runs)
    version, shown, curves, due = -1, 0, [], 0.0
    trainings = [folder for run in runs for folder in training.folders(run.checked.prompt, runner.nodes)]
    while True:
        version = runner.wait(version, seconds=1)
        over = all(run.is_over for run in runs)
        found = [picture for run in runs for picture in run.pictures]
        if trainings and (over or time.monotonic() > due):
            due = time.monotonic() + CURVE_PAUSE
            curves = [drawn for folder in trainings if (drawn := training.curve(folder)) is not None]
        yield wording.status(runs, runner, curves), found if len(found) != shown else None
        shown = len(found)
        if over:
            return
        time.sleep(PAUSE)


def _with_masks(given: Given) -> list[Any]:
    """The values, with painted masks in the pictures. Raises WorkflowError and CascadeError."""
    found, masks = list(given[0]), given[1]
    for index, painted in masks.items():
        layers = painted.get("layers") if isinstance(painted, dict) else None
        layers = [layer for layer in layers or () if isinstance(layer, Image.Image)]
        if layers and isinstance(found[index], str):
            found[index] = pictures.with_mask(found[index], layers)
    return found
