"""Connections that end: uvicorn's own wait for ever for a request's head and body, and for a client that reads."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD, BODY, SILENCE = 20.0, 600.0, 30.0  # seconds for a request's head, all of its body, and between pieces of it
READING = 60.0  # seconds until a client has read what was sent
MOST = 400  # connections at once; files and pipes of the process come on top


class Connection(H11Protocol):
    """A connection with deadlines. Where there are too many, the one that has waited longest for its client ends."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._awaited: Any = None  # h11's state of the client
        self._since = 0.0  # when it began, by the loop's clock
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look()
        if len(self.connections) > MOST:
            waiting = [other for other in self.connections if isinstance(other, Connection) and other.is_awaited]
            min(waiting, key=lambda other: other._since, default=self).transport.abort()

    @property
    def is_awaited(self) -> bool:
        """Whether the client has not yet sent all of its request."""
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in self._timers.values():
            timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._end_in("reading", READING)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_in("reading", None)

    def _look(self) -> None:
        """Set the deadline of what the client is to send next."""
        now = self.loop.time()
        if self._awaited is not self.conn.their_state:
            self._awaited, self._since = self.conn.their_state, now
        if self._awaited is h11.IDLE:
            self._end_in("sending", self._since + HEAD - now)
        elif self._awaited is h11.SEND_BODY:
            self._end_in("sending", min(SILENCE, self._since + BODY - now))
        else:
            self._end_in("sending", None)

    def _end_in(self, what: str, seconds: float | None) -> None:
        """End the connection after so many seconds in which nobody says otherwise of `what`."""
        if what in self._timers:
            self._timers.pop(what).cancel()
        if seconds is not None:
            self._timers[what] = self.loop.call_later(max(seconds, 0.0), self.transport.abort)
