"""A stand-in for the hub on loopback: what it answers to HEAD and GET of a file, its redirect to another host, ranges.

Contents are a safetensors header of full size with zeros behind it, so that a test's files are those that are published
as far as size, names and shapes go.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import prod
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" * 6 + "beef"
WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8}
BLOCK = bytes(1 << 20)

Shapes = Mapping[str, tuple[str, Sequence[int]]]  # tensor -> safetensors' type and shape


@dataclass
class Content:
    """`head` and then zeros, `size` bytes in all."""

    head: bytes
    size: int

    @classmethod
    def of(cls, text: bytes) -> Content:
        return cls(text, len(text))

    @classmethod
    def zeros(cls, shapes: Shapes) -> Content:
        """A safetensors file of these tensors."""
        entries: dict[str, Any] = {}
        end = 0
        for name, (dtype, shape) in shapes.items():
            start, end = end, end + WIDTHS[dtype] * prod(shape)
            entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
        text = json.dumps(entries).encode()
        head = len(text).to_bytes(8, "little") + text
        return cls(head, len(head) + end)

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        yield self.head[start:stop]
        left = stop - max(start, len(self.head))
        while left > 0:
            yield BLOCK[:left]
            left -= len(BLOCK)

    def sha256(self) -> str:
        checksum = hashlib.sha256()
        for block in self.read(0, self.size):
            checksum.update(block)
        return checksum.hexdigest()

    def git_sha1(self) -> str:
        return hashlib.sha1(b"blob %d\0" % self.size + b"".join(self.read(0, self.size))).hexdigest()

    def write(self, path: Path) -> Path:
        """As a file that takes no room on disks which know holes."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(self.head)
            file.truncate(self.size)
        return path


@dataclass
class Entry:
    """A file of a repository, and how it is answered."""

    content: Content
    tag: str
    large: bool  # kept elsewhere: the answer is a redirect
    announced: int  # the size that the hub tells
    status: int = 200  # another one is the answer to everything
    error: str = ""  # the hub's own code for it
    cuts: list[int] = field(default_factory=list)  # after so many bytes of the file the connection breaks, once each
    stalls: list[int] = field(default_factory=list)  # after so many bytes nothing more comes, once each


@dataclass
class Asked:
    method: str
    path: str  # "repository/path" for the hub, "cdn" for where large files lie
    start: int | None  # of the range
    token: str | None
    agent: str
    sent: int = 0


class FakeHub:
    def __init__(self) -> None:
        self.url = ""
        self.entries: dict[str, Entry] = {}
        self.asked: list[Asked] = []
        self.closing = threading.Event()

    def add(self, repository: str, path: str, content: Content, **changes: Any) -> Entry:
        large = path.endswith(".safetensors")
        tag = content.sha256() if large else content.git_sha1()
        entry = Entry(**({"content": content, "tag": tag, "large": large, "announced": content.size} | changes))
        self.entries[f"{repository}/{path}"] = entry
        return entry

    @property
    def gets(self) -> list[Asked]:
        """The requests that were answered with content."""
        return [asked for asked in self.asked if asked.method == "GET" and asked.sent]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ClassVar[FakeHub]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silent."""

    def _answer(self) -> None:
        place, _, rest = unquote(urlsplit(self.path).path).lstrip("/").partition("/cdn/")
        repository, _, path = place.partition("/resolve/")
        revision, _, name = path.partition("/")
        key = rest or f"{repository}/{name}"
        wanted = self.headers.get("Range")
        start = None if wanted is None else int(wanted.removeprefix("bytes=").removesuffix("-"))
        token, agent = self.headers.get("Authorization"), self.headers.get("User-Agent", "")
        asked = Asked(self.command, f"cdn/{key}" if rest else key, start, token, agent)
        self.hub.asked.append(asked)
        entry = self.hub.entries.get(key)
        if entry is None or (not rest and revision not in ("main", COMMIT)):
            self._send(404, {"X-Error-Code": "EntryNotFound"})
        elif entry.status != 200:
            self._send(entry.status, {"X-Error-Code": entry.error} if entry.error else {})
        elif entry.large and not rest:
            port = urlsplit(self.hub.url).port
            told = {"X-Linked-Size": str(entry.announced), "X-Linked-Etag": f'"{entry.tag}"'}
            self._send(302, {"Location": f"http://localhost:{port}/x/cdn/{key}", **told})
        else:
            self._send_content(entry, asked)

    def _send(self, status: int, headers: Mapping[str, str], length: int = 0) -> None:
        self.send_response(status)
        for name, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_content(self, entry: Entry, asked: Asked) -> None:
        start, size = asked.start or 0, entry.content.size
        if asked.start is not None and start >= size:
            self._send(416, {"Content-Range": f"bytes */{size}"})
            return
        ranged = {} if asked.start is None else {"Content-Range": f"bytes {start}-{size - 1}/{size}"}
        self._send(206 if ranged else 200, {"ETag": f'"{entry.tag}"', "Accept-Ranges": "bytes", **ranged}, size - start)
        if self.command == "HEAD":
            return
        cut = entry.cuts.pop(0) if entry.cuts else size
        stall = entry.stalls.pop(0) if entry.stalls else size
        for block in entry.content.read(start, min(cut, stall)):
            self.wfile.write(block)
            asked.sent += len(block)
        if stall < size:
            self.hub.closing.wait()
        if min(cut, stall) < size:
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is what some tests are about."""


@contextmanager
def serve() -> Iterator[FakeHub]:
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with _Server(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.closing.set()
            server.shutdown()
            thread.join()
