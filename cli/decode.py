"""`cascade decode`: latents that `cascade encode` wrote -> pictures, by Stage B and Stage A."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
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
    from ..cascade_core.sampling.condition import Condition

AT_ONCE = 4 * 2**20  # pixels in one pass of Stage B
NO_TEXT = "none"
DESCRIPTION = """Make pictures of latents, and print the path of each. LATENTS is what `cascade encode --to` was given,
for all files of the set, or one numbered file. Pictures get their own paths and sizes back, as .png; those that are
there already are skipped, so the same command again goes on where the last one stopped.
Stage B is conditioned on the empty prompt, for which it needs a text encoder; `none` gives it zeros instead. Each
picture has its own noise, of the seed + its number: it comes out the same alone and in any batch.
Exit code: 0 all is decoded, 1 a picture was left out or a failure, 2 a bad argument, 130 Ctrl-C."""


def add_parser(commands: _SubParsersAction[Any]) -> None:
    parser = commands.add_parser(
        "decode",
        help="decode latents into pictures",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("latents", metavar="LATENTS", type=Path, help="a file that `cascade encode` wrote")
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="where pictures are written")
    for option, what in (("--stage-b", "Stage B"), ("--stage-a", "Stage A")):
        parser.add_argument(option, metavar="NAME", default=parts.TINY, help=f"the model for {what} (%(default)s)")
    parser.add_argument(
        "--text-encoder",
        metavar="NAME",
        help=f"the text encoder of Stage B's family, or {NO_TEXT} ({parts.TINY} for a tiny Stage B)",
    )
    parser.add_argument("--dtype", choices=parts.DTYPES, default="auto", help="precision of Stage B (%(default)s)")
    parser.add_argument("--steps", metavar="N", type=parts.count, default=10, help="of Stage B (%(default)s)")
    parser.add_argument("--cfg", metavar="X", type=_guidance, default=1.1, help="guidance of Stage B (%(default)s)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="(%(default)s)")
    parser.add_argument(
        "--batch", metavar="N", type=parts.count, default=4, help="pictures of like size in one pass (%(default)s)"
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=parts.count,
        default=min(8, os.cpu_count() or 1),
        help="threads that write pictures (%(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="decode anew, and replace, what is there already")
    parser.add_argument(
        "--compare", metavar="FOLDER", type=Path, help="the original pictures: tell each one's PSNR in dB"
    )
    parts.add_arguments(parser)
    parser.set_defaults(command=decode)


def decode(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    paths = latents.members(options.latents)
    if not paths:
        raise WorkflowError(f"decode: there is no file {str(options.latents)!r}, nor a numbered one of that name")
    if options.compare is not None and not options.compare.is_dir():
        raise WorkflowError(f"--compare: expected a folder of pictures, found {str(options.compare)!r}")
    prepare.configure(options).device()  # refuses a device that is not there
    return parts.told(lambda: _Run(options, [latents.read(path) for path in paths]).all(started))


@dataclass(frozen=True)
class _Task:
    name: str
    picture: latents.Picture
    shape: tuple[int, ...]  # of the latent
    longest: int | None
    path: Path

    @property
    def kind(self) -> tuple[int, ...]:
        """What pictures of one pass have in common: the sizes of both latents."""
        from ..cascade_core.sampling.latents import stage_b_size

        height, width = self.picture.size
        return *self.shape, *stage_b_size(width, height)

    @property
    def pixels(self) -> int:
        return math.prod(self.picture.size)


class _Run:
    def __init__(self, options: argparse.Namespace, shards: Sequence[latents.Shard]) -> None:
        self.options = options
        self.shards = shards
        self.files: list[Path] = []
        self.failed: dict[str, str] = {}
        self.todo = self._tasks()
        self.tasks = {task.name: task for tasks in self.todo for task in tasks}
        if not options.force:
            self.todo = [[task for task in tasks if not task.path.exists()] for tasks in self.todo]

    def all(self, started: float) -> int:
        total = sum(map(len, self.todo))
        if total:
            self._decode_all(total)
        psnr = self._compare() if self.options.compare is not None else {}
        self._tell(psnr, time.perf_counter() - started)
        return FAILED if self.failed else OK

    def _tasks(self) -> list[list[_Task]]:
        """What each shard is to give; WorkflowError for a file that names places outside of the output folder."""
        known: set[str] = set()
        targets: set[str] = set()
        found: list[list[_Task]] = []
        for shard in self.shards:
            found.append([])
            for name, picture in shard.pictures.items():
                if name in known:  # two processes encoded the same folder
                    continue
                path = latents.inside(self.options.output, picture.png)
                if path is None or picture.png.casefold() in targets:
                    why = "leads out of --output, or is no plain path" if path is None else "is named twice"
                    raise WorkflowError(
                        f"{shard.header.path.name}: {name!r:.200} is to be {picture.png!r:.200}, which {why}"
                    )
                known.add(name)
                targets.add(picture.png.casefold())
                shape = shard.header.tensors[name].shape
                found[-1].append(_Task(name, picture, shape, shard.origin.longest, path))
        return found

    def _decode_all(self, total: int) -> None:
        from tqdm import tqdm

        from ..cascade_core.files.header import open_tensors

        decoder = _Decoder(self.options, self.shards)
        pool = ThreadPoolExecutor(self.options.workers, thread_name_prefix="pictures")
        saving: deque[tuple[_Task, Future[None]]] = deque()
        with ExitStack() as stack:
            stack.callback(pool.shutdown, cancel_futures=True)  # waits for what is being written
            bar = stack.enter_context(
                tqdm(total=total, desc="decode", unit="picture", file=sys.stderr, disable=None, leave=False)
            )

            def finish(left: int) -> None:
                while len(saving) > left:
                    task, future = saving.popleft()
                    future.result()
                    self.files.append(task.path)
                    if not self.options.json:
                        print(task.path, flush=True)
                    bar.update()

            for shard, tasks in zip(self.shards, self.todo, strict=True):
                with open_tensors(shard.header) as get:
                    for batch in batches(tasks, lambda t: t.kind, lambda t: t.pixels, self.options.batch, AT_ONCE):
                        for task, pixels in zip(batch, decoder(batch, [get(task.name) for task in batch]), strict=True):
                            if pixels.isfinite().all():
                                saving.append((task, pool.submit(_save, pixels, task.path)))
                            else:
                                self._leave_out(task.name, "it has numbers that are not finite: try --dtype float32")
                        finish(left=2 * self.options.batch)
            finish(left=0)

    def _compare(self) -> dict[str, float]:
        """PSNR in dB of each picture that is there to its original, at the size that was encoded."""
        found: dict[str, float] = {}
        with ThreadPoolExecutor(self.options.workers) as pool:
            tasks = [task for task in self.tasks.values() if task.name not in self.failed]
            futures = [(task, pool.submit(_psnr, self.options.compare / task.name, task)) for task in tasks]
            for task, future in futures:
                try:
                    found[task.name] = future.result()
                except (CascadeError, OSError) as error:
                    self._leave_out(task.name, f"it has no PSNR: {error}")
        return found

    def _leave_out(self, name: str, why: str) -> None:
        self.failed[name] = why
        complain(f"{name}: {why}")

    def _tell(self, psnr: dict[str, float], seconds: float) -> None:
        from ..runtime.inventory import in_words

        skipped = len(self.tasks) - sum(map(len, self.todo))
        size = {
            "latents": sum(shard.header.path.stat().st_size for shard in self.shards),
            "pictures": sum(task.path.stat().st_size for task in self.tasks.values() if task.path.exists()),
        }
        mean = sum(psnr.values()) / len(psnr) if psnr else None
        if self.options.json:
            answer: dict[str, Any] = {"files": [str(path) for path in self.files], "seconds": seconds}
            answer |= {"pictures": len(self.files), "skipped": skipped, "failed": self.failed, "bytes": size}
            answer |= {} if mean is None else {"psnr": psnr, "mean_psnr": mean}
            print(json.dumps(answer), flush=True)
        told = [f"{len(self.files)} pictures decoded in {seconds:.1f} s"]
        told[0] += f": {in_words(size['latents'])} of latents, {in_words(size['pictures'])} of pictures in all"
        told += [f"already there: {skipped}"] if skipped else []
        told += [f"failed: {len(self.failed)}"] if self.failed else []
        if mean is not None:
            for name, value in psnr.items():
                print(f"{value:6.2f} dB  {name}", file=sys.stderr)
            worst = min(psnr, key=lambda name: psnr[name])
            told.append(f"PSNR {mean:.2f} dB on average, {psnr[worst]:.2f} at least ({worst})")
        print("; ".join(told), file=sys.stderr)


class _Decoder:
    """The models, of one family with the latents."""

    def __init__(self, options: argparse.Namespace, shards: Sequence[latents.Shard]) -> None:
        from ..nodes import loaders

        self.options = options
        self.stage_b = parts.load(loaders.CascadeStageBLoader, "--stage-b", options.stage_b, options.dtype)
        self.stage_a = parts.load(loaders.CascadeStageALoader, "--stage-a", options.stage_a)
        for shard in shards:
            origin = shard.origin
            _check(self.stage_b, "--stage-b", f"{shard.header.path.name}, by {origin.effnet},", origin.family)
        _check(self.stage_a, "--stage-a", self.stage_b.name, self.stage_b.family)
        self.condition = self._condition()

    def __call__(self, batch: Sequence[_Task], stage_c: Sequence[Tensor]) -> list[Tensor]:
        """Latents of Stage C (16, h, w) -> pictures (3, H, W) in 0..1."""
        import torch

        from ..cascade_core.pipeline import decode_pixels, last
        from ..cascade_core.sampling.latents import stage_b_size
        from ..cascade_core.sampling.stages import sample_stage_b

        height, width = batch[0].picture.size
        empty = torch.zeros(len(batch), self.stage_b.config.channels, *stage_b_size(width, height))
        steps = sample_stage_b(
            self.stage_b,
            [self.condition],
            [self.condition],
            torch.stack([latent.float() for latent in stage_c]),
            empty,
            seed=self.options.seed,
            steps=self.options.steps,
            cfg=self.options.cfg,
            batch_index=[task.picture.index for task in batch],
        )
        pixels = decode_pixels(self.stage_a, last(steps))
        return [one[:, : task.picture.size[0], : task.picture.size[1]] for one, task in zip(pixels, batch, strict=True)]

    def _condition(self) -> Condition:
        """The empty prompt, of which Stage B reads the pooled vector."""
        import torch

        from ..cascade_core.pipeline import encode_text
        from ..cascade_core.sampling.condition import Condition
        from ..nodes import loaders

        name = self.options.text_encoder or (parts.TINY if self.stage_b.family == "tiny" else None)
        if name is None:
            raise WorkflowError(
                f"--text-encoder: expected the text encoder of {self.stage_b.name}, for the empty prompt that Stage B"
                f" is conditioned on, or {NO_TEXT} for zeros"
            )
        if name == NO_TEXT:
            return Condition(torch.zeros(1, 1, 1), torch.zeros(1, self.stage_b.config.c_clip))
        encoder = parts.load(loaders.CascadeTextEncoderLoader, "--text-encoder", name)
        _check(encoder, "--text-encoder", self.stage_b.name, self.stage_b.family)
        return encode_text(encoder, "")


def _check(handle: Handle, option: str, other: str, family: str) -> None:
    if handle.family != family:
        raise WorkflowError(
            f"{option}: {handle.name} is of the family {handle.family}, but {other} is of {family}: choose models of"
            " one family"
        )


def _save(pixels: Tensor, path: Path) -> None:
    """(3, H, W) as a PNG file, whole or not at all."""
    import torch
    from PIL import Image

    from ..cascade_core.files.atomic import whole

    array = pixels.mul(255).round().to(torch.uint8).movedim(0, -1).contiguous().numpy()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CascadeError(f"{path.parent} cannot be made: {error.strerror or error}") from error
    with whole(path) as temporary:
        Image.fromarray(array).save(temporary, format="PNG", compress_level=4)


def _psnr(original: Path, task: _Task) -> float:
    from ..cascade_core.images import psnr
    from .encode import read

    ours, wanted = read(task.path, None), read(original, task.longest)
    if ours.shape != wanted.shape:
        sizes = " and ".join(f"{one.shape[-1]} x {one.shape[-2]}" for one in (ours, wanted))
        raise CascadeError(f"the picture and its original have different sizes, {sizes}")
    return psnr(ours, wanted)


def _guidance(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"expected a number, found {text!r}")
    return number
