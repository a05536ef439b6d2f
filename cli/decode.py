"""`cascade decode`: latents that `cascade encode` wrote -> pictures, by Stage B and Stage A."""

from __future__ import annotations

import argparse
import base64
import math
import os
import sys
from collections.abc import Container, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..cascade_core.files.owner import owned
from ..cascade_core.training.data import latent_files
from ..headless.graph import WorkflowError
from ..headless.run import configure
from ..runtime import paths
from . import arguments, pictures, workers
from .decoder import ADVICE, NO_TEXT, Decoder, is_ours, models, to_png
from .output import errors_as_failures

if TYPE_CHECKING:
    from torch import Tensor

AT_ONCE = 4 * 2**20  # pixels in one pass of Stage B
NOT_FINITE = "it has numbers that are not finite: try --dtype float32"
AHEAD = 8  # passes of each process that may be done before one that takes long
DESCRIPTION = """Make pictures of latents, and print the path of each. LATENTS is what `cascade encode --to` was given,
for all files of the set, or one numbered file. Pictures get their own paths and sizes back, as .png; those that
it wrote already are skipped, so the same command again goes on where the last one stopped; others are never replaced.
Stage B is conditioned on the empty prompt, for which it needs a text encoder; `none` gives it zeros instead. Each
picture has its own noise, of the seed + its number: it comes out the same alone and in any batch, to a rounding, and
the same to the bit in every run, by any number of --processes, here or by --ray.
Exit code: 0 all is decoded, 1 a picture was left out or a failure, 2 a bad argument, 130 Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("latents", metavar="LATENTS", type=Path, help="a file that `cascade encode` wrote")
    add("-o", "--output", metavar="DIR", type=Path, required=True, help="where pictures are written")
    for option, stage in (("--stage-b", "Stage B"), ("--stage-a", "Stage A")):
        add(option, metavar="NAME", default=arguments.TINY, help=f"the model for {stage} (%(default)s)")
    encoder = f"the text encoder of Stage B's family, or {NO_TEXT} ({arguments.TINY} for a tiny Stage B)"
    add("--text-encoder", metavar="NAME", help=encoder)
    add("--dtype", choices=arguments.LARGE_DTYPES, default="auto", help="precision of Stage B (%(default)s)")
    add("--steps", metavar="N", type=arguments.count, default=10, help="of Stage B (%(default)s)")
    add("--cfg", metavar="X", type=_guidance, default=1.1, help="guidance of Stage B (%(default)s)")
    add("--seed", metavar="N", type=int, default=0, help="(%(default)s)")
    like = "pictures of like size in one pass (%(default)s)"
    add("--batch", metavar="N", type=arguments.count, default=4, help=like)
    pictures.add_workers(parser, "threads that write pictures")
    workers.add_arguments(parser)
    add("--force", action="store_true", help="decode anew, and replace, what is there already")
    add("--compare", metavar="FOLDER", type=Path, help="the original pictures: tell each one's PSNR in dB")
    arguments.add(parser, "--models", "--device", "--json")
    parser.set_defaults(command=decode)


@dataclass(frozen=True)
class _Task:
    """A picture to make."""

    shard: latent_files.Shard
    name: str
    path: Path

    @property
    def picture(self) -> latent_files.Picture:
        return self.shard.pictures[self.name]

    @property
    def kind(self) -> tuple[int, ...]:
        """Equal for pictures of one pass: the sizes of both latents."""
        from ..cascade_core.sampling.sizes import stage_b_size

        height, width = self.picture.size
        return *self.shard.header.tensors[self.name].shape, *stage_b_size(width, height)

    @property
    def pixels(self) -> int:
        return math.prod(self.picture.size)


def decode(options: argparse.Namespace) -> int:
    report = pictures.Report("decode", options.json)
    paths = latent_files.members(options.latents)
    if not paths:
        raise WorkflowError(f"decode: there is no file {str(options.latents)!r}, nor a numbered one of that name")
    if options.compare is not None and not options.compare.is_dir():
        raise WorkflowError(f"--compare: expected a folder of pictures, found {str(options.compare)!r}")
    local = configure(options)
    from ..cascade_core.wording import size_in_words

    if not workers.are_wanted(options):
        local.device()  # refuses a device that is not there
        workers.set_threads(options)
    with errors_as_failures(ADVICE):
        shards = [latent_files.read(path) for path in paths]
        tasks = _find_tasks(shards, options.output)
        _expect_ours(options.output, tasks)
        todo = [task for task in tasks if options.force or not task.path.exists()]
        decoder = Decoder(options, _families(shards)) if todo and not workers.are_wanted(options) else None
        with owned(options.output):
            if todo:
                _decode_all(options, decoder, shards, tasks, todo, report)
        psnr = {} if options.compare is None else _compare(options, tasks, report)
        latents = sum(path.stat().st_size for path in paths)
        made = sum(task.path.stat().st_size for task in tasks if task.path.exists())
        sizes = f": {size_in_words(latents)} of latents, {size_in_words(made)} of pictures in all"
        fields: dict[str, Any] = {"bytes": {"latents": latents, "pictures": made}}
        more: list[str] = []
        if psnr:
            fields |= {"psnr": psnr, "mean_psnr": (mean := sum(psnr.values()) / len(psnr))}
            print("\n".join(f"{value:6.2f} dB  {name}" for name, value in psnr.items()), file=sys.stderr)
            worst = min(psnr, key=lambda name: psnr[name])
            more.append(f"PSNR {mean:.2f} dB on average, {psnr[worst]:.2f} at least ({worst})")
        return report.close(len(report.files), len(tasks) - len(todo), sizes, *more, **fields)


def _find_tasks(shards: Sequence[latent_files.Shard], output: Path) -> list[_Task]:
    """All pictures of the shards; WorkflowError for a file that names places outside of the output folder."""
    tasks: dict[str, _Task] = {}
    targets: set[str] = set()
    for shard in shards:
        for name, picture in shard.pictures.items():
            if name in tasks:  # two processes encoded the same folder
                continue
            path = _png_path(output, picture.png)
            if path is None or picture.png.casefold() in targets:
                why = "leads out of --output, or is no plain path" if path is None else "is named twice"
                raise WorkflowError(
                    f"{shard.header.path.name}: {name!r:.200} is to be {picture.png!r:.200}, which {why}"
                )
            targets.add(picture.png.casefold())
            tasks[name] = _Task(shard, name, path)
    return list(tasks.values())


def _expect_ours(output: Path, tasks: Sequence[_Task]) -> None:
    """WorkflowError where a picture is there that `cascade decode` did not write, such as the original."""
    for task in tasks:
        if task.path.exists():
            with suppress(CascadeError):
                if is_ours(task.path):
                    continue
            raise WorkflowError(
                f"--output: {output} has pictures that `cascade decode` did not write, such as"
                f" {task.picture.png!r:.200}: choose another folder"
            )


def _families(shards: Sequence[latent_files.Shard]) -> dict[str, str]:
    """The families of latents, each with the first file of it."""
    found: dict[str, str] = {}
    for shard in shards:
        found.setdefault(shard.origin.family, f"{shard.header.path.name}, by {shard.origin.effnet},")
    return found


def _decode_all(
    options: argparse.Namespace,
    decoder: Decoder | None,
    shards: Sequence[latent_files.Shard],
    tasks: Sequence[_Task],
    todo: Sequence[_Task],
    report: pictures.Report,
) -> None:
    """decoder: None where other processes decode."""
    wanted = {task.name for task in todo}
    passes = _passes(options, shards, tasks, wanted)
    decoded = _decode_apart(options, shards, passes) if decoder is None else _decode_here(decoder, passes)

    def whole() -> Iterator[tuple[_Task, bytes | Tensor]]:
        for task, found in decoded:
            if task.name not in wanted:
                continue
            if isinstance(found, str):
                report.leave_out(task.name, found)
            else:
                yield task, found

    def save(one: tuple[_Task, bytes | Tensor]) -> None:
        task, found = one
        _save(found if isinstance(found, bytes) else to_png(found), task.path)

    with report.bar(len(todo)) as bar, closing(decoded), pictures.ahead(save, whole(), options.workers) as saving:
        for (task, _), future in saving:
            future.result()
            report.add_file(task.path)
            bar.update()


def _passes(
    options: argparse.Namespace, shards: Sequence[latent_files.Shard], tasks: Sequence[_Task], wanted: Container[str]
) -> Iterator[list[_Task]]:
    """Pictures that pass through Stage B together, where one of them is wanted.

    A pass has the same pictures in every run, whatever is there already: sums in other batches differ in their last
    bits.
    """
    for shard in shards:
        of_shard = (task for task in tasks if task.shard is shard)
        for batch in latent_files.batches(
            of_shard, lambda task: task.kind, lambda task: task.pixels, options.batch, AT_ONCE
        ):
            if any(task.name in wanted for task in batch):
                yield batch


def _decode_here(decoder: Decoder, passes: Iterable[list[_Task]]) -> Generator[tuple[_Task, Tensor | str]]:
    """Each picture (3, H, W), or why it is left out, by this process."""
    from ..cascade_core.files.header import open_tensors

    for shard, batches in groupby(passes, lambda batch: batch[0].shard):
        with open_tensors(shard.header) as get:
            for batch in batches:
                found = decoder([task.picture for task in batch], [get(task.name) for task in batch])
                for task, pixels in zip(batch, found, strict=True):
                    yield task, pixels if pixels.isfinite().all() else NOT_FINITE


def _decode_apart(
    options: argparse.Namespace, shards: Sequence[latent_files.Shard], passes: Iterable[list[_Task]]
) -> Generator[tuple[_Task, bytes | str]]:
    """Each picture's PNG, or why it is left out, by other processes."""
    from ..headless.batch.leases import Unit

    prints = {shard.header.path: latent_files.fingerprint(shard.header.path) for shard in shards}
    batches = list(passes)

    def piece(batch: list[_Task]) -> Unit:
        file = batch[0].shard.header.path
        names = [task.name for task in batch]
        return Unit(names[0], {"file": str(file), "fingerprint": prints[file], "names": names})

    answers = workers.results(
        options, map(piece, batches), models(options), options.output, AHEAD, families=_families(shards)
    )
    with closing(answers):
        for batch, (_, answer) in zip(batches, answers, strict=True):
            for task in batch:
                if "error" in answer:
                    yield task, answer["error"]["message"]
                else:
                    png = answer["pngs"].get(task.name)
                    yield task, NOT_FINITE if png is None else base64.b64decode(png)


def _compare(options: argparse.Namespace, tasks: Sequence[_Task], report: pictures.Report) -> dict[str, float]:
    """PSNR in dB of each picture that is there to its original, at the size that was encoded."""
    found: dict[str, float] = {}
    there = [task for task in tasks if task.name not in report.failed]
    with pictures.ahead(lambda task: _psnr(options.compare / task.name, task), there, options.workers) as comparing:
        for task, future in comparing:
            try:
                found[task.name] = future.result()
            except (CascadeError, OSError) as error:
                report.leave_out(task.name, f"it has no PSNR: {error}")
    return found


def _save(content: bytes, path: Path) -> None:
    """A PNG file, whole or not at all."""
    from ..cascade_core.files.atomic import whole

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CascadeError(f"{path.parent} cannot be made: {error.strerror or error}") from error
    with whole(path) as temporary:
        temporary.write_bytes(content)


def _psnr(original: Path, task: _Task) -> float:
    from ..cascade_core.images import psnr

    ours, wanted = pictures.read(task.path, None), pictures.read(original, task.shard.origin.longest)
    if ours.shape != wanted.shape:
        sizes = " and ".join(f"{one.shape[-1]} x {one.shape[-2]}" for one in (ours, wanted))
        raise CascadeError(f"the picture and its original have different sizes, {sizes}")
    return psnr(ours, wanted)


def _guidance(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"expected a number, found {text!r}")
    return number


def _png_path(root: Path, png: str) -> Path | None:
    """The path of a decoded picture under `root`; None for what is no plain relative path, or leads out of there."""
    plain = png.endswith(".png") and not any(part in ("", ".", "..") for part in png.split("/")) and "\\" not in png
    if not plain or (os.name == "nt" and set(png) & set(':*?"<>|')):
        return None
    try:
        return paths.inside(root, png)
    except CascadeError:
        return None
