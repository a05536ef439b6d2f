"""Events of one tab: the values that the page sends, made into runs, files and messages. Draws nothing."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..cascade_core.errors import CascadeError
from ..headless import graph, missing_models
from . import models, pictures, training, values, wording
from .runs import Full, Run, Runner, Shown
from .tabs import Tab

PAUSE = 0.2  # seconds between two updates of a run
CURVE_PAUSE = 2.0  # between drawings of a training's curve


@dataclass(frozen=True)
class Given:
    """What the page sends of a tab; none of it is believed."""

    values: Sequence[Any]  # of its fields
    painted: Mapping[int, Any]  # by the index of its field, what was painted on a picture
    number: Any  # of pictures
    parted: Any  # whether later stages have seeds of their own


@dataclass(frozen=True)
class View:
    """What a tab shows of a run: HTML above and below the pictures, all pictures, and whether it still runs.

    None is what has not changed since the last one: a page has little time between two.
    """

    status: str
    notices: str | None = ""
    found: list[Shown] | None = None
    running: bool | None = False


class Handlers:
    def __init__(self, tab: Tab, runner: Runner) -> None:
        self.tab, self.runner, self.nodes = tab, runner, runner.nodes

    def run(self, given: Given) -> Iterator[View]:
        """Start the runs that were asked for, and follow them to their end."""
        try:
            yield from start(self._runs(given), self.runner)
        except (graph.WorkflowError, CascadeError, Full) as error:
            yield View(wording.error(error))

    def cancel(self) -> None:
        self.runner.cancel(self.tab.key)

    def save(self, given: Given) -> tuple[str, str, str]:
        """A workflow with these values as JSON, and its file's name; or empty texts and a message as HTML."""
        try:
            made = values.workflow(self.tab, self._changes(given), self.nodes)
        except (graph.WorkflowError, CascadeError) as error:
            return "", "", wording.error(error)
        return json.dumps(made.editor or made.prompt, indent=1), f"{self.tab.key}.json", ""

    def find_wanting(self, chosen: Mapping[int, Any]) -> models.Wanting:
        """What is missing, with these values in the fields of these indices."""
        pairs = [(self.tab.fields[index], value) for index, value in chosen.items()]
        changed = [(field, value) for field, value in pairs if value != field.value]
        return models.find_wanting(self.tab, values.workflow(self.tab, changed, self.nodes), self.nodes)

    def _changes(self, given: Given) -> values.Changes:
        return values.changes(self.tab, values.with_one_seed(self.tab, _with_masks(given), given.parted))

    def _runs(self, given: Given) -> list[Run]:
        changed = self._changes(given)
        runs: list[Run] = []
        for step in range(values.number(given.number, self.runner.limit)):
            made = values.workflow(self.tab, values.with_seeds(self.tab, changed, step), self.nodes)
            checked = graph.validate(made.prompt, self.nodes.classes)
            if checked.problems:
                raise graph.WorkflowError(*missing_models.messages(checked, self.nodes, anywhere=True))
            runs.append(Run(self.tab.key, checked, made.editor, any(field.mask for field in self.tab.fields)))
        return runs


def start(runs: Sequence[Run], runner: Runner) -> Iterator[View]:
    """Start runs, and follow them to their end. Raises Full."""
    runner.submit(runs)
    yield from follow(runs, runner)


def follow(runs: Sequence[Run], runner: Runner) -> Iterator[View]:
    """Follow runs to their end, from wherever they are."""
    version, shown, curves, due = -1, -1, [], 0.0
    notices: str | None = None
    running: bool | None = None
    trainings = [folder for run in runs for folder in training.folders(run.checked.prompt, runner.nodes)]
    while True:
        version = runner.wait(version, seconds=1)
        over = all(run.is_over for run in runs)
        found = [picture for run in runs for picture in run.pictures]
        if trainings and (over or time.monotonic() > due):
            due = time.monotonic() + CURVE_PAUSE
            curves = [drawn for folder in trainings if (drawn := training.curve(folder)) is not None]
        told = wording.notices(runs)
        yield View(
            wording.status(runs, runner, curves),
            told if told != notices else None,
            found if len(found) != shown else None,
            not over if running is over or running is None else None,
        )
        shown, notices, running = len(found), told, not over
        if over:
            return
        time.sleep(PAUSE)


def _with_masks(given: Given) -> list[Any]:
    """The values, with painted masks in the pictures. Raises WorkflowError and CascadeError."""
    found = list(given.values)
    for index, painted in given.painted.items():
        layers = painted.get("layers") if isinstance(painted, dict) else None
        layers = [layer for layer in layers or () if isinstance(layer, Image.Image)]
        if layers and isinstance(found[index], str):
            found[index] = pictures.with_mask(found[index], layers)
    return found
