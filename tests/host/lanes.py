"""The ComfyUIs that tests run in, each a lane: every test of one runs whole before the next one's.

COMFYUI_PATH names their folders and COMFYUI_PYTHON their Pythons, several with the separator of PATH between them, in
the same order; COMFYUI_FRONT_END likewise the `static` folders of editors, where they are not the installed ones.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest

# Nodes 2.0 is offered to people since then; older editors have the setting, hidden and unfinished.
NODES2_SINCE = (1, 33)


@dataclass(frozen=True)
class Lane:
    """One ComfyUI."""

    path: Path
    python: str
    front_end: Path | None  # of another editor than the installed one

    @cached_property
    def version(self) -> str:
        found = re.search(r'__version__ = "(.+)"', (self.path / "comfyui_version.py").read_text())
        assert found is not None
        return found[1]

    @property
    def is_newer(self) -> bool:
        """Whether it is newer than the oldest that we promise, 0.3.64."""
        return tuple(map(int, self.version.split("."))) > (0, 3, 64)

    @cached_property
    def front_end_version(self) -> str:
        """What the editor's package calls itself."""
        places = "sys.path" if self.front_end is None else repr([str(self.front_end.parents[1])])
        code = (
            "import sys, importlib.metadata as m\n"
            f"(found, *_) = m.distributions(name='comfyui_frontend_package', path={places})\n"
            "print(found.version)"
        )
        return subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    @cached_property
    def name(self) -> str:
        """Its version, and the editor's where that is another than the installed one."""
        return self.version + (f"+{self.front_end_version}" if self.front_end else "")

    @cached_property
    def renderings(self) -> tuple[str, ...]:
        """The ways in which the editor draws nodes."""
        major, minor, *_ = (int(part) for part in self.front_end_version.split("."))
        return ("canvas", "nodes2") if (major, minor) >= NODES2_SINCE else ("canvas",)

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """What its server is started with besides."""
        return ("--front-end-root", str(self.front_end)) if self.front_end else ()


@cache
def lanes() -> list[Lane]:
    """Those that the environment names, none where it does not."""
    paths, pythons, front_ends = (
        os.environ.get(name, "").split(os.pathsep) for name in ("COMFYUI_PATH", "COMFYUI_PYTHON", "COMFYUI_FRONT_END")
    )
    if not any(paths) or not any(pythons):
        return []
    if len(paths) != len(pythons):
        raise pytest.UsageError(
            f"COMFYUI_PATH names {len(paths)} folders, COMFYUI_PYTHON {len(pythons)} Pythons: name as many of each"
        )
    front_ends += [""] * (len(paths) - len(front_ends))
    return [
        Lane(Path(path), python, Path(front_end) if front_end else None)
        for path, python, front_end in zip(paths, pythons, front_ends, strict=True)
    ]


def generate(metafunc: pytest.Metafunc) -> None:
    """One test for each lane, and where it opens the editor, for each rendering of that lane's editor."""
    chosen = any("rendering" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "rendering" in metafunc.fixturenames and not chosen:
        pairs = [
            pytest.param(lane, rendering, id=f"{lane.name}-{rendering}")
            for lane in lanes()
            for rendering in lane.renderings
        ]
        pairs = pairs or [pytest.param(None, "canvas", id="no ComfyUI")]
        metafunc.parametrize(("lane", "rendering"), pairs, indirect=True, scope="session")
    elif "lane" in metafunc.fixturenames:
        found = [pytest.param(lane, id=lane.name) for lane in lanes()]
        metafunc.parametrize("lane", found or [pytest.param(None, id="no ComfyUI")], indirect=True, scope="session")


@pytest.hookimpl(optionalhook=True)
def schedule(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadscope` a file's tests of a lane and a rendering go to one process, for they share a server.

    Not by marks of groups: xdist 3.8 writes those into a place where pytest 9.2 no longer reads them.
    """
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByLane(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, parameters = nodeid.partition("[")
            places = [f"{lane.name}{way}" for lane in lanes() for way in ("", *map("-{}".format, lane.renderings))]
            return " ".join([file.split("::", maxsplit=1)[0], *filter(parameters.startswith, places)])

    return ByLane(config, log)


@pytest.hookimpl(trylast=True)
def order(items: list[pytest.Item]) -> None:
    """Lane by lane, and file by file in each, so that what is dear is started once; reports say which lane it was."""
    places: dict[pytest.Item, tuple[int, Path]] = {}
    for item in items:
        params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        lane = params.get("lane")
        places[item] = (lanes().index(lane), item.path) if lane else (-1, Path())
        if lane:
            item.user_properties.append(("lane", (lane.name, params.get("rendering", "server"))))
    items.sort(key=places.__getitem__)


def summarise(terminalreporter: pytest.TerminalReporter) -> None:
    """For each lane its counts and its minutes, of the server alone and of each rendering of its editor."""
    seconds: Counter[tuple[str, str]] = Counter()
    counts: dict[tuple[str, str], Counter[str]] = {}
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:  # "deselected" and "warnings" have other things
            where = dict(report.user_properties).get("lane") if isinstance(report, pytest.TestReport) else None
            if where is not None:
                seconds[tuple(where)] += report.duration
                counts.setdefault(tuple(where), Counter())[outcome] += bool(outcome)  # "" is a set-up or a tear-down
    for lane in lanes():
        rows = [where for where in counts if where[0] == lane.name]
        if rows:
            total = sum((counts[where] for where in rows), Counter())
            spent = sum(seconds[where] for where in rows)
            terminalreporter.write_sep("-", f"ComfyUI {lane.version}, front end {lane.front_end_version}")
            terminalreporter.write_line(f"{'all':8} {told(total, spent)}")
            for where in rows:
                terminalreporter.write_line(f"{where[1]:8} {told(counts[where], seconds[where])}")


def told(counts: Counter[str], seconds: float) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) + f"; {seconds / 60:.1f} min"
