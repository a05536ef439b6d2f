"""A client of a running ComfyUI, over HTTP and its websocket. It knows nothing of workflows.

Everything that keeps the two from understanding each other is a ServerError: one sentence with the server's address.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..graph import WorkflowError, is_object, show

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

_CONNECT, _SILENCE = 10, 120  # seconds: until a connection stands, and without a sign of life on one
_LARGEST_EVENT = 256 * 2**20  # bytes; previews and what nodes show travel in events
_CHUNK = 2**20  # bytes of a result that are in memory at once
_PATIENCE, _PAUSE = 50, 0.1  # how often, and after how many seconds, a state that must come is asked for again


class ServerError(Exception):
    """A fault between here and the server: one sentence."""


class Rejected(Exception):
    """The server finds a prompt unfit: its `error`, and `node_errors` by node id."""

    def __init__(self, error: Mapping[str, Any], node_errors: Mapping[str, Any]) -> None:
        super().__init__(str(error.get("message")))
        self.error = error
        self.node_errors = node_errors


class Receipt(NamedTuple):
    """A queued prompt, and why the server dropped some of its outputs."""

    prompt_id: str
    node_errors: Mapping[str, Any]


class Event(NamedTuple):
    type: str
    data: dict[str, Any]


@asynccontextmanager
async def connect(address: str) -> "AsyncGenerator[Server, None]":
    """The server at an address such as `http://127.0.0.1:8188`, which is first spoken to when something is asked."""
    try:
        import aiohttp
        from yarl import URL
    except ImportError:
        raise WorkflowError("talking to a server needs aiohttp: pip install aiohttp") from None
    try:
        url = URL(address if "://" in address else f"http://{address}")
    except ValueError as error:
        raise WorkflowError(f"expected the address of a ComfyUI, found {address!r}: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise WorkflowError(f"expected an address such as http://127.0.0.1:8188, found {address!r}")
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENCE)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield Server(session, url.with_query(None).with_fragment(None))


class Server:
    def __init__(self, session: "aiohttp.ClientSession", url: "URL") -> None:
        self._session = session
        self._url = url
        self._client = uuid.uuid4().hex
        self.name = str(url.with_user(None))  # for messages, without a password

    async def object_info(self) -> dict[str, Any]:
        """The declarations of its nodes, by id."""
        answer = await self._ask("GET", "object_info")
        if not answer or not all(is_object(entry) and "input" in entry for entry in answer.values()):
            raise ServerError(f"{self.name}: expected a ComfyUI with its nodes, found {show(answer)}")
        return answer

    async def upload(self, path: Path, subfolder: str) -> str:
        """Put a file into the server's input folder; the name that its nodes know it by. Nothing is replaced there."""
        import aiohttp

        form = aiohttp.FormData({"type": "input", "subfolder": subfolder})
        with path.open("rb") as file:
            form.add_field("image", file, filename=path.name, content_type="application/octet-stream")
            answer = await self._ask("POST", "upload/image", data=form)
        name, folder = answer.get("name"), answer.get("subfolder")
        if not isinstance(name, str) or not isinstance(folder, str):
            raise ServerError(f"{self.name}: expected the name of the uploaded {path.name}, found {show(answer)}")
        return f"{folder}/{name}" if folder else name

    async def submit(self, prompt: Mapping[str, Any], prompt_id: str, extra: Mapping[str, Any]) -> Receipt:
        """Queue a prompt, under this id if the server is not too old for that. Raises Rejected."""
        body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": self._client, "extra_data": extra}
        answer = await self._ask("POST", "prompt", accept=(200, 400), json=body)
        found = answer.get("node_errors")
        node_errors = found if is_object(found) else {}
        if "error" in answer:
            error = answer["error"]
            raise Rejected(error if is_object(error) else {"message": str(error)}, node_errors)
        if not isinstance(answer.get("prompt_id"), str):
            raise ServerError(f"{self.name}: expected the id of the queued prompt, found {show(answer)}")
        return Receipt(answer["prompt_id"], node_errors)

    @asynccontextmanager
    async def listen(self) -> AsyncGenerator[AsyncIterator[Event], None]:
        """The events for this client, from now on until the connection is lost, which is a ServerError."""
        import aiohttp

        address = (self._url / "ws").with_query(clientId=self._client)
        try:
            socket = await self._session.ws_connect(address, heartbeat=_SILENCE, max_msg_size=_LARGEST_EVENT)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise ServerError(f"{self.name}: the websocket for its progress cannot be opened: {_say(error)}") from None
        try:
            yield self._events(socket)
        finally:
            await socket.close()

    async def _events(self, socket: "aiohttp.ClientWebSocketResponse[bool]") -> AsyncIterator[Event]:
        import aiohttp

        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                event = self._read(message.data, "ws")
                if isinstance(event.get("type"), str) and is_object(event.get("data")):
                    yield Event(event["type"], event["data"])
        raise ServerError(f"{self.name}: the connection was lost while the workflow ran; what it finishes stays there")

    async def place_in_queue(self, prompt_id: str) -> int | None:
        """The number of prompts before this one; -1 while it runs itself, None where the queue does not have it."""
        answer = await self._ask("GET", "queue")
        running, waiting = (_entries(answer.get(f"queue_{state}")) for state in ("running", "pending"))
        if any(entry[1] == prompt_id for entry in running):
            return -1
        number = next((entry[0] for entry in waiting if entry[1] == prompt_id), None)
        return None if number is None else len(running) + sum(entry[0] < number for entry in waiting)

    async def outcome(self, prompt_id: str) -> dict[str, Any] | None:
        """The server's account of a prompt, `outputs` and `status`; None while it is not finished."""
        entry = (await self._ask("GET", f"history/{prompt_id}")).get(prompt_id)
        return entry if is_object(entry) else None

    async def finished(self, prompt_id: str) -> dict[str, Any]:
        """The account of a prompt that has told of its end, or is about to."""
        for _ in range(_PATIENCE):
            if entry := await self.outcome(prompt_id):
                return entry
            await asyncio.sleep(_PAUSE)
        raise ServerError(f"{self.name}: expected the results of prompt {prompt_id}, found none")

    async def cancel(self, prompt_id: str) -> None:
        """Take a prompt out of the queue, or interrupt it where it runs; other prompts are left alone.

        Asked more than once: a prompt may be on its way into the queue, or between the queue and its first node.
        """
        for _ in range(5):
            place = await self.place_in_queue(prompt_id)
            if place is not None and place >= 0:
                await self._ask("POST", "queue", json={"delete": [prompt_id]})
            elif place is not None:
                await self._ask("POST", "interrupt", json={"prompt_id": prompt_id})
            elif await self.outcome(prompt_id):
                return
            await asyncio.sleep(_PAUSE)

    async def download(self, entry: Mapping[str, Any], target: Path) -> None:
        """Write a file of the server's output folder to `target`."""
        import aiohttp

        query = {key: str(entry.get(key, "")) for key in ("filename", "subfolder", "type")}
        address = (self._url / "view").with_query(query)
        try:
            async with self._session.get(address) as response:
                if response.status != 200:
                    found = f"{response.status} ({response.reason})"
                    raise ServerError(f"{self.name}: expected the result {query['filename']!r}, found {found}")
                with target.open("wb") as file:
                    async for part in response.content.iter_chunked(_CHUNK):
                        file.write(part)
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            raise ServerError(f"{self.name}: the result {query['filename']!r} broke off: {_say(error)}") from None

    async def _ask(self, method: str, path: str, accept: tuple[int, ...] = (200,), **body: Any) -> dict[str, Any]:
        """The JSON object that a request is answered with; an empty one where there is no answer but its status."""
        import aiohttp

        try:
            async with self._session.request(method, self._url / path, **body) as response:
                data = await response.read()
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            reason = f"no answer within {_SILENCE} s" if isinstance(error, asyncio.TimeoutError) else _say(error)
            raise ServerError(f"{self.name} cannot be reached: {reason}: does ComfyUI run there?") from None
        if response.status in (401, 403):
            what = f"{response.status} ({response.reason})"
            raise ServerError(f"{self.name} refuses /{path}: {what}: it, or what stands before it, wants a login")
        if response.status not in accept:
            what = f"{response.status} ({response.reason})"
            raise ServerError(f"{self.name}: expected ComfyUI's answer to /{path}, found {what}: is it a ComfyUI?")
        return self._read(data, path) if data else {}

    def _read(self, data: bytes | str, path: str) -> dict[str, Any]:
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError):
            answer = data if isinstance(data, str) else data.decode("utf-8", "replace")
        if not is_object(answer):
            raise ServerError(f"{self.name}: expected JSON from /{path}, found {show(answer)}: is it a ComfyUI?")
        return answer


def _entries(queue: Any) -> list[list[Any]]:
    """The prompts of a queue: [number, id, ...]."""
    entries = queue if isinstance(queue, list) else []
    return [entry for entry in entries if isinstance(entry, list) and len(entry) > 1]


def _say(error: Exception) -> str:
    return str(getattr(error, "os_error", error)) or type(error).__name__
