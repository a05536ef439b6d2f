"""`cascade download` that ends before its end: what is kept, where the next one goes on, and what is left."""

from __future__ import annotations

import re
import signal
import time

from stable_cascade_nodes.cascade_core.files.published import CASCADE

from .downloads import Runner, is_same, offer
from .fake_hub import Asked, FakeHub
from .published_contents import EFFNET, PREVIEWER, STAGE_A

CHUNK = 2 << 20  # at most so much of what came is not yet written


def test_a_connection_that_breaks_at_37_percent(hub: FakeHub, download: Runner) -> None:
    offer(hub, EFFNET, STAGE_A, PREVIEWER)
    download.there(EFFNET, PREVIEWER)
    entry = hub.entries[f"{CASCADE}/{STAGE_A.path}"]
    cut = entry.content.size * 37 // 100
    entry.cuts = [cut]
    code, out, _ = download("essential", "--yes")
    assert (code, out.splitlines()[1]) == (0, str(download.models / STAGE_A.label))
    assert_resumed(hub.gets, cut, entry.content.size)
    assert is_same(download.models / STAGE_A.label, entry.content)
    assert len(download.found()) == 3


def assert_resumed(gets: list[Asked], cut: int, size: int) -> None:
    """The second request was for the rest alone: at most what was not yet written came again."""
    first, second = gets
    assert first.start is None and CHUNK < first.sent <= cut  # who is stopped may leave before the cut
    assert second.start is not None and first.sent - CHUNK < second.start <= first.sent
    assert second.sent == size - second.start


def test_ctrl_c_keeps_what_came(hub: FakeHub, download: Runner) -> None:
    offer(hub, EFFNET, STAGE_A, PREVIEWER)
    download.there(EFFNET, PREVIEWER)
    entry = hub.entries[f"{CASCADE}/{STAGE_A.path}"]
    cut = entry.content.size * 37 // 100
    entry.stalls = [cut]
    before = sum(download.found().values())
    process = download.start("essential", "--yes")
    while sum(download.found().values()) < before + cut - CHUNK:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out.splitlines()) == (130, [str(download.models / EFFNET.label)])
    assert re.search(
        r"cascade: vae/stage_a.safetensors: 2\d\.\d MB are kept; the same command goes on from there\n", err
    )
    assert err.endswith("cascade: stopped\n") and "Traceback" not in err
    (part,) = download.found().keys() - {EFFNET.label, PREVIEWER.label}
    assert re.fullmatch(r"vae/\.stage_a\.safetensors\.[0-9a-f]{12}\.part", part)

    code, _, err = download("essential", "--yes")
    assert code == 0
    assert re.search(r"73\.6 MB  vae/stage_a.safetensors  2\d\.\d MB of it are there\n", err)
    assert_resumed(hub.gets, cut, entry.content.size)
    assert is_same(download.models / STAGE_A.label, entry.content)
    assert len(download.found()) == 3


def test_a_part_of_an_older_version_is_no_beginning(hub: FakeHub, download: Runner) -> None:
    offer(hub, EFFNET, STAGE_A, PREVIEWER)
    download.there(EFFNET, STAGE_A)
    old = download.models / "vae" / f".{PREVIEWER.name}.{'0' * 12}.part"
    old.write_bytes(b"of another version")
    assert download("essential", "--yes")[0] == 0
    assert [asked.start for asked in hub.gets] == [None]
    assert len(download.found()) == 3


def test_what_a_download_left_that_was_killed_at_its_end_goes(hub: FakeHub, download: Runner) -> None:
    """The file has its name already, and the part is another name of it."""
    offer(hub, EFFNET, STAGE_A, PREVIEWER)
    download.there(EFFNET, STAGE_A, PREVIEWER)
    folder = download.models / "vae"
    (folder / f".{PREVIEWER.name}.{'0' * 12}.part").hardlink_to(folder / PREVIEWER.name)
    (folder / f".{PREVIEWER.name}.lock").write_text("process 1")
    assert download("essential", "--yes")[0] == 0
    assert hub.gets == [] and download.found().keys() == {file.label for file in (EFFNET, STAGE_A, PREVIEWER)}
