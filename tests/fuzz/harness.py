"""One mutant through a command, under limits: it ends soon, in a result or in short sentences, and in nothing else."""

from __future__ import annotations

import io
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.cli.output import ADVICE
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


def command(*arguments: str) -> None:
    """A command on one file; AssertionError for what no person should see."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), soon():
        code = main(arguments)
    told = err.getvalue()
    assert code in (0, 2), f"{arguments}: {code}, {told}"
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


HARNESSES = {
    "headers": Harness(seeds.headers, mutate.of_header, read_model),
    "pickles": Harness(seeds.pickles, mutate.of_bytes, read_model),
    "workflows": Harness(seeds.workflows, mutate.of_workflow, read_workflow),
    "pictures": Harness(seeds.pictures, mutate.of_chunks, read_a_picture),
}


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder, limited():
        yield Path(folder)
