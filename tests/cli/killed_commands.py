"""Commands that are killed at random moments, and then run to their ends.

    python killed_commands.py FOLDER KILLS SEED COMMAND

Prints how often the command was killed and how often it ended; fails where a file under its own name is not whole, or
where after the last run anything is left that a run without kills does not leave. Forked: imports are paid once.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import load_file

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import node_classes

PICTURES, SIDE = 6, 64
COMMANDS: dict[str, list[str]] = {
    "run": ["run", "text_to_image", "--size", "128x128", "--steps", "2", "--seed", "1", "-o", "out"],
    "encode": ["encode", "pictures", "--to", "out/l.safetensors", "--shard-size", "2"],
    "decode": ["decode", "latents.safetensors", "-o", "out", "--steps", "1", "--batch", "1"],
    "convert": ["convert", str(built_in("stage_b")["tiny (built-in)"]), "--to", "diffusers", "-o", "out/b", "--force"],
    "train": [
        "train", "lora", "pictures", "--name", "zig", "--caption", "a star", "--steps", "3", "--size", "64",
        "--batch-size", "1", "--sample-every", "2", "--save-every", "1", "--prompts", "a", "-o", "out",
        "--models", "models", "--previewer", "tiny",
    ],
    "download": ["download", "essential", "--yes", "--models", "out"],
}  # fmt: skip
GROWS = ("run",)  # commands that write new files each time
EQUAL = ("encode", "download")  # those whose files are the same to the bit


def start(arguments: list[str], place: Path, log: Path, before: Callable[[], None] = lambda: None) -> int:
    """The number of a process that runs a command in a folder, with all that it says in `log`. before: called in it."""
    number = os.fork()
    if number == 0:
        os.chdir(place)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        before()
        os._exit(main(arguments))
    return number


def child(arguments: list[str], place: Path, kill_after: float | None) -> bool:
    """Whether the command came to its end before it was killed."""
    number = start(arguments, place, place / "log")
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(number, signal.SIGKILL)
    _, status = os.waitpid(number, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise SystemExit(f"{arguments}: {(place / 'log').read_text('utf-8')[-2000:]}")
    return os.WIFEXITED(status)


def make(place: Path) -> None:
    for name in ("pictures", "models", "input"):
        (place / name).mkdir(parents=True)
    for number in range(PICTURES):
        levels = np.random.default_rng(number).integers(255, size=(SIDE + 8 * number, SIDE, 3), dtype=np.uint8)
        Image.fromarray(levels).save(place / "pictures" / f"{number}.png")


def files(place: Path) -> dict[str, Path]:
    """What the command wrote, hidden files and locks included."""
    return {
        path.relative_to(place).as_posix(): path
        for root in (place / "out", place / "models")
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def check_whole(place: Path) -> None:
    """No file is half written under its own name."""
    for name, path in files(place).items():
        if any(part.startswith(".") for part in Path(name).parts):
            continue
        if path.suffix == ".safetensors":
            load_file(path)
        elif path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()


def try_out(name: str, folder: Path, kills: int, chance: random.Random, told: Callable[[str], None]) -> None:
    never, place = folder / f"{name}_never", folder / name
    for one in (never, place):
        make(one)
        if name == "decode":
            child([*COMMANDS["encode"][:2], "--to", "latents.safetensors"], one, None)
    started = time.monotonic()
    child(COMMANDS[name], never, None)
    whole = time.monotonic() - started
    ended = killed = 0
    while killed < kills:
        if child(COMMANDS[name], place, chance.uniform(0, whole)):
            ended += 1
            check_whole(place)
            if name not in GROWS:
                compare(name, never, place)
                shutil.rmtree(place / "out")
        else:
            killed += 1
            check_whole(place)
    child(COMMANDS[name], place, None)
    check_whole(place)
    compare(name, never, place)
    told(f"{name}: killed {killed}, ended {ended + 1}")


def compare(name: str, never: Path, place: Path) -> None:
    """CascadeError where a run that was killed left other files, or others' content, than one that was not."""
    expected, found = files(never), files(place)
    strays = [one for one in found if any(part.startswith(".") for part in Path(one).parts)]
    if strays or (name not in GROWS and expected.keys() != found.keys()):
        raise SystemExit(f"{name}: strays {strays}, {sorted(expected.keys() ^ found.keys())}")
    if name in EQUAL:
        other = [one for one in expected if expected[one].read_bytes() != found[one].read_bytes()]
        if other:
            raise SystemExit(f"{name}: not equal to the bit: {other}")


def serve_hub(folder: Path) -> int:
    """The number of a process that is the hub of what is downloaded here from now on."""
    ours, theirs = os.pipe()
    number = os.fork()
    if number == 0:
        from .fake_hub import serve
        from .published_contents import EFFNET, PREVIEWER, STAGE_A, content_of

        with serve() as server:
            for file in (EFFNET, STAGE_A, PREVIEWER):
                server.add(file.repository, file.path, content_of(file))
            os.write(theirs, server.url.encode())
            signal.pause()
    os.environ.update({"HF_ENDPOINT": os.read(ours, 100).decode(), "HF_HOME": str(folder / "hf"), "NO_PROXY": "*"})
    from huggingface_hub import constants

    assert os.environ["HF_ENDPOINT"] == constants.ENDPOINT  # it reads its variables once
    return number


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    place = Path(sys.argv[1]).absolute()
    (place / "temporary").mkdir(parents=True)
    os.environ["TMPDIR"] = str(place / "temporary")
    import stable_cascade_nodes.cascade_core.pipeline
    import stable_cascade_nodes.cascade_core.training.start
    import stable_cascade_nodes.headless.run  # noqa: F401

    node_classes.load()
    wanted = sys.argv[4:] or list(COMMANDS)
    hub = serve_hub(place) if "download" in wanted else None
    try:
        for one in wanted:
            try_out(one, place, int(sys.argv[2]), random.Random(int(sys.argv[3])), lambda text: print(text, flush=True))
    finally:
        if hub is not None:
            os.kill(hub, signal.SIGKILL)
    left = [path for path in (place / "temporary").iterdir() if path.name.startswith("cascade_")]
    print(f"temporary folders left: {len(left)}")
