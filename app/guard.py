"""A guard between the network and Gradio: only the page's own requests get through.

Gradio's server can do more than this app needs: fetch addresses, run helpers of its own, tell of all its endpoints.
None of that is reachable. A request must be for this host and from this page, small enough, and name files only
inside the app's own folders; and all of them together stay within bounds (`sessions.py`, `blobs.py`).
"""

import asyncio
import base64
import binascii
import hmac
import json
import os
import re
from collections.abc import Awaitable, Callable, Collection, Iterator, MutableMapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from starlette.formparsers import MultiPartException
from starlette.requests import Request

from ..cascade_core.reading import parse_json
from ..runtime import paths
from . import blobs
from .sessions import LOCAL, Full, Room, Sessions

MOST_EVENTS = 12  # of one page at once, those not yet told of included
MOST_UPLOADS = 16  # at once: they go to the disk as they come
LARGEST_UPLOAD = 33 * 2**20  # bytes of a request that brings a file: the file and what surrounds it
LARGEST_MESSAGE = 2**19  # bytes of any other request
MOST_VALUES = 10_000  # of a message, which Gradio keeps until its event is over: a list takes 60 bytes there
ANYWHERE = ("0.0.0.0", "::", "")

_API = "/gradio_api"
_READ = re.compile(
    rf"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/(assets|static|svelte)/.*|{_API}/(info|theme\.css|app_id"
    r"|startup-events|upload_progress|queue/data|heartbeat/[^/]+|file=.*)/?"
)
_WRITE = re.compile(rf"{_API}/(queue/join|cancel|reset|upload|component_server)/?")
_FILE = f"{_API}/file="
_JOIN = f"{_API}/queue/join"
_UPLOAD = f"{_API}/upload"
_BLOBS = f"{_API}/component_server"  # takes a painted mask as a form
_STREAM = re.compile(rf"{_API}/(?:heartbeat/([^/]+)|queue/data)/?")  # by which a page listens
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::([0-9]{1,5}))?", re.ASCII)
_ORIGIN = re.compile(r"(https?)://(.+)")
_PORTS = {"http": 80, "https": 443}

# Gradio builds functions from texts and styles elements in place; nothing is ever loaded from another address.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:;"
    " worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Refused(Exception):
    """A request that is not answered."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guard:
    """An ASGI application around another: `folders` may be read through it, `events` are what the page can do."""

    def __init__(
        self,
        app: Any,
        host: str,
        folders: Sequence[Path],
        events: Collection[int],
        *,
        password: str | None = None,
        painted: blobs.Blobs | None = None,
        begin: Callable[[str], None] = lambda session: None,
        forget: Callable[[str], None] = lambda session: None,
        open_events: Callable[[str], int] = lambda session: 1,
        uploaded: Callable[[], None] = lambda: None,
    ) -> None:
        """begin, forget: called with a session that is new, or gone. open_events: how many. uploaded: a file came."""
        self.app = app
        self.events = events
        self.hosts = None if host in ANYWHERE else {*LOCAL, host.lower()}
        self.folders = folders
        self.password = password
        self.painted = painted or blobs.Blobs({})
        self.sessions = Sessions(forget, begin)
        self.room = Room()
        self._open_events, self._uploaded = open_events, uploaded
        self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page opens no other connections
            return
        begun = False

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        with ExitStack() as stack:
            try:
                await self._check(scope)
                visitor = str((scope.get("client") or [""])[0])
                if stream := _STREAM.fullmatch(scope["path"]):
                    name = _session(stream[1] or _query(scope, "session_hash"))
                    if stream[1] is None and not self._open_events(name):  # all was told to the stream before this one
                        await _send(answer, 200, b"text/event-stream", b'data: {"msg": "close_stream"}\n\n')
                        return
                    stack.enter_context(self.sessions.listening(name, visitor))
                await self.app(scope, await self._limited(scope, receive, visitor, stack), answer)
            except (Refused, Full) as refused:
                if not begun:
                    await _tell(answer, getattr(refused, "status", 503), str(refused))

    async def _check(self, scope: Scope) -> None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if sum(name.lower() == b"host" for name, _ in scope["headers"]) > 1:
            raise Refused(400, "expected one host, found several")
        host = headers.get(b"host", "")
        known = _authority(host, scope.get("scheme", "http"))
        if known is None or (self.hosts is not None and known[0] not in self.hosts):
            raise Refused(403, f"expected a request for this computer, found one for {host[:80]!r}")
        origin = headers.get(b"origin")
        if origin is not None:
            parts = _ORIGIN.fullmatch(origin.lower())
            if parts is None or _authority(parts[2], parts[1]) != _authority(host, parts[1]):
                raise Refused(403, f"expected a request of this page, found one of {origin[:80]!r}")
        if self.password is not None and not _proves(headers.get(b"authorization", ""), self.password):
            await asyncio.sleep(0.5)  # so that many cannot be tried
            raise Refused(401, "expected the password that `cascade app` was started with")
        method, path = scope["method"], scope["path"]
        allowed = _READ if method in ("GET", "HEAD") else _WRITE if method == "POST" else None
        if allowed is None or allowed.fullmatch(path) is None:
            raise Refused(404, f"there is no {method} {path[:200]}")
        if path.startswith(_FILE):
            self._check_file(path.removeprefix(_FILE))

    def _knows(self, event: object) -> bool:
        return isinstance(event, int) and event in self.events

    def _check_file(self, name: str) -> None:
        """Raises Refused for a file outside the app's own folders, also where its name leads through links."""
        for text in {name, unquote(name)}:
            if "\0" in text or not self._is_ours(text):
                raise Refused(403, f"expected a file of the app's own folders, found {name[:200]!r}")

    def _is_ours(self, name: str) -> bool:
        return os.path.isabs(name) and any(paths.is_inside(folder, Path(name)) for folder in self.folders)

    async def _limited(self, scope: Scope, receive: Receive, visitor: str, stack: ExitStack) -> Receive:
        """The request's body, up to its limit; a message or a painted layer is read and looked through first."""
        if scope["method"] != "POST":
            return receive
        path, headers = scope["path"], dict(scope["headers"])
        is_form = headers.get(b"content-type", b"").startswith(b"multipart/form-data")
        is_upload, is_blob = is_form and path.startswith(_UPLOAD), path.startswith(_BLOBS)
        limit = LARGEST_UPLOAD if is_upload or (is_form and is_blob) else LARGEST_MESSAGE
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > limit:
            raise _too_large(limit)
        if is_upload:
            self._begin_upload(stack)
            return _counted(receive, limit)
        take = stack.enter_context(self.room.taken(visitor))
        body = await _whole(receive, limit, take)
        if is_blob:
            await self._check_blob(scope, body, visitor)
        else:
            self._check_message(body, path.startswith(_JOIN), visitor)
        return _replay(body, receive)

    def _begin_upload(self, stack: ExitStack) -> None:
        """Count an upload until it ends, and then what lies on the disk."""
        if self._uploads >= MOST_UPLOADS:
            raise Full("too many files are brought at once: try again when the others are through")
        self._uploads += 1

        def end() -> None:
            self._uploads -= 1
            self._uploaded()

        stack.callback(end)

    async def _check_blob(self, scope: Scope, body: bytes, visitor: str) -> None:
        """A painted layer must be one of this page's, and there must be room for it."""
        try:
            async with Request(scope, _replay(body, None)).form(max_files=1, max_fields=8) as form:
                blob = blobs.read(form, self.painted.editors)
        except (ValueError, KeyError, MultiPartException) as error:
            raise Refused(400, str(error)) from None
        self.sessions.see(blob.session, visitor)
        self.painted.make_room(blob, visitor, len(body))

    def _check_message(self, body: bytes, is_event: bool, visitor: str) -> None:
        """Every file that a message names must be one that was brought to this app."""
        try:
            message = parse_json(body or b"{}")
        except ValueError:
            raise Refused(400, "expected a message as JSON") from None
        if is_event:
            if not (isinstance(message, dict) and self._knows(message.get("fn_index"))):
                raise Refused(400, "expected an event of this page")
            name = _session(message.get("session_hash"))
            self.sessions.see(name, visitor)
            if self._open_events(name) >= MOST_EVENTS:
                raise Full("this page waits for too much already: let it finish first")
        for name in _paths(message):
            if not isinstance(name, str) or "\0" in name or not self._is_ours(name):
                raise Refused(400, f"expected a file that was uploaded here, found {str(name)[:200]!r}")


def _session(name: object) -> str:
    if not isinstance(name, str) or not blobs.NAME.fullmatch(name):
        raise Refused(400, "expected the session of a page")
    return name


def _query(scope: Scope, name: str) -> str | None:
    return parse_qs(scope.get("query_string", b"").decode("latin-1")).get(name, [None])[0]


def _paths(message: Any) -> Iterator[Any]:
    """The files that a message names: Gradio writes one as an object with its path. Raises Refused for a vast one."""
    waiting, left = [message], MOST_VALUES
    while waiting:
        part = waiting.pop()
        left -= 1
        if left < 0:
            raise Refused(413, f"expected a message of at most {MOST_VALUES:,} values, found more")
        if isinstance(part, dict):
            if part.get("path") is not None:
                yield part["path"]
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _counted(receive: Receive, limit: int) -> Receive:
    count = 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > limit:
            raise _too_large(limit)
        return message

    return counted


async def _whole(receive: Receive, limit: int, take: Callable[[int], None]) -> bytes:
    read = _counted(receive, limit)
    body = bytearray()
    while True:
        message = await read()
        if message["type"] == "http.disconnect":
            raise Refused(400, "expected a whole request")
        take(len(message.get("body", b"")))
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _replay(body: bytes, receive: Receive | None) -> Receive:
    """The body in one message, and then what comes of the connection."""
    sent = False

    async def replay() -> MutableMapping[str, Any]:
        nonlocal sent
        if sent:
            return await receive() if receive is not None else {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _too_large(limit: int) -> Refused:
    most = f"{limit >> 20} MiB" if limit >= 2**20 else f"{limit >> 10} KiB"
    return Refused(413, f"expected a request of at most {most}, found a larger one")


def _authority(text: str, scheme: str) -> tuple[str, int] | None:
    """Name and port of a host as a request writes it; None for what is none."""
    found = _AUTHORITY.fullmatch(text.lower())
    port = int(found[2]) if found and found[2] else _PORTS.get(scheme, 0)
    return (found[1].strip("[]").removesuffix("."), port) if found and port <= 65535 else None


def _proves(authorization: str, password: str) -> bool:
    """Whether a browser's answer to the question for a password, under any name, has the right one."""
    kind, _, coded = authorization.partition(" ")
    try:
        given = base64.b64decode(coded, validate=True).partition(b":")[2]
    except binascii.Error:
        return False
    return kind.lower() == "basic" and hmac.compare_digest(given, password.encode())


async def _tell(send: Send, status: int, message: str) -> None:
    more = [(b"www-authenticate", b'Basic realm="cascade", charset="UTF-8"')] if status == 401 else []
    await _send(send, status, b"application/json", json.dumps({"detail": message}).encode(), *more)


async def _send(send: Send, status: int, kind: bytes, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
