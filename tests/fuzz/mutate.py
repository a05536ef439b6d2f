"""Bytes as bad luck and bad people make them: a good file, changed at random places."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

from ..cli import mutator

LARGEST = 200_000  # bytes of a mutant
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
PNG = b"\x89PNG\r\n\x1a\n"


def of_bytes(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Up to five changes anywhere."""
    for _ in range(chance.choice((1, 1, 2, 3, 5))):
        data = chance.choice((_overwrite, _overwrite, _edge, _cut, _repeat, _leave_out, _graft))(data, others, chance)
    return data[:LARGEST]


def of_header(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """A safetensors file whose header is changed as a JSON, with its length set right; sometimes as bytes."""
    if chance.random() < 0.3:
        return of_bytes(data, others, chance)
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
    except ValueError:
        return of_bytes(data, others, chance)
    if "cascade" in header.get("__metadata__", {}) and chance.random() < 0.5:
        entry = json.loads(header["__metadata__"]["cascade"])
        header["__metadata__"]["cascade"] = mutator.mutate(entry, [entry], chance).decode("utf-8", "replace")
        raw = json.dumps(header).encode()
    else:
        raw = mutator.mutate(header, [header], chance)
    return (len(raw).to_bytes(8, "little") + raw + data[8 + length :])[: mutator.LARGEST]


def of_chunks(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """A PNG whose chunks are changed and have right checksums; of other formats, and sometimes, the bytes."""
    if not data.startswith(PNG) or chance.random() < 0.3:
        return of_bytes(data, others, chance)
    chunks = _chunks(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        place = chance.randrange(len(chunks))
        kind, content = chunks[place]
        if chance.random() < 0.3:
            chunks.insert(chance.randrange(len(chunks) + 1), (kind, content))
        elif kind == b"IHDR" and chance.random() < 0.5:
            sides = struct.pack(">II", chance.choice(EDGES) & 0xFFFFFFFF, chance.choice(EDGES) & 0xFFFFFFFF)
            chunks[place] = (kind, sides + content[8:])
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and chance.random() < 0.5:
            chunks[place] = (chance.choice((b"tEXt", b"zTXt", b"iTXt", b"comf", b"eXIf")), content)
        else:
            chunks[place] = (kind, of_bytes(content, others, chance) if content else b"\0")
    parts = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks]
    return (PNG + b"".join(parts))[:LARGEST]


def of_workflow(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """A workflow of either form, changed as a JSON."""
    parsed: list[Any] = [json.loads(other) for other in chance.sample(others, min(3, len(others)))]
    return mutator.mutate(json.loads(data), parsed, chance)


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    place = len(PNG)
    while place + 8 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        found.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def _overwrite(data: bytes, _others: list[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.randbytes(chance.choice((1, 1, 2, 4, 16))) + data[at + 1 :]


def _edge(data: bytes, _others: list[bytes], chance: random.Random) -> bytes:
    at, width, order = chance.randrange(len(data) + 1), chance.choice((1, 2, 4, 8)), chance.choice(("little", "big"))
    value = chance.choice(EDGES) & (2 ** (8 * width) - 1)
    return data[:at] + value.to_bytes(width, order) + data[at + width :]  # pyright: ignore[reportArgumentType]


def _cut(data: bytes, _others: list[bytes], chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _repeat(data: bytes, _others: list[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[at : at + chance.choice((1, 8, 64))] * chance.choice((2, 10, 1000)) + data[at:]


def _leave_out(data: bytes, _others: list[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[at + chance.choice((1, 2, 8, 50)) :]


def _graft(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    other = chance.choice(others)
    at, start = chance.randrange(len(data) + 1), chance.randrange(len(other) + 1)
    return data[:at] + other[start : start + chance.choice((4, 32, 256))] + data[at:]


Mutation = Callable[[bytes, list[bytes], random.Random], bytes]
