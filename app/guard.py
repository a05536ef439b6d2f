"""A guard between the network and Gradio: only the page's own requests get through.

Gradio's server can do more than this app needs: fetch addresses, run helpers of its own, tell of all its endpoints.
None of that is reachable. A request must be for this host and from this page, small enough, and name files only
inside the app's own folders.
"""

import json
import os
import re
from collections.abc import Awaitable, Callable, Collection, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..runtime import paths

LARGEST_UPLOAD = 33 * 2**20  # bytes of a request that brings a file: the file and what surrounds it
LARGEST_MESSAGE = 4 * 2**20  # bytes of any other request
LOCAL = ("127.0.0.1", "localhost", "::1")
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

    def __init__(self, app: Any, host: str, folders: Sequence[Path], events: Collection[int]) -> None:
        self.app = app
        self.events = events
        self.hosts = None if host in ANYWHERE else {*LOCAL, host.lower()}
        self.folders = folders

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

        try:
            self._check(scope)
            await self.app(scope, await self._limited(scope, receive), answer)
        except Refused as refused:
            if not begun:
                await _tell(answer, refused)

    def _check(self, scope: Scope) -> None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self.hosts is not None and _name(f"//{host}") not in self.hosts:
            raise Refused(403, f"expected a request for this computer, found one for {host[:80]!r}")
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Refused(403, f"expected a request of this page, found one of {origin[:80]!r}")
        method, path = scope["method"], scope["path"]
        known = _READ if method in ("GET", "HEAD") else _WRITE if method == "POST" else None
        if known is None or known.fullmatch(path) is None:
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

    async def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """The request's body, up to its limit; a message in JSON is read and looked through first."""
        if scope["method"] != "POST":
            return receive
        headers = dict(scope["headers"])
        is_form = headers.get(b"content-type", b"").startswith(b"multipart/form-data")
        big = is_form and scope["path"].startswith((_UPLOAD, _BLOBS))
        limit = LARGEST_UPLOAD if big else LARGEST_MESSAGE
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > limit:
            raise _too_large(limit)
        if big:
            return _counted(receive, limit)
        body = await _whole(receive, limit)
        self._check_message(body, scope["path"].startswith(_JOIN))
        sent = False

        async def replay() -> MutableMapping[str, Any]:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        return replay

    def _check_message(self, body: bytes, is_event: bool) -> None:
        """Every file that a message names must be one that was brought to this app."""
        try:
            message = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            raise Refused(400, "expected a message as JSON") from None
        if is_event and not (isinstance(message, dict) and self._knows(message.get("fn_index"))):
            raise Refused(400, "expected an event of this page")
        for name in _paths(message):
            if not isinstance(name, str) or "\0" in name or not self._is_ours(name):
                raise Refused(400, f"expected a file that was uploaded here, found {str(name)[:200]!r}")


def _paths(message: Any) -> Iterator[Any]:
    """The files that a message names: Gradio writes one as an object with its path."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
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


async def _whole(receive: Receive, limit: int) -> bytes:
    read = _counted(receive, limit)
    body = bytearray()
    while True:
        message = await read()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _too_large(limit: int) -> Refused:
    return Refused(413, f"expected a request of at most {limit >> 20} MiB, found a larger one")


def _name(address: str) -> str:
    """The host of an address, without its port."""
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


async def _tell(send: Send, refused: Refused) -> None:
    body = json.dumps({"detail": str(refused)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
