"""Two of one command at once, the second a little later: one works, the other says which process is at it.

    python two_at_once.py FOLDER TIMES SEED encode|train

The second has other settings every other time. Prints how often it was turned away, and how often it came when the
first had ended; fails where both worked at once, or what is left is not what the first alone leaves.
"""

from __future__ import annotations

import os
import random
import re
import sys
import time
from pathlib import Path

from stable_cascade_nodes.headless import node_classes

from .killed_commands import COMMANDS, check_whole, child, files, make, start

OTHER = {"encode": ["--precision", "float32"], "train": ["--rank", "2"]}
LATEST = 2.0  # seconds after which the second begins at most
AWAY = re.compile(r"is being worked on by process (\d+) on \S+ since \d{4}-")
OTHERWISE = re.compile(r"began otherwise|was written by .* this would be by")


def code(number: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def try_out(name: str, folder: Path, times: int, chance: random.Random) -> None:
    alone = folder / "alone"
    make(alone)
    child(COMMANDS[name], alone, None)
    expected = {one: path.read_bytes() for one, path in files(alone).items() if path.suffix == ".safetensors"}
    away = later = 0
    for index in range(times):
        place = folder / f"{index}"
        make(place)
        first = start(COMMANDS[name], place, place / "first.log")
        time.sleep(chance.uniform(0, LATEST))
        second = start([*COMMANDS[name], *(OTHER[name] if index % 2 else [])], place, place / "second.log")
        codes = code(first), code(second)
        said = [(place / f"{one}.log").read_text("utf-8") for one in ("first", "second")]
        if 0 not in codes:
            raise SystemExit(f"{index}: {codes} {said}")
        turned = [AWAY.search(text) for text in said]
        found = [int(one[1]) for one in turned if one]
        if found:
            away += 1
            if found[0] != (second if turned[0] else first) or sorted(codes) != [0, 1]:
                raise SystemExit(f"{index}: {codes} {said}")
        elif codes == (0, 0) or OTHERWISE.search(said[1]):
            later += 1
        else:
            raise SystemExit(f"{index}: {codes} {said}")
        check_whole(place)
        left = files(place)
        if [one for one in left if any(part.startswith(".") for part in Path(one).parts)]:
            raise SystemExit(f"{index}: left {sorted(left)}")
        if codes[0] == 0:  # the first, whose settings are those of the one that was alone
            other = [one for one, content in expected.items() if left[one].read_bytes() != content]
            if other:
                raise SystemExit(f"{index}: mixed: {other}")
        print(f"{index}: {codes} {'turned away' if found else 'later'}", flush=True)
    print(f"{name}: {times} times, turned away {away}, after the first had ended {later}", flush=True)


if __name__ == "__main__":
    import stable_cascade_nodes.cascade_core.pipeline
    import stable_cascade_nodes.cascade_core.training.start
    import stable_cascade_nodes.headless.run  # noqa: F401

    node_classes.load()
    try_out(sys.argv[4], Path(sys.argv[1]).absolute(), int(sys.argv[2]), random.Random(int(sys.argv[3])))
