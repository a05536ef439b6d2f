"""`cascade run --server`: the same file, run by a ComfyUI that is running already."""

import argparse
import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ..headless import graph, set_values, workflow_file
from ..headless.remote import results, server, uploads, verdict
from ..headless.run import configure
from .output import FAILED, OK, REFUSED, complain
from .report import Report
from .server_progress import Progress

_FORESEEN = ("ValueError", "OSError", "FileNotFoundError", "CascadeError")  # errors that are told without their type
_ENDS = ("execution_success", "execution_error", "execution_interrupted")


def run(options: argparse.Namespace) -> int:
    for name in ("models", "device"):
        if getattr(options, name) is not None:
            raise graph.WorkflowError(f"--{name}: the server has its own: leave it out with --server")
    document = workflow_file.read(options.workflow)
    configure(options)
    return asyncio.run(_run(document, options))


async def _run(document: dict[str, Any], options: argparse.Namespace) -> int:
    started = time.perf_counter()
    try:
        async with server.connect(options.server) as there:
            definitions, names = graph.read_object_info(await there.object_info())
            workflow = graph.convert(document, definitions, names)
            set_values.apply(workflow, options.set, definitions)
            graph.check_form(workflow.prompt, definitions, there.name, "")
            await uploads.send(there, workflow, definitions)
            async with there.listen() as events:
                run = _Run(there, workflow, definitions, options.partial)
                if not await run.submit():
                    return REFUSED
                report = Report(options.json)
                try:
                    return await run.follow(events, report)
                finally:
                    report.close(time.perf_counter() - started)
    except server.ServerError as error:  # before anything runs
        complain(str(error))
        return REFUSED


class _Run:
    """One prompt at a server, from the queue to its results."""

    def __init__(
        self, there: server.Server, workflow: graph.Workflow, definitions: graph.Definitions, partial: bool
    ) -> None:
        self.there = there
        self.workflow = workflow
        self.prompt = workflow.prompt
        self.definitions = definitions
        self.partial = partial
        self.prompt_id = str(uuid.uuid4())
        self.dropped: list[str] = []  # why there are outputs that the server does not run

    async def submit(self) -> bool:
        """Whether the server has it, and all of it or at least what `--partial` asks for; else why not is told.

        The server begins at once with the outputs that are fine, so those of a refused prompt may have begun.
        """
        extra = {} if self.workflow.editor is None else {"extra_pnginfo": {"workflow": self.workflow.editor}}
        try:
            self.prompt_id, node_errors = await self.there.submit(self.prompt, self.prompt_id, extra)
        except server.Rejected as refusal:
            complain(*verdict.explain(self.prompt, self.definitions, refusal.error, refusal.node_errors))
            return False
        except asyncio.CancelledError:
            await self._cancel()
            raise
        if node_errors:
            self.dropped = verdict.explain(self.prompt, self.definitions, {}, node_errors)
            complain(*self.dropped)
            if not self.partial:
                await self._cancel()
        return self.partial or not self.dropped

    async def follow(self, events: AsyncIterator[server.Event], report: Report) -> int:
        """Tell of its progress, bring its results, and say how it went as an exit code."""
        progress = Progress(self.prompt, report)
        try:
            async for kind, data in events:
                if data.get("prompt_id") == self.prompt_id:
                    progress.hear(kind, data)
                    if kind in _ENDS or (kind == "executing" and data.get("node") is None):
                        break
                elif kind == "status" and not progress.begun and await self._is_gone(progress):
                    complain(f"{self.there.name}: somebody took the workflow out of the queue")
                    return FAILED
            account = await self.there.finished(self.prompt_id)
            failure = _failure(self.prompt, account)
            async for path in results.fetch(self.there, account):
                report.add_file(path)
        except (server.ServerError, OSError) as error:
            complain(str(error))
            return FAILED
        except asyncio.CancelledError:  # Ctrl-C
            await self._cancel()
            raise
        finally:
            progress.close()
        if failure is not None:
            complain(failure)
            return FAILED
        return REFUSED if self.dropped else OK

    async def _is_gone(self, progress: Progress) -> bool:
        place = await self.there.place_in_queue(self.prompt_id)
        if place is not None:
            progress.wait(place)
        return place is None and await self.there.outcome(self.prompt_id) is None

    async def _cancel(self) -> None:
        try:
            await self.there.cancel(self.prompt_id)
        except server.ServerError as error:
            complain(f"it may still run: {error}")


def _failure(prompt: graph.Prompt, account: Mapping[str, Any]) -> str | None:
    """Why the server did not finish, in one sentence."""
    status: Any = account.get("status")
    messages = dict(status.get("messages") or []) if graph.is_object(status) else {}
    if found := messages.get("execution_interrupted"):
        return f"somebody interrupted it at {_place(prompt, found)}"
    if found := messages.get("execution_error"):
        kind = str(found.get("exception_type")).rpartition(".")[2]
        text = str(found.get("exception_message")).strip()
        advice = "; choose a smaller size, batch or dtype" if kind == "OutOfMemoryError" else ""
        return f"{_place(prompt, found)} failed: {text if kind in _FORESEEN and text else f'{kind}: {text}'}{advice}"
    if graph.is_object(status) and status.get("status_str") == "error":
        return "the server says that it failed, but not why"
    return None


def _place(prompt: graph.Prompt, found: Mapping[str, Any]) -> str:
    node_id = str(found.get("node_id"))
    return graph.where(node_id, prompt.get(node_id, {"class_type": found.get("node_type", "?")}))
