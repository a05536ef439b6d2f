"""Runs in the queue: progress, previews, cancelling, limits. Run: pytest tests/app/test_runs.py"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stable_cascade_nodes.app import wording
from stable_cascade_nodes.app.runs import Full, Run, Runner
from stable_cascade_nodes.headless import graph, native, node_classes
from stable_cascade_nodes.runtime import host

from .conftest import wait_for

STEPS = 200


class Slow:
    """Takes steps, each of which the test allows; shows a picture of each."""

    FUNCTION, RETURN_TYPES, OUTPUT_NODE = "work", (), True
    steps = threading.Semaphore(0)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": ("INT", {"default": 0}), "fault": ("STRING", {"default": ""})}}

    def work(self, value: int, fault: str) -> dict[str, Any]:
        here, steps = host.current(), self.steps  # those of its own test, to the end
        here.warn("Slow", f"began with {value}")
        with here.progress("Slow", STEPS) as advance:
            for step in range(STEPS):
                assert steps.acquire(timeout=20)
                here.check_cancel()
                if fault == "preview":
                    advance(partial(broken, step))
                elif fault:
                    raise {"memory": MemoryError, "file": OSError, "bug": KeyError}[fault]("60 GiB")
                else:
                    advance(partial(Image.new, "RGB", (800, 400), (step, 0, 0)))
        return {"ui": {"text": [f"ended {value}"]}}


def broken(step: int) -> Image.Image:
    raise RuntimeError("out of memory")


@pytest.fixture
def runner(place: Path) -> Iterator[Runner]:
    Slow.steps = threading.Semaphore(0)
    found = Runner(node_classes.Nodes({**native.CLASSES, "Slow": Slow}, {}), limit=3)
    yield found
    found.cancel("tab")
    Slow.steps.release(STEPS * 9)


def make(runner: Runner, value: int = 0, tab: str = "tab", fault: str = "") -> Run:
    prompt = {"1": {"class_type": "Slow", "inputs": {"value": value, "fault": fault}}}
    checked = graph.validate(prompt, runner.nodes.classes)
    assert not checked.problems
    return Run(tab, checked, None)


def test_progress_previews_warnings_and_texts_are_told(runner: Runner) -> None:
    run = make(runner, 5)
    runner.submit([run])
    wait_for(lambda: run.steps == STEPS)
    assert (run.step, run.preview, run.seconds_left()) == (0, None, None)
    Slow.steps.release(1)
    wait_for(lambda: run.step == 1)
    first = run.preview
    assert first is not None and first[:2] == b"\xff\xd8"
    assert run.seconds_left() is not None
    Slow.steps.release(STEPS)
    wait_for(lambda: run.is_over)
    assert run.state == "done" and run.preview != first and not run.is_old
    assert run.warnings == ["began with 5"] and run.texts == ["ended 5"]


def test_cancel_works_within_a_step_and_the_next_run_starts_clean(runner: Runner) -> None:
    run = make(runner)
    runner.submit([run])
    Slow.steps.release(3)
    wait_for(lambda: run.step == 3)
    assert runner.cancel("tab")
    Slow.steps.release(1)
    wait_for(lambda: run.is_over)
    assert (run.state, run.step) == ("stopped", 3)
    again = make(runner)
    runner.submit([again])
    Slow.steps.release(STEPS)
    wait_for(lambda: again.is_over)
    assert (again.state, again.step, again.messages) == ("done", STEPS, [])


def test_a_cancel_that_came_too_late_stops_nothing(runner: Runner) -> None:
    assert not runner.cancel("tab")
    host.configure().request_cancel()
    run = make(runner)
    Slow.steps.release(STEPS)
    runner.submit([run])
    wait_for(lambda: run.is_over)
    assert run.state == "done"


def test_cancel_drops_what_waits_of_the_tab_and_of_no_other(runner: Runner) -> None:
    first, second, other = make(runner), make(runner, 1), make(runner, 2, tab="other")
    runner.submit([first, second])  # by one press of a button, which people count
    runner.submit([other])
    wait_for(lambda: first.state == "running")
    assert (runner.ahead_of(second), runner.ahead_of(other)) == (0, 1)
    assert "waiting behind 1 other run" in wording.status([other], runner)
    assert "waiting behind" not in wording.status([first, second], runner)
    runner.cancel("tab")
    assert "Cancelling: it stops after this step" in wording.status([first, second], runner)
    Slow.steps.release(STEPS + 1)
    wait_for(lambda: other.is_over)
    assert [run.state for run in (first, second, other)] == ["stopped", "stopped", "done"]


def test_the_queue_has_a_limit(runner: Runner) -> None:
    running = make(runner)
    runner.submit([running])
    wait_for(lambda: running.state == "running")
    runner.submit([make(runner, value) for value in (1, 2)])
    with pytest.raises(Full, match="2 runs are waiting already, and at most 3 can"):
        runner.submit([make(runner, value) for value in (3, 4)])
    runner.submit([make(runner, 5)])  # none of the refused ones took a place


@pytest.mark.parametrize(
    ("fault", "message"),
    [("memory", "choose a smaller size"), ("file", "60 GiB"), ("bug", "KeyError")],
)
def test_what_fails_is_told_and_the_next_run_works(
    runner: Runner, fault: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run, after = make(runner, fault=fault), make(runner)
    runner.submit([run, after])
    Slow.steps.release(STEPS + 1)
    wait_for(lambda: after.is_over)
    assert (run.state, after.state) == ("failed", "done")
    assert len(run.messages) == 1 and message in run.messages[0]
    assert ("Traceback" in capsys.readouterr().err) == (fault == "bug")
    assert message in wording.status([run], runner)


def test_a_preview_that_cannot_be_made_ends_the_previews_and_not_the_run(runner: Runner) -> None:
    run = make(runner, fault="preview")
    runner.submit([run])
    Slow.steps.release(STEPS)
    wait_for(lambda: run.is_over)
    assert (run.state, run.preview) == ("done", None)
    assert run.warnings == ["began with 0", "there are no more previews of this run: out of memory"]


def test_the_same_again_is_there_already(runner: Runner) -> None:
    runs = [make(runner), make(runner)]
    Slow.steps.release(STEPS)
    runner.submit(runs)
    wait_for(lambda: runs[1].is_over)
    assert [run.is_old for run in runs] == [False, True]
    assert "Nothing has changed" in wording.status(runs[1:], runner)


def test_a_notice_is_a_line_and_is_told_once(runner: Runner) -> None:
    run = make(runner)
    run.warnings = ["it does not know: <castle>. It knows: circle, square"]
    run.texts = [*run.warnings, "0.5"]
    told = wording.notices([run, run])
    assert told.count("does not know") == 1 and told.count("0.5") == 1
    first, _, more = told.partition("</summary>")
    assert first.endswith("it does not know: &lt;castle&gt;.") and more.startswith("<p>It knows: circle, square</p>")


def test_what_is_under_way_is_found_again(runner: Runner) -> None:
    first, second, other = make(runner), make(runner, 1), make(runner, 2, tab="other")
    assert runner.under_way() == ()
    runner.submit([first, second])
    runner.submit([other])
    assert runner.under_way() == [first, second] == runner.under_way("tab")
    assert (runner.under_way("other"), runner.under_way("third")) == ([other], ())
    Slow.steps.release(STEPS * 3)
    wait_for(lambda: second.is_over)
    assert runner.under_way() in ([other], ()) and runner.under_way("tab") == ()


def test_what_comes_from_elsewhere_is_escaped() -> None:
    assert "<script" not in wording.problem(["<script>alert(1)</script>"])
    assert "<b" not in wording.notice("<b onclick=x>")


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (150, "2 min"), (7500, "2 h 5 min")])
def test_durations_in_words(seconds: float, words: str) -> None:
    assert wording.duration(seconds) == words
