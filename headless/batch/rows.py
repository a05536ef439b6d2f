"""Rows: what each sets in the workflow, read one after another from JSON lines, CSV or the standard input.

A row has an id, by which its files are named, and values as `--set` takes them. A line that is no row comes as one with
a `problem`, so that the others are not held up. Nothing is kept of the rows but a few bytes for each id.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import re
import unicodedata
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, BinaryIO

from ...cascade_core.reading import parse_json
from .. import graph

ID = "id"  # the name, or the column, of a row's id
LONGEST_LINE = 4 * 2**20  # bytes; the texts of a row have a million characters at most
LONGEST_PART = 120  # bytes of what lies between two slashes of an id; with an ending it is the name of a file
LONGEST_ID = 400  # bytes
_RESERVED = r"(?i:con|prn|aux|nul|com\d|lpt\d)(?:\.|\Z)"  # no names of files on Windows
_PART = re.compile(rf"(?!{_RESERVED})(?![.-])[\w.+=-]+(?<!\.)")
_NO_UTF_8 = re.compile("[\udc80-\udcff]")  # how bytes that are none are read


@dataclass  # not frozen, which takes three times as long to make
class Row:
    """What a row sets: texts by NODE.INPUT. `problem` is why it cannot run; `place` is where it was read.

    `digest` is equal for rows that set the same.
    """

    id: str
    values: Mapping[str, str]
    place: str = ""
    problem: str | None = None

    def __post_init__(self) -> None:
        # The texts as json.dumps writes them, sorted, which takes longer
        texts = [f"{_quoted(name)}: {_quoted(value)}" for name, value in sorted(self.values.items())]
        self.digest = _digest(f"{{{', '.join(texts)}}}")


class _NoRow(ValueError):
    """Why a line is no row."""


def read(file: BinaryIO, name: str, expect: Callable[[Sequence[str]], None] = lambda _: None) -> Iterator[Row]:
    """The rows of a file: JSON lines where its first character is `{`, else CSV. `name` is how messages call it.

    expect: raises WorkflowError for headers that are no inputs, since not one row of theirs could run. WorkflowError,
    at once, for these and for what is no table, or has no rows.
    """
    lines = _lines(file)
    begin: list[bytes] = []
    while not (begin and begin[-1].strip()) and (line := next(lines, b"")):
        begin.append(line)
    if begin:
        begin[-1] = begin[-1].removeprefix(BOM_UTF8)
    head = begin[-1].strip() if begin else b""
    if head.startswith(b"["):
        raise graph.WorkflowError(f"{name}: expected JSON lines or CSV, found a JSON list: write one {{…}} a line")
    is_json = head.startswith(b"{")
    for mark, shown in () if is_json or b"," in head else ((b";", ";"), (b"\t", "tabs")):
        if mark in head:
            raise graph.WorkflowError(f"{name}: its cells are separated by {shown}: save it with commas")
    all_lines = itertools.chain(begin, lines)
    found = _json_rows(all_lines, name) if is_json else _csv_rows(all_lines, name, expect)
    first = next(found, None) if head else None
    if first is None:
        raise graph.WorkflowError(f"{name} has no rows")
    return itertools.chain([first], found)


def nothing() -> Row:
    """The row that sets nothing."""
    row = Row("", {})
    return replace(row, id=row.digest)


def unique(rows: Iterable[Row]) -> Iterator[Row]:
    """Each row once; of two rows with one id that set different values the second has a problem.

    Ids that differ in capital letters only count as one, since some disks do not tell their files apart.
    """
    seen: dict[str, bytes] = {}
    for row in rows:
        name = row.id if row.id.isascii() else unicodedata.normalize("NFC", row.id)
        key, value = name.casefold(), bytes.fromhex(row.digest)
        if key not in seen:
            seen[key] = value
            yield row
        elif seen[key] != value and row.problem is None:
            problem = (
                f"the id {row.id!r} stands before another row (ids that differ in capitals alone count as one): give"
                " each row an id of its own"
            )
            yield refused(row.place, f"{row.id} {row.digest}", problem)


def refused(place: str, content: str, problem: str) -> Row:
    """A line that is no row; its id is made of its content."""
    return Row(f"line-{_digest(content)}", {}, place, problem)


def check_id(text: str) -> str:
    """The id itself; ValueError for what is no name of a file inside a folder."""
    parts = text.split("/")
    if len(text.encode("utf-8", "replace")) > LONGEST_ID or not all(map(_is_part, parts)):
        raise ValueError(
            f"expected an id of letters, digits and . _ + = - (with / between folders and none first, at most"
            f" {LONGEST_PART} bytes a part; no part that is . or .., begins with . or -, ends with . or is kept by"
            f" Windows, as con is), found {graph.show(text)}"
        )
    return text


def _is_part(part: str) -> bool:
    return bool(_PART.fullmatch(part)) and len(part.encode("utf-8", "replace")) <= LONGEST_PART


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines; of one that is too long so much that it is seen to be too long."""
    while line := file.readline(LONGEST_LINE + 1):
        yield line
        while len(line) > LONGEST_LINE and not line.endswith(b"\n") and (line := file.readline(LONGEST_LINE + 1)):
            pass


def _json_rows(lines: Iterable[bytes], name: str) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        place, stripped = f"{name}, line {number}", line.strip()
        if not stripped:
            continue
        try:
            if len(line) > LONGEST_LINE:
                raise _NoRow(f"the line has more than {LONGEST_LINE >> 20} MiB")
            yield _row(_parse(stripped), place)
        except _NoRow as error:
            yield refused(place, stripped.decode("utf-8", "replace"), str(error))


def _parse(line: bytes) -> dict[str, Any]:
    try:
        found = parse_json(line.decode(), _each_once)
    except _NoRow:
        raise
    except ValueError as error:
        why = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise _NoRow(f"expected a JSON object, but this is no JSON that can be read: {why}") from None
    if not graph.is_object(found):
        raise _NoRow(f"expected a JSON object, found {graph.show(found)}")
    return found


def _each_once(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(entries)
    if len(found) < len(entries):
        names = [entry for entry, _ in entries]
        raise _NoRow(f"{next(entry for entry in names if names.count(entry) > 1)!r:.80} stands twice in it")
    return found


def _csv_rows(lines: Iterable[bytes], name: str, expect: Callable[[Sequence[str]], None]) -> Iterator[Row]:
    """The rows below a line of headers; an empty cell leaves what the workflow has."""
    reader = csv.reader((line.decode("utf-8", "surrogateescape") for line in lines), strict=True)
    try:
        names = [header.strip() for header in next(filter(None, reader), [])]
    except csv.Error as error:
        raise graph.WorkflowError(f"{name}, line {reader.line_num}: it cannot be read as CSV: {error}") from error
    if len(set(names)) < len(names) or not all(names):
        raise graph.WorkflowError(
            f"{name}: expected JSON lines that begin with {{, or CSV with a header for each column, each once; found"
            f" the headers {graph.list_choices(names)}"
        )
    try:
        expect([header for header in names if header != ID])
    except graph.WorkflowError as error:
        raise graph.WorkflowError(*(f"{name}, the headers: {problem}" for problem in error.messages)) from None
    while True:
        place = f"{name}, line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield refused(place, f"{place} {error}", f"it cannot be read as CSV: {error}")
            continue
        if cells is None:
            return
        try:
            if len(cells) == len(names):
                if any(map(_NO_UTF_8.search, cells)):
                    raise _NoRow("it has bytes that are no UTF-8")
                yield _row({key: cell for key, cell in zip(names, cells, strict=True) if cell}, place)
            elif cells:
                raise _NoRow(f"expected {len(names)} cells, found {len(cells)}")
        except _NoRow as error:
            yield refused(place, json.dumps(cells), str(error))


def _row(found: Mapping[str, Any], place: str) -> Row:
    values = {name: _text(name, value) for name, value in found.items()}
    given = values.pop(ID, None)
    row = Row(given or "", values, place)
    if given is None:
        return replace(row, id=row.digest)
    try:
        check_id(given)
    except ValueError as error:
        raise _NoRow(str(error)) from None
    return row


def _text(name: str, value: Any) -> str:
    """A value as a person would type it behind `--set`."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return json.dumps(value)
    raise _NoRow(f"{graph.show(name)}: expected a text, a number, true or false, found {graph.show(value)}")
