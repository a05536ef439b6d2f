"""A batch of a million rows on many workers, simulated: `python -m stable_cascade_nodes.benchmarks.fleet [--rows N]`.

Discrete events with measured times: workers that take rows by lease, stragglers, failures by chance, workers that die
and come back, and one driver, which handles one answer after the other and writes its records every tenth of a second.
It says at how many workers the driver becomes the limit.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from dataclasses import dataclass, replace

GROUP = 0.1  # seconds of which the driver writes the records at once
SHORT = 1.0  # seconds; where rows take less, a second one waits at each worker


@dataclass(frozen=True)
class Fleet:
    rows: int = 1_000_000
    workers: int = 100
    row_seconds: float = 10.0  # the median
    spread: float = 0.2  # of its logarithm
    stragglers: float = 0.002  # share of rows that take `slow` times as long
    slow: float = 10.0
    failures: float = 0.001  # share of attempts that fail by chance
    deaths: float = 0.05  # of a worker in an hour
    restart: float = 60.0  # seconds until a dead worker's successor has loaded its models
    driver_ms: float = 0.9  # that the driver spends on a row, measured by batch_costs
    commit_ms: float = 5.0  # for the records to be on the disk, once in GROUP
    latency_ms: float = 2.0  # between the driver and a worker


@dataclass(frozen=True)
class Found:
    seconds: float
    busy: float  # share of the time in which the driver worked
    useful: float  # share of the workers' time that went into rows that were finished
    waited: float  # seconds that an answer waited for the driver at most
    dead: int
    attempts: int

    @property
    def summary(self) -> str:
        return (
            f"{self.seconds / 3600:8.2f} h; driver busy {self.busy:6.1%}; workers useful {self.useful:6.1%};"
            f" an answer waits {self.waited:.3f} s at most; {self.dead:,} workers died, {self.attempts:,} attempts"
        )


def simulate(fleet: Fleet, seed: int = 1) -> Found:
    """Until every row is finished once. Raises AssertionError where one is lost or finished twice."""
    chance = random.Random(seed)
    room = 2 if fleet.row_seconds < SHORT else 1
    waiting, finished, attempts, dead = fleet.rows, 0, 0, 0
    free = busy = committed = useful = waited = now = 0.0
    leased = [0] * fleet.workers  # rows at a worker, the one that runs included
    events: list[tuple[float, int, str, float]] = []  # when, which worker, what, seconds of its row

    def begin(worker: int, at: float) -> None:
        slow = fleet.slow if chance.random() < fleet.stragglers else 1.0
        seconds = slow * fleet.row_seconds * math.exp(chance.gauss(0.0, fleet.spread))
        if chance.random() < seconds * fleet.deaths / 3600:
            heapq.heappush(events, (at + seconds * chance.random(), worker, "dies", seconds))
        else:
            heapq.heappush(events, (at + seconds, worker, "answers", seconds))

    def give(worker: int, at: float) -> None:
        nonlocal waiting, attempts
        while waiting and leased[worker] < room:
            waiting, attempts = waiting - 1, attempts + 1
            leased[worker] += 1
            if leased[worker] == 1:
                begin(worker, at + fleet.latency_ms / 1000)

    for worker in range(fleet.workers):
        give(worker, 0.0)
    idle: set[int] = set()
    while events:
        now, worker, what, seconds = heapq.heappop(events)
        if what == "returns":
            give(worker, now)
        elif what == "dies":
            dead, waiting, leased[worker] = dead + 1, waiting + leased[worker], 0
            heapq.heappush(events, (now + fleet.restart, worker, "returns", 0.0))
        else:
            leased[worker] -= 1
            if leased[worker]:
                begin(worker, now)
            start = max(now, free)
            waited = max(waited, start - now)
            cost = fleet.driver_ms / 1000
            if start - committed > GROUP:
                cost, committed = cost + fleet.commit_ms / 1000, start
            free, busy = start + cost, busy + cost
            if chance.random() < fleet.failures:
                waiting += 1
            else:
                finished, useful = finished + 1, useful + seconds
            give(worker, free)
            if not leased[worker]:
                idle.add(worker)
        while waiting and idle:  # rows that came back when there were no others
            give(idle.pop(), max(now, free))
    if finished != fleet.rows or waiting or any(leased):
        raise AssertionError(f"{finished} of {fleet.rows} rows are finished")
    end = max(now, free)
    return Found(end, busy / end, useful / (end * fleet.workers), waited, dead, attempts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in vars(Fleet()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help="(%(default)s)")
    fleet = Fleet(**vars(parser.parse_args()))
    found = simulate(fleet)
    print(f"{fleet.rows:,} rows of {fleet.row_seconds:g} s on {fleet.workers:,} workers: {found.summary}")
    print(f"  {3600 * fleet.rows / found.seconds:,.0f} rows an hour")
    limit = 0.0
    for workers in (1, 10, 100, 1000, 3000, 10_000):
        part = replace(fleet, rows=max(60 * workers, 20_000), workers=workers)
        found = simulate(part)
        rate = 3600 * part.rows / found.seconds
        limit = max(limit, rate)
        print(f"{workers:7,} workers: {rate:13,.0f} rows an hour; {found.summary.partition('; ')[2]}")
    per_row = fleet.driver_ms + (fleet.commit_ms / 1000 / GROUP) * fleet.driver_ms
    print(f"the driver's limit: about {3_600_000 / per_row:,.0f} rows an hour (found: {limit:,.0f})")
    return 0 if limit > 1_000_000 else 1


if __name__ == "__main__":
    sys.exit(main())
