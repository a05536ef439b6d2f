"""One workflow at a server: its pictures up, the prompt into the queue, its progress, and its results down.

Progress is told as a run here tells it: a line for each finished node, and the steps of the one that runs.
"""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from ...cascade_core.errors import CascadeError
from ...cascade_core.files import atomic
from ...runtime import host, paths
from .. import graph, set_values
from ..set_values import ShortForm
from . import errors, server
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
        except server.Rejected as refusal:
            found = errors.explain(self.prompt, self.definitions, refusal.error, refusal.node_errors)
            raise graph.WorkflowError(*found) from None
        except asyncio.CancelledError:
            await self._cancel()
            raise
        if node_errors:
            self.dropped = errors.explain(self.prompt, self.definitions, {}, node_errors)
            if not partial:
                await self._cancel()
                raise graph.WorkflowError(*self.dropped)
            self.observer.complain(*self.dropped)

    async def follow(self, events: AsyncIterator[server.Event]) -> None:
        """Tell of its progress and bring its results; raises RunFailed."""
        try:
            await self._hear_all(events)
            account = await self.there.finished(self.prompt_id)
            came = False
            async for path in _fetch_results(self.there, account):
                self.observer.add_file(path)
                came = True
            for node, text in () if came else _texts(account):
                self.observer.warn(self._names.get(node, node), text)
        except (ServerError, OSError) as error:
            raise RunFailed(str(error)) from error
        except asyncio.CancelledError:  # Ctrl-C
            await self._cancel()
            raise
        if failure := errors.explain_failure(self.prompt, account):
            raise RunFailed(failure)

    async def _hear_all(self, events: AsyncIterator[server.Event]) -> None:
        """Listen until the prompt has ended."""
        begun = False
        async for kind, data in events:
            if data.get("prompt_id") == self.prompt_id:
                begun = True
                self._hear(kind, data)
                if kind in _ENDS or (kind == "executing" and data.get("node") is None):
                    return
            elif kind == "status" and not begun and await self._is_gone():
                raise RunFailed(f"{self.there.name}: somebody took the workflow out of the queue")

    def _hear(self, kind: str, data: Mapping[str, Any]) -> None:
        """One event about the prompt."""
        if kind == "execution_cached":
            for node in data.get("nodes") or []:
                self._finish(node, 0.0, cached=True)
        elif kind == "executing":
            self._start(data.get("display_node") or data.get("node"))
        elif kind == "progress":
            step, steps = data.get("value"), data.get("max")
            if isinstance(step, int | float) and isinstance(steps, int | float):
                self.observer.advance(self._names.get(str(self._node), "?"), step, steps)
        elif kind == "execution_success":
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


def _shown(account: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """What the nodes of a server's account of a prompt show: node, what it is, and each entry."""
    outputs: Any = account.get("outputs")
    for node, ui in outputs.items() if graph.is_object(outputs) else ():
        for what, entries in ui.items() if graph.is_object(ui) else ():
            for entry in entries if isinstance(entries, list) else ():
                yield node, what, entry


def _texts(account: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The nodes that say something, and what."""
    yield from ((node, entry) for node, what, entry in _shown(account) if what == "text" and isinstance(entry, str))


async def _fetch_results(there: Server, account: Mapping[str, Any]) -> AsyncIterator[Path]:
    """Bring each file of the server's account of a prompt; previews stay there, as they would be gone here."""
    root = host.current().output_directory()
    for _, _, entry in _shown(account):
        if graph.is_object(entry) and entry.get("type") == "output" and "filename" in entry:
            yield await _fetch(there, entry, root)


async def _fetch(there: Server, entry: Mapping[str, Any], root: Path) -> Path:
    folder, name = _target(there, entry, root)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.unfinished(folder) as temporary:
        await there.download(entry, temporary)
        return next(folder / free for free in _names(name) if atomic.claim(temporary, folder / free))


def _target(there: Server, entry: Mapping[str, Any], root: Path) -> tuple[Path, str]:
    """The folder and the name of a result, which a server must not choose outside the output folder."""
    subfolder, name = str(entry.get("subfolder") or ""), str(entry["filename"])
    folder = root / subfolder.replace("\\", "/")
    plain = not set(name) & {"/", "\\", "\0"} and "\0" not in subfolder and (folder / name).parent == folder
    if name in ("", ".", "..") or not plain or not paths.is_inside(root, folder):
        found = graph.show(f"{subfolder}/{name}")
        raise ServerError(f"{there.name}: expected results inside its output folder, found {found}")
    return folder, name


def _names(name: str) -> Iterator[str]:
    """The name itself, and what to try where it is taken: the next numbers, as pictures are counted."""
    yield name
    counted = re.fullmatch(r"(.*_)(\d{1,9})(_\.\w+)", name)
    path = Path(name)
    for step in count(1):
        yield (
            f"{counted[1]}{int(counted[2]) + step:05}{counted[3]}" if counted else f"{path.stem} ({step}){path.suffix}"
        )
