"""A long session in one page: what it takes in the app and in the browser comes to rest. Run: pytest -m browser FILE"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from .browser import Page
from .conftest import Server, running
from .test_storm import memory, on_disk

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RUNS, FIRST = 50, 10  # the first ones load models and fill caches


class Taken(NamedTuple):
    """Bytes of memory, of the disk and of the page's own; threads, open files, elements and listeners."""

    memory: int
    disk: int
    heap: int
    threads: int
    files: int
    elements: int
    listeners: int


def taken(server: Server, page: Page) -> Taken:
    page.driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    page.driver.execute_cdp_cmd("Performance.enable", {})
    told = page.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    of = {each["name"]: int(each["value"]) for each in told}
    process = Path(f"/proc/{server.process.pid}")
    threads, files = (len([*(process / name).iterdir()]) for name in ("task", "fd"))
    heap, elements, listeners = (of[name] for name in ("JSHeapUsedSize", "Nodes", "JSEventListeners"))
    return Taken(memory(server), on_disk(server), heap, threads, files, elements, listeners)


def test_fifty_runs_without_growth(tmp_path: Path, browser: tuple[str, str]) -> None:
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
    with running(tmp_path) as server, Page(server.url, *browser) as page:
        page.fill(".node-9.input-steps", "4")
        told: dict[int, Taken] = {}
        for run in range(1, RUNS + 1):
            page.fill(".node-9.input-seed", str(run + 1))
            assert page.make() == "done", page.status()
            if run in (FIRST, RUNS):
                told[run] = taken(server, page)
        assert len([*server.output.rglob("cascade_*.png")]) == RUNS
        assert page.console() == []
    print(json.dumps({run: each._asdict() for run, each in told.items()}))
    first, last = told[FIRST], told[RUNS]
    runs = RUNS - FIRST
    assert last.memory - first.memory < runs * 2**19
    assert last.disk - first.disk < runs * 2**20  # pictures shown, of which the app keeps a bounded number
    assert last.heap - first.heap < runs * 2**17
    assert last.threads - first.threads < 5
    assert last.files - first.files < 5
    assert last.elements - first.elements < runs * 10
    assert last.listeners - first.listeners < runs * 10
