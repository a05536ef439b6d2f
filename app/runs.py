"""Runs one after another in a thread of their own: a queue with a limit, progress, previews, cancelling."""

import io
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..cascade_core.errors import CascadeError
from ..headless import graph, node_classes
from ..headless.forecast import Forecast
from ..headless.run import in_words, is_foreseen, perform
from ..runtime import host
from .sessions import LOCAL

LIMIT = 12  # runs that may wait
LIMIT_EACH = 8  # those of one visitor
CLOSING = 10.0  # seconds that a run has to stop when the app ends
PREVIEW_SIDE = 512  # pixels of a preview's longer side at most
PREVIEW_PAUSE = 0.15  # seconds between previews at least

State = Literal["waiting", "running", "done", "failed", "stopped"]
Shown = tuple[Path, str]  # a picture, and the title of the node that shows it where the picture is not kept


class Full(Exception):
    """The queue takes no more."""


@dataclass
class Run:
    """A run of a workflow, as its tab shows it."""

    tab: str
    checked: graph.Validation
    editor: dict[str, Any] | None
    paints: bool = False  # whether its page has a picture to paint a mask on
    state: State = "waiting"
    visitor: str = ""  # whose it is, where a page asked for it
    messages: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    node: str = ""  # the title of the node that works
    label: str = ""  # what it is doing, as it says itself
    step: int = 0
    steps: int = 0
    share: float = 0.0  # of all of the run that is done, as far as can be told
    is_stopping: bool = False  # whether it was told to stop
    began: float = 0.0  # by time.monotonic
    seconds: float = 0.0
    forecast: Forecast | None = None  # from when it began
    is_old: bool = True  # whether every node had its result already
    preview: bytes | None = None  # JPEG
    pictures: list[Shown] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)  # what output nodes show besides pictures

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "failed", "stopped")

    def seconds_left(self) -> float | None:
        """The time that all of the run still takes; None where no step of its node is taken yet."""
        return None if self.forecast is None or self.is_over else self.forecast.seconds_left()


class Runner:
    """Runs what is given to it, one thing at a time; results of nodes are kept for the next run, as ComfyUI does."""

    def __init__(self, nodes: node_classes.Nodes, limit: int = LIMIT, after: Callable[[], None] = lambda: None) -> None:
        """after: called after each run."""
        self.nodes = nodes
        self._after = after
        self._closing = False
        self.limit = limit
        self.changed = threading.Condition()
        self.version = 0
        self._jobs: list[Sequence[Run]] = []  # the runs that were submitted together, until all are over
        self._waiting: deque[Run] = deque()
        self._running: Run | None = None
        self._cache = graph.Cache()
        self._next_preview = 0.0
        self._previewing = True
        self.host = host.configure(audience=self)
        self._thread = threading.Thread(target=self._work, name="runs", daemon=True)
        self._thread.start()

    def submit(self, runs: Sequence[Run]) -> None:
        """Put all of them into the queue, or none. Raises Full."""
        visitor = current_visitor()
        for run in runs:
            run.visitor = visitor
        with self.changed:
            own = sum(run.visitor == visitor for run in self._waiting)
            if visitor and own + len(runs) > LIMIT_EACH:
                raise Full(f"{own} of your runs are waiting already, and at most {LIMIT_EACH} can: let some finish")
            if len(self._waiting) + len(runs) > self.limit:
                raise Full(
                    f"{len(self._waiting)} runs are waiting already, and at most {self.limit} can: let some finish or"
                    " cancel them, then try again"
                )
            self._waiting += runs
            self._jobs = [*(job for job in self._jobs if not all(run.is_over for run in job)), runs]
            self._tell()

    def cancel(self, tab: str) -> bool:
        """Stop what runs of a tab at its next step, and drop what waits of it; whether there was anything."""
        with self.changed:
            dropped = [run for run in self._waiting if run.tab == tab]
            for run in dropped:
                self._waiting.remove(run)
                run.state = "stopped"
            stopping = self._running is not None and self._running.tab == tab
            if self._running is not None and stopping:
                self._running.is_stopping = True
                self.host.request_cancel()
            self._tell()
            return stopping or bool(dropped)

    def close(self) -> None:
        """Drop what waits, and stop what runs at its next step, so that it leaves nothing half-written."""
        with self.changed:
            self._closing = True
            for run in self._waiting:
                run.state = "stopped"
            self._waiting.clear()
            if self._running is not None:
                self.host.request_cancel()
            self._tell()
        self._thread.join(CLOSING)

    def under_way(self, tab: str | None = None) -> Sequence[Run]:
        """The runs that were submitted together and are next to end, of one tab or of any; none where nothing runs."""
        jobs = [job for job in self._jobs if not all(run.is_over for run in job)]
        return next((job for job in jobs if tab in (None, job[0].tab)), ())

    def ahead_of(self, run: Run) -> int:
        """How many presses of a button are before that of a waiting run: runs that were submitted together are one."""
        with self.changed:
            jobs = [job for job in self._jobs if not all(each.is_over for each in job)]
            return next((place for place, job in enumerate(jobs) if any(each is run for each in job)), 0)

    def wait(self, version: int, seconds: float) -> int:
        """The number of what has changed so far, as soon as it is not `version`, or after some seconds."""
        with self.changed:
            self.changed.wait_for(lambda: self.version != version, seconds)
            return self.version

    def advance(self, label: str, done: int, total: int, preview: host.Preview | None) -> None:
        run = self._running
        if run is None:
            return
        picture = self._picture(run, preview, done == total)
        with self.changed:
            if run.forecast is not None:
                run.forecast.advance(done, total)
                if (left := run.forecast.seconds_left()) is not None:
                    spent = time.monotonic() - run.began
                    run.share = max(run.share, spent / (spent + left) if spent + left else 0.0)
            run.label, run.step, run.steps = label, done, total
            run.preview = picture or run.preview
            self._tell()

    def warn(self, node: str, message: str) -> None:
        with self.changed:
            if self._running is not None:
                self._running.warnings.append(message)
                self._tell()

    def _picture(self, run: Run, preview: host.Preview | None, is_last: bool) -> bytes | None:
        """A preview as JPEG; None where none is due. One that cannot be made ends the previews, not the run."""
        now = time.monotonic()
        if preview is None or not self._previewing or (now < self._next_preview and not is_last):
            return None
        try:
            picture = preview().convert("RGB")
        except RuntimeError as error:  # torch's, such as out of memory
            self._previewing = False
            run.warnings.append(f"there are no more previews of this run: {error}")
            return None
        self._next_preview = now + PREVIEW_PAUSE
        picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        written = io.BytesIO()
        picture.save(written, "JPEG", quality=85)
        return written.getvalue()

    def _work(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing:
                    return
                run = self._running = self._waiting.popleft()
                run.state, run.forecast = "running", Forecast(run.checked.prompt, run.checked.needed)
                self._next_preview, self._previewing = 0.0, True
                self.host.forget_cancel()
                self._tell()
            run.began = time.monotonic()
            state = self._perform(run)
            with self.changed:
                run.state, run.seconds = state, time.monotonic() - run.began
                self._running = None
                self._tell()
            self._after()

    def _perform(self, run: Run) -> State:
        def around(node_id: str) -> None:
            self.host.check_cancel()
            with self.changed:
                if run.forecast is not None:
                    run.forecast.begin(node_id)
                run.node, run.label, run.step, run.steps = graph.title_of(run.checked.prompt[node_id]), "", 0, 0
                self._tell()

        try:
            complete = perform(
                run.checked,
                run.editor,
                self.nodes,
                finished=lambda done: self._finish(run, done),
                refused=lambda problem: run.messages.append(problem.message),
                cache=self._cache,
                around=around,
            )
            return "done" if complete else "failed"
        except KeyboardInterrupt:
            return "stopped"
        except graph.NodeFailure as failure:
            if not is_foreseen(failure):
                traceback.print_exception(failure.error)
            run.messages.append(in_words(failure))
        except CascadeError as error:
            run.messages.append(str(error))
        except Exception as error:  # a bug, which must not end the app
            traceback.print_exception(error)
            run.messages.append(f"{type(error).__name__}: {error}")
        return "failed"

    def _finish(self, run: Run, done: graph.Done) -> None:
        with self.changed:
            if run.forecast is not None:
                run.forecast.finish(done.node)
            run.is_old = run.is_old and done.cached
            run.pictures += _pictures(done)
            run.texts += [text for text in done.ui.get("text", []) if isinstance(text, str)]
            self._tell()

    def _tell(self) -> None:
        self.version += 1
        self.changed.notify_all()


def current_visitor() -> str:
    """Who has sent the event that is worked on in this thread: an address; on this computer a page; else nothing."""
    from gradio.context import LocalContext

    request = LocalContext.request.get(None)
    if request is None:
        return ""
    address = request.client.host if request.client else ""
    return str(request.session_hash) if address in LOCAL else address


def _pictures(done: graph.Done) -> list[Shown]:
    """The pictures that an output node shows, those to pick from included."""
    found: list[Shown] = []
    for entry in (entry for shown in done.ui.values() for entry in shown):
        if graph.is_object(entry) and entry.get("type") in ("output", "temp") and "filename" in entry:
            path = host.current().directory(entry["type"]) / str(entry.get("subfolder", "")) / str(entry["filename"])
            found.append((path, "" if entry["type"] == "output" else done.title))
    return found
