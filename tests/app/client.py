"""What a page sends to the app, without a page: events by their place in the configuration, and raw requests."""

from __future__ import annotations

import http.client
import json
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .conftest import Server


@dataclass
class Reply:
    status: int
    text: str
    headers: dict[str, str]


@dataclass
class Button:
    """An event of the page: its number, and what it takes, as a page would send it untouched."""

    number: int
    data: list[Any]
    places: dict[tuple[str, str], int]  # (node class of the element, input class) -> index in data


class Client:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.components = {part["id"]: part for part in server.config["components"]}

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        connection = http.client.HTTPConnection(urlsplit(self.server.url).netloc, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Reply(answer.status, answer.read().decode("utf-8", "replace"), dict(answer.headers))
        finally:
            connection.close()

    def post(self, path: str, message: Any, headers: dict[str, str] | None = None) -> Reply:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        return self.request("POST", path, body, {"content-type": "application/json", **(headers or {})})

    def upload(self, name: str, content: bytes) -> Reply:
        """A file, as the page's own buttons send it."""
        border = uuid.uuid4().hex
        head = f'--{border}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{border}--\r\n".encode()
        kind = {"content-type": f"multipart/form-data; boundary={border}"}
        return self.request("POST", "/gradio_api/upload", body, kind)

    def button(self, tab: str, kind: str = "make") -> Button:
        """The event of a button of a tab, found by its class and by the status that it writes.

        Its number of pictures, and whether stages have seeds of their own, are at ("", "number") and ("", "parted").
        """
        status = next(id for id, part in self.components.items() if part["props"].get("elem_id") == f"status-{tab}")
        for number, event in enumerate(self.server.config["dependencies"]):
            sources = [self._classes(id) for id, _ in event["targets"]]
            if status in event["outputs"] and any(kind in classes for classes in sources):
                return self._event(event.get("id", number), event)
        raise AssertionError(f"no button {kind} of {tab}")

    def uploader(self, tab_position: int) -> Button:
        """What is called when the button of a picture has brought a file."""
        found = [event for event in self.server.config["dependencies"] if event["targets"][0][1:] == ["upload"]]
        ours = [event for event in found if "bring" in self._classes(event["targets"][0][0])]
        return self._event(ours[tab_position]["id"], ours[tab_position])

    def bringer(self, tab: str, place: tuple[str, str]) -> Button:
        """What is called when a file was brought for an input (node id, name) of a tab."""
        make = self.button(tab)
        events = self.server.config["dependencies"]
        field = next(event for event in events if event["id"] == make.number)["inputs"][make.places[place]]
        (event,) = [each for each in events if each["targets"][0][1:] == ["upload"] and each["outputs"][0] == field]
        return self._event(event["id"], event)

    def restorer(self) -> Button:
        """What is called when a file is let fall on the page."""
        found = [event for event in self.server.config["dependencies"] if event["targets"][0][1:] == ["upload"]]
        (event,) = [event for event in found if "drop" in self._classes(event["targets"][0][0])]
        return self._event(event["id"], event)

    def send(self, number: int, data: list[Any], session: str = "") -> tuple[Reply, str]:
        """Put an event into the page's queue -> the answer, and the session (a new page's) to listen for."""
        session = session or uuid.uuid4().hex
        message = {"data": data, "fn_index": number, "session_hash": session, "event_data": None, "trigger_id": None}
        return self.post("/gradio_api/queue/join", message), session

    def listen(self, session: str) -> list[dict[str, Any]]:
        """Everything that the app tells of an event, up to its end."""
        answer = self.request("GET", f"/gradio_api/queue/data?session_hash={session}")
        lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
        return [json.loads(line) for line in lines]

    def call(self, number: int, data: list[Any], session: str = "") -> dict[str, Any]:
        """An event from its beginning to its end -> what the end says."""
        reply, session = self.send(number, data, session)
        if reply.status != 200:
            return {"success": False, "status": reply.status, "output": {"error": reply.text}}
        told = self.listen(session)
        return next(message for message in told if message["msg"] == "process_completed")

    def run(
        self, tab: str, changes: dict[tuple[str, str], Any], kind: str = "make", session: str = ""
    ) -> tuple[dict[str, Any], str]:
        """Press a button of a tab with some inputs changed -> the end, and all that was told on the way."""
        button = self.button(tab, kind)
        data = list(button.data)
        for place, value in changes.items():
            data[button.places[place]] = value
        reply, session = self.send(button.number, data, session)
        assert reply.status == 200, reply
        told = self.listen(session)
        return next(message for message in told if message["msg"] == "process_completed"), json.dumps(told)

    def _classes(self, id: int | None) -> list[str]:
        return [] if id is None else self.components[id]["props"].get("elem_classes") or []

    def _event(self, number: int, event: dict[str, Any]) -> Button:
        places: dict[tuple[str, str], int] = {}
        data: list[Any] = []
        for index, id in enumerate(event["inputs"]):
            part = self.components[id]
            data.append(None if part["type"] == "imageeditor" else part["props"].get("value"))
            for name in self._classes(id):
                if name.startswith("input-"):
                    places.setdefault((self._node(id), name.removeprefix("input-")), index)
        return Button(number, data, places)

    def _node(self, wanted: int) -> str:
        """The id of the node to whose group a component belongs."""

        def search(part: dict[str, Any], node: str) -> str | None:
            classes = self._classes(part["id"]) if part["id"] in self.components else []
            node = next((name.removeprefix("node-") for name in classes if name.startswith("node-")), node)
            if part["id"] == wanted:
                return node
            return next(filter(None, (search(child, node) for child in part.get("children") or [])), None)

        return search(self.server.config["layout"], "") or ""
