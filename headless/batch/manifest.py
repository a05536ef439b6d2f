"""The manifest of a batch: a line of JSON for each attempt at a row, on the disk before the row counts as done.

Lines are only added. Three sorts: `{"run": ...}` for each start of the command, `{"setup": key, ...}` for each workflow
with its model files and versions, and records, which name their setup. A last line without its end, as a power cut
leaves it, is taken off; other lines that cannot be read are counted and passed over. In memory is where each row's last
record lies, not what it says: a finished row's is read when the row is asked for, since most of a long batch are such.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .failures import LOST_WORKER

NAME = "manifest.jsonl"
FINISHED = ("done", "reused")
_decode = json.JSONDecoder().decode
_FINISHED_LINE = re.compile(rb'\{"id":"([^"\\]+)","state":"(?:done|reused)",.*\}\n')

Record = dict[str, Any]


class Manifest:
    """Opened to be written; whoever does that holds the folder's lock. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self.setups: dict[str, Record] = {}
        self.unread = 0
        self._places: dict[str, tuple[int, int]] = {}  # id -> place and length of its last record
        self._losses: dict[str, int] = {}  # by id: workers that died of it, since it was last finished
        self._waiting: list[bytes] = []
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
        self._end = self._written = 0
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                if finished := _FINISHED_LINE.fullmatch(line):
                    self._note_row(line, finished[1].decode("utf-8", "replace"), is_finished=True)
                else:
                    self._note(line, parse(line))
        self._written = self._end
        os.ftruncate(self._file, self._end)
        self._reader = path.open("rb")

    def last(self, row_id: str) -> Record | None:
        """The last record of a row, also one that waits to be written."""
        if row_id not in self._places:
            return None
        place, length = self._places[row_id]
        if place >= self._written:
            return parse(b"".join(self._waiting)[place - self._written :][:length])
        self._reader.seek(place)
        return parse(self._reader.read(length))

    def losses(self, row_id: str) -> int:
        """How many workers died of a row."""
        return self._losses.get(row_id, 0)

    def setup(self, content: Record) -> str:
        """The key of a setup, which is written where it is new."""
        key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
        if key not in self.setups:
            self.add({"setup": key, **content})
        return key

    def add(self, record: Record) -> None:
        """Have a record written by the next `commit`."""
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace") + b"\n"
        self._waiting.append(line)
        self._note(line, record)

    def commit(self) -> None:
        """Write what waits; it is on the disk when this returns. What cannot be written whole leaves nothing."""
        if not self._waiting:
            return
        content = b"".join(self._waiting)
        try:
            written = 0
            while written < len(content):
                written += os.write(self._file, content[written:])
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._written)
            raise
        self._waiting = []
        self._written = self._end

    def close(self) -> None:
        os.close(self._file)
        self._reader.close()

    def _note(self, line: bytes, record: Record | None) -> None:
        if record is not None and "id" in record:
            lost = error_kind(record) == LOST_WORKER
            self._note_row(line, str(record["id"]), is_finished=record["state"] in FINISHED, is_lost=lost)
            return
        if record is None:
            self.unread += 1
        elif "setup" in record:
            self.setups[record["setup"]] = record
        self._end += len(line)

    def _note_row(self, line: bytes, row_id: str, is_finished: bool, is_lost: bool = False) -> None:
        self._places[row_id] = self._end, len(line)
        self._end += len(line)
        if is_finished:
            self._losses.pop(row_id, None)
        elif is_lost:
            self._losses[row_id] = self._losses.get(row_id, 0) + 1


def parse(line: bytes) -> Record | None:
    """A line as what it says; None where it cannot be read."""
    try:
        found = _decode(line.decode())  # json.loads(line) would take twice the time, to guess the coding
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    is_sound = "id" not in found or isinstance(found.get("state"), str)
    return found if is_sound and (found.get("state") not in FINISHED or isinstance(found.get("files"), list)) else None


def error_kind(record: Record) -> str:
    """The kind of a record's failure; nothing where it has none."""
    error = record.get("error")
    return str(error.get("kind", "")) if isinstance(error, dict) else ""


def records(path: Path) -> Iterator[Record]:
    """All lines of a manifest that can be read, for those who only look. Raises OSError."""
    with path.open("rb") as file:
        yield from filter(None, map(parse, file))
