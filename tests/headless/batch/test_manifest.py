"""The manifest: on the disk before a row counts, whole after any crash, and small in memory."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from stable_cascade_nodes.headless.batch import manifest
from stable_cascade_nodes.headless.batch.manifest import Manifest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / manifest.NAME


def done(row_id: str, **more: Any) -> dict[str, Any]:
    return {"id": row_id, "state": "done", "files": [], **more}


def lost(row_id: str) -> dict[str, Any]:
    return {"id": row_id, "state": "failed", "error": {"kind": "lost_worker", "message": "it ended"}}


def write(path: Path, *records: dict[str, Any]) -> Manifest:
    written = Manifest(path)
    for record in records:
        written.add(record)
    written.commit()
    return written


def test_the_last_record_of_a_row_is_found_before_and_after_it_is_written(path: Path) -> None:
    written = Manifest(path)
    for number in (1, 2):
        written.add(done("a", number=number))
        written.add(done("ü/b", number=number))
        assert written.last("a") == done("a", number=number)
        written.commit()
        assert written.last("ü/b") == done("ü/b", number=number)
    assert written.last("c") is None
    again = Manifest(path)
    assert again.last("a") == done("a", number=2) and again.last("ü/b") == done("ü/b", number=2)


def test_records_are_on_the_disk_when_commit_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    written = write(path, done("a"))
    assert synced == [path.stat().st_size] and synced[0] > 0
    written.commit()
    assert len(synced) == 1, "nothing waits"


@pytest.mark.parametrize("cut", range(1, 40, 8))
def test_a_torn_last_line_is_taken_off_and_the_next_is_whole(path: Path, cut: int) -> None:
    write(path, done("a"), done("b")).close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    again = Manifest(path)
    assert again.last("a") == done("a") and again.last("b") is None and again.unread == 0
    again.add(done("b"))
    again.commit()
    assert path.read_bytes() == whole


def test_lines_that_cannot_be_read_are_counted_and_passed_over(path: Path) -> None:
    write(path, done("a"), done("b")).close()
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"\0" * 500 + b"\n" + b'{"id": "b"}\n[]\n{"id": "a", "state": "done"}\n' + second)
    again = Manifest(path)
    assert again.unread == 4 and again.last("a") == done("a") and again.last("b") == done("b")


def test_a_finished_row_whose_line_is_damaged_is_as_one_that_never_ran(path: Path) -> None:
    write(path, done("a", seed={"x": 1}), done("b")).close()
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"x":1', b'"x\x00:1'))
    again = Manifest(path)
    assert again.last("a") is None and again.last("b") == done("b")


def test_what_a_full_disk_does_not_take_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write(path, done("a"))
    before = path.read_bytes()
    real = os.write

    def write_half(file: int, content: bytes) -> int:
        if len(content) < 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, content[:20])

    monkeypatch.setattr(os, "write", write_half)
    written.add(done("b"))
    with pytest.raises(OSError, match="No space"):
        written.commit()
    assert path.read_bytes() == before
    monkeypatch.undo()
    written.commit()
    assert Manifest(path).last("b") == done("b")


def test_losses_are_counted_over_runs_until_the_row_is_finished(path: Path) -> None:
    written = write(path, lost("a"), lost("a"), lost("b"), done("b"), lost("b"))
    assert (written.losses("a"), written.losses("b"), written.losses("c")) == (2, 1, 0)
    assert Manifest(path).losses("a") == 2


def test_a_setup_is_written_once(path: Path) -> None:
    written = Manifest(path)
    keys = [written.setup({"workflow": "x", "models": models}) for models in ({}, {}, {"a": "1"})]
    written.commit()
    assert keys[0] == keys[1] != keys[2] and len(path.read_text().splitlines()) == 2
    again = Manifest(path)
    assert again.setups.keys() == set(keys) and again.setup({"workflow": "x", "models": {}}) == keys[0]
    again.commit()
    assert [json.loads(line)["setup"] for line in path.read_text().splitlines()] == [keys[0], keys[2]]
