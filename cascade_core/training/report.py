"""The report of a run: one page of HTML with the curve, the validation, samples over time, settings, data and speed."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..files.atomic import durable
from .run_log import CURVE, SAMPLES

FILE = "report.html"
MOST_SAMPLES = 12  # times at which samples are shown: the first, the last, and others evenly between
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:980px;
margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}
img{max-width:100%}.samples img{width:96px;image-rendering:auto}"""


def write_report(
    folder: Path,
    title: str,
    lines: Sequence[Mapping[str, float]],
    settings: Mapping[str, Any],
    facts: Mapping[str, str],
) -> Path:
    """Write the page into a run's folder, with all pictures in it.

    lines: the log's. facts: what is to be told beside, such as the data's and the machine's, by name.
    """
    path = folder / FILE
    parts = [
        f"<h1>{escape(title)}</h1>",
        _table({**_course(lines), **facts}),
        _picture(folder / CURVE, "the loss over the steps"),
        _validations(lines),
        _samples(folder / SAMPLES),
        "<h2>Settings</h2>",
        _table({name: _words(value) for name, value in settings.items()}),
    ]
    head = f'<!doctype html><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    with durable(path) as temporary:
        temporary.write_text(head + "\n".join(filter(None, parts)), encoding="utf-8")
    return path


def _course(lines: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Steps and speed, by the seconds in the log; runs that were stopped count their own steps alone."""
    seconds = [line["seconds"] for line in lines if "seconds" in line]
    found = {"steps": f"{lines[-1]['step']:.0f}"} if lines else {"steps": "0"}
    if seconds:
        middle = sorted(seconds)[len(seconds) // 2]
        found |= {"a step": f"{middle:.3g} s (median)", "all steps": f"{sum(seconds) / 60:.1f} minutes"}
    return found


def _validations(lines: Sequence[Mapping[str, float]]) -> str:
    found = {int(line["step"]): line["validation"] for line in lines if "validation" in line}
    if not found:
        return ""
    best = min(found, key=lambda step: found[step])
    rows = {f"step {step}": f"{value:.5f}{' (best)' if step == best else ''}" for step, value in found.items()}
    return "<h2>Held-out pictures, at the same noise each time</h2>" + _table(rows)


def _samples(folder: Path) -> str:
    times: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.png")):
        times.setdefault(path.stem.partition("-")[0], []).append(path)
    steps = list(times)
    if not steps:
        return ""
    count = min(MOST_SAMPLES, len(steps))
    shown = [steps[round(part * (len(steps) - 1) / max(1, count - 1))] for part in range(count)]
    rows = "".join(_row(step, times[step]) for step in shown)
    return f'<h2>Samples by their steps</h2><table class="samples">{rows}</table>'


def _row(step: str, paths: Sequence[Path]) -> str:
    cells = "".join(f"<td>{_picture(path, f'sample {path.stem}')}</td>" for path in paths)
    return f"<tr><th>{int(step)}</th>{cells}</tr>"


def _words(value: Any) -> str:
    return "; ".join(map(_words, value)) if isinstance(value, tuple | list) else str(value)  # pyright: ignore[reportUnknownArgumentType]  (of anything)


def _table(rows: Mapping[str, str]) -> str:
    cells = (f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f"<table>{''.join(cells)}</table>"


def _picture(path: Path, words: str) -> str:
    """A picture as part of the page; nothing where there is none."""
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{data}">'
