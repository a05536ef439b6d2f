"""`cascade download`: what is asked and what is there then; nothing is left of what is not as the hub announces it.

Sizes that are expected are those that the hub announces, as with the real one. Stage A, the previewer and the effnet
are served in their full size; of larger files there are sparse ones on disk, for only their headers are looked at.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

import pytest

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.files.published import CASCADE
from stable_cascade_nodes.cascade_core.models.tokenizer import find_tokenizer

from .downloads import Runner, is_same, offer
from .fake_hub import Content, FakeHub
from .published_contents import EFFNET, NAMES, PREVIEWER, STAGE_A, TEXT_ENCODER, content, content_of


def test_the_essentials(hub: FakeHub, download: Runner) -> None:
    offer(hub, EFFNET, STAGE_A, PREVIEWER)
    code, out, err = download.process("essential", "--yes")
    assert (code, out.splitlines()) == (0, [str(download.models / file.label) for file in (EFFNET, STAGE_A, PREVIEWER)])
    for file in (EFFNET, STAGE_A, PREVIEWER):
        assert is_same(download.models / file.label, content_of(file))
        assert f" MB  {file.label}\n" in err
    assert len(download.found()) == 3  # and nothing hidden beside them
    assert "171.1 MB  to download into" in err
    assert "Non-Commercial Research Community License" in err and f"huggingface.co/{CASCADE}/blob/main/LICENSE" in err
    assert "CLIP" not in err  # whose licence is another
    assert {asked.path for asked in hub.gets} == {f"cdn/{CASCADE}/{file.path}" for file in (EFFNET, STAGE_A, PREVIEWER)}


@pytest.mark.parametrize("more", [-1, 1])
def test_a_wrong_size_leaves_no_file(hub: FakeHub, download: Runner, more: int) -> None:
    offer(hub, EFFNET, STAGE_A)
    served = content_of(PREVIEWER)
    hub.add(CASCADE, PREVIEWER.path, served, announced=served.size + more)
    download.there(EFFNET, STAGE_A)
    code, _, err = download("essential", "--yes")
    assert code == 1
    expected, sent = f"expected {served.size + more:,} bytes", f"it sends {served.size:,}"
    assert f"previewer.safetensors: {expected}, as the hub announces, but {sent}. What came is removed" in err
    assert download.found().keys() == {EFFNET.label, STAGE_A.label}


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
    hub: FakeHub, download: Runner, make: Callable[[], Content], reason: str
) -> None:
    offer(hub, EFFNET, PREVIEWER)
    hub.add(CASCADE, STAGE_A.path, make())
    download.there(EFFNET, PREVIEWER)
    code, out, err = download("essential", "--yes")
    assert (code, out.splitlines()) == (1, [str(download.models / EFFNET.label)])
    complaint = err.splitlines()[-1]
    assert complaint.startswith("cascade: vae/stage_a.safetensors: ") and reason in complaint, complaint
    assert complaint.endswith("What came is removed: try again later") and ".part" not in complaint
    assert download.found().keys() == {EFFNET.label, PREVIEWER.label}


def test_a_wrong_content_leaves_no_file(hub: FakeHub, download: Runner) -> None:
    offer(hub, EFFNET, STAGE_A)
    hub.add(CASCADE, PREVIEWER.path, content_of(PREVIEWER), tag="0" * 64)
    download.there(EFFNET, STAGE_A)
    code, _, err = download("essential", "--yes")
    assert code == 1 and "its content is not what the hub announces" in err
    assert download.found().keys() == {EFFNET.label, STAGE_A.label}


def test_what_is_there_is_skipped(hub: FakeHub, download: Runner) -> None:
    stages = [NAMES[f"diffusion_models/stage_{name}_lite_bf16.safetensors"] for name in "bc"]
    for file in (EFFNET, STAGE_A, PREVIEWER, *stages):
        hub.add(file.repository, file.path, content_of(file), tag="0" * 64)
    download.there(EFFNET, STAGE_A, PREVIEWER, stages[0])
    content_of(stages[1]).write(download.models / "unet" / stages[1].name)  # ComfyUI's other folder of this key
    code, out, err = download("essential", "small-small")
    assert code == 0  # and nobody had to be asked
    assert out.splitlines()[-2:] == [
        str(download.models / "diffusion_models" / stages[0].name),
        str(download.models / "unet" / stages[1].name),
    ]
    assert err.count("  already there\n") == 5 and "License" not in err
    assert hub.gets == []


def test_another_file_of_that_name_is_left_alone(hub: FakeHub, download: Runner) -> None:
    offer(hub, EFFNET, STAGE_A, PREVIEWER)
    mine = download.models / STAGE_A.label
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    code, out, err = download("essential", "--yes")
    assert (code, out) == (1, "")
    assert f"{mine} is there already, but is not the published file: it has 4 bytes instead of 73," in err
    assert (mine.read_bytes(), hub.gets) == (b"mine", [])

    Content(b"", content_of(STAGE_A).size).write(mine)  # as some programs begin a download
    code, _, err = download("essential", "--yes")
    assert code == 1 and "is not the published file: it " in err
    assert hub.gets == [] and download.found().keys() == {STAGE_A.label}


def test_nobody_to_ask_is_a_no(hub: FakeHub, download: Runner) -> None:
    offer(hub, EFFNET, STAGE_A, PREVIEWER)
    code, out, err = download.process("essential")
    assert (code, out) == (2, "")
    assert "171.1 MB  to download" in err  # the list is told all the same
    assert err.splitlines()[-1].endswith("add --yes")
    assert (hub.gets, download.found()) == ([], {})


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 1), ("no\n", 1)])
def test_a_person_is_asked(
    hub: FakeHub, download: Runner, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    offer(hub, EFFNET, STAGE_A, PREVIEWER)
    download.there(EFFNET, STAGE_A)
    ours, theirs = pytest.importorskip("pty").openpty()
    try:
        os.write(ours, answer.encode())
        with open(theirs, closefd=False) as keyboard:
            monkeypatch.setattr(sys, "stdin", keyboard)
            found, out, err = download("essential", "--json")
    finally:
        os.close(ours)
        os.close(theirs)
    assert found == code
    assert err.index("15.9 MB  to download") < err.index("License") < err.index("Download now? [y/N] ")
    answered = json.loads(out)["files"]
    if code == 0:
        sizes = [content_of(file).size for file in (EFFNET, STAGE_A, PREVIEWER)]
        paths = [str(download.models / file.label) for file in (EFFNET, STAGE_A, PREVIEWER)]
        assert [(entry["path"], entry["bytes"]) for entry in answered] == list(zip(paths, sizes, strict=True))
        assert [entry["downloaded"] for entry in answered] == [False, False, True]
    else:
        assert "nothing was downloaded" in err and answered == []
        assert download.found().keys() == {EFFNET.label, STAGE_A.label}


def test_the_text_encoder_brings_its_tokenizer(hub: FakeHub, download: Runner) -> None:
    hub.add(CASCADE, TEXT_ENCODER.path, content_of(TEXT_ENCODER), tag="0" * 64)
    texts = {"vocab.json": b'{"a": 0}', "merges.txt": b"#version: 0.2\n"}
    for name, text in texts.items():
        hub.add(CASCADE, f"tokenizer/{name}", Content.of(text))
    download.there(TEXT_ENCODER)
    assert download("--text-encoder", "--yes")[0] == 0
    folder = download.models / "text_encoders" / "tokenizer"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == texts
    assert find_tokenizer(download.models / TEXT_ENCODER.label) == folder

    (folder / "merges.txt").unlink()
    hub.add(CASCADE, "tokenizer/merges.txt", Content.of(b"#version: 0.3\n"), tag="0" * 40)
    code, _, err = download("--text-encoder", "--yes")
    assert code == 1 and "text_encoders/tokenizer/merges.txt: its content is not what the hub announces" in err
    assert [path.name for path in folder.iterdir()] == ["vocab.json"]


def test_controlnets(hub: FakeHub, download: Runner) -> None:
    canny, upscaling = (
        NAMES[f"controlnet/stable_cascade_{mode}.safetensors"] for mode in ("canny", "super_resolution")
    )
    offer(hub, canny, upscaling)
    code, out, _ = download("--controlnet", "super_resolution,canny", "--yes")
    assert (code, out.splitlines()) == (0, [str(download.models / file.label) for file in (canny, upscaling)])
    assert is_same(download.models / upscaling.label, content_of(upscaling))

    (download.models / canny.label).unlink()
    hub.add(CASCADE, canny.path, content("controlnet", "inpainting", "bfloat16"))
    code, _, err = download("--controlnet", "canny", "--yes")
    assert code == 1 and "expected ControlNet canny, found ControlNet inpainting" in err
    assert download.found().keys() == {upscaling.label}


def test_the_token_goes_to_the_hub_alone(hub: FakeHub, download: Runner) -> None:
    offer(hub, EFFNET, STAGE_A, PREVIEWER)
    download.there(EFFNET, STAGE_A)
    download.environment["HF_TOKEN"] = "hf_secret"
    assert download.process("essential", "--yes")[0] == 0
    tokens = {asked.path.startswith("cdn/"): asked.token for asked in hub.asked}
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
def test_a_hub_that_refuses(hub: FakeHub, download: Runner, status: int, code: str, reason: str) -> None:
    offer(hub, EFFNET, STAGE_A)
    hub.add(CASCADE, PREVIEWER.path, content_of(PREVIEWER), status=status, error=code)
    found, out, err = download("essential", "--yes")
    assert (found, out, hub.gets, download.found()) == (1, "", [], {})
    assert reason in err and err.startswith(f"cascade: {CASCADE}/previewer.safetensors: ")
    assert len(err.splitlines()) == 1


def test_no_hub(download: Runner) -> None:
    download.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    code, _, err = download.process("essential", "--yes")
    assert code == 1 and "the connection to 127.0.0.1:9 failed" in err and len(err.splitlines()) == 1
    download.environment["HF_HUB_OFFLINE"] = "1"
    code, _, err = download.process("essential", "--yes")
    assert code == 1 and "unset it" in err and len(err.splitlines()) == 1


def test_a_disk_that_takes_no_more(hub: FakeHub, download: Runner) -> None:
    resource = pytest.importorskip("resource")
    offer(hub, EFFNET, STAGE_A, PREVIEWER)
    download.there(EFFNET, PREVIEWER)
    limit = (30 << 20, 30 << 20)
    code, _, err = download.process(
        "essential", "--yes", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    )
    assert code == 1
    assert f"cascade: {CASCADE}/stage_a.safetensors: it cannot be written: File too large" in err
    assert not (download.models / STAGE_A.label).exists()


def test_too_little_memory_is_no_fault_of_the_connection(
    hub: FakeHub, download: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def append(*_: object) -> None:
        raise MemoryError

    offer(hub, EFFNET, STAGE_A, PREVIEWER)
    monkeypatch.setattr("stable_cascade_nodes.cli.hub._append", append)
    code, out, err = download("essential", "--yes")
    assert (code, out) == (1, "") and "cascade: out of memory: MemoryError" in err and "connection" not in err
