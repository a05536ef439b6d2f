"""`cascade encode`: a folder of pictures into files of Stage C's latents, 42 times smaller along each side."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..headless import prepare
from ..headless.graph import WorkflowError
from . import latents, parts
from .batches import batches
from .output import FAILED, OK, complain

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from torch import Tensor

    from ..cascade_core.models.handle import Handle

AT_ONCE = 256 * 2**20  # bytes of resized pictures in one pass of the effnet
UNITS = {"": None, "MB": 10**6, "GB": 10**9}
DESCRIPTION = """Encode all pictures of FOLDER and its sub-folders, and print the path of each file that is written.
A picture becomes one tensor (16, h, w) under its relative path; `cascade decode` makes pictures of them again.
With several files they are called NAME-00001.safetensors and so on. A file appears when it is complete, and is never
replaced: the same command again goes on where the last one stopped, also with pictures that were added. Ctrl-C writes
what is encoded so far. A picture that cannot be read is named and left out.
Exit code: 0 all is encoded, 1 a picture was left out or a failure, 2 a bad argument, 130 Ctrl-C."""


def add_parser(commands: _SubParsersAction[Any]) -> None:
    parser = commands.add_parser(
        "encode",
        help="encode a folder of pictures into small latents",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where the pictures are")
    parser.add_argument("--to", metavar="NAME.safetensors", type=Path, required=True, help="the file to write")
    parser.add_argument("--effnet", metavar="NAME", default=parts.TINY, help="the encoder's model (%(default)s)")
    parser.add_argument("--dtype", choices=parts.DTYPES, default="auto", help="precision of its weights (%(default)s)")
    parser.add_argument(
        "--precision", choices=tuple(latents.PRECISIONS), default="float16", help="of the latents (%(default)s)"
    )
    parser.add_argument(
        "--size", metavar="PX", type=parts.count, help="shrink pictures whose longer side is more than this"
    )
    parser.add_argument(
        "--shard-size",
        metavar="N",
        type=_shard_size,
        default="1000",
        help="pictures in a file, or its size such as 256MB (%(default)s)",
    )
    parser.add_argument(
        "--batch", metavar="N", type=parts.count, default=8, help="pictures of like size in one pass (%(default)s)"
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=parts.count,
        default=min(8, os.cpu_count() or 1),
        help="threads that read pictures (%(default)s)",
    )
    parts.add_arguments(parser)
    parser.set_defaults(command=encode)


def encode(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    folder: Path = options.folder
    if not folder.is_dir():
        raise WorkflowError(f"encode: expected a folder of pictures, found {str(folder)!r}")
    if options.to.suffix != latents.SUFFIX or options.to.is_dir():
        raise WorkflowError(f"--to: expected a file name that ends in {latents.SUFFIX}, found {str(options.to)!r}")
    from ..nodes import loaders

    names = list(_pictures(folder))
    if not names:
        raise WorkflowError(f"encode: there are no pictures in {folder}")
    prepare.configure(options).device()  # refuses a device that is not there
    return parts.told(
        lambda: _Run(options, parts.load(loaders.CascadeEffnetLoader, "--effnet", options.effnet, options.dtype)).all(
            names, started
        )
    )


def read(path: Path, longest: int | None) -> Tensor:
    """A picture (1, 3, H, W) in 0..1, upright; of an animation the first frame."""
    from ..cascade_core.images import fit
    from ..nodes.images import read_picture
    from ..nodes.sockets import to_pixels

    pixels = to_pixels(read_picture(path, most=1)[0])
    height, width = pixels.shape[-2:]
    if longest is None or max(height, width) <= longest:
        return pixels
    scale = longest / max(height, width)
    return fit(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))


@dataclass(frozen=True)
class _Prepared:
    name: str
    index: int
    bytes: int  # of the file
    size: tuple[int, int]  # (H, W)
    pixels: Tensor  # (1, 3, h, w), at the size at which it is encoded


@dataclass
class _Account:
    """What the run did."""

    pictures: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict[str, str])
    bytes: dict[str, int] = field(default_factory=lambda: {"files": 0, "pixels": 0, "latents": 0})


class _Run:
    def __init__(self, options: argparse.Namespace, effnet: Handle) -> None:
        self.options, self.effnet = options, effnet
        self.origin = latents.Origin(
            effnet.family, effnet.name, parts.identity(effnet), options.precision, options.size
        )
        self.writer = latents.Writer(options.to, self.origin, *options.shard_size)
        self.account = _Account()

    def all(self, names: Sequence[str], started: float) -> int:
        done = self._done()
        todo = [(index, name) for index, name in enumerate(names) if name not in done]
        self.account.skipped = len(names) - len(todo)
        pngs = latents.png_names((name for _, name in todo), [picture.png for picture in done.values()])
        from tqdm import tqdm

        pool = ThreadPoolExecutor(self.options.workers, thread_name_prefix="pictures")
        with tqdm(total=len(todo), desc="encode", unit="picture", file=sys.stderr, disable=None, leave=False) as bar:
            try:
                prepared = self._prepared(pool, todo, bar)
                for batch in batches(prepared, _kind, _weight, self.options.batch, AT_ONCE):
                    self._encode(batch, pngs)
                    bar.update(len(batch))
                self.writer.flush(last=True)
            except BaseException:  # Ctrl-C, out of memory: what is encoded stays
                self.writer.flush()
                raise
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                if not self.options.json:
                    print(*self.writer.files, sep="\n", end="\n" if self.writer.files else "", flush=True)
        self._tell(time.perf_counter() - started)
        return FAILED if self.account.failed else OK

    def _done(self) -> dict[str, latents.Picture]:
        """What former runs encoded, in the same way."""
        found: dict[str, latents.Picture] = {}
        for path in latents.members(self.options.to):
            shard = latents.read(path)
            if shard.origin != self.origin:
                raise WorkflowError(
                    f"--to: {path} was written {_in_words(shard.origin)}, this would be {_in_words(self.origin)}:"
                    " name another file, or give the same options"
                )
            found |= shard.pictures
        return found

    def _prepared(self, pool: ThreadPoolExecutor, todo: Iterable[tuple[int, str]], bar: Any) -> Iterator[_Prepared]:
        """Pictures that could be read, in order, read ahead by the pool's threads."""
        for (_, name), future in _ahead(pool, self._prepare, todo, 2 * self.options.workers):
            try:
                one = future.result()
            except Exception as error:  # whatever a decoder stumbles over: one picture must not end all others
                why = str(error) or type(error).__name__
                self._leave_out(name, why.removeprefix(f"{name.rpartition('/')[2]} "))
                bar.update()
            else:
                yield one

    def _prepare(self, task: tuple[int, str]) -> _Prepared:
        from ..cascade_core.images import resize_to_encode

        index, name = task
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise CascadeError("its name is no UTF-8: rename it") from error
        path = self.options.folder / name
        pixels = read(path, self.options.size)
        size = pixels.shape[-2], pixels.shape[-1]
        return _Prepared(name, index, path.stat().st_size, size, resize_to_encode(pixels))

    def _encode(self, batch: Sequence[_Prepared], pngs: dict[str, str]) -> None:
        import torch

        from ..cascade_core.images import encode_resized

        dtype: torch.dtype = getattr(torch, self.options.precision)
        encoded = encode_resized(self.effnet, torch.cat([one.pixels for one in batch])).to(dtype)
        for one, latent in zip(batch, encoded, strict=True):
            if not latent.isfinite().all():
                self._leave_out(one.name, "its latent has numbers that are not finite: try --dtype float32")
                continue
            self.writer.add(one.name, latent.clone(), latents.Picture(one.size, one.index, pngs[one.name]))
            self.account.pictures += 1
            for what, size in (("files", one.bytes), ("pixels", 3 * one.size[0] * one.size[1])):
                self.account.bytes[what] += size

    def _leave_out(self, name: str, why: str) -> None:
        self.account.failed[name] = why
        complain(f"{name} is left out: {why}")

    def _tell(self, seconds: float) -> None:
        from ..runtime.inventory import in_words

        account = self.account
        account.bytes["latents"] = sum(path.stat().st_size for path in self.writer.files)
        if self.options.json:
            files = [str(path) for path in self.writer.files]
            print(json.dumps({"files": files, "seconds": seconds, **vars(account)}), flush=True)
        before, pixels, after = account.bytes.values()
        told = f"{account.pictures} pictures encoded in {seconds:.1f} s"
        if after:
            told += (
                f": {in_words(before)} of files, {in_words(pixels)} of pixels -> {in_words(after)} of latents"
                f" ({before / after:.1f} and {pixels / after:.1f} times smaller)"
            )
        more = {"already there": account.skipped, "left out": len(account.failed)}
        print("; ".join([told, *(f"{what}: {number}" for what, number in more.items() if number)]), file=sys.stderr)


def _pictures(folder: Path) -> Iterator[str]:
    """The relative paths of the pictures, hidden ones left out, in an order that is the same on every system."""
    from ..cascade_core.files.picture_files import SUFFIXES as PICTURE_SUFFIXES

    found: list[str] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.lower().endswith(PICTURE_SUFFIXES):
                found.append((Path(parent) / name).relative_to(folder).as_posix())
    return iter(sorted(found))


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Any], Any], tasks: Iterable[Any], most: int
) -> Iterator[tuple[Any, Future[Any]]]:
    """Each task and its future, in order; of those that are not asked for yet `most` are begun."""
    begun: deque[tuple[Any, Future[Any]]] = deque()
    for task in tasks:
        begun.append((task, pool.submit(work, task)))
        if len(begun) > most:
            yield begun.popleft()
    yield from begun


def _kind(one: _Prepared) -> tuple[int, ...]:
    return tuple(one.pixels.shape)


def _weight(one: _Prepared) -> int:
    return one.pixels.nbytes


def _shard_size(text: str) -> tuple[int | None, int | None]:
    """Pictures, bytes: one of them is None."""
    found = re.fullmatch(r"(\d{1,9})\s*(|MB|GB)", text.strip().upper())
    if not found or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(
            f"expected pictures in a file such as 1000, or its size such as 256MB: {text!r}"
        )
    unit = UNITS[found[2]]
    return (int(found[1]), None) if unit is None else (None, int(found[1]) * unit)


def _in_words(origin: latents.Origin) -> str:
    size = "" if origin.longest is None else f" --size {origin.longest}"
    return f"by {origin.effnet} ({origin.identity[:8]}) with --precision {origin.precision}{size}"
