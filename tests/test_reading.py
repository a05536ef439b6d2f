"""What opens files from outside: regular files alone, JSON within limits, folders that end. Standard library only."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from stable_cascade_nodes.cascade_core import reading
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.header import read_header
from stable_cascade_nodes.cascade_core.files.picture_files import names_below, opened
from stable_cascade_nodes.runtime import model_folders


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A pipe that nobody writes to: whoever opens it waits for ever."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


class TestRegularFiles:
    def test_a_pipe_a_folder_and_a_device_are_not_opened(self, pipe: Path) -> None:
        for path in (pipe, pipe.parent, Path("/dev/zero")):
            for read in (reading.read_bytes, reading.read_text, reading.read_json, reading.digest, reading.open_once):
                with pytest.raises(OSError, match="it is a pipe, a folder or a device"):
                    read(path)

    @pytest.mark.parametrize(
        "name", ["config.json", "model_index.json", "m.safetensors.index.json", "model.safetensors"]
    )
    def test_by_any_name(self, pipe: Path, name: str) -> None:
        folder = pipe.parent / "model"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
        path = folder / name
        path.unlink(missing_ok=True)
        pipe.rename(path)
        from stable_cascade_nodes.cascade_core.files.identify import identify

        with pytest.raises(CascadeError, match=rf"^{name} cannot be read \(it is a pipe"):
            identify(path if "index" in name and "model_" not in name else folder)

    def test_pictures_and_headers(self, pipe: Path) -> None:
        with pytest.raises(CascadeError, match="it is a pipe"):
            read_header(pipe)
        with pytest.raises(CascadeError, match="it is a pipe"), opened(pipe):
            pass

    def test_a_name_that_no_file_can_have(self) -> None:
        with pytest.raises(OSError, match="no file can have that name"):
            reading.open_file(Path("a\0b"))

    def test_what_the_shell_opened_is_read_once(self) -> None:
        end, begin = os.pipe()
        writer = Thread(target=lambda: (os.write(begin, b"text"), os.close(begin)))
        writer.start()
        with reading.open_once(Path(f"/dev/fd/{end}")) as file:
            assert file.read(2) == b"te" and file.seek(0) == 0 and file.read() == b"text"
        writer.join()
        os.close(end)

    def test_a_large_text_is_refused_before_it_is_read_whole(self, tmp_path: Path) -> None:
        with (tmp_path / "large").open("wb") as file:
            file.truncate(2**40)
        with pytest.raises(OSError, match="at most 1 MiB"):
            reading.read_text(tmp_path / "large", 2**20)


class TestJson:
    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("[" * 201 + "]" * 201, "nested too deeply"),
            ('{"a":' * 201 + "1" + "}" * 201, "nested too deeply"),
            ("[" * 100_000, "nested too deeply"),
            ("[" + "{}," * 600_000 + "{}]", "more than 1,000,000 values"),
            ('"' + "x" * reading.LARGEST_TEXT + '"', "at most 32 MiB"),
            ("{", "Expecting"),
            ("9" * 5000, "digits"),
        ],
        ids=str.__len__,
    )
    def test_refused(self, text: str, why: str) -> None:
        started = time.process_time()
        with pytest.raises(ValueError, match=why):
            reading.parse_json(text)
        assert time.process_time() - started < 1

    def test_read(self) -> None:
        deep = json.loads("[" * 200 + "]" * 200)
        assert reading.parse_json(json.dumps(deep)) == deep
        many = {"values": list(range(400_000)), "text": "[{," * 1000}
        assert reading.parse_json(json.dumps(many).encode("utf-16")) == many
        with pytest.raises(ValueError):
            reading.parse_json(b'{"a": "\xff"}')


def names(walked: Iterator[tuple[Path, list[str], list[str]]], root: Path) -> list[str]:
    return sorted((parent / name).relative_to(root).as_posix() for parent, _, found in walked for name in found)


class TestFolders:
    def test_every_walk_ends(self, tmp_path: Path) -> None:
        """Forty folders, each with two links to the next: 2^40 ways."""
        for number in range(40):
            folder = tmp_path / f"{number:02}"
            folder.mkdir()
            (folder / "a.png").touch()
            for link in ("one", "two"):
                (folder / link).symlink_to(tmp_path / f"{number + 1:02}", target_is_directory=True)
        started = time.process_time()
        found = names_below(tmp_path)
        assert {f"{number:02}/a.png" for number in range(40)} <= set(found)
        assert len(found) < 40 * 40 and time.process_time() - started < 1

    def test_links_are_followed_by_all(self, tmp_path: Path) -> None:
        (tmp_path / "far").mkdir()
        (tmp_path / "far" / "a.png").touch()
        (tmp_path / "far" / "a.safetensors").touch()
        (tmp_path / "here").mkdir()
        (tmp_path / "here" / "link").symlink_to(tmp_path / "far", target_is_directory=True)
        (tmp_path / "here" / "round").symlink_to(tmp_path, target_is_directory=True)
        assert names_below(tmp_path / "here") == ["link/a.png"]
        assert list(model_folders.files([tmp_path / "here"])) == ["link/a.safetensors"]

    def test_a_whole_disk_is_not_walked(self, tmp_path: Path) -> None:
        (tmp_path / "disk").symlink_to("/")
        for folder in (Path("/"), tmp_path / "disk"):
            with pytest.raises(CascadeError, match="is a whole file system: name a folder in it"):
                next(reading.walk(folder, reading.is_hidden))

    def test_more_than_a_folder_may_have(self, tmp_path: Path) -> None:
        for number in range(11):
            (tmp_path / str(number)).touch()
        assert len(names(reading.walk(tmp_path, reading.is_hidden, 11), tmp_path)) == 11
        with pytest.raises(CascadeError, match="too many files and folders"):
            names(reading.walk(tmp_path, reading.is_hidden, 10), tmp_path)

    def test_a_list_that_yaml_names_many_times(self, tmp_path: Path) -> None:
        lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
        for before, name in zip("abcdefghi", "bcdefghij", strict=True):
            lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
        (tmp_path / model_folders.EXTRA_PATHS).write_text("ours:\n  base_path: here\n  " + "\n  ".join(lines))
        with pytest.raises(CascadeError, match="'a': expected a path, found a list"):
            model_folders.folders_of("vae", tmp_path / "models")
