"""Open pages, each a session, and what they may take together: in number, in memory, and on the disk, oldest first."""

import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

LOCAL = ("127.0.0.1", "localhost", "::1")
QUIET = 60.0  # seconds after which a page that no longer listens is gone
MOST, MOST_EACH = 64, 32  # sessions in all, and of one visitor
ANY = re.compile(r"[^.].*", re.DOTALL)  # hidden ones are locks, or being written
WAITING, WAITING_EACH = 128 * 2**20, 72 * 2**20  # bytes of requests and blobs that wait in memory


class Full(Exception):
    """There is no room for more."""


@dataclass
class Session:
    visitor: str  # the address that it comes from
    listeners: int = 0  # streams that its page has open
    seen: float = field(default_factory=time.monotonic)


class Sessions:
    """The sessions, the one that was seen longest ago first.

    `begin` is called with the name of each new one, `forget` with the name of each that is gone.
    """

    def __init__(self, forget: Callable[[str], None], begin: Callable[[str], None] = lambda name: None) -> None:
        self._forget, self._begin = forget, begin
        self._open: OrderedDict[str, Session] = OrderedDict()

    def see(self, name: str, visitor: str) -> Session:
        """The session of this name, which is awake now. Raises Full where too many pages are open that listen."""
        self._expire()
        session = self._open.get(name)
        if session is None:
            own = [other for other, about in self._open.items() if about.visitor == visitor]
            for group, most in ((own, MOST_EACH), (list(self._open), MOST)):
                if len(group) >= most:
                    self._drop_silent(group)
            session = self._open[name] = Session(visitor)
            self._begin(name)
        session.seen = time.monotonic()
        self._open.move_to_end(name)
        return session

    @contextmanager
    def listening(self, name: str, visitor: str) -> Iterator[None]:
        """In here the session's page listens to a stream."""
        session = self.see(name, visitor)
        session.listeners += 1
        try:
            yield
        finally:
            session.listeners -= 1
            session.seen = time.monotonic()

    def __contains__(self, name: object) -> bool:
        return name in self._open

    def _expire(self) -> None:
        late = time.monotonic() - QUIET
        for name in [name for name, about in self._open.items() if not about.listeners and about.seen < late]:
            self._drop(name)

    def _drop_silent(self, names: list[str]) -> None:
        silent = next((name for name in names if name in self._open and not self._open[name].listeners), None)
        if silent is None:
            raise Full("too many pages are open: close some, or come back later")
        self._drop(silent)

    def _drop(self, name: str) -> None:
        del self._open[name]
        self._forget(name)


class Room:
    """Bytes that requests may hold in memory at once, in all and of each visitor."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}

    @contextmanager
    def taken(self, visitor: str) -> Iterator[Callable[[int], None]]:
        """Gives a function that takes so many bytes more until the end of the block; it raises Full."""
        own = 0

        def take(size: int) -> None:
            nonlocal own
            held = self._held.get(visitor, 0)
            if held + size > WAITING_EACH or sum(self._held.values()) + size > WAITING:
                raise Full("too much comes at once: try again when the others are through")
            own += size
            self._held[visitor] = held + size

        try:
            yield take
        finally:
            left = self._held.get(visitor, 0) - own
            self._held[visitor] = left
            if not left:
                del self._held[visitor]


def trim(folder: Path, most_bytes: int, most_files: int, own: re.Pattern[str] = ANY) -> None:
    """Remove the oldest files below a folder until the others are within both bounds. own: the names that count."""
    found: list[tuple[float, int, str]] = []
    for place, _, names in os.walk(folder):
        for name in filter(own.fullmatch, names):
            path = os.path.join(place, name)
            try:
                about = os.lstat(path)
            except OSError:  # it is gone
                continue
            found.append((about.st_mtime, about.st_size, path))
    found.sort(reverse=True)
    total = 0
    for number, (_, size, path) in enumerate(found):
        total += size
        if total > most_bytes or number >= most_files:
            try:
                os.unlink(path)
                os.rmdir(os.path.dirname(path))
            except OSError:  # it is gone, or its folder holds others
                continue
