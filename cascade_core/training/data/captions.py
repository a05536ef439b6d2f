"""The captions of pictures as people keep them: text files beside them, JSON, and tables of a folder.

Of a picture `cat.png`, in this order: its row in a table that was named; its line in `metadata.jsonl`; `cat.txt`;
`cat.caption`; a field of `cat.json`. Where the same picture has several captions, one is drawn each time.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ...errors import CascadeError
from ...reading import LARGEST_TEXT, is_hidden, parse_json, read_text, walk

if TYPE_CHECKING:
    import numpy as np

LONGEST = 2**20  # bytes of a caption's file
SUFFIXES = (".txt", ".caption")
METADATA = "metadata.jsonl"  # of a folder: a JSON object a line
LARGEST_TABLE = 64 * LARGEST_TEXT
PICTURE_FIELDS = ("file_name", "file", "image", "image_path", "path", "name", "key")
CAPTION_FIELDS = ("text", "caption", "captions", "prompt")
LINES = ("together", "each")  # what the lines of a text file are: one caption, or a caption each


@dataclass(frozen=True)
class Captions:
    """The captions below a folder; `of` finds those of a picture."""

    folder: Path
    lines: str = LINES[0]
    json_field: str = ""  # of a JSON file beside each picture
    table: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def of(self, name: str) -> tuple[str, ...]:
        """The captions of the picture at this path in the folder, with "/"; none where it has none.

        An empty file counts as none. CascadeError for one that cannot be read.
        """
        stem = name.rpartition(".")[0]
        found = self.table.get(name) or self.table.get(stem)
        if found:
            return found
        for suffix in SUFFIXES:
            text = _read(self.folder / f"{stem}{suffix}", name)
            if text is not None and (captions := self._split(text)):
                return captions
        if self.json_field:
            text = _read(self.folder / f"{stem}.json", name)
            if text is not None:
                return self._of_json(text, self.folder / f"{stem}.json")
        return ()

    def _split(self, text: str) -> tuple[str, ...]:
        parts = [text] if self.lines == LINES[0] else text.splitlines()
        return tuple(filter(None, (" ".join(part.split()) for part in parts)))

    def _of_json(self, text: str, path: Path) -> tuple[str, ...]:
        try:
            return captions_in(parse_json(text).get(self.json_field))
        except (ValueError, AttributeError) as error:
            raise CascadeError(f"{path} has no JSON object that can be read: {error}") from error


def find_captions(folder: Path, lines: str = LINES[0], json_field: str = "", table: Path | None = None) -> Captions:
    """The captions of a folder's pictures. table: a file of names and captions, beside what the folder has itself.

    Raises CascadeError for a table that cannot be read.
    """
    rows: dict[str, tuple[str, ...]] = {}
    for place, _, names in walk(folder, is_hidden) if folder.is_dir() else ():
        if METADATA in names:
            below = place.relative_to(folder).as_posix()
            prefix = "" if below == "." else f"{below}/"
            rows |= {prefix + name: captions for name, captions in read_table(place / METADATA).items()}
    if table is not None:
        rows |= read_table(table)
    return Captions(folder, lines, json_field, rows)


def read_table(path: Path) -> dict[str, tuple[str, ...]]:
    """Captions by pictures' names, of a table: .csv, .tsv, .jsonl, .json or .parquet (which needs pandas).

    The columns are known by their names (PICTURE_FIELDS, CAPTION_FIELDS). A JSON object may also have the pictures'
    names as its keys, as kohya's metadata has it. Raises CascadeError.
    """
    try:
        rows = [(_first(row, PICTURE_FIELDS), captions_of_row(row)) for row in _rows(path)]
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CascadeError(f"{path}, a table of captions, cannot be read: {why}") from error
    if rows and not any(name for name, _ in rows):
        raise CascadeError(f"{path} names no pictures: expected a column {', '.join(PICTURE_FIELDS[:3])} or path")
    return {str(name).replace("\\", "/"): captions for name, captions in rows if name and captions}


def captions_of_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The captions of a table's row, with kohya's tags behind them."""
    captions, tags = captions_in(_first(row, CAPTION_FIELDS)), captions_in(row.get("tags"))
    if not captions or not tags:
        return captions or tags
    return tuple(f"{caption}, {tags[0]}" for caption in captions)


def shuffled(caption: str, kept: int, random: np.random.Generator) -> str:
    """The caption with its parts between commas in another order, the first `kept` of them in their places."""
    parts = [part.strip() for part in caption.split(",")]
    last = parts[kept:]
    random.shuffle(last)
    return ", ".join([*parts[:kept], *last])


def captions_in(value: Any) -> tuple[str, ...]:
    """The captions that a JSON value holds: a text, or a list of texts."""
    texts: Iterable[Any] = cast(list[Any], value) if isinstance(value, list) else [value]
    return tuple(" ".join(text.split()) for text in texts if isinstance(text, str) and text.strip())


def _first(row: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((row[name] for name in names if row.get(name)), None)


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet(path)
        return
    text = read_text(path, LARGEST_TABLE)
    if suffix in (".csv", ".tsv"):
        yield from csv.DictReader(io.StringIO(text), delimiter="\t" if suffix == ".tsv" else ",")
    elif suffix == ".jsonl":
        yield from (json.loads(line) for line in text.splitlines() if line.strip())
    elif suffix == ".json":
        yield from _json_rows(json.loads(text))
    else:
        raise ValueError("expected the ending .csv, .tsv, .jsonl, .json or .parquet")


def _json_rows(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from cast(list[Any], value)
    else:
        for name, entry in cast(dict[str, Any], value).items():
            yield {"file_name": name} | (entry if isinstance(entry, dict) else {"text": entry})


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        yield from cast(Any, import_module("pandas")).read_parquet(path).to_dict("records")
    except ImportError as error:
        raise CascadeError(
            f"{path}: a .parquet table needs pandas and pyarrow: install them, or save it as .csv"
        ) from error


def _read(path: Path, picture: str) -> str | None:
    """The text of a caption's file; None where there is none."""
    try:
        return read_text(path, LONGEST)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CascadeError(
            f"{path}, the caption of {picture.rpartition('/')[2]}, cannot be read as UTF-8 text ({why})"
        ) from error
