"""Many pictures through a network, which `cascade encode` and `cascade decode` share: options, threads, the report."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..cascade_core.files.picture_files import UNREAD, count_in_words, count_unread
from . import arguments
from .output import FAILED, OK, complain, say

if TYPE_CHECKING:
    from torch import Tensor

Task = TypeVar("Task")
Result = TypeVar("Result")


def add_workers(parser: argparse.ArgumentParser, threads: str) -> None:
    """--workers, which are `threads` for something."""
    workers = min(8, os.cpu_count() or 1)
    about = f"{threads} (%(default)s)"
    parser.add_argument("--workers", metavar="N", type=arguments.count, default=workers, help=about)


def read(path: Path, longest: int | None) -> Tensor:
    """A picture (1, 3, H, W) in 0..1, upright, shrunk to `longest` pixels a side; of an animation the first frame."""
    from ..cascade_core.images import fit
    from ..nodes.images import read_picture
    from ..nodes.sockets import to_pixels

    pixels = to_pixels(read_picture(path, most=1)[0])
    height, width = pixels.shape[-2:]
    if longest is None or max(height, width) <= longest:
        return pixels
    scale = longest / max(height, width)
    return fit(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))


@contextmanager
def ahead(
    work: Callable[[Task], Result], tasks: Iterable[Task], threads: int
) -> Iterator[Iterator[tuple[Task, Future[Result]]]]:
    """Each task and its future, in order, worked on by threads; of those that nobody asked for yet few are begun."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="pictures")

    def begin() -> Iterator[tuple[Task, Future[Result]]]:
        begun: deque[tuple[Task, Future[Result]]] = deque()
        for task in tasks:
            begun.append((task, pool.submit(work, task)))
            if len(begun) > 2 * threads:
                yield begun.popleft()
        yield from begun

    try:
        yield begin()
    finally:
        pool.shutdown(cancel_futures=True)  # waits for what is being read or written


class Report:
    """A run over pictures: files on stdout as they are written, or all of it as one JSON object; the rest on stderr."""

    def __init__(self, verb: str, as_json: bool) -> None:
        self.files: list[Path] = []
        self.failed: dict[str, str] = {}
        self._verb, self._as_json = verb, as_json
        self._started = time.perf_counter()

    def bar(self, total: int) -> Any:
        from tqdm import tqdm

        return tqdm(total=total, desc=self._verb, unit="picture", file=sys.stderr, disable=None, leave=False)

    def add_file(self, path: Path) -> None:
        self.files.append(path)
        if not self._as_json:
            say(path)

    def leave_out(self, name: str, why: str) -> None:
        self.failed[name] = why
        complain(f"{name} is left out: {why}")

    def leave_out_unread(self, used: int, unread: Sequence[str]) -> None:
        """Pictures of formats that are not read are told in one line, beside the number of those that are used."""
        for name in unread:
            self.failed[name] = f"its format, {UNREAD[Path(name).suffix.lower()]}, is not read: save it as PNG or JPEG"
        if unread:
            complain(count_in_words(used, count_unread(unread)))

    def close(self, pictures: int, skipped: int, sizes: str, *more: str, **fields: Any) -> int:
        """Tell how many pictures were done and were there already, and what they take; the exit code."""
        seconds = time.perf_counter() - self._started
        if self._as_json:
            answer: Mapping[str, Any] = {"files": [str(path) for path in self.files], "seconds": seconds}
            counts = {"pictures": pictures, "skipped": skipped, "failed": self.failed}
            print(json.dumps({**answer, **counts, **fields}), flush=True)
        told = [f"{pictures} pictures {self._verb}d in {seconds:.1f} s{sizes}"]
        told += [f"already there: {skipped}"] if skipped else []
        told += [f"left out: {len(self.failed)}"] if self.failed else []
        say("; ".join([*told, *more]), sys.stderr)
        return FAILED if self.failed else OK
