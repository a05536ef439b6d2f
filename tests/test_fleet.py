"""The simulated batch keeps to what can be worked out by hand. Run: pytest tests/test_fleet.py"""

from __future__ import annotations

import pytest

from stable_cascade_nodes.benchmarks.fleet import Fleet, simulate

EXACT = Fleet(rows=500, workers=1, row_seconds=2.0, spread=0, stragglers=0, failures=0, deaths=0, commit_ms=0)


def test_one_worker_takes_as_long_as_its_rows() -> None:
    found = simulate(EXACT)
    assert found.seconds == pytest.approx(500 * (2.0 + 0.0009 + 0.002), rel=1e-6) and found.attempts == 500


def test_many_workers_are_as_fast_as_the_driver_lets_them() -> None:
    found = simulate(Fleet(**vars(EXACT) | {"workers": 100, "driver_ms": 100.0, "rows": 2000}))
    assert found.seconds == pytest.approx(2000 * 0.1, rel=0.02) and found.busy > 0.97 and found.waited > 5


@pytest.mark.parametrize("row_seconds", [0.2, 5.0])
def test_no_row_is_lost_with_workers_that_die_and_rows_that_fail(row_seconds: float) -> None:
    fleet = Fleet(rows=5000, workers=20, row_seconds=row_seconds, failures=0.05, deaths=30.0, restart=10.0)
    found = simulate(fleet)  # which asks itself whether each row is finished once
    assert found.dead > 0 and found.attempts > 5000 * 1.04 and found.useful < 1
