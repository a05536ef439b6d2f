"""So many mutants of one kind, and what came of them.

    python -m tests.fuzz answers 10000

Prints how many there were, and each that got more than short sentences out of a command, with its number; that one
alone is made again by `python -m tests.fuzz answers 1 NUMBER`.
"""

from __future__ import annotations

import random
import sys
import time

from . import seeds
from .harness import HARNESSES, scratch


def main(name: str, count: int, first: int = 0) -> int:
    harness = HARNESSES[name]
    good = harness.seeds()
    failed, slowest = 0, 0.0
    with scratch() as folder:
        for case in seeds.kept(name):
            harness.read(case, folder)
        for number in range(first, first + count):
            chance = random.Random(number)
            mutant = harness.mutate(chance.choice(good), good, chance)
            started = time.process_time()
            try:
                harness.read(mutant, folder)
            except Exception as error:
                failed += 1
                print(f"{name} {number}: {type(error).__name__}: {str(error)[-1000:]}", flush=True)
            slowest = max(slowest, time.process_time() - started)
            if (number + 1 - first) % 500 == 0:
                print(f"{name}: {number + 1 - first:,} mutants, {failed} failed, slowest {slowest:.2f} s", flush=True)
    print(f"{name}: {count:,} mutants, {failed} failed, slowest {slowest:.2f} CPU s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], *map(int, sys.argv[2:])))
