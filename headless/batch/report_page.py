"""The report of a batch as one HTML page, with small pictures of some rows in it."""

from __future__ import annotations

import base64
import io
import os
from html import escape
from pathlib import Path
from urllib.parse import quote

from ...cascade_core.wording import size_in_words
from ...runtime import paths
from .report import Summary, warned

SHOWN = 120  # rows with pictures
SIDE = 128  # pixels of a small picture's longer side
_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2em;max-width:75em;color-scheme:light dark}table{border-collapse:"
    "collapse}td,th{padding:.2em .8em;text-align:left;vertical-align:top}.pictures{display:flex;flex-wrap:wrap;gap:8px}"
    "figure{margin:0;width:128px;font-size:11px;overflow-wrap:anywhere}pre{white-space:pre-wrap}"
)


def page(summary: Summary, folder: Path, place: Path) -> str:
    """The page as it will lie at `place`, from where its pictures lead to the files."""
    counted = [*summary.states.items(), ("attempts", summary.attempts), ("files", summary.files)]
    numbers = [(name, f"{number:,}") for name, number in counted]
    numbers += [("size", size_in_words(summary.bytes)), ("rows an hour", f"{summary.rows_an_hour:,.0f}")]
    numbers += [(f"a row, {name}", f"{seconds:.2f} s") for name, seconds in summary.row_seconds.items()]
    failed = [(group.kind, f"{group.rows:,}", ", ".join(group.ids), group.message) for group in summary.groups]
    parts = [
        f"<!doctype html><meta charset=utf-8><title>{escape(folder.name)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(str(folder))}</h1>",
        _table((), numbers),
        f"<p>{escape(warned(summary.warned, summary.warning))}" if summary.warned else "",
        "<h2>Not finished</h2>" + _table(("kind", "rows", "such as", "message"), failed) if failed else "",
        f"<p>Again: <pre>{escape(summary.command)}</pre>" if summary.kinds and summary.command else "",
        "<h2>Pictures</h2><div class=pictures>",
        *(_figure(record, folder, place) for record in summary.finished),
        "</div>",
    ]
    return "\n".join(filter(None, parts)) + "\n"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    head = f"<tr>{''.join(f'<th>{escape(name)}' for name in heads)}" if heads else ""
    return f"<table>{head}{''.join('<tr>' + ''.join(f'<td>{escape(cell)}' for cell in row) for row in rows)}</table>"


def _figure(record: dict[str, object], folder: Path, place: Path) -> str:
    files = record["files"]
    name = str(files[0]["name"]) if isinstance(files, list) and files else ""
    small = _small(folder, name)
    if small is None:
        return ""
    link = escape(_relative(folder / name, place.parent), quote=True)
    source = f"data:image/jpeg;base64,{small}"
    return f'<figure><a href="{link}"><img alt="" src="{source}"></a><br>{escape(str(record["id"]))}</figure>'


def _relative(path: Path, start: Path) -> str:
    return quote(Path(os.path.relpath(path.absolute(), start.absolute())).as_posix())


def _small(folder: Path, name: str) -> str | None:
    """A picture as base64 of a small JPEG; None for what is no picture, or not there."""
    from PIL import Image

    try:
        with Image.open(paths.inside(folder, name)) as picture:
            picture.thumbnail((SIDE, SIDE))
            written = io.BytesIO()
            picture.convert("RGB").save(written, "JPEG", quality=80)
    except (OSError, ValueError):
        return None
    return base64.b64encode(written.getvalue()).decode()
