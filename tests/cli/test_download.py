"""`cascade download` against a stand-in of the hub, and as a process of its own where that is the point.

huggingface_hub reads its variables once, when it is imported: a test that sets some starts a process.

Sizes that are expected are those that the hub announces, as with the real one. Stage A, the previewer and the effnet
are served in their full size; of larger files there are sparse ones on disk, for only their headers are looked at.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.files.published import CASCADE, Published
from stable_cascade_nodes.cascade_core.models.tokenizer import find_tokenizer
from stable_cascade_nodes.cli.main import main

from .fake_hub import Asked, Content, FakeHub, serve
from .published_contents import EFFNET, NAMES, PREVIEWER, STAGE_A, TEXT_ENCODER, content, content_of

CHUNK = 2 << 20  # at most so much of what came is not yet written


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    with serve() as server:
        yield server


class Runner:
    """`cascade download` with a folder of models and a hub."""

    def __init__(self, folder: Path, server: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
        self.models = folder / "models"
        self.models.mkdir()
        self.environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(folder / "hf")}
        self.folder = folder
        self.capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """In this process."""
        code = main(["download", *arguments, "--models", str(self.models)])
        return code, *self.capsys.readouterr()

    def start(self, *arguments: str, **changes: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "stable_cascade_nodes", "download", *arguments, "--models", str(self.models)]
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        options = {"text": True, "cwd": self.folder, "env": self.environment, **pipes, **changes}
        return subprocess.Popen(command, **options)

    def process(self, *arguments: str, **changes: Any) -> tuple[int, str, str]:
        process = self.start(*arguments, **changes)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        return process.returncode, out, err

    def there(self, *files: Published) -> None:
        for file in files:
            content_of(file).write(self.models / file.label)

    def found(self) -> dict[str, int]:
        """Every file in the models' folder, also what is hidden, with its size."""
        paths = (path for path in self.models.rglob("*") if path.is_file())
        return {path.relative_to(self.models).as_posix(): path.stat().st_size for path in paths}


@pytest.fixture
def cascade(
    new_program: Path, fake: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Runner]:
    for name in list(os.environ):
        if re.match("HF_|HUGGING|.*_proxy$", name, re.I):
            monkeypatch.delenv(name)
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", partial(huggingface_hub.hf_hub_url, endpoint=fake.url))
    yield Runner(new_program, fake, capsys)
    shutil.rmtree(new_program / "models")  # pytest keeps the folders of three runs


def offer(server: FakeHub, *files: Published) -> None:
    for file in files:
        server.add(file.repository, file.path, content_of(file))


def is_same(path: Path, expected: Content) -> bool:
    left = path.open("rb")
    with left:
        return all(left.read(len(block)) == block for block in expected.read(0, expected.size)) and not left.read(1)


def test_the_essentials(fake: FakeHub, cascade: Runner) -> None:
    offer(fake, EFFNET, STAGE_A, PREVIEWER)
    code, out, err = cascade.process("essential", "--yes")
    assert (code, out.splitlines()) == (0, [str(cascade.models / file.label) for file in (EFFNET, STAGE_A, PREVIEWER)])
    for file in (EFFNET, STAGE_A, PREVIEWER):
        assert is_same(cascade.models / file.label, content_of(file))
        assert f" MB  {file.label}\n" in err
    assert len(cascade.found()) == 3  # and nothing hidden beside them
    assert "171.1 MB  to download into" in err
    assert "Non-Commercial Research Community License" in err and f"huggingface.co/{CASCADE}/blob/main/LICENSE" in err
    assert "CLIP" not in err  # whose licence is another
    assert {asked.path for asked in fake.gets} == {
        f"cdn/{CASCADE}/{file.path}" for file in (EFFNET, STAGE_A, PREVIEWER)
    }


def test_a_connection_that_breaks_at_37_percent(fake: FakeHub, cascade: Runner) -> None:
    offer(fake, EFFNET, STAGE_A, PREVIEWER)
    cascade.there(EFFNET, PREVIEWER)
    entry = fake.entries[f"{CASCADE}/{STAGE_A.path}"]
    cut = entry.content.size * 37 // 100
    entry.cuts = [cut]
    code, out, _ = cascade("essential", "--yes")
    assert (code, out.splitlines()[1]) == (0, str(cascade.models / STAGE_A.label))
    assert_resumed(fake.gets, cut, entry.content.size)
    assert is_same(cascade.models / STAGE_A.label, entry.content)
    assert len(cascade.found()) == 3


def assert_resumed(gets: list[Asked], cut: int, size: int) -> None:
    """The second request was for the rest alone: at most what was not yet written came again."""
    first, second = gets
    assert first.start is None and CHUNK < first.sent <= cut  # who is stopped may leave before the cut
    assert second.start is not None and first.sent - CHUNK < second.start <= first.sent
    assert second.sent == size - second.start


def test_ctrl_c_keeps_what_came(fake: FakeHub, cascade: Runner) -> None:
    offer(fake, EFFNET, STAGE_A, PREVIEWER)
    cascade.there(EFFNET, PREVIEWER)
    entry = fake.entries[f"{CASCADE}/{STAGE_A.path}"]
    cut = entry.content.size * 37 // 100
    entry.stalls = [cut]
    before = sum(cascade.found().values())
    process = cascade.start("essential", "--yes")
    while sum(cascade.found().values()) < before + cut - CHUNK:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out.splitlines()) == (130, [str(cascade.models / EFFNET.label)])
    assert re.search(
        r"cascade: vae/stage_a.safetensors: 2\d\.\d MB are kept; the same command goes on from there\n", err
    )
    assert err.endswith("cascade: stopped\n") and "Traceback" not in err
    (part,) = cascade.found().keys() - {EFFNET.label, PREVIEWER.label}
    assert re.fullmatch(r"vae/\.stage_a\.safetensors\.[0-9a-f]{12}\.part", part)

    code, _, err = cascade("essential", "--yes")
    assert code == 0
    assert re.search(r"73\.6 MB  vae/stage_a.safetensors  2\d\.\d MB of it are there\n", err)
    assert_resumed(fake.gets, cut, entry.content.size)
    assert is_same(cascade.models / STAGE_A.label, entry.content)
    assert len(cascade.found()) == 3


def test_a_part_of_an_older_version_is_no_beginning(fake: FakeHub, cascade: Runner) -> None:
    offer(fake, EFFNET, STAGE_A, PREVIEWER)
    cascade.there(EFFNET, STAGE_A)
    old = cascade.models / "vae" / f".{PREVIEWER.name}.{'0' * 12}.part"
    old.write_bytes(b"of another version")
    assert cascade("essential", "--yes")[0] == 0
    assert [asked.start for asked in fake.gets] == [None]
    assert len(cascade.found()) == 3


def test_what_a_download_left_that_was_killed_at_its_end_goes(fake: FakeHub, cascade: Runner) -> None:
    """The file has its name already, and the part is another name of it."""
    offer(fake, EFFNET, STAGE_A, PREVIEWER)
    cascade.there(EFFNET, STAGE_A, PREVIEWER)
    folder = cascade.models / "vae"
    (folder / f".{PREVIEWER.name}.{'0' * 12}.part").hardlink_to(folder / PREVIEWER.name)
    (folder / f".{PREVIEWER.name}.lock").write_text("process 1")
    assert cascade("essential", "--yes")[0] == 0
    assert fake.gets == [] and cascade.found().keys() == {file.label for file in (EFFNET, STAGE_A, PREVIEWER)}


@pytest.mark.parametrize("more", [-1, 1])
def test_a_wrong_size_leaves_no_file(fake: FakeHub, cascade: Runner, more: int) -> None:
    offer(fake, EFFNET, STAGE_A)
    served = content_of(PREVIEWER)
    fake.add(CASCADE, PREVIEWER.path, served, announced=served.size + more)
    cascade.there(EFFNET, STAGE_A)
    code, _, err = cascade("essential", "--yes")
    assert code == 1
    expected, sent = f"expected {served.size + more:,} bytes", f"it sends {served.size:,}"
    assert f"previewer.safetensors: {expected}, as the hub announces, but {sent}. What came is removed" in err
    assert cascade.found().keys() == {EFFNET.label, STAGE_A.label}


TINY = next(iter(built_in("stage_a").values()))
WEB_PAGE = b"<!DOCTYPE html><title>Log in</title>"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: content_of(PREVIEWER), "expected Stage A published, found previewer published"),
        (lambda: Content.of(WEB_PAGE), "is a web page"),
        (lambda: Content.of(content_of(STAGE_A).head), "damaged or its download is not complete"),
        (lambda: Content.of(TINY.read_bytes()), "expected Stage A published, found Stage A tiny"),
    ],
)
def test_a_wrong_header_leaves_no_file(
    fake: FakeHub, cascade: Runner, make: Callable[[], Content], reason: str
) -> None:
    offer(fake, EFFNET, PREVIEWER)
    fake.add(CASCADE, STAGE_A.path, make())
    cascade.there(EFFNET, PREVIEWER)
    code, out, err = cascade("essential", "--yes")
    assert (code, out.splitlines()) == (1, [str(cascade.models / EFFNET.label)])
    complaint = err.splitlines()[-1]
    assert complaint.startswith("cascade: vae/stage_a.safetensors: ") and reason in complaint, complaint
    assert complaint.endswith("What came is removed: try again later") and ".part" not in complaint
    assert cascade.found().keys() == {EFFNET.label, PREVIEWER.label}


def test_a_wrong_content_leaves_no_file(fake: FakeHub, cascade: Runner) -> None:
    offer(fake, EFFNET, STAGE_A)
    fake.add(CASCADE, PREVIEWER.path, content_of(PREVIEWER), tag="0" * 64)
    cascade.there(EFFNET, STAGE_A)
    code, _, err = cascade("essential", "--yes")
    assert code == 1 and "its content is not what the hub announces" in err
    assert cascade.found().keys() == {EFFNET.label, STAGE_A.label}


def test_what_is_there_is_skipped(fake: FakeHub, cascade: Runner) -> None:
    stages = [NAMES[f"diffusion_models/stage_{name}_lite_bf16.safetensors"] for name in "bc"]
    for file in (EFFNET, STAGE_A, PREVIEWER, *stages):
        fake.add(file.repository, file.path, content_of(file), tag="0" * 64)
    cascade.there(EFFNET, STAGE_A, PREVIEWER, stages[0])
    content_of(stages[1]).write(cascade.models / "unet" / stages[1].name)  # ComfyUI's other folder of this key
    code, out, err = cascade("essential", "small-small")
    assert code == 0  # and nobody had to be asked
    assert out.splitlines()[-2:] == [
        str(cascade.models / "diffusion_models" / stages[0].name),
        str(cascade.models / "unet" / stages[1].name),
    ]
    assert err.count("  already there\n") == 5 and "License" not in err
    assert fake.gets == []


def test_another_file_of_that_name_is_left_alone(fake: FakeHub, cascade: Runner) -> None:
    offer(fake, EFFNET, STAGE_A, PREVIEWER)
    mine = cascade.models / STAGE_A.label
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    code, out, err = cascade("essential", "--yes")
    assert (code, out) == (1, "")
    assert f"{mine} is there already, but is not the published file: it has 4 bytes instead of 73," in err
    assert (mine.read_bytes(), fake.gets) == (b"mine", [])

    Content(b"", content_of(STAGE_A).size).write(mine)  # as some programs begin a download
    code, _, err = cascade("essential", "--yes")
    assert code == 1 and "is not the published file: it " in err
    assert fake.gets == [] and cascade.found().keys() == {STAGE_A.label}


def test_nobody_to_ask_is_a_no(fake: FakeHub, cascade: Runner) -> None:
    offer(fake, EFFNET, STAGE_A, PREVIEWER)
    code, out, err = cascade.process("essential")
    assert (code, out) == (2, "")
    assert "171.1 MB  to download" in err  # the list is told all the same
    assert err.splitlines()[-1].endswith("add --yes")
    assert (fake.gets, cascade.found()) == ([], {})


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 1), ("no\n", 1)])
def test_a_person_is_asked(
    fake: FakeHub, cascade: Runner, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    offer(fake, EFFNET, STAGE_A, PREVIEWER)
    cascade.there(EFFNET, STAGE_A)
    ours, theirs = pytest.importorskip("pty").openpty()
    try:
        os.write(ours, answer.encode())
        with open(theirs, closefd=False) as keyboard:
            monkeypatch.setattr(sys, "stdin", keyboard)
            found, out, err = cascade("essential", "--json")
    finally:
        os.close(ours)
        os.close(theirs)
    assert found == code
    assert err.index("15.9 MB  to download") < err.index("License") < err.index("Download now? [y/N] ")
    answered = json.loads(out)["files"]
    if code == 0:
        sizes = [content_of(file).size for file in (EFFNET, STAGE_A, PREVIEWER)]
        paths = [str(cascade.models / file.label) for file in (EFFNET, STAGE_A, PREVIEWER)]
        assert [(entry["path"], entry["bytes"]) for entry in answered] == list(zip(paths, sizes, strict=True))
        assert [entry["downloaded"] for entry in answered] == [False, False, True]
    else:
        assert "nothing was downloaded" in err and answered == []
        assert cascade.found().keys() == {EFFNET.label, STAGE_A.label}


def test_the_text_encoder_brings_its_tokenizer(fake: FakeHub, cascade: Runner) -> None:
    fake.add(CASCADE, TEXT_ENCODER.path, content_of(TEXT_ENCODER), tag="0" * 64)
    texts = {"vocab.json": b'{"a": 0}', "merges.txt": b"#version: 0.2\n"}
    for name, text in texts.items():
        fake.add(CASCADE, f"tokenizer/{name}", Content.of(text))
    cascade.there(TEXT_ENCODER)
    assert cascade("--text-encoder", "--yes")[0] == 0
    folder = cascade.models / "text_encoders" / "tokenizer"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == texts
    assert find_tokenizer(cascade.models / TEXT_ENCODER.label) == folder

    (folder / "merges.txt").unlink()
    fake.add(CASCADE, "tokenizer/merges.txt", Content.of(b"#version: 0.3\n"), tag="0" * 40)
    code, _, err = cascade("--text-encoder", "--yes")
    assert code == 1 and "text_encoders/tokenizer/merges.txt: its content is not what the hub announces" in err
    assert [path.name for path in folder.iterdir()] == ["vocab.json"]


def test_controlnets(fake: FakeHub, cascade: Runner) -> None:
    canny, upscaling = (
        NAMES[f"controlnet/stable_cascade_{mode}.safetensors"] for mode in ("canny", "super_resolution")
    )
    offer(fake, canny, upscaling)
    code, out, _ = cascade("--controlnet", "super_resolution,canny", "--yes")
    assert (code, out.splitlines()) == (0, [str(cascade.models / file.label) for file in (canny, upscaling)])
    assert is_same(cascade.models / upscaling.label, content_of(upscaling))

    (cascade.models / canny.label).unlink()
    fake.add(CASCADE, canny.path, content("controlnet", "inpainting", "bfloat16"))
    code, _, err = cascade("--controlnet", "canny", "--yes")
    assert code == 1 and "expected ControlNet canny, found ControlNet inpainting" in err
    assert cascade.found().keys() == {upscaling.label}


def test_the_token_goes_to_the_hub_alone(fake: FakeHub, cascade: Runner) -> None:
    offer(fake, EFFNET, STAGE_A, PREVIEWER)
    cascade.there(EFFNET, STAGE_A)
    cascade.environment["HF_TOKEN"] = "hf_secret"
    assert cascade.process("essential", "--yes")[0] == 0
    tokens = {asked.path.startswith("cdn/"): asked.token for asked in fake.asked}
    assert tokens == {False: "Bearer hf_secret", True: None}


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (401, "", "does not know who you are: set HF_TOKEN"),
        (403, "", "Accept the terms at https://127.0.0.1"),
        (401, "GatedRepo", "Accept the terms at https://127.0.0.1"),
        (404, "EntryNotFound", "there is no such file at 127.0.0.1"),
        (404, "RepoNotFound", "there is no such file at 127.0.0.1"),
        (429, "", "too many requests"),
        (500, "", "answers with the error 500"),
    ],
)
def test_a_hub_that_refuses(fake: FakeHub, cascade: Runner, status: int, code: str, reason: str) -> None:
    offer(fake, EFFNET, STAGE_A)
    fake.add(CASCADE, PREVIEWER.path, content_of(PREVIEWER), status=status, error=code)
    found, out, err = cascade("essential", "--yes")
    assert (found, out, fake.gets, cascade.found()) == (1, "", [], {})
    assert reason in err and err.startswith(f"cascade: {CASCADE}/previewer.safetensors: ")
    assert len(err.splitlines()) == 1


def test_no_hub(cascade: Runner) -> None:
    cascade.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    code, _, err = cascade.process("essential", "--yes")
    assert code == 1 and "the connection to 127.0.0.1:9 failed" in err and len(err.splitlines()) == 1
    cascade.environment["HF_HUB_OFFLINE"] = "1"
    code, _, err = cascade.process("essential", "--yes")
    assert code == 1 and "unset it" in err and len(err.splitlines()) == 1


def test_a_disk_that_takes_no_more(fake: FakeHub, cascade: Runner) -> None:
    resource = pytest.importorskip("resource")
    offer(fake, EFFNET, STAGE_A, PREVIEWER)
    cascade.there(EFFNET, PREVIEWER)
    limit = (30 << 20, 30 << 20)
    code, _, err = cascade.process(
        "essential", "--yes", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    )
    assert code == 1
    assert f"cascade: {CASCADE}/stage_a.safetensors: it cannot be written: File too large" in err
    assert not (cascade.models / STAGE_A.label).exists()


def test_too_little_memory_is_no_fault_of_the_connection(
    fake: FakeHub, cascade: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def append(*_: object) -> None:
        raise MemoryError

    offer(fake, EFFNET, STAGE_A, PREVIEWER)
    monkeypatch.setattr("stable_cascade_nodes.cli.hub._append", append)
    code, out, err = cascade("essential", "--yes")
    assert (code, out) == (1, "") and "cascade: out of memory: MemoryError" in err and "connection" not in err
