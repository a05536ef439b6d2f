"""One mutant through a command, under limits: it ends soon, in a result or in short sentences, and in nothing else."""

from __future__ import annotations

import io
import json
import resource
import signal
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.cli.output import ADVICE
from stable_cascade_nodes.headless.remote import server
from stable_cascade_nodes.nodes.images import read_picture

from . import mutate, seeds

LONGEST_TIME = 5  # CPU seconds
MOST_MEMORY = 2**30  # bytes above what the process has
LONGEST_MESSAGE = 2000  # characters


class Harness(NamedTuple):
    """Good files, how they are changed, and what reads them."""

    seeds: Callable[[], list[bytes]]
    mutate: mutate.Mutation
    read: Callable[[bytes, Path], None]


@contextmanager
def limited() -> Iterator[None]:
    """In here an allocation beyond MOST_MEMORY fails."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MOST_MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))


@contextmanager
def soon() -> Iterator[None]:
    """AssertionError for what takes more than LONGEST_TIME, even where it has no end."""

    def late(*_: object) -> None:
        raise AssertionError(f"more than {LONGEST_TIME} CPU seconds")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, LONGEST_TIME)
    started = time.process_time()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert time.process_time() - started < LONGEST_TIME


def command(*arguments: str, accepts: tuple[int, ...] = (0, 2)) -> None:
    """A command on one file; AssertionError for what no person should see."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), soon():
        code = main(arguments)
    told = err.getvalue()
    assert code in accepts, f"{arguments}: {code}, {told}"
    assert ADVICE not in told and "Traceback" not in told, told
    assert "out of memory" not in told, told
    for line in (*told.splitlines(), *out.getvalue().splitlines()):
        assert len(line) <= LONGEST_MESSAGE or arguments[0] == "export", line


def read_model(data: bytes, folder: Path) -> None:
    for suffix in ("safetensors", "pt"):
        (folder / f"x.{suffix}").write_bytes(data)
        command("doctor", str(folder / f"x.{suffix}"))


def read_workflow(data: bytes, folder: Path) -> None:
    path = folder / "x.json"
    path.write_bytes(data)
    for name in ("validate", "export", "doctor"):
        command(name, str(path))


def read_a_picture(data: bytes, folder: Path) -> None:
    path = folder / "x.png"
    path.write_bytes(data)
    command("validate", str(path))
    try:
        with soon():
            read_picture(path)
    except MemoryError:  # of more pixels than MOST_MEMORY holds, though they may be read; the command has a sentence
        pass
    except CascadeError as error:
        assert len(str(error)) <= LONGEST_MESSAGE


class _Socket:
    """A websocket that says what a mutant has for it."""

    def __init__(self, events: list[Any]) -> None:
        import aiohttp

        self.said = [SimpleNamespace(type=aiohttp.WSMsgType.TEXT, data=json.dumps(event)) for event in events]

    async def __aiter__(self) -> AsyncIterator[Any]:
        for message in self.said:
            yield message

    async def close(self) -> None:
        pass


class _Session:
    """A connection to a server whose answers are a mutant's; no network is there."""

    def __init__(self, said: dict[str, Any]) -> None:
        self.said = said

    @asynccontextmanager
    async def request(self, _method: str, url: Any, **_: Any) -> AsyncIterator[Any]:
        data = json.dumps(self.said.get(url.path.split("/")[1], {})).encode()

        async def pieces(_size: int) -> AsyncIterator[bytes]:
            yield data

        yield SimpleNamespace(status=200, reason="OK", content=SimpleNamespace(iter_chunked=pieces))

    def get(self, url: Any) -> Any:
        return self.request("GET", url)

    async def ws_connect(self, *_: Any, **__: Any) -> _Socket:
        events = self.said.get("ws")
        return _Socket(events if isinstance(events, list) else [events])


def read_answers(data: bytes, folder: Path) -> None:
    """A workflow at a server that gives these answers, each under its path."""
    from yarl import URL

    try:
        said = json.loads(data)
    except ValueError:
        said = data.decode("utf-8", "replace")
    said = said if isinstance(said, dict) else dict.fromkeys(("object_info", "prompt", "queue", "history", "ws"), said)

    @asynccontextmanager
    async def connect(address: str) -> AsyncIterator[server.Server]:
        yield server.Server(_Session(said), URL(address), address)  # type: ignore[arg-type]

    (folder / "w.json").write_text(json.dumps(seeds.AT_A_SERVER), "utf-8")
    with (
        mock.patch.object(server, "connect", connect),
        mock.patch.object(server, "_PAUSE", 0),
        mock.patch.object(uuid, "uuid4", lambda: uuid.UUID(seeds.PROMPT_ID)),
    ):
        command("run", str(folder / "w.json"), "--server", "http://a", "-o", str(folder), accepts=(0, 1, 2))


@cache
def _app() -> tuple[Any, Any]:
    """The shipped tabs, and the nodes."""
    from stable_cascade_nodes.app import tabs
    from stable_cascade_nodes.headless import node_classes, shipped

    nodes = node_classes.load()
    return tabs.read_all(shipped.FOLDER, nodes)[0], nodes


def read_in_the_app(data: bytes, folder: Path) -> None:
    """A file as a tab's, and as what is let fall on the page."""
    from stable_cascade_nodes.app import output_pictures, tabs
    from stable_cascade_nodes.headless import graph

    shown, nodes = _app()
    place = folder / "workflows"
    place.mkdir(exist_ok=True)
    (place / "x.json").write_bytes(data)
    with soon():
        _, problems = tabs.read_all(place, nodes)
    assert all(len(problem) <= LONGEST_MESSAGE for problem in problems)
    with soon():
        try:
            output_pictures.origin(place / "x.json", shown, nodes)
        except graph.WorkflowError as error:
            assert all(len(message) <= LONGEST_MESSAGE for message in error.messages)


HARNESSES = {
    "headers": Harness(seeds.headers, mutate.of_header, read_model),
    "pickles": Harness(seeds.pickles, mutate.of_bytes, read_model),
    "workflows": Harness(seeds.workflows, mutate.of_workflow, read_workflow),
    "pictures": Harness(seeds.pictures, mutate.of_chunks, read_a_picture),
    "answers": Harness(seeds.answers, mutate.of_workflow, read_answers),
    "app": Harness(seeds.workflows, mutate.of_workflow, read_in_the_app),
}


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder, limited():
        yield Path(folder)
