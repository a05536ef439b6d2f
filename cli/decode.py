"""`cascade decode`: latents that `cascade encode` wrote -> pictures, by Stage B and Stage A."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..cascade_core.files.owner import owned
from ..cascade_core.training import latent_files
from ..headless.graph import WorkflowError
from ..headless.run import configure
from ..runtime import host, paths
from . import arguments, pictures
from .output import errors_as_failures

if TYPE_CHECKING:
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

    local.device()  # refuses a device that is not there
    with errors_as_failures("choose a smaller --batch, or another --device"):
        shards = [latent_files.read(path) for path in paths]
        tasks = _find_tasks(shards, options.output)
        todo = [task for task in tasks if options.force or not task.path.exists()]
        decoder = _Decoder(options, shards) if todo else None
        with owned(options.output):
            if decoder is not None:
                _decode_all(options, decoder, shards, todo, report)
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


def _decode_all(
    options: argparse.Namespace,
    decoder: _Decoder,
    shards: Sequence[latent_files.Shard],
    todo: Sequence[_Task],
    report: pictures.Report,
) -> None:
    from ..cascade_core.files.header import open_tensors

    def decoded() -> Iterator[tuple[_Task, Tensor]]:
        for shard in shards:
            tasks = (task for task in todo if task.shard is shard)
            with open_tensors(shard.header) as get:
                for batch in latent_files.batches(
                    tasks, lambda task: task.kind, lambda task: task.pixels, options.batch, AT_ONCE
                ):
                    for task, pixels in zip(batch, decoder(batch, [get(task.name) for task in batch]), strict=True):
                        if pixels.isfinite().all():
                            yield task, pixels
                        else:
                            report.leave_out(task.name, "it has numbers that are not finite: try --dtype float32")

    writer = pictures.ahead(lambda one: _save(one[1], one[0].path), decoded(), options.workers)
    with report.bar(len(todo)) as bar, writer as saving:
        for (task, _), future in saving:
            future.result()
            report.add_file(task.path)
            bar.update()


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


class _Decoder:
    """The models, of one family with the latents."""

    def __init__(self, options: argparse.Namespace, shards: Sequence[latent_files.Shard]) -> None:
        from ..nodes import loaders

        self.options = options
        self.stage_b = arguments.load_model(loaders.CascadeStageBLoader, "--stage-b", options.stage_b, options.dtype)
        self.stage_a = arguments.load_model(loaders.CascadeStageALoader, "--stage-a", options.stage_a)
        for shard in shards:
            origin = shard.origin
            _check(self.stage_b, "--stage-b", f"{shard.header.path.name}, by {origin.effnet},", origin.family)
        _check(self.stage_a, "--stage-a", self.stage_b.name, self.stage_b.family)
        self.condition = self._condition()

    def __call__(self, batch: Sequence[_Task], stage_c: Sequence[Tensor]) -> list[Tensor]:
        """Latents of Stage C (16, h, w) -> pictures (3, H, W) in 0..1."""
        import torch

        from ..cascade_core.pipeline import decode_pixels, last
        from ..cascade_core.sampling.latent import Latent
        from ..cascade_core.sampling.settings import STAGE_B_DEFAULTS
        from ..cascade_core.sampling.sizes import stage_b_size
        from ..cascade_core.sampling.stages import sample_stage_b

        height, width = batch[0].picture.size
        empty = torch.zeros(len(batch), self.stage_b.config.channels, *stage_b_size(width, height))
        steps = sample_stage_b(
            self.stage_b,
            [self.condition],
            [self.condition],
            Latent(torch.stack([latent.float() for latent in stage_c])),
            Latent(empty, batch_index=[task.picture.index for task in batch]),
            seed=self.options.seed,
            settings=replace(STAGE_B_DEFAULTS, steps=self.options.steps, cfg=self.options.cfg),
        )
        pixels = decode_pixels(self.stage_a, last(steps), along=partial(host.current().walk, "Stage A"))
        return [one[:, : task.picture.size[0], : task.picture.size[1]] for one, task in zip(pixels, batch, strict=True)]

    def _condition(self) -> Condition:
        """The empty prompt, of which Stage B reads the pooled vector."""
        import torch

        from ..cascade_core.pipeline import encode_text
        from ..cascade_core.sampling.condition import Condition
        from ..nodes import loaders

        name = self.options.text_encoder or (arguments.TINY if self.stage_b.family == "tiny" else None)
        if name is None:
            raise WorkflowError(
                f"--text-encoder: expected the text encoder of {self.stage_b.name}, for the empty prompt that Stage B"
                f" is conditioned on, or {NO_TEXT} for zeros"
            )
        if name == NO_TEXT:
            return Condition(torch.zeros(1, 1, 1), torch.zeros(1, self.stage_b.config.c_clip))
        encoder = arguments.load_model(loaders.CascadeTextEncoderLoader, "--text-encoder", name)
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
