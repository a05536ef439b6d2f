"""One workflow at a server: its pictures up, the prompt into the queue, its progress, and its results down.

Progress is told as a run here tells it: a line for each finished node, and the steps of the one that runs.
"""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from ...cascade_core.errors import CascadeError
from ...cascade_core.files import atomic, picture_files
from ...runtime import host, paths
from .. import graph, set_values
from ..set_values import ShortForm
from . import answers, errors, server
from .answers import Account, Event, Result
from .server import Server, ServerError

_ENDS = ("execution_success", "execution_error", "execution_interrupted")


class RunFailed(Exception):
    """The prompt was queued, but did not end well: one sentence."""


class Observer(Protocol):
    """Whoever is told of a run."""

    def wait(self, ahead: int) -> None:
        """So many prompts go before this one."""

    def expect(self, prompt: graph.Prompt, needed: Collection[str]) -> None:
        """These nodes of a prompt run now."""

    def begin(self, node: str) -> None:
        """Another node runs."""

    def advance(self, label: str, done: float, total: float) -> None:
        """The node of this name has taken `done` of its `total` steps."""

    def finish(self, done: graph.Done) -> None:
        """A node is done; the files that it wrote come later."""

    def warn(self, node: str, message: str) -> None:
        """Nothing came, and a node says this of its result, such as that nothing is picked yet."""

    def add_file(self, path: Path) -> None:
        """A result lies here now."""

    def complain(self, *messages: str) -> None:
        """Something is not as it was asked for."""

    def close(self) -> None:
        """The run has ended, well or not; only called where the prompt was queued."""


async def run(
    address: str,
    document: dict[str, Any],
    assignments: Sequence[str | ShortForm],
    observer: Observer,
    *,
    partial: bool = False,
) -> bool:
    """Run a document, with the values of `--set` in it, at the server of an address; whether all outputs were run.

    Raises WorkflowError and ServerError where nothing runs, RunFailed afterwards. Whoever cancels it (Ctrl-C) stops
    the prompt at the server too. Without `partial` nothing runs where an output is refused.
    """
    paths.expect_writable(host.current().output_directory())
    async with server.connect(address) as there:
        definitions, names = graph.read_object_info(await there.object_info())
        workflow = graph.convert(document, definitions, names)
        if workflow.note:
            observer.complain(workflow.note)
        set_values.apply(workflow, assignments, definitions)
        graph.check_form(workflow.prompt, definitions, there.name, "")
        await _upload_pictures(there, workflow, definitions)
        async with there.listen() as events:
            queued = _Queued(there, workflow, definitions, observer)
            observer.expect(workflow.prompt, workflow.prompt.keys())
            await queued.submit(partial)
            try:
                await queued.follow(events)
            finally:
                observer.close()
            return not queued.dropped


class _Queued:
    """One prompt at a server, from the queue to its results."""

    def __init__(
        self, there: Server, workflow: graph.Workflow, definitions: graph.Definitions, observer: Observer
    ) -> None:
        self.there = there
        self.workflow = workflow
        self.definitions = definitions
        self.observer = observer
        self.prompt = workflow.prompt
        self.prompt_id = str(uuid.uuid4())
        self.dropped: list[str] = []  # sentences on the outputs that the server does not run
        self._names = graph.names_of(self.prompt)
        self._node: str | None = None  # the one that runs,
        self._since = time.perf_counter()  # since then

    async def submit(self, partial: bool) -> None:
        """Raises WorkflowError where the server does not take it, or without `partial` not all of it.

        The server begins at once with the outputs that are fine, so those of a refused prompt may have begun.
        """
        extra = {} if self.workflow.editor is None else {"extra_pnginfo": {"workflow": self.workflow.editor}}
        try:
            self.prompt_id, node_errors = await self.there.submit(self.prompt, self.prompt_id, extra)
        except answers.Rejected as refusal:
            found = errors.explain(self.prompt, self.definitions, refusal.node_errors)
            details = f" ({refusal.details})" if refusal.details else ""
            why = f"workflow: the server refuses it: {refusal.message}{details}"
            raise graph.WorkflowError(*(found or [why])) from None
        except asyncio.CancelledError:
            await self._cancel()
            raise
        if node_errors:
            self.dropped = errors.explain(self.prompt, self.definitions, node_errors)
            if not partial:
                await self._cancel()
                raise graph.WorkflowError(*self.dropped)
            self.observer.complain(*self.dropped)

    async def follow(self, events: AsyncIterator[Event]) -> None:
        """Tell of its progress and bring its results; raises RunFailed."""
        try:
            await self._hear_all(events)
            account = await self.there.finished(self.prompt_id)
            problems = await self._fetch_results(account)
            for node, text in () if account.results else account.texts:
                self.observer.warn(self._names.get(node, node), text)
        except (ServerError, OSError) as error:
            raise RunFailed(str(error)) from error
        except asyncio.CancelledError:  # Ctrl-C
            await self._cancel()
            raise
        if failure := errors.explain_failure(self.prompt, account):
            raise RunFailed(failure)
        if problems:
            raise RunFailed(problems[0] + (f"; and {len(problems) - 1} more" if len(problems) > 1 else ""))

    async def _hear_all(self, events: AsyncIterator[Event]) -> None:
        """Listen until the prompt has ended."""
        begun = False
        async for event in events:
            if event.prompt_id == self.prompt_id:
                begun = True
                self._hear(event)
                if event.kind in _ENDS or (event.kind == "executing" and event.node is None):
                    return
            elif event.kind == "status" and not begun and await self._is_gone():
                raise RunFailed(f"{self.there.name}: somebody took the workflow out of the queue")

    def _hear(self, event: Event) -> None:
        """One event about the prompt."""
        if event.kind == "execution_cached":
            for node in event.nodes:
                self._finish(node, 0.0, cached=True)
        elif event.kind == "executing":
            self._start(event.display_node or event.node)
        elif event.kind == "progress" and event.step is not None and event.steps is not None:
            self.observer.advance(self._names.get(str(self._node), "?"), event.step, event.steps)
        elif event.kind == "execution_success":
            self._start(None)

    def _start(self, node: str | None) -> None:
        """The next node; what expands into others stays the same one for people."""
        if node == self._node:
            return
        now = time.perf_counter()
        if self._node is not None:
            self._finish(self._node, now - self._since, cached=False)
        self._node, self._since = node, now
        if node is not None:
            self.observer.begin(node)

    def _finish(self, node: str, seconds: float, cached: bool) -> None:
        if node in self.prompt:
            entry = self.prompt[node]
            title = graph.title_of(entry)
            done = graph.Done(node, title, entry["class_type"], seconds, cached, {}, self._names[node])
            self.observer.finish(done)

    async def _fetch_results(self, account: Account) -> list[str]:
        """Bring each result; a sentence for each that cannot be had."""
        root = host.current().output_directory()
        problems: list[str] = []
        for result in account.results:
            try:
                self.observer.add_file(await _fetch(self.there, result, root))
            except (ServerError, CascadeError) as error:
                problems.append(str(error))
        return problems

    async def _is_gone(self) -> bool:
        place = await self.there.place_in_queue(self.prompt_id)
        if place is not None:
            self.observer.wait(place)
        return place is None and await self.there.outcome(self.prompt_id) is None

    async def _cancel(self) -> None:
        try:
            await self.there.cancel(self.prompt_id)
        except ServerError as error:
            self.observer.complain(f"it may still run: {error}")


async def _upload_pictures(there: Server, workflow: graph.Workflow, definitions: graph.Definitions) -> None:
    """Upload each file that an input names and that lies here; the workflow then has the server's names for them.

    What does not lie here (a built-in picture, a file that only the server has) stays as it is named.
    """
    sent: dict[Path, str] = {}
    for node_id, node in workflow.prompt.items():
        definition = definitions[node["class_type"]]
        for name, value in list(node["inputs"].items()):
            entry = definition.inputs.get(name)
            if entry is None or not entry.names_file(value):
                continue
            try:
                path, subfolder = _find_picture(value)
                if path.is_file() and path not in sent:
                    sent[path] = await there.upload(path, subfolder)
            except (CascadeError, OSError) as error:
                raise graph.WorkflowError(f"{graph.where(node_id, node, name)}: {error}") from None
            if sent.get(path, value) != value:
                node["inputs"][name] = sent[path]
                if workflow.editor is not None:
                    graph.set_widget(workflow.editor, definitions, node_id, name, sent[path])


def _find_picture(name: str) -> tuple[Path, str]:
    """The file that a name means here, and the sub-folder of the server's input folder for it."""
    plain, kind = paths.split_annotation(name)
    root = host.current().directory(kind)
    path = paths.inside(root, plain)
    subfolder = path.parent.relative_to(root).as_posix() if kind == "input" else ""
    return path, "" if subfolder == "." else subfolder


async def _fetch(there: Server, result: Result, root: Path) -> Path:
    """Bring a result, which must be a picture: what else a server names is not written here."""
    folder = _folder(there, result, root)
    if not result.filename.lower().endswith(picture_files.SUFFIXES):
        what = f"expected a picture as its result, found {graph.show(result.filename)}"
        raise ServerError(f"{there.name}: {what}: it stays there")
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.unfinished(folder) as temporary:
        await there.download(result, temporary)
        failure = f"{there.name}: expected a picture as its result {graph.show(result.filename)}, found none"
        with picture_files.opened(temporary, failure, "it stays there", most=1):
            pass
        return next(folder / free for free in _names(result.filename) if atomic.claim(temporary, folder / free))


def _folder(there: Server, result: Result, root: Path) -> Path:
    """The folder of a result, which a server must not choose outside the output folder."""
    name, subfolder = result.filename, result.subfolder
    folder = root / subfolder.replace("\\", "/")
    plain = not set(name) & {"/", "\\", "\0"} and "\0" not in subfolder and (folder / name).parent == folder
    if name in ("", ".", "..") or not plain or not paths.is_inside(root, folder):
        found = graph.show(f"{subfolder}/{name}")
        raise ServerError(f"{there.name}: expected results inside its output folder, found {found}")
    return folder


def _names(name: str) -> Iterator[str]:
    """The name itself, and what to try where it is taken: the next numbers, as pictures are counted."""
    yield name
    counted = re.fullmatch(r"(.*_)(\d{1,9})(_\.\w+)", name)
    path = Path(name)
    for step in count(1):
        yield (
            f"{counted[1]}{int(counted[2]) + step:05}{counted[3]}" if counted else f"{path.stem} ({step}){path.suffix}"
        )
