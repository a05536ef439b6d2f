"""A stand-in for a ComfyUI on loopback: answers as a test tells it, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

Script = Callable[["FakeServer", str], Awaitable[None]]  # what happens to a queued prompt, given its id

TEXT = {"input": {"required": {"text": ["STRING", {}]}}, "output": ["STRING"], "output_node": False}
SHOW = {"input": {"required": {"text": ["STRING", {"forceInput": True}]}}, "output": [], "output_node": True}
LOAD = {
    "input": {"required": {"image": [["theirs.png"], {"image_upload": True}]}},
    "output": ["IMAGE", "MASK"],
    "output_node": False,
}
INFO = {
    "Text": TEXT | {"display_name": "A text"},
    "Show": SHOW | {"display_name": "Shown"},
    "LoadImage": LOAD | {"display_name": "Load Image"},
    "SaveImage": {
        "input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]}},
        "output": [],
        "output_node": True,
        "display_name": "Save Image",
    },
}


class FakeServer:
    def __init__(self) -> None:
        self.url = ""
        self.info: Any = INFO
        self.node_errors: dict[str, Any] = {}
        self.answers: dict[str, web.Response] = {}  # by path, instead of the usual ones
        self.endless: tuple[bytes, float] | None = None  # what object_info sends again and again, after so many seconds
        self.account: Any = None  # in the history, instead of the usual one
        self.outputs: dict[str, Any] = {}
        self.messages: list[Any] = []  # of the history, after the usual ones
        self.files: dict[str, bytes] = {}
        self.script: Script = finish
        self.prompts: list[dict[str, Any]] = []
        self.uploads: list[tuple[str, str, bytes]] = []  # name, sub-folder, content
        self.asked: list[tuple[str, Any]] = []
        self.running: list[str] = []
        self.pending: list[str] = []
        self.done: set[str] = set()
        self.socket: web.WebSocketResponse | None = None

    async def tell(self, kind: str, **data: Any) -> None:
        assert self.socket is not None
        await self.socket.send_str(json.dumps({"type": kind, "data": data}))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/")
        if path in self.answers:
            return self.answers[path]
        if path.startswith("history/") and "history" in self.answers:
            return self.answers["history"]
        if path == "object_info" and self.endless:
            return await self._send_for_ever(request, *self.endless)
        if path == "ws":
            return await self._listen(request)
        if path == "object_info":
            return web.json_response(self.info)
        if path == "upload/image":
            return await self._upload(request)
        if path == "prompt":
            return await self._queue(await request.json())
        if path == "view":
            content = self.files.get(request.query["filename"])
            return web.Response(status=404) if content is None else web.Response(body=content)
        if path == "queue" and request.method == "GET":
            entries = {"queue_running": self.running, "queue_pending": self.pending}
            return web.json_response({key: [[i, id] for i, id in enumerate(ids)] for key, ids in entries.items()})
        if path.startswith("history/"):
            return web.json_response(self._history(path.removeprefix("history/")))
        body = await request.json()
        self.asked.append((path, body))
        if path == "queue":
            self.pending = [id for id in self.pending if id not in body["delete"]]
        elif path == "interrupt":
            self.done |= {id for id in self.running if id == body["prompt_id"]}
            self.running = []
        return web.Response()

    async def _listen(self, request: web.Request) -> web.WebSocketResponse:
        self.socket = web.WebSocketResponse()
        await self.socket.prepare(request)
        async for _ in self.socket:
            pass
        return self.socket

    async def _send_for_ever(self, request: web.Request, piece: bytes, pause: float) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(piece)  # until it is told that nobody listens
            await asyncio.sleep(pause)

    async def _upload(self, request: web.Request) -> web.Response:
        post = await request.post()
        image, subfolder = post["image"], post["subfolder"]
        assert isinstance(image, web.FileField) and isinstance(subfolder, str)
        self.uploads.append((image.filename, subfolder, image.file.read()))
        return web.json_response({"name": f"new {image.filename}", "subfolder": subfolder, "type": "input"})

    async def _queue(self, body: dict[str, Any]) -> web.Response:
        self.prompts.append(body)
        id = body["prompt_id"]
        self.running.append(id)
        self.task = asyncio.ensure_future(self.script(self, id))
        return web.json_response({"prompt_id": id, "number": 0, "node_errors": self.node_errors})

    def _history(self, id: str) -> dict[str, Any]:
        failed = any(kind in ("execution_error", "execution_interrupted") for kind, _ in self.messages)
        status = {"status_str": "error" if failed else "success", "messages": [["execution_start", {}], *self.messages]}
        usual = {"outputs": self.outputs, "status": status}
        return {id: usual if self.account is None else self.account} if id in self.done else {}


async def finish(server: FakeServer, id: str) -> None:
    """Every node runs, and the prompt ends well or as `messages` say."""
    for node in server.prompts[-1]["prompt"]:
        await server.tell("executing", node=node, display_node=node, prompt_id=id)
        await server.tell("progress", node=node, value=1, max=2, prompt_id=id)
    await server.tell("executing", node=None, prompt_id=id)
    await asyncio.sleep(0.15)  # the history comes a little later
    server.running.remove(id)
    server.done.add(id)


async def nothing(server: FakeServer, id: str) -> None:
    """It is queued, and that is all."""


@contextmanager
def serve() -> Iterator[FakeServer]:
    """A fake server in a thread of its own, on a free port of loopback."""
    fake, loop = FakeServer(), asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", fake.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    runner = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield fake
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
