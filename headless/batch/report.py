"""What became of a batch, from its manifest alone: counts, rates, what failed, and the command that goes on."""

from __future__ import annotations

import shlex
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ...cascade_core.wording import first_of, size_in_words
from . import manifest
from .failures import ADVICE
from .manifest import FINISHED, Record, error_kind

MOST_GROUPS = 50  # sorts of failures that are told


@dataclass(frozen=True)
class Group:
    """Rows that failed alike."""

    kind: str
    message: str
    rows: int
    ids: Sequence[str]  # the first few


@dataclass(frozen=True)
class Summary:
    states: Mapping[str, int]  # rows by the state of their last record
    kinds: Mapping[str, int]  # of those that are not finished
    attempts: int
    again: int  # attempts at rows that had failed before
    files: int
    bytes: int
    seconds: float  # of the command at work: of each run from its start to its last record
    rows_an_hour: float
    row_seconds: Mapping[str, float]  # of finished rows: median, 95 of 100, longest
    workers: Mapping[str, int]  # finished rows by worker
    groups: Sequence[Group]
    setups: int
    command: str | None  # the last one that was given
    warned: int = 0  # finished rows with warnings
    warning: str | None = None  # one of these, behind its row's id
    finished: Sequence[Record] = field(default=(), repr=False)  # some, evenly from all, with their files

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "finished"}


class _Last(NamedTuple):
    """What the last record of a row says."""

    state: str
    kind: str  # of its failure, or nothing
    message: str
    place: str  # where the row was read, of one that has no id of its own
    seconds: float
    warned: bool


def summarise(folder: Path, shown: int = 0) -> Summary:
    """The batch in a folder. shown: how many finished rows to keep for the page. Raises OSError."""
    last: dict[str, _Last] = {}
    workers: Counter[str] = Counter()
    attempts = again = files = size = setups = 0
    begun = worked = until = 0.0
    command = warning = None
    for record in manifest.records(folder / manifest.NAME):
        if "run" in record:
            run = record["run"]
            command = f"cd {shlex.quote(str(run.get('folder', '.')))} && {run.get('command', '')}"
            worked += until - begun
            begun = until = run.get("time", until)
        setups += "setup" in record and "id" not in record
        if "id" not in record:
            continue
        attempts += 1
        row_id, state = str(record["id"]), str(record["state"])
        again += row_id in last and last[row_id].state not in FINISHED
        until = record.get("time", until)
        if state in FINISHED and (row_id not in last or last[row_id].state not in FINISHED):
            workers[str(record.get("worker", ""))] += 1
            files += len(record["files"])
            size += sum(file["size"] for file in record["files"])
        message = str(record["error"].get("message", "")) if error_kind(record) else ""
        place = str(record.get("place", "")) if record.get("row") == row_id else ""
        told = record.get("warnings") if state in FINISHED else None
        warning = warning or (f"{row_id}: {told[0]}" if told else None)
        seconds = float(record.get("seconds", 0))
        last[row_id] = _Last(state, error_kind(record), message, place, seconds, bool(told))
    states = Counter(row.state for row in last.values())
    taken = sorted(row.seconds for row in last.values() if row.state in FINISHED)
    worked += until - begun
    finished = sum(states[state] for state in FINISHED)
    return Summary(
        states=dict(states),
        kinds=dict(Counter(row.kind for row in last.values() if row.kind)),
        attempts=attempts,
        again=again,
        files=files,
        bytes=size,
        seconds=round(worked, 1),
        rows_an_hour=round(3600 * finished / worked, 1) if worked > 0 else 0.0,
        row_seconds=_spread(taken),
        workers=dict(workers.most_common()),
        groups=_groups(last),
        setups=setups,
        command=command,
        warned=sum(row.warned for row in last.values()),
        warning=warning,
        finished=_some(folder, finished, shown),
    )


def lines(summary: Summary, folder: Path) -> list[str]:
    """The report as a person reads it in a terminal."""
    states = ", ".join(f"{number:,} {state}" for state, number in sorted(summary.states.items()))
    told = [
        f"{folder}: {states or 'no rows'}; {summary.files:,} files, {size_in_words(summary.bytes)}",
        f"{summary.attempts:,} attempts, {summary.again:,} of them at rows that had failed; {summary.seconds:,.0f} s of"
        f" work, {summary.rows_an_hour:,.0f} rows an hour",
    ]
    if summary.row_seconds:
        spread = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in summary.row_seconds.items())
        told.append(f"a row: {spread}; workers: {len(summary.workers)}")
    if summary.setups > 1:
        told.append(f"{summary.setups} setups: the workflow, model files or versions were not the same all the time")
    if summary.warned:
        told.append(warned(summary.warned, summary.warning))
    for group in summary.groups:
        told.append(f"{group.rows:,} {group.kind} ({first_of(group.ids)}): {group.message}")
    if summary.kinds and summary.command:
        told.append(f"to do: {'; '.join(ADVICE[kind] for kind in ADVICE if kind in summary.kinds)}; then again:")
        told.append(f"  {summary.command}")
    return told


def warned(rows: int, warning: str | None) -> str:
    """The line about rows with warnings. warning: one of these, behind its row's id."""
    return f"{rows:,} {'row' if rows == 1 else 'rows'} with warnings, such as {warning}"


def _spread(taken: Sequence[float]) -> dict[str, float]:
    if not taken:
        return {}
    return {"median": statistics.median(taken), "95 of 100": taken[int(0.95 * len(taken))], "longest": taken[-1]}


def _groups(last: Mapping[str, _Last]) -> list[Group]:
    alike: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for row_id, row in last.items():
        if row.kind:
            alike[row.kind, row.message].append(f"{row_id} ({row.place})" if row.place else row_id)
    largest = sorted(alike.items(), key=lambda item: -len(item[1]))[:MOST_GROUPS]
    return [Group(kind, message, len(ids), ids[:4]) for (kind, message), ids in largest]


def _some(folder: Path, finished: int, shown: int) -> list[Record]:
    """At most `shown` records of finished rows, evenly from all of them."""
    step = max(1, -(-finished // shown)) if shown else 0
    found: dict[str, Record] = {}
    seen = 0
    for record in manifest.records(folder / manifest.NAME) if shown else ():
        if record.get("state") in FINISHED and "id" in record:
            if seen % step == 0 and len(found) < shown:
                found[str(record["id"])] = record
            seen += 1
    return list(found.values())
