"""Files changed at random never get more out of a command than short sentences, soon and in little memory.

Run: pytest tests/fuzz; with -m slow for a minute of each. A failing file is kept in corpus/, under its harness.
"""

from __future__ import annotations

import time

import pytest

pytest.importorskip("resource", reason="its limits are of Unix")
hypothesis = pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, given, seed, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from . import seeds  # noqa: E402
from .harness import HARNESSES, scratch  # noqa: E402

QUICK = 25  # mutants of each kind, always the same
LONG = 60  # seconds


def fuzz(name: str, examples: int, number: int) -> None:
    """`examples` mutants; the same number makes the same ones."""
    harness = HARNESSES[name]
    good = [*harness.seeds(), *(case for case in seeds.kept(name) if name != "workflows")]

    @seed(number)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(good) - 1), st.randoms(use_true_random=True))
    def one(which: int, chance: object) -> None:
        harness.read(harness.mutate(good[which], good, chance), folder)  # pyright: ignore[reportArgumentType]

    with scratch() as folder:
        one()


@pytest.mark.parametrize("name", HARNESSES)
def test_found_cases_stay_mended(name: str) -> None:
    with scratch() as folder:
        for case in seeds.kept(name):
            HARNESSES[name].read(case, folder)


@pytest.mark.usefixtures("own_garbage")
@pytest.mark.parametrize("name", HARNESSES)
def test_some_mutants(name: str) -> None:
    fuzz(name, QUICK, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("own_garbage")
@pytest.mark.parametrize("name", HARNESSES)
def test_a_minute_of_mutants(name: str) -> None:
    started = time.monotonic()
    number = 0
    while time.monotonic() - started < LONG:
        number += 1
        fuzz(name, 100, number)
    print(f"{name}: {100 * number} mutants")
