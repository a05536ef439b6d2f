"""Workers of `cascade batch`, `encode` and `decode`: their options, where they run, and what one of them is.

A worker of the latter two reads the command's own arguments, and so does as one process would, for one piece at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import is_out_of_memory
from ..headless.graph import WorkflowError
from . import arguments
from .output import Failure, complain, too_little_memory

if TYPE_CHECKING:
    from ..headless.batch.crew import Answer, Crew, Worker
    from ..headless.batch.leases import Event, Unit

MODULES = {"encode": "encode", "decode": "decoder"}  # where `worker` of a command is
PACK = str(Path(__file__).parents[1])


class LeftOut(Exception):
    """Why a piece cannot be done, by any worker."""


def add_ray(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    ray = "a Ray cluster's address: host:6379, ray://host:10001, auto, or local for one of this machine alone"
    add("--ray", metavar="ADDRESS", help=ray)
    add("--ray-options", metavar="JSON", default="{}", help='of each worker, such as {"num_gpus": 1}')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of a command whose work is in pieces."""
    number = "processes that share the work, of this machine or of --ray, to the same bytes; else this one does it"
    parser.add_argument("--processes", metavar="N", type=arguments.count, help=number)
    add_ray(parser)
    threads = "of each process, on a CPU; with several processes 1 is best, for all runs of a set (as torch chooses)"
    parser.add_argument("--threads", metavar="N", type=arguments.count, help=threads)


def are_wanted(options: argparse.Namespace) -> bool:
    return options.processes is not None or options.ray is not None


def set_threads(options: argparse.Namespace) -> None:
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)


def crew(job: str, options: argparse.Namespace) -> Crew:
    """Workers of the cluster at --ray, or processes of this machine."""
    if options.ray is not None:
        from ..headless.batch import ray_crew

        return ray_crew.RayCrew(job, PACK, options.ray, ray_crew.parse_options(options.ray_options))
    from ..headless.batch.crew import Processes

    return Processes(job, [sys.executable, PACK, "batch", "--worker"])


def results(
    options: argparse.Namespace,
    pieces: Iterable[Unit],
    models: Mapping[str, str],
    root: Path,
    most: int,
    **more: Any,
) -> Generator[tuple[Unit, Answer]]:
    """Each piece, in order, with what a worker answered, or an `error`. Failure, WorkflowError where none can.

    models: as workers must have them. most: pieces of each worker that may wait for one before them. more: for workers.
    """
    import torch

    from ..headless.batch.leases import BatchError
    from ..headless.batch.pieces import Pieces

    job = {"arguments": options.given, "folder": os.getcwd(), "threads": torch.get_num_threads(), **more}
    hired = crew(json.dumps(job), options)
    number = options.processes or 1
    try:
        yield from Pieces(pieces, models, _versions(), root, hired, number, most).results(_tell)
    except BatchError as error:
        raise Failure(f"{error}; the same command goes on from here") from error


def _tell(event: Event) -> None:
    again = " (it is tried again)" if event.state == "again" else ""
    complain(f"{event.id}: {f'{event.kind}: ' if event.kind else ''}{event.message}{again}")


def serve(name: str) -> None:
    """Be a worker, of whatever the job is."""
    from ..headless.batch.crew import serve

    serve(lambda job: make(job, name))


def make(text: str, name: str) -> Worker:
    """The worker of a job of `cascade batch`, or of `results`. WorkflowError, CascadeError, MemoryError if none is."""
    job: dict[str, Any] = json.loads(text)
    if "arguments" not in job:
        from ..headless.batch.job import from_json
        from ..headless.batch.worker import Worker

        return Worker(from_json(text), name)
    import torch

    from .main import parse

    try:
        os.chdir(job["folder"])
    except OSError as error:
        raise WorkflowError(f"{socket.gethostname()}: no folder {job['folder']}: {error.strerror}") from error
    torch.set_num_threads(job["threads"])
    module = import_module(f".{MODULES[job['arguments'][0]]}", __package__)
    try:
        return module.worker(parse(job["arguments"]), job)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(too_little_memory(error, module.ADVICE)) from error


class PieceWorker:
    """A worker that does one piece after another."""

    def __init__(self, models: Mapping[str, str], work: Callable[..., Answer], advice: str) -> None:
        """work: what is asked of a piece -> what is answered; raises LeftOut. advice: where memory is too little."""
        self._models, self._work, self._advice = models, work, advice

    def describe(self) -> Answer:
        place = f"{socket.gethostname()} {os.getpid()}"
        return {"models": self._models, "versions": _versions(), "place": place}

    def run(self, attempt: str, **asks: Any) -> Answer:
        from ..headless.batch.failures import BAD_ROW, OUT_OF_MEMORY, TRANSIENT

        started = time.perf_counter()
        answer: Answer = {"models": self._models}
        try:
            answer |= self._work(**asks)
        except LeftOut as error:
            answer["error"] = {"kind": BAD_ROW, "message": str(error)}
        except Exception as error:  # whatever a network stumbles over: one piece must not end all others
            if is_out_of_memory(error):
                answer["error"] = {"kind": OUT_OF_MEMORY, "message": too_little_memory(error, self._advice)}
            else:
                answer["error"] = {"kind": TRANSIENT, "message": str(error) or type(error).__name__}
        answer["seconds"] = round(time.perf_counter() - started, 4)
        return answer


def _versions() -> dict[str, str]:
    import torch

    from ..runtime.environment import pack_version

    return {"cascade": pack_version(), "torch": torch.__version__}
