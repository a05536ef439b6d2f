"""Commands that get little memory: each is one sentence and exit code 1, or works, and leaves nothing half-written.

    python -m tests.cli.little_memory FOLDER

Forked, under a limit of so many MiB above what the process has. Prints what each said.
"""

from __future__ import annotations

import os
import re
import resource
import sys
from pathlib import Path

from stable_cascade_nodes.headless import node_classes

from .killed_commands import COMMANDS, check_whole, child, files, make, start

ADVICE = re.compile(r"out of memory|choose a smaller")
ABOVE = (4, 24, 64)  # MiB: too little for the first tensors, for those of the work, and for its end


def limited(arguments: list[str], place: Path, above: int) -> tuple[int, str]:
    """Exit code, and what was said on stderr."""

    def limit() -> None:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + above * 2**20, resource.RLIM_INFINITY))

    log = place / "limited.log"
    number = start(arguments, place, log, limit)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), log.read_text("utf-8")


def try_out(name: str, folder: Path) -> None:
    for above in ABOVE:
        place = folder / f"{name}{above}"
        make(place)
        if name == "decode":
            child([*COMMANDS["encode"][:2], "--to", "latents.safetensors"], place, None)
        code, said = limited(COMMANDS[name], place, above)
        lines = [line for line in said.splitlines() if line.startswith("cascade: ")]
        strays = [one for one in files(place) if any(part.startswith(".") for part in Path(one).parts)]
        check_whole(place)
        print(f"{name}, {above} MiB: {code} {lines[-1:] if code else ''}", flush=True)
        if code not in (0, 1) or strays or "Traceback" in said or (code == 1 and not ADVICE.search(lines[-1])):
            raise SystemExit(f"{name}, {above} MiB: {code}, {strays}, {said[-2000:]}")


if __name__ == "__main__":
    import stable_cascade_nodes.cascade_core.pipeline
    import stable_cascade_nodes.cascade_core.training.start
    import stable_cascade_nodes.headless.run  # noqa: F401

    node_classes.load()
    for one in sys.argv[2:] or [name for name in COMMANDS if name != "download"]:  # which keeps what came
        try_out(one, Path(sys.argv[1]).absolute())
