"""`cascade batch` in this process, on fake nodes: files, resume, kinds of failures, the report."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stable_cascade_nodes.cascade_core.files.owner import owned
from stable_cascade_nodes.headless import workflow_file
from stable_cascade_nodes.headless.batch.worker import Worker

from ..headless.graph.fake_nodes import node

Cascade = Callable[..., Any]
PAINTING = {
    "1": node("Paint", red=0.25),
    "2": node("SaveImage", "Picture out", images=["1", 0], filename_prefix="%year%/a"),
    "3": node("PreviewImage", images=["1", 0]),
}


def lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


REDS = lines(*({"id": f"red-{index}", "Paint.red": index / 10} for index in range(5)))


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def records(folder: Path) -> list[dict[str, Any]]:
    found = map(json.loads, (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines())
    return [record for record in found if "id" in record]


@pytest.fixture
def batch(cascade: Cascade, folders: Path) -> Cascade:
    """`batch(document, rows, ...)` into `made`."""

    def run(document: Any, rows: Any, *more: Any) -> Any:
        return cascade("batch", document, "--rows", rows, "--output", folders / "made", *more)

    return run


def test_files_have_the_names_of_rows_and_carry_them(batch: Cascade, folders: Path) -> None:
    answer = batch(PAINTING, REDS)
    made = folders / "made"
    assert answer.code == 0 and answer.lines == [str(made / f"red-{index}.png") for index in range(5)]
    assert names(made) == ["manifest.jsonl", *(f"red-{index}.png" for index in range(5))]
    with Image.open(made / "red-3.png") as picture:
        assert picture.getpixel((0, 0)) == (76, 0, 0)
        assert json.loads(picture.text["row"]) == {"id": "red-3", "values": {"Paint.red": "0.3"}}
    assert workflow_file.read(made / "red-3.png")["1"]["inputs"] == {"red": 0.3}
    (first, *_) = records(made)
    assert first["state"] == "done" and first["files"][0]["size"] == (made / "red-0.png").stat().st_size
    assert re.fullmatch("[0-9a-f]{64}", first["files"][0]["sha256"])
    assert not (folders / "output").glob("*.png") or names(folders / "output") == []


def test_a_row_is_the_same_bytes_in_any_run(batch: Cascade, cascade: Cascade, folders: Path) -> None:
    batch(PAINTING, REDS)
    cascade("batch", PAINTING, "--rows", REDS, "--output", folders / "again", "--limit", 2)
    cascade("batch", PAINTING, "--rows", REDS, "--output", folders / "again")
    for index in range(5):
        name = f"red-{index}.png"
        assert (folders / "again" / name).read_bytes() == (folders / "made" / name).read_bytes()


def test_several_files_of_a_row_and_folders_in_an_id(batch: Cascade, folders: Path) -> None:
    document = {**PAINTING, "4": node("SaveImage", images=["1", 0], filename_prefix="b")}
    assert batch(document, lines({"id": "x/y", "Paint.red": 1})).code == 0
    assert [name for name in names(folders / "made") if name.endswith("png")] == ["x/y.png", "x/y@2.png"]


def test_rows_that_set_the_same_all_have_their_files(batch: Cascade, folders: Path) -> None:
    assert batch(PAINTING, lines(*({"id": name, "Paint.red": 1} for name in "abc"))).code == 0
    assert [name for name in names(folders / "made") if name.endswith("png")] == ["a.png", "b.png", "c.png"]


def test_what_does_not_change_between_rows_is_computed_once(batch: Cascade, calls: list[Any]) -> None:
    document = {**PAINTING, "5": node("Number", value=3), "6": node("Add", "Sum", a=["5", 0], b=1)}
    document["7"] = node("Show", value=["6", 0])
    batch(document, lines(*({"id": f"r{index}", "Paint.red": index / 10, "Sum.b": index} for index in range(4))))
    assert [name for name, _ in calls].count("Number") == 1 and [name for name, _ in calls].count("Add") == 4


def test_the_same_command_goes_on(batch: Cascade, calls: list[Any], folders: Path) -> None:
    assert batch(PAINTING, REDS, "--limit", 2).lines == [str(folders / "made" / f"red-{index}.png") for index in (0, 1)]
    assert "2 done, 2 skipped" in (again := batch(PAINTING, REDS, "--limit", 2).err)
    assert again.endswith(" s; rows are left: the same command goes on\n")
    answer = batch(PAINTING, REDS)
    assert answer.code == 0 and answer.lines == [str(folders / "made" / "red-4.png")]
    assert "1 done, 4 skipped" in answer.err and "are left" not in answer.err and len(calls) == 5
    assert batch(PAINTING, REDS).lines == [] and len(calls) == 5


def test_a_changed_workflow_is_told_and_refused(batch: Cascade, folders: Path) -> None:
    batch(PAINTING, REDS)
    answer = batch(PAINTING, REDS, "--set", "Picture out.filename_prefix=other")
    assert answer.code == 1 and "red-0: the workflow or an option (--steps, --set, ...) changed since" in answer.err
    assert "add --redo-changed to this command to make them anew (5 changed)" in answer.err
    assert batch(PAINTING, REDS, "--set", "Picture out.filename_prefix=other", "--redo-changed").code == 0


BAD = [
    ("not json", "{'id': 1}", "bad_row"),
    ("no object", "[1]", "bad_row"),
    ("outside", '{"id": "../x", "Paint.red": 1}', "bad_row"),
    ("no such node", '{"id": "n", "Pant.red": 1}', "bad_row"),
    ("no such input", '{"id": "i", "Paint.rot": 1}', "bad_row"),
    ("no number", '{"id": "v", "Paint.red": "dark"}', "bad_row"),
    ("out of range", '{"id": "s", "Number.value": 1000}', "bad_row"),
    ("no target", '{"id": "t", "red": 1}', "bad_row"),
    ("nested", '{"id": "l", "Paint.red": [1]}', "bad_row"),
    ("by chance", '{"id": "c", "Seeded.seed": "random"}', "bad_row"),
]


def test_bad_rows_of_ten_kinds_harm_no_others(batch: Cascade, folders: Path) -> None:
    document = {**PAINTING, "5": node("Number", value=3), "6": node("Show", value=["5", 0])}
    document |= {"7": node("Seeded", seed=1, steps=1), "8": node("Show", value=["7", 0])}
    good = [json.dumps({"id": f"good-{index}", "Paint.red": index / 100}) for index in range(30)]
    rows = [line for index, line in enumerate(good) for line in (line, *[b for _, b, _ in BAD[index : index + 1]])]
    answer = batch(document, "\n".join(rows).encode())
    assert answer.code == 1 and len(answer.lines) == 30
    failed = [record for record in records(folders / "made") if record["state"] != "done"]
    assert [record["error"]["kind"] for record in failed] == [kind for *_, kind in BAD]
    assert "correct these rows (10 bad_row); then give the same command again" in answer.err.splitlines()[-1]


def test_each_failure_has_its_kind(batch: Cascade, folders: Path) -> None:
    kinds = {"Crash": "transient", "RunOut": "out_of_memory", "Choosy": "bad_row"}
    for class_type, kind in kinds.items():
        document = {"1": node(class_type, "It", value=1)}
        if class_type == "Choosy":
            document["2"] = node("Show", value=["1", 0])
        batch(document, lines({"id": class_type, "It.value": 2}), "--retries", 0)
        assert [record["error"]["kind"] for record in records(folders / "made")][-1] == kind
    batch({"1": node("Show", value=["2", 0]), "2": node("Number", value=1)}, lines({"id": "none", "Number.value": 2}))
    assert "it writes no file" in records(folders / "made")[-1]["error"]["message"]


def test_a_full_disk_ends_the_run_in_one_line(batch: Cascade, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "save", fill)
        answer = batch(PAINTING, REDS, "--retries", 0)
    assert answer.code == 1 and [record["error"]["kind"] for record in records(folders / "made")] == ["storage"] * 3
    assert "cannot be written" in answer.err.splitlines()[-1] and "the command again" in answer.err.splitlines()[-1]
    assert batch(PAINTING, REDS).code == 0


def test_a_folder_that_cannot_be_made_is_one_rows_failure(batch: Cascade, folders: Path) -> None:
    batch(PAINTING, REDS)
    rows = REDS + lines({"id": "red-0.png/x", "Paint.red": 1}, {"id": "z", "Paint.red": 0.9})
    answer = batch(PAINTING, rows, "--retries", 1)
    assert answer.code == 1 and answer.lines == [str(folders / "made" / "z.png")]
    assert [record["error"]["kind"] for record in records(folders / "made") if "error" in record] == ["storage"] * 2


def test_pictures_of_a_row_may_lie_anywhere(batch: Cascade, folders: Path) -> None:
    for name, red in (("one", 255), ("two", 20)):
        Image.new("RGB", (3, 2), (red, 0, 0)).save(folders / "outside" / f"{name}.png")
    document = {"1": node("LoadImage", "Picture", image="x.png"), "2": node("SaveImage", images=["1", 0])}
    document["2"]["inputs"]["filename_prefix"] = "a"
    rows = lines(*({"id": name, "Picture.image": f"outside/{name}.png"} for name in ("one", "two")))
    assert batch(document, rows).code == 0
    assert [Image.open(folders / "made" / f"{name}.png").getpixel((0, 0))[0] for name in ("one", "two")] == [255, 20]


def test_ctrl_c_lets_the_running_row_end(batch: Cascade, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = Image.Image.save

    def interrupt(*given: Any, **named: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        saved(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "save", interrupt)
        answer = batch(PAINTING, REDS)
    assert answer.code == 130 and "Ctrl-C again stops at once" in answer.err
    assert answer.err.endswith("rows are left: the same command goes on\n")
    done = [record["id"] for record in records(folders / "made")]
    assert 1 <= len(done) <= 2 and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(batch(PAINTING, REDS).lines) == 5 - len(done)


def test_two_ctrl_c_stop_at_once(batch: Cascade, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "save", interrupt)
        answer = batch(PAINTING, REDS)
    assert answer.code == 130 and records(folders / "made") == []
    assert names(folders / "made") == ["manifest.jsonl"]


def test_a_second_driver_is_refused(batch: Cascade, folders: Path) -> None:
    with owned(folders / "made"):
        answer = batch(PAINTING, REDS)
    assert answer.code == 2 and "is being worked on by process" in answer.err


def test_a_grid_needs_no_rows(cascade: Cascade, folders: Path) -> None:
    answer = cascade("batch", PAINTING, "--grid", "Paint.red=0.1,0.2", "-o", folders / "made", "--json")
    assert answer.code == 0 and json.loads(answer.out)["done"] == 2
    assert [name for name in names(folders / "made") if name.endswith("png")] == ["red-0.1.png", "red-0.2.png"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "expected WORKFLOW, --rows FILE"),
        (("WORKFLOW", "--rows", "absent.jsonl", "--output", "made"), "--rows absent.jsonl: it cannot be read"),
        (("WORKFLOW", "--rows", "rows.jsonl"), "expected WORKFLOW, --rows FILE"),
        (("WORKFLOW", "--rows", "rows.jsonl", "-o", "made", "--set", "Nope.x=1"), "expected a node by its title"),
        (("WORKFLOW", "--rows", "rows.jsonl", "-o", "made", "--grid", "x"), "--grid: expected NODE.INPUT"),
        (
            ("WORKFLOW", "--rows", "rows.jsonl", "-o", "outside/file/new"),
            "file/new cannot be written (not a directory)",
        ),
        (("WORKFLOW", "--rows", "list.json", "-o", "made"), "list.json: expected JSON lines or CSV, found a JSON list"),
        (("WORKFLOW", "--rows", "rows.jsonl", "-o", "made", "--ray", "auto", "--ray-options", "1"), "--ray-options"),
        (("WORKFLOW", "--row", "1"), "did you mean --rows?"),
        (("--report", "outside"), "--report: expected a folder that `cascade batch` wrote"),
    ],
)
def test_bad_arguments_are_told_before_anything_runs(
    cascade: Cascade, folders: Path, arguments: tuple[Any, ...], told: str
) -> None:
    (folders / "rows.jsonl").write_bytes(REDS)
    (folders / "list.json").write_text('[{"id": "a"}]')
    (folders / "outside" / "file").touch()
    try:
        answer = cascade("batch", *(PAINTING if argument == "WORKFLOW" else argument for argument in arguments))
        assert told in answer.err and answer.code == 2
    except SystemExit as error:
        assert error.code == 2
    assert not (folders / "made").exists()


def test_a_bad_row_without_an_id_is_told_by_its_place(cascade: Cascade, folders: Path) -> None:
    (folders / "noid.csv").write_text("Paint.red\n0.5\ndark\nblack\n")
    answer = cascade("batch", PAINTING, "--rows", "noid.csv", "-o", folders / "made")
    assert answer.code == 1 and ": bad_row: noid.csv, line 3: " in answer.err
    failed = [record for record in records(folders / "made") if record["state"] == "failed"]
    assert [record["place"] for record in failed] == ["noid.csv, line 3", "noid.csv, line 4"]
    report = cascade("batch", "--report", folders / "made").out
    assert all(f"{record['id']} ({record['place']})" in report for record in failed)


def test_headers_that_are_no_inputs_are_told_before_anything_runs(batch: Cascade, folders: Path) -> None:
    answer = batch(PAINTING, b"id,Pain.red,Paint.rde,Paint.red,Paint.red.x\na,1,2,0.5,\n")
    assert answer.code == 2 and answer.out == "" and not (folders / "made").exists()
    assert re.findall(r'the headers: expected (?:a node|an input) .*found "(\w+)"', answer.err) == ["Pain", "rde"]
    assert batch(PAINTING, b"id,Paint.red\na,0.5\n").code == 0


def test_warnings_of_nodes_are_told_once_and_counted(
    batch: Cascade, cascade: Cascade, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    perform = Worker._perform

    def warn(self: Worker, *given: Any) -> None:
        if given[-1]["id"] != "red-0":
            self.warn("Prompt", "does not know and skips: <castle>")
        perform(self, *given)

    monkeypatch.setattr(Worker, "_perform", warn)
    answer = batch(PAINTING, REDS)
    line = "4 rows with warnings, such as red-1: Prompt: does not know and skips: <castle>"
    assert answer.code == 0 and answer.err.count("castle") == 1 and f"cascade: {line}\n" in answer.err
    report = cascade("batch", "--report", folders / "made", "--html", folders / "page.html")
    assert line in report.lines
    assert "4 rows with warnings" in (page := (folders / "page.html").read_text()) and "&lt;castle&gt;" in page
    told = json.loads(cascade("batch", "--report", folders / "made", "--json").out)
    assert told["warned"] == 4 and told["warning"].startswith("red-1: ")
    assert "warnings" not in batch(PAINTING, REDS).err


def test_the_report_tells_counts_failures_and_the_command(batch: Cascade, cascade: Cascade, folders: Path) -> None:
    batch(PAINTING, REDS + lines({"id": "x", "Paint.rot": 1}, {"id": "y", "Paint.rot": 1}))
    page = folders / "pages" / "report.html"
    page.parent.mkdir()
    answer = cascade("batch", "--report", folders / "made", "--html", page)
    assert answer.code == 1 and "5 done, 2 failed" in answer.lines[0] and "5 files" in answer.lines[0]
    assert any("bad_row (x" in line and "rot" in line for line in answer.lines)
    assert answer.lines[-1].startswith(f"  cd {folders} && ")
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 5 and 'href="../made/red-2.png"' in text and "<script" not in text
    told = json.loads(cascade("batch", "--report", folders / "made", "--json").out)
    assert told["states"] == {"done": 5, "failed": 2} and told["kinds"] == {"bad_row": 2} and told["files"] == 5
    assert [group["rows"] for group in told["groups"]] == [2]
