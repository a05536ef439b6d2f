"""Wrong inputs, each answered by one line: docs/wrong-inputs.md. Run: pytest tests/cli/test_wrong_inputs.py"""

from __future__ import annotations

from pathlib import Path

import pytest

from .wrong_inputs import CASES, DOCUMENT, Case, ask, row

ADVICE = ("models that are not there", "a model that is not there")  # a second line says what to try


def test_there_are_forty_and_each_is_another() -> None:
    assert len({case.what for case in CASES}) == len(CASES) >= 40


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_a_wrong_input_is_one_line(tmp_path: Path, case: Case) -> None:
    answer = ask(case, tmp_path)
    lines = answer.stderr.splitlines()
    assert answer.code == case.code, answer
    assert len(lines) == (0 if not case.code else 2 if case.what in ADVICE else 1), answer
    assert all(line.startswith("cascade: ") for line in lines)
    assert answer.stdout == "" or not case.code
    assert row(case, answer) in DOCUMENT.read_text(encoding="utf-8"), "write the document anew"
