"""Workers on a Ray cluster: an actor each, which starts the same process as on one machine and hands lines on.

Ray places the actors and carries the lines; nothing of this package is imported in its own processes, and nothing is
pickled but texts and bytes. Where a worker does not see the output folder, its pictures come through the object store.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import graph
from .crew import Heard, Task

OBJECT_STORE = 200 * 2**20  # bytes on a cluster of this machine alone: some rows' pictures at a time
RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"  # how long a driver waits for a head that is gone
LOCAL = "local"
TOKEN = (  # Ray's own words end before what to do
    "the cluster asks for a token that this machine has not: have the same ~/.ray/auth_token on all machines, or"
    " RAY_AUTH_MODE=disabled in the environment of the cluster and of this command"
)


def parse_options(text: str) -> dict[str, Any]:
    """`--ray-options` as what Ray's `options` takes. Raises WorkflowError."""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not graph.is_object(found):
        raise graph.WorkflowError(
            f'--ray-options: expected a JSON object such as {{"num_gpus": 1}}, found {text!r:.80}'
        )
    return found


class RayCrew:
    """`options` are those of Ray's actors, such as num_gpus, resources or scheduling_strategy."""

    def __init__(self, job: str, pack: str, address: str, options: dict[str, Any]) -> None:
        """pack: the folder of this package, which starts a worker where a machine has it at the same place."""
        os.environ.setdefault(RECONNECT, "20")
        import ray  # pyright: ignore[reportMissingImports]  (the extra `batch`)

        self._ray, self._job, self._pack = ray, job, pack
        local: dict[str, Any] = {"object_store_memory": OBJECT_STORE} if address == LOCAL else {}
        try:
            ray.init(address=address, logging_level=logging.ERROR, **local)
        except Exception as error:  # Ray raises plain ones, such as of a head that starts too slowly
            said = str(error) or type(error).__name__
            why = TOKEN if "authenticat" in said.lower() else f"there is no cluster: {said.splitlines()[0]}"
            raise graph.WorkflowError(f"--ray {address}: {why}") from error
        self._actor = ray.remote(_actor_class()).options(**{"num_cpus": 1, "max_restarts": 0, **options})
        self._actors: dict[str, Any] = {}
        self._asked: dict[Any, str] = {}  # what is waited for, and of whom

    def start(self, worker: str) -> None:
        actor = self._actors[worker] = self._actor.remote(self._pack, worker)
        self._asked[actor.ask.remote(self._job)] = worker

    def give(self, worker: str, task: Task) -> None:
        self._asked[self._actors[worker].ask.remote(json.dumps(task))] = worker

    def wait(self, seconds: float) -> list[Heard]:
        ready, _ = self._ray.wait(list(self._asked), timeout=seconds)
        if ready:
            ready, _ = self._ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)
        heard: list[Heard] = []
        for reference in ready:
            worker = self._asked.pop(reference, None)  # of one who just ended all are forgotten
            if worker is not None and worker in self._actors:
                heard.append((worker, self._answer(reference)))
                if heard[-1][1] is None:
                    self._forget(worker)
        return heard

    def _answer(self, reference: Any) -> dict[str, Any] | None:
        try:
            line, contents = self._ray.get(reference)
        except self._ray.exceptions.RayError:  # the actor, or its machine, is gone
            return None
        if line is None:
            return None
        return json.loads(line) | ({"contents": contents} if contents is not None else {})

    def _forget(self, worker: str) -> None:
        """What else a worker was asked is not answered."""
        self._asked = {reference: name for reference, name in self._asked.items() if name != worker}

    def stop(self, worker: str) -> None:
        self._forget(worker)
        with suppress(Exception):
            self._ray.kill(self._actors.pop(worker))

    def close(self) -> None:
        for worker in list(self._actors):
            self.stop(worker)
        self._ray.shutdown()


def _actor_class() -> type[Any]:
    """A class within a function, so that Ray sends it as it is: the machines need not have this module."""

    class CascadeWorker:
        def __init__(self, pack: str, name: str) -> None:
            import subprocess
            import sys

            where = [pack] if Path(pack).is_dir() else ["-m", "stable_cascade_nodes"]
            command = [sys.executable, *where, "batch", "--worker", name]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", bufsize=1
            )
            self.is_shared = True

        def ask(self, line: str) -> tuple[str | None, list[bytes] | None]:
            """What the process says to a line, and the files that only it sees; None where it has ended."""
            assert self.process.stdin is not None and self.process.stdout is not None
            try:
                self.process.stdin.write(line + "\n")
                self.process.stdin.flush()
            except OSError:
                return None, None
            said = self.process.stdout.readline()
            if not said.endswith("\n"):
                return None, None
            answer = json.loads(said)
            self.is_shared = answer.get("shared", self.is_shared)
            if self.is_shared or "files" not in answer:
                return said, None
            folder = Path(answer["folder"])
            contents = [(folder / file["name"]).read_bytes() for file in answer["files"]]
            for file in answer["files"]:
                (folder / file["name"]).unlink()
            return said, contents

    return CascadeWorker
