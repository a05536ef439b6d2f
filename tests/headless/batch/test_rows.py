"""Rows out of JSON lines, CSV and grids: ids that are names of files, values as typed, lines that are none."""

from __future__ import annotations

import hashlib
import io
import json

import pytest

from stable_cascade_nodes.headless.batch import grid, rows
from stable_cascade_nodes.headless.batch.rows import Row
from stable_cascade_nodes.headless.graph import WorkflowError


def read(text: str | bytes) -> list[Row]:
    return list(rows.unique(rows.read(io.BytesIO(text if isinstance(text, bytes) else text.encode()), "rows")))


def lines(*documents: object) -> str:
    return "".join(json.dumps(document) + "\n" for document in documents)


def test_json_lines_and_csv_say_the_same() -> None:
    first = {"id": "castle-7", "Prompt.text": 'a "large", red\nstar', "Stage C.seed": 7, "Loader.fast": True}
    second = {"Prompt.text": "a circle", "Stage C.seed": 0.5}
    table = 'id,Prompt.text,Stage C.seed,Loader.fast\ncastle-7,"a ""large"", red\nstar",7,true\n,a circle,0.5,\n'
    assert [(row.id, row.values) for row in read(lines(first, second))] == [
        (row.id, row.values) for row in read("\ufeff" + table)
    ]
    castle, unnamed = read(lines(first, second))
    assert castle.values == {"Prompt.text": 'a "large", red\nstar', "Stage C.seed": "7", "Loader.fast": "true"}
    assert unnamed.id == unnamed.digest and castle.id == "castle-7"


def test_a_digest_is_that_of_the_sorted_json_which_manifests_have() -> None:
    values = {"Prompt.text": 'a "red"\n\\ star, ünïcode \u2028 \U0001f31f \x7f', "A.b": "", "Stage C.seed": "7"}
    for some in ({}, values, dict(reversed(values.items()))):
        expected = hashlib.sha256(json.dumps(some, sort_keys=True).encode()).hexdigest()[:16]
        assert Row("a", some).digest == expected


def test_an_id_is_made_of_what_the_row_sets_and_of_nothing_else() -> None:
    (one,) = read('{"a.b": 1, "c.d": "x"}\n')
    (other,) = read('\n  {"c.d":"x","a.b":"1"}  ')
    assert one.id == other.id and one.digest == other.digest
    assert read('{"a.b": 2, "c.d": "x"}')[0].id != one.id


@pytest.mark.parametrize(
    "name", ["castle-7", "train/cats/0001", "été_1+2=3", "a.b", "7", "x" * 120, "/".join(["x" * 60] * 6)]
)
def test_ids_that_are_names_of_files(name: str) -> None:
    assert rows.check_id(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", "..", "../a", "a/../b", "/etc/passwd", "a//b", "a/", ".hidden", "-rf", "a b", "a@2", "a\\b", "C:a", "a\0b",
        "con", "NUL.png", "a.", "x" * 121, "é" * 61, "/".join(["x" * 60] * 8), "a\nb", "*",
    ],
)  # fmt: skip
def test_ids_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected an id .* no part that is \. or \.\., begins with \. or -"):
        rows.check_id(name)
    (row,) = read(lines({"id": name, "a.b": 1}))
    assert row.problem is not None and row.id.startswith("line-") and row.values == {}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"id": "a", "b.c": }', "no JSON"),
        (b"[1, 2]", "expected a JSON object, found [1, 2]"),
        (b'{"id": "a", "b.c": [1]}', "expected a text, a number, true or false, found [1]"),
        (b'{"id": "a", "b.c": null}', "found null"),
        (b'{"id": "a", "b.c": 1, "b.c": 2}', "stands twice"),
        (b'{"id": "a", "b.c": "\xff"}', "no JSON that can be read"),
        (b'{"a": ' + b"[" * 100_000, "no JSON that can be read"),
        (b'{"id": "a", "b.c": "' + b"x" * (4 << 20) + b'"}', "more than 4 MiB"),
    ],
)
def test_a_line_that_is_no_row_holds_up_no_other(line: bytes, why: str) -> None:
    found = read(b'{"id": "before"}\n' + line + b'\n{"id": "after"}\n')
    assert [row.problem is None for row in found] == [True, False, True]
    assert why in (found[1].problem or "") and found[1].place == "rows, line 2"
    assert read(b'{"id": "before"}\n' + line + b"\n")[1].id == found[1].id, "it has the same id at each run"


def test_csv_lines_that_are_no_rows() -> None:
    found = read(b'id,a.b\nx,1\ny,1,2\nz,"open\nw,\xff\n')
    assert [(row.id, row.problem is None) for row in found][:1] == [("x", True)]
    assert "expected 2 cells, found 3" in (found[1].problem or "")
    assert all(row.problem for row in found[1:])
    assert [row.problem for row in read(b"id,a.b\nx,\xff\n")] == ["it has bytes that are no UTF-8"]


@pytest.mark.parametrize("head", ["id,id", "id,,a.b"])
def test_csv_needs_a_header_for_each_column(head: str) -> None:
    with pytest.raises(WorkflowError, match="a header for each column"):
        read(head + "\n1,2,3\n")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'[{"id": "a"}]', "expected JSON lines or CSV, found a JSON list: write one {…} a line"),
        (b'\xef\xbb\xbf[\n{"id": "a"}\n]', "found a JSON list"),
        (b'"id"x,a.b\n', "rows, line 1: it cannot be read as CSV: ',' expected after"),
        (b'"id";"a.b"\nx;1\n', "separated by ;: save it with commas"),
        (b"id\ta.b\nx\t1\n", "separated by tabs: save it with commas"),
        (b"", "rows has no rows"),
        (b"\n  \n", "rows has no rows"),
        (b"id,a.b\n", "rows has no rows"),
    ],
)
def test_what_is_no_table_is_refused_before_any_row_is_asked_for(content: bytes, told: str) -> None:
    with pytest.raises(WorkflowError) as refused:
        rows.read(io.BytesIO(content), "rows")
    assert told in str(refused.value)


def test_broken_json_is_told_with_one_line_number() -> None:
    (_, row) = read('{"id": "a"}\n{"id": "b", "c.d": }\n')
    assert row.place == "rows, line 2" and row.problem is not None
    assert "line" not in row.problem and row.problem.endswith("at column 20")


def test_a_row_that_stands_twice_runs_once_and_another_with_its_id_is_refused() -> None:
    same, other = {"id": "a", "b.c": 1}, {"id": "A", "b.c": 2}
    first, second = read(lines(same, same, other))
    assert first.id == "a" and second.problem is not None and "'A' stands before another row (ids" in second.problem


def test_grids_multiply() -> None:
    grids = [grid.parse("Stage C.seed=1..3"), grid.parse("Stage C.cfg=2, 4.5")]
    found = list(grid.multiply(read(lines({"id": "a", "Prompt.text": "x"})), grids))
    assert [row.id for row in found] == [f"a-seed-{seed}-cfg-{cfg}" for seed in (1, 2, 3) for cfg in ("2", "4.5")]
    assert found[-1].values == {"Prompt.text": "x", "Stage C.seed": "3", "Stage C.cfg": "4.5"}
    assert [row.id for row in grid.multiply([rows.nothing()], grids[:1])] == ["seed-1", "seed-2", "seed-3"]
    unnamed = list(grid.multiply(read(lines({"Prompt.text": "x"})), grids[:1]))
    assert [row.id for row in unnamed] == [row.digest for row in unnamed] and len({row.id for row in unnamed}) == 3


def test_texts_of_a_grid_become_parts_of_ids_and_stay_apart() -> None:
    texts = ["a red star", "a red-star", "../../etc", "x" * 500, "ß"]
    found = list(grid.multiply([rows.nothing()], [grid.parse(f"Prompt.text={json.dumps(texts)}")]))
    assert [row.values["Prompt.text"] for row in found] == texts
    assert len({row.id for row in found}) == len(texts) and all(rows.check_id(row.id) for row in found)
    assert not any(row.problem for row in found)


def test_texts_with_two_dots_are_no_range() -> None:
    assert grid.parse("a.b=../1.png,wait...,a..b").values == ["../1.png", "wait...", "a..b"]
    assert grid.parse('a.b=["1..x"]').values == ["1..x"]


def test_a_row_that_sets_what_a_grid_sets_is_refused() -> None:
    (row,) = grid.multiply(read(lines({"id": "a", "Stage C.seed": 5})), [grid.parse("Stage C.seed=1..3")])
    assert row.problem is not None and "--grid Stage C.seed sets too" in row.problem


@pytest.mark.parametrize(
    "text",
    [
        "",
        "seed=1..3",
        "Stage C.seed",
        "Stage C.seed=",
        "a.b=3..1",
        "a.b=1,,2",
        "a.b=1,1",
        "a.b=[1,",
        "a.b=[[]]",
        "Stage C.seed=1..x",
        "a.b=x..3",
        "a.b=1..",
        "a.b=1.5..3",
        "a.b=1,3..5",
    ],
)
def test_what_is_no_grid(text: str) -> None:
    with pytest.raises(WorkflowError, match="--grid"):
        grid.parse(text)
