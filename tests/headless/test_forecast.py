"""How long a run still takes. Run: pytest tests/headless/test_forecast.py"""

from __future__ import annotations

from typing import Any

import pytest

from stable_cascade_nodes.headless.forecast import COSTS, Forecast


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


PROMPT = {
    "1": node("CascadeTextEncode", text="a star"),
    "2": node("CascadeStageCSampler", steps=20, cfg=4.0),
    "3": node("CascadeStageBSampler", steps=10, cfg=1.0),
    "4": node("CascadeStageADecode"),
    "5": node("CascadeStageBSampler", steps=500, cfg=1.0),
}


def walk(told: Forecast, clock: Clock, steps: int, each: float, first: float) -> list[float]:
    """A node's steps, of which the first takes longer -> what was said after each."""
    said: list[float] = []
    told.advance(0, steps)
    assert told.seconds_left() is None
    for step in range(1, steps + 1):
        clock.now += first if step == 1 else each
        told.advance(step, steps)
        left = told.seconds_left()
        assert left is not None
        said.append(left)
    return said


def test_it_counts_the_stages_that_are_to_come() -> None:
    clock = Clock()
    told = Forecast(PROMPT, {"1", "2", "3", "4"}, clock)  # 5 does not run
    told.begin("2")
    said = walk(told, clock, 20, each=2.0, first=9.0)
    later = 10 * COSTS["CascadeStageBSampler"] * (2.0 / 2)  # 20 steps with guidance are 40 evaluations
    assert said[1:] == pytest.approx([2.0 * (20 - step) + later for step in range(2, 21)])
    told.finish("2")
    told.begin("3")
    assert told.seconds_left() is None
    assert walk(told, clock, 10, each=5.0, first=5.0) == pytest.approx([5.0 * (10 - step) for step in range(1, 11)])


def test_what_had_its_result_already_takes_no_time() -> None:
    clock = Clock()
    told = Forecast(PROMPT, PROMPT.keys(), clock)
    for cached in ("3", "5"):
        told.finish(cached)
    told.begin("2")
    assert walk(told, clock, 20, each=1.0, first=1.0)[-1] == 0


def test_a_server_that_tells_of_some_steps_alone() -> None:
    clock = Clock()
    told = Forecast(PROMPT, {"2"}, clock)
    told.begin("2")
    for step, now in ((3, 106.0), (13, 126.0)):
        clock.now = now
        told.advance(step, 20)
    assert told.seconds_left() == pytest.approx(2.0 * 7)


def test_a_node_that_says_not_how_many_steps_it_takes_is_told_alone() -> None:
    clock = Clock()
    told = Forecast({"1": node("Trainer", steps=["9", 0]), "2": node("CascadeStageADecode")}, {"1", "2"}, clock)
    told.begin("1")
    assert walk(told, clock, 4, each=1.0, first=1.0) == pytest.approx([3.0, 2.0, 1.0, 0.0])
