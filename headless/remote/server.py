"""A client of a running ComfyUI, over HTTP and its websocket. It knows nothing of workflows.

Everything that keeps the two from understanding each other is a ServerError: one sentence with the server's address.
Each answer is bounded in time and size, is of the form that `answers.py` reads, and comes from that address alone.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ...cascade_core.reading import LARGEST_TEXT, parse_json
from ...cascade_core.wording import printable
from ..graph import WorkflowError, is_object, show
from . import answers
from .answers import Account, Event, Odd, Receipt, Result

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

_CONNECT, _SILENCE = 10, 120  # seconds: until a connection stands, and without a sign of life on one
_LONGEST = 600  # seconds of one answer
_LARGEST_EVENT = 64 * 2**20  # bytes; previews and what nodes show travel in events
_LARGEST_RESULT = 512 * 2**20  # bytes of a file
_CHUNK = 2**20  # bytes of a result that are in memory at once
_PATIENCE, _PAUSE = 50, 0.1  # how often, and after how many seconds, a state that must come is asked for again
Answer = TypeVar("Answer")


class ServerError(Exception):
    """A fault between here and the server: one sentence."""


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
    timeout = aiohttp.ClientTimeout(total=_LONGEST, sock_connect=_CONNECT, sock_read=_SILENCE)
    name = str(url.with_user(None))  # for messages, without a password
    async with aiohttp.ClientSession(timeout=timeout, trace_configs=[_to_one_address(name)]) as session:
        yield Server(session, url.with_query(None).with_fragment(None), name)


def _to_one_address(name: str) -> "aiohttp.TraceConfig":
    """Refuses to be sent on, before another address is asked: what is sent is meant for this one."""
    import aiohttp

    async def refuse(_session: object, _context: object, sent: Any) -> NoReturn:
        to = show(sent.response.headers.get("Location", ""))
        raise ServerError(f"{name}: expected an answer, found that it sends us on to {to}: give the address itself")

    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(refuse)
    return tracing


class Server:
    def __init__(self, session: "aiohttp.ClientSession", url: "URL", name: str) -> None:
        self._session = session
        self._url = url
        self._client = uuid.uuid4().hex
        self.name = name

    async def object_info(self) -> Mapping[str, Any]:
        """The declarations of its nodes, by id."""
        return await self._ask("GET", "object_info", answers.object_info)

    async def upload(self, path: Path, subfolder: str) -> str:
        """Put a file into the server's input folder; the name that its nodes know it by. Nothing is replaced there."""
        import aiohttp

        form = aiohttp.FormData({"type": "input", "subfolder": subfolder})
        with path.open("rb") as file:
            form.add_field("image", file, filename=path.name, content_type="application/octet-stream")
            return await self._ask("POST", "upload/image", answers.uploaded, data=form)

    async def submit(self, prompt: Mapping[str, Any], prompt_id: str, extra: Mapping[str, Any]) -> Receipt:
        """Queue a prompt, under this id if the server is not too old for that. Raises answers.Rejected."""
        body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": self._client, "extra_data": extra}
        return await self._ask("POST", "prompt", answers.receipt, accept=(200, 400), json=body)

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
            is_text = message.type is aiohttp.WSMsgType.TEXT
            if is_text and (event := answers.event(self._parse(message.data, "ws"))):
                yield event
        raise ServerError(f"{self.name}: the connection was lost while the workflow ran; what it finishes stays there")

    async def place_in_queue(self, prompt_id: str) -> int | None:
        """The number of prompts before this one; -1 while it runs itself, None where the queue does not have it."""
        found = await self._ask("GET", "queue", answers.queue)
        if prompt_id in found.running:
            return -1
        number = found.waiting.get(prompt_id)
        return None if number is None else len(found.running) + sum(one < number for one in found.waiting.values())

    async def outcome(self, prompt_id: str) -> Account | None:
        """The server's account of a prompt; None while it is not finished."""
        return await self._ask("GET", f"history/{prompt_id}", lambda answer: answers.account(answer, prompt_id))

    async def finished(self, prompt_id: str) -> Account:
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

    async def download(self, result: Result, target: Path) -> None:
        """Write a file of the server's output folder to `target`."""
        import aiohttp

        address = (self._url / "view").with_query({**result._asdict(), "type": "output"})
        name = show(result.filename)
        try:
            async with self._session.get(address) as response:
                if response.status != 200:
                    raise ServerError(f"{self.name}: expected the result {name}, found {_status(response)}")
                with target.open("wb") as file:
                    async for part in response.content.iter_chunked(_CHUNK):
                        file.write(part)
                        if file.tell() > _LARGEST_RESULT:
                            most = f"at most {_LARGEST_RESULT >> 20} MiB"
                            raise ServerError(f"{self.name}: expected {most} of the result {name}, found more")
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            raise ServerError(f"{self.name}: the result {name} broke off: {_say(error)}") from None

    async def _ask(
        self,
        method: str,
        path: str,
        read: Callable[[Mapping[str, Any]], Answer] = lambda answer: None,
        accept: tuple[int, ...] = (200,),
        **body: Any,
    ) -> Answer:
        """What `read` makes of the JSON object of an answer; of an empty one where there is but its status."""
        import aiohttp

        try:
            async with self._session.request(method, self._url / path, **body) as response:
                data = bytearray()
                async for part in response.content.iter_chunked(_CHUNK):
                    data += part
                    if len(data) > LARGEST_TEXT:
                        break
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise ServerError(f"{self.name} cannot be reached: {_say(error)}: does ComfyUI run there?") from None
        if response.status in (401, 403):
            what = f"{_status(response)}: it, or what stands before it, wants a login"
            raise ServerError(f"{self.name} refuses /{path}: {what}")
        if response.status not in accept:
            what = f"{_status(response)}: is it a ComfyUI?"
            raise ServerError(f"{self.name}: expected ComfyUI's answer to /{path}, found {what}")
        try:
            return read(self._parse(bytes(data), path) if data else {})
        except Odd as odd:
            raise ServerError(f"{self.name}: expected {odd} from /{path}, found {show(odd.found)}") from None

    def _parse(self, data: bytes | str, path: str) -> dict[str, Any]:
        if len(data) > LARGEST_TEXT:
            most = f"at most {LARGEST_TEXT >> 20} MiB"
            raise ServerError(f"{self.name}: expected {most} from /{path}, found more: is it a ComfyUI?")
        try:
            answer = parse_json(data)
        except ValueError:
            answer = data if isinstance(data, str) else data.decode("utf-8", "replace")
        if not is_object(answer):
            raise ServerError(f"{self.name}: expected JSON from /{path}, found {show(answer)}: is it a ComfyUI?")
        return answer


def _status(response: "aiohttp.ClientResponse") -> str:
    return f"{response.status} ({printable(response.reason)})"


def _say(error: Exception) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return f"no answer within {_SILENCE} s, or no whole one within {_LONGEST} s"
    return printable(str(getattr(error, "os_error", error)) or type(error).__name__)
