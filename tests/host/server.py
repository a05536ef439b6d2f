"""A real ComfyUI on loopback with this pack in its `custom_nodes`, and the few requests that tests make of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACK = "stable-cascade-nodes"  # the folder's name as `git clone` makes it, which is no Python identifier
START_SECONDS = 300
SILENCE_SECONDS = 300  # between two events of a run

# What the editor would show of itself when it is opened; tests want to see only what we cause.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Workflow.Persist": False,  # starts with an empty canvas
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.Window.UnloadConfirmation": False,
}


@dataclass(frozen=True)
class Event:
    """What the server sent: `type` and `data` of a JSON message, or type "preview" and the bytes of a picture file."""

    type: str
    data: Any
    time: float  # time.monotonic() of its arrival


class Refused(Exception):
    """The server answered with an error status; `answer` is its JSON where it sent one, else its text."""

    def __init__(self, status: int, answer: Any) -> None:
        super().__init__(f"HTTP {status}: {answer}")
        self.status, self.answer = status, answer


class ComfyUI:
    """One server process in its own folder, as context manager: it answers inside, and is surely gone afterwards.

    `folder` gets custom_nodes with a link to `pack`, models, input with ComfyUI's example picture, output and user;
    files put into models or input before the start are kept.
    """

    def __init__(self, python: Path, comfyui: Path, folder: Path, pack: Path | None, arguments: tuple[str, ...] = ()):
        self.folder = folder
        self.models, self.input, self.output = (folder / name for name in ("models", "input", "output"))
        self.log_file = folder / "comfyui.log"
        self._comfyui, self._pack = comfyui, pack
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._command = [
            *(str(python), "-u", str(comfyui / "main.py"), "--cpu", "--listen", "127.0.0.1", "--port", str(self._port)),
            *("--base-directory", str(folder), "--database-url", "sqlite:///:memory:", *arguments),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ComfyUI:
        for name in ("models", "input", "output", "custom_nodes", "user/default"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(self._comfyui / "input" / "example.png", self.input)
        (self.folder / "user/default/comfy.settings.json").write_text(json.dumps(SETTINGS))
        link = self.folder / "custom_nodes" / PACK
        if self._pack is not None and not link.exists():
            link.symlink_to(self._pack, target_is_directory=True)
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._comfyui,
                env=os.environ | {"PYTHONWARNINGS": "default", "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        for kind in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                os.killpg(self._process.pid, kind)
            try:
                self._process.wait(timeout=15)
                return
            except subprocess.TimeoutExpired:
                continue

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended with {self._process.returncode} at its start:\n{self.log()[-4000:]}")
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        raise RuntimeError(f"ComfyUI did not answer within {START_SECONDS} s:\n{self.log()[-4000:]}")

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def rss(self) -> int:
        """Bytes of the server's memory that are resident, mapped files included."""
        import psutil

        assert self._process is not None
        return psutil.Process(self._process.pid).memory_info().rss

    def fetch(self, path: str, body: object = None) -> bytes:
        """The reply's bytes: a GET, or a POST of `body` as JSON; Refused for an error status."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=120) as reply:
                return reply.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            try:
                answer = json.loads(text)
            except ValueError:
                answer = text
            raise Refused(error.code, answer) from None

    def get(self, path: str) -> Any:
        return json.loads(self.fetch(path))

    def object_info(self) -> dict[str, Any]:
        return self.get("/object_info")

    def history(self, prompt_id: str) -> dict[str, Any]:
        """The entry of a run: its `outputs` and `status`; empty before the run has ended."""
        return self.get(f"/history/{prompt_id}").get(prompt_id, {})

    def view(self, filename: str, subfolder: str = "", type: str = "output") -> bytes:
        """The bytes of a picture as the server hands them out; call with an entry of a node's `ui.images`."""
        named = {"filename": filename, "subfolder": subfolder, "type": type}
        return self.fetch(f"/view?{urllib.parse.urlencode(named)}")

    def interrupt(self) -> None:
        self.fetch("/interrupt", {})

    def free(self) -> None:
        """Ask for all memory back; the server does so within a second or so, between runs."""
        self.fetch("/free", {"unload_models": True, "free_memory": True})

    def submit(self, prompt: dict[str, Any], workflow: dict[str, Any] | None = None, client: str | None = None) -> str:
        """Queue an API prompt; its id. Refused where validation does so."""
        body: dict[str, Any] = {"prompt": prompt}
        if client is not None:
            body["client_id"] = client
        if workflow is not None:
            body["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
        return json.loads(self.fetch("/prompt", body))["prompt_id"]

    def events(self, prompt: dict[str, Any], workflow: dict[str, Any] | None = None) -> Iterator[Event]:
        """Queue an API prompt and yield what the server tells of it as it arrives, until the run has ended.

        The caller may act between two events, such as interrupt. Each JSON event's data names its `prompt_id`.
        """
        import websocket

        client = uuid.uuid4().hex
        address = f"ws://127.0.0.1:{self._port}/ws?clientId={client}"
        connection = websocket.create_connection(address, timeout=SILENCE_SECONDS, http_no_proxy=["127.0.0.1"])
        try:
            prompt_id = self.submit(prompt, workflow, client)
            while True:
                try:
                    event = _event(connection.recv())
                except websocket.WebSocketConnectionClosedException as error:
                    raise RuntimeError(f"The server went away during a run:\n{self.log()[-4000:]}") from error
                if isinstance(event.data, bytes):
                    yield event
                elif event.data.get("prompt_id") == prompt_id:
                    yield event
                    if event.type == "executing" and event.data["node"] is None:
                        return
        finally:
            connection.close()

    def run(self, prompt: dict[str, Any], workflow: dict[str, Any] | None = None) -> Run:
        """Queue an API prompt and wait for its end, however it ends."""
        events = list(self.events(prompt, workflow))
        return Run(events, self.history(events[-1].data["prompt_id"]))


@dataclass(frozen=True)
class Run:
    """What the server told of one run, and its entry in the history."""

    events: list[Event] = field(repr=False)
    history: dict[str, Any] = field(repr=False)

    @property
    def error(self) -> str | None:
        """What stopped the run, with its node and traceback; None after a success."""
        if self.history["status"]["status_str"] == "success":
            return None
        (kind, data) = self.history["status"]["messages"][-1]
        lines = [data["node_type"], data.get("exception_message", kind), *data.get("traceback", [])]
        return "\n".join(lines)

    @property
    def seconds(self) -> float:
        return self.events[-1].time - self.events[0].time

    def of(self, kind: str) -> list[Any]:
        """The data of all events of this type, in their order."""
        return [event.data for event in self.events if event.type == kind]

    def images(self, node: str) -> list[dict[str, str]]:
        """The pictures of an output node, each as the arguments of `view`."""
        return self.history["outputs"].get(node, {}).get("images", [])


def _event(message: str | bytes) -> Event:
    now = time.monotonic()
    if isinstance(message, str):
        content = json.loads(message)
        return Event(content["type"], content["data"], now)
    (kind,) = struct.unpack(">I", message[:4])
    return Event("preview" if kind == 1 else f"binary {kind}", message[8:], now)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
