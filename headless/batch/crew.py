"""Workers, wherever they are, as the driver sees them; and those that are this process, or others of this machine.

A crew knows nothing of the work: a job is a line of text for the worker, a task what its `run` takes.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TextIO

from ...cascade_core.errors import CascadeError
from .. import graph
from .failures import OUT_OF_MEMORY

Answer = dict[str, Any]
Task = dict[str, Any]  # what a worker's `run` takes
Heard = tuple[str, Answer | None]  # a worker's name and what it says; None where it is lost


class Worker(Protocol):
    """Answers in plain JSON. Made of a job, which may raise CascadeError and WorkflowError."""

    def describe(self) -> Answer:
        """What the driver asks first: `place`, `versions`, and digests of its `models`."""
        ...

    @property
    def run(self) -> Callable[..., Answer]:
        """Does a task. Answers `seconds`, and an `error` (kind, message) or its `models` and what came of it."""
        ...


class Crew(Protocol):
    """A worker's first answer is `describe`, or {"refused": why}, with a `kind` where the command is not at fault; then
    it answers each task, in their order.
    """

    def start(self, worker: str) -> None: ...

    def give(self, worker: str, task: Task) -> None: ...

    def wait(self, seconds: float) -> list[Heard]:
        """What workers have said, as soon as one has, or after some seconds."""
        ...

    def stop(self, worker: str) -> None:
        """End a worker at once; what it still says is not heard."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...


class ThisProcess:
    """The one worker that is this process; it runs what it was given when it is waited for."""

    def __init__(self, make: Callable[[str], Worker]) -> None:
        """make: a worker of its name."""
        self._make = make
        self._heard: list[Heard] = []
        self._tasks: deque[tuple[str, Task]] = deque()
        self._worker: Worker | None = None

    def start(self, worker: str) -> None:
        self._worker = self._make(worker)
        self._heard.append((worker, self._worker.describe()))

    def give(self, worker: str, task: Task) -> None:
        self._tasks.append((worker, task))

    def wait(self, seconds: float) -> list[Heard]:
        if self._tasks and self._worker is not None:
            worker, task = self._tasks.popleft()
            self._heard.append((worker, self._worker.run(**task)))
        heard, self._heard = self._heard, []
        return heard

    def stop(self, worker: str) -> None:
        self._tasks.clear()

    def close(self) -> None:
        self._tasks.clear()


class Processes:
    """Workers that are processes of this machine; they are talked to in lines of JSON."""

    def __init__(self, job: str, command: Sequence[str]) -> None:
        """job: a line. command: what starts a worker, whose name is put behind it."""
        self._job, self._command = job, command
        self._heard: queue.Queue[Heard] = queue.Queue()
        self._running: dict[str, subprocess.Popen[str]] = {}

    def start(self, worker: str) -> None:
        process = self._running[worker] = open_worker([*self._command, worker])
        threading.Thread(target=self._listen, args=(worker, process), daemon=True).start()

    def _listen(self, worker: str, process: subprocess.Popen[str]) -> None:
        """In a thread of its own: a worker reads its job when it has started, which takes seconds."""
        assert process.stdout is not None
        send(process, self._job)
        for line in process.stdout:
            if not line.endswith("\n"):  # it died while it spoke
                break
            self._heard.put((worker, json.loads(line)))
        process.wait()
        self._heard.put((worker, None))

    def give(self, worker: str, task: Task) -> None:
        send(self._running[worker], json.dumps(task))

    def wait(self, seconds: float) -> list[Heard]:
        heard: list[Heard] = []
        with suppress(queue.Empty):
            heard.append(self._heard.get(timeout=seconds))
            while True:
                heard.append(self._heard.get_nowait())
        return [(worker, answer) for worker, answer in heard if worker in self._running]

    def stop(self, worker: str) -> None:
        self._running.pop(worker).kill()

    def close(self) -> None:
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.wait()


def open_worker(command: Sequence[str]) -> subprocess.Popen[str]:
    """A process that `serve`s. Ctrl-C in the terminal is not for it: the driver says what ends."""
    apart: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, encoding="utf-8", bufsize=1, **pipes, **apart)


def send(process: subprocess.Popen[str], line: str) -> None:
    """Say something to a worker; of one that has ended its own end tells."""
    assert process.stdin is not None
    with suppress(OSError, ValueError):
        process.stdin.write(line + "\n")
        process.stdin.flush()


def serve(make: Callable[[str], Worker]) -> None:
    """Be the worker that `make` makes of a job: the job, then tasks, as lines of JSON on stdin; answers on stdout.

    Ends as soon as stdin does.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what nodes print is no answer
    lines: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(1)  # the driver is gone: nobody wants what runs

    threading.Thread(target=listen, daemon=True).start()
    try:
        worker = make(lines.get())
        _say(answers, worker.describe())
    except (CascadeError, graph.WorkflowError) as error:
        _say(answers, {"refused": str(error)})
        return
    except MemoryError as error:
        _say(answers, {"refused": str(error), "kind": OUT_OF_MEMORY})
        return
    while True:
        _say(answers, worker.run(**json.loads(lines.get())))


def _say(answers: TextIO, answer: Answer) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
