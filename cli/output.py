"""The command's answers: exit codes, complaints on stderr, and the report of a run."""

from __future__ import annotations

import codecs
import json
import os
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..cascade_core.errors import CascadeError, is_out_of_memory
from ..cascade_core.wording import duration, enough_of, without_controls
from ..headless import graph
from ..headless.forecast import Forecast

if TYPE_CHECKING:
    from tqdm import tqdm

OK, FAILED, REFUSED, STOPPED = 0, 1, 2, 130
ADVICE = "this is a fault of the program: with --debug it writes a file with all that a report of it needs"
BAR = "{desc}: {n_fmt}/{total_fmt} |{bar}| {postfix}"
LONGEST = 1900  # characters of a message: nobody reads more


class Failure(Exception):
    """A failure of the work itself: exit code 1."""


@contextmanager
def errors_as_failures(advice: str = "") -> Iterator[None]:
    """In here a CascadeError is a Failure, and not a bad argument; so is too little memory, told with `advice`."""
    try:
        yield
    except CascadeError as error:
        raise Failure(str(error)) from error
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise Failure(too_little_memory(error, advice)) from error


def too_little_memory(error: BaseException, advice: str = "") -> str:
    """The line about an error of that kind."""
    said = (str(error) or type(error).__name__).splitlines()[0]
    return f"out of memory: {said}; {advice or 'choose another --device'}"


def note(workflow: graph.Workflow) -> None:
    """Tell on stderr what a person should know of how a workflow was read."""
    if workflow.note:
        complain(workflow.note)


def complain(*messages: str) -> None:
    """Each message on a line of its own, under the command's name; of very many the first."""
    for message in enough_of(messages):
        say(f"cascade: {_cut(message)}", sys.stderr)


def _cut(message: str) -> str:
    return message if len(message) <= LONGEST else f"{message[:LONGEST]}... ({len(message):,} characters)"


def say(text: object, to: TextIO | None = None) -> None:
    """Lines for `to`, by default stdout; a terminal, and whoever reads stderr, gets no character that it might obey."""
    to = to or sys.stdout
    if to is None:  # closed by whoever started us
        return
    print(without_controls(str(text)) if to is sys.stderr or to.isatty() else text, file=to, flush=True)


def prepare_streams() -> None:
    """Let stdout take every name of a file: as its own bytes where it is no text, else escaped.

    Where stdout or stderr was closed for us it leads nowhere: the next file to be opened would be in its place, and
    what libraries print below Python would be written into it.
    """

    def written(error: UnicodeError) -> tuple[str | bytes, int]:
        try:
            return codecs.lookup_error("surrogateescape")(error)
        except UnicodeError:
            return codecs.lookup_error("backslashreplace")(error)

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  (it stays open)
    codecs.register_error("cascade", written)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="cascade")


class Report:
    """A run as it goes, here or at a server: nodes and previews on stderr; written files on stdout, or all as JSON."""

    def __init__(self, as_json: bool, started: float) -> None:
        """started: by time.perf_counter."""
        self._as_json, self._started = as_json, started
        self._files: list[str] = []
        self._previews: list[str] = []
        self._nodes: dict[str, dict[str, Any]] = {}
        self._bar: tqdm[Any] | None = None
        self._forecast: Forecast | None = None
        self._ahead = 0

    def wait(self, ahead: int) -> None:
        """Tell how many prompts go before this one; said again when it changes."""
        if ahead > 0 and ahead != self._ahead:
            say(f"waiting in the server's queue behind {ahead}", sys.stderr)
        self._ahead = ahead

    def expect(self, prompt: graph.Prompt, needed: Collection[str]) -> None:
        """These nodes of a prompt run now."""
        self._forecast = Forecast(prompt, needed)

    def begin(self, node: str) -> None:
        """Another node runs."""
        if self._forecast is not None:
            self._forecast.begin(node)

    def advance(self, label: str, done: float, total: float, preview: object = None) -> None:
        """Show how far the running node is, and how long all of the run still takes."""
        if self._bar is None or self._bar.total != total:
            from tqdm import tqdm

            self._close_bar()
            self._bar = tqdm(
                total=total, desc=without_controls(label), file=sys.stderr, disable=None, leave=False, bar_format=BAR
            )
        if self._forecast is not None:
            self._forecast.advance(done, total)
            left = self._forecast.seconds_left()
            self._bar.set_postfix_str("" if left is None else f"about {duration(left)} left in all", refresh=False)
        self._bar.update(done - self._bar.n)

    def warn(self, node: str, message: str) -> None:
        """Tell what a node says."""
        if self._bar is not None:
            self._bar.clear()
        say(_cut(f"{node}: {message}"), sys.stderr)

    def finish(self, done: graph.Done) -> None:
        """Tell of a node that is done, and of the files that it wrote."""
        self._close_bar()
        if self._forecast is not None:
            self._forecast.finish(done.node)
        fields = {"class_type": done.class_type, "title": done.title, "seconds": done.seconds, "cached": done.cached}
        self._nodes[done.node] = fields
        say(f"{done.seconds:8.2f} s  {done.name}{' (cached)' if done.cached else ''}", sys.stderr)
        if done.cached:
            return
        for path in _written(done.ui, "output"):
            self.add_file(path)
        for path in _written(done.ui, "temp"):
            self._previews.append(str(path))
            say(f"            preview: {path}", sys.stderr)

    def add_file(self, path: Path) -> None:
        self._files.append(str(path))
        if not self._as_json:
            say(path)

    def complain(self, *messages: str) -> None:
        complain(*messages)

    def close(self) -> None:
        self._close_bar()
        if self._as_json:
            seconds = time.perf_counter() - self._started
            told = {"files": self._files, "seconds": seconds, "nodes": self._nodes, "previews": self._previews}
            print(json.dumps(told), flush=True)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _written(ui: graph.Ui, kind: str) -> Iterator[Path]:
    """The files in a folder of the host that a node shows. kind: "output" or "temp"."""
    from ..runtime import host

    for shown in ui.values():
        for entry in shown:
            if graph.is_object(entry) and entry.get("type") == kind and "filename" in entry:
                subfolder, name = str(entry.get("subfolder", "")), str(entry["filename"])
                yield host.current().directory(kind) / subfolder / name
