"""Connections that would be open for ever, to a server with short deadlines. Run: pytest tests/app"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import uvicorn

from stable_cascade_nodes.app import connections
from stable_cascade_nodes.app.connections import Connection

LARGE = bytes(64 * 2**20)


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Reads all of a request; then sends little, or under /large much, or under /slow a little at a time."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/slow":
        for _ in range(20):
            await connections.asyncio.sleep(0.1)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
    await send({"type": "http.response.body", "body": LARGE if scope["path"] == "/large" else b"fine"})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    for name, seconds in (("HEAD", 1.0), ("BODY", 2.0), ("SILENCE", 1.0), ("READING", 1.0), ("MOST", 20)):
        monkeypatch.setattr(connections, name, seconds)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(answer, http=Connection, ws="none", lifespan="off", log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = server.force_exit = True
    thread.join(timeout=20)


def end(connection: socket.socket, sent: Iterable[bytes] = (), seconds: float = 15) -> tuple[bytes, float]:
    """What a connection gives until it ends, while pieces are sent to it, and when that is; a reset is an end."""
    pieces = iter(sent)
    began, got = time.monotonic(), b""
    connection.settimeout(0.2)
    while time.monotonic() - began < seconds:
        try:
            if piece := next(pieces, b""):
                connection.sendall(piece)
            data = connection.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return got, time.monotonic() - began
        if not data:
            return got, time.monotonic() - began
        got += data
    raise AssertionError("it does not end")


@pytest.mark.parametrize(
    "head",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"],
)
def test_who_sends_nothing_more_is_let_go(port: int, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        got, seconds = end(connection, [head])
    assert got == b"" and seconds > 0.8


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n"]
)
def test_who_sends_a_byte_at_a_time_is_let_go(port: int, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        got, _ = end(connection, [head, *[b"a"] * 500])
    assert got == b""


def test_who_does_not_read_is_let_go(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(4)
        got, _ = end(connection, seconds=60)
    assert len(got) < len(LARGE)


def test_who_reads_and_who_waits_for_an_answer_may_take_longer(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got, seconds = end(connection)
    assert b"fine" in got and seconds > 1.8


def test_of_too_many_the_one_that_waited_longest_goes(port: int) -> None:
    waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got, _ = end(connection)
    assert b"fine" in got
    for other in waiting:
        other.close()
