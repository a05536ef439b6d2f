"""An app that is killed at any moment: no file is half-written under its name, and the next app clears up the rest.

Run: pytest tests/app/test_killed.py, with -m slow for thirty kills.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from .client import Client
from .conftest import SHIPPED, Server, launch, reach, running, temporary_of

pytestmark = pytest.mark.skipif(os.name == "nt", reason="it kills processes as Unix does")
ARGUMENTS = ("--workflows", "workflows")
SIDE = 400  # pixels of what is brought, of noise: some 500 kB


def picture(number: int) -> bytes:
    noise = random.Random(number).randbytes(3 * SIDE * SIDE)
    written = io.BytesIO()
    Image.frombytes("RGB", (SIDE, SIDE), noise).save(written, "PNG")
    return written.getvalue()


def work(server: Server, rounds: int, first: int = 0) -> None:
    """Bring a picture, then make one; no round is the same."""
    client = Client(server)
    for number in range(first, first + rounds):
        reply = client.upload("x.png", picture(number))
        (path,) = json.loads(reply.text)
        file = {"path": path, "orig_name": "x.png", "meta": {"_type": "gradio.FileData"}}
        client.call(client.uploader(0).number, [file])
        made = client.button("text_to_image").places
        few = {place: 1 for place in made if place[1] == "steps"}
        _, answer = client.run("text_to_image", {**few, ("9", "seed"): str(number)})
        assert "Done in" in answer


def check_whole(place: Path) -> int:
    """The number of pictures under names of their own; each can be read to its end."""
    found = [path for path in place.rglob("*.png") if not path.name.startswith(".")]
    for path in found:
        with Image.open(path) as shown:
            shown.load()
    return len(found)


@pytest.mark.parametrize("kills", [1, pytest.param(30, marks=pytest.mark.slow)])
def test_a_killed_app_leaves_nothing_when_the_next_has_run(tmp_path: Path, kills: int) -> None:
    place, chance = tmp_path / "place", random.Random(kills)
    for name in ("input", "output", "workflows"):
        (place / name).mkdir(parents=True)
    for name in ("text_to_image.json", "image_to_image.json"):
        (place / "workflows" / name).write_bytes((SHIPPED / name).read_bytes())
    started = time.monotonic()
    with running(place, *ARGUMENTS) as server:
        starting = time.monotonic() - started
        work(server, 1)
        working = time.monotonic() - started - starting
    at_work = 0
    for number in range(kills):
        with killed(place) as process:
            if number % 3 == 2:
                time.sleep(chance.uniform(0, starting))
                continue
            server = reach(process, place)
            worker = threading.Thread(target=quietly, args=(server, 1000 * (number + 1)))
            worker.start()
            time.sleep(chance.uniform(0, 2 * working))
            at_work += worker.is_alive()
        check_whole(place)
    process = launch(place, *ARGUMENTS)
    work(reach(process, place), 1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    print(f"killed {kills}, {at_work} of them at work; pictures: {check_whole(place)}")
    assert not [path for path in place.rglob("*") if path.name.startswith(".")]
    assert not list(temporary_of(place).iterdir())


@contextlib.contextmanager
def killed(place: Path) -> Iterator[subprocess.Popen[str]]:
    """An app that is killed at the end of the block."""
    process = launch(place, *ARGUMENTS)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def quietly(server: Server, first: int) -> None:
    """Work until the app is gone."""
    with contextlib.suppress(OSError, http.client.HTTPException, StopIteration, ValueError):
        work(server, 100, first)
