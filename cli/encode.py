"""`cascade encode`: a folder of pictures into files of Stage C's latents, 42 times smaller along each side."""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..cascade_core.files.owner import owned
from ..cascade_core.files.picture_files import UNREAD, count_in_words, count_unread, names_below
from ..cascade_core.reading import open_file
from ..cascade_core.tars import is_tar
from ..cascade_core.training.data import latent_files
from ..cascade_core.training.data.captions import LINES, Captions, find_captions
from ..headless.graph import WorkflowError
from ..headless.run import configure
from . import arguments, pictures, workers
from .output import errors_as_failures

if TYPE_CHECKING:
    from torch import Tensor

    from ..cascade_core.models.handle import Handle

ADVICE = "choose a smaller --size, fewer --workers, or another --device"
AHEAD = 256  # pictures of each process that may be done before one that takes long
UNITS = {"": None, "MB": 10**6, "GB": 10**9}
DESCRIPTION = """Encode all pictures of FOLDER and its sub-folders, and print the path of each file that is written.
A picture becomes one tensor (16, h, w) under its relative path; `cascade decode` makes pictures of them again, and
`cascade train stage_c --latents` learns from them. Each is encoded by itself, so that its latent is the same, to the
bit, in every run. Captions are taken along: of `cat.png` those in `cat.txt`, `cat.caption` or its line in
metadata.jsonl, or what --caption-field and --captions say.
With several files they are called NAME-00001.safetensors and so on. A file appears when it is complete, and is never
replaced: the same command again goes on where the last one stopped, also with pictures that were added. Ctrl-C writes
what is encoded so far. With --processes or --ray others do the work, on this machine or on many: the files are the same
bytes, whoever ends first, and the pictures of a process that dies go to others. A picture that cannot be read is named
and left out; so are those of formats that are not read, such as HEIC, whose number is told.
Exit code: 0 all is encoded, 1 a picture was left out or a failure, 2 a bad argument, 130 Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    add = parser.add_argument
    about = (
        "where the pictures are, in files or tar archives; or an archive; or `tiny zig (built-in)`, which has twelve"
    )
    add("folder", metavar="FOLDER", type=arguments.folder, help=about)
    add("--to", metavar="NAME.safetensors", type=Path, required=True, help="the file to write")
    add("--effnet", metavar="NAME", default=arguments.TINY, help="the encoder's model (%(default)s)")
    add("--dtype", choices=arguments.DTYPES, default="auto", help="precision of its weights (%(default)s)")
    precisions = tuple(latent_files.PRECISIONS)
    add("--precision", choices=precisions, default="float16", help="of the latents (%(default)s)")
    add("--size", metavar="PX", type=arguments.count, help="shrink pictures whose longer side is more than this")
    bound = "pictures in a file, or its size such as 256MB (%(default)s)"
    add("--shard-size", metavar="N", type=_shard_size, default="1000", help=bound)
    add("--captions", metavar="TABLE", type=Path, help="a .csv, .tsv, .jsonl, .json or .parquet of names and captions")
    add("--caption-field", metavar="NAME", default="", help="the field of a .json beside each picture that has them")
    lines = "what the lines of a caption's file are: one caption, or a caption each (%(default)s)"
    add("--caption-lines", choices=LINES, default=LINES[0], help=lines)
    alone = "of no effect: each picture is encoded by itself, so that it comes out the same whatever else is encoded"
    add("--batch", metavar="N", type=arguments.count, help=alone)
    pictures.add_workers(parser, "threads that read pictures")
    workers.add_arguments(parser)
    arguments.add(parser, "--models", "--device", "--json")
    parser.set_defaults(command=encode)


_Task = tuple[int, str]  # a picture's place and its name


@dataclass(frozen=True)
class _Encoded:
    latent: Tensor  # (16, h, w)
    size: tuple[int, int]  # (H, W) of the picture
    bytes: int  # of its file
    captions: tuple[str, ...]


def encode(options: argparse.Namespace) -> int:
    report = pictures.Report("encode", options.json)
    _check_folder(options)
    if options.to.suffix != latent_files.SUFFIX or options.to.is_dir():
        expected = f"a file name that ends in {latent_files.SUFFIX}"
        raise WorkflowError(f"--to: expected {expected}, found {str(options.to)!r}")
    local = configure(options)
    from ..nodes import loaders

    try:
        told = find_captions(options.folder, options.caption_lines, options.caption_field, options.captions)
    except CascadeError as error:
        raise WorkflowError(f"--captions: {error}") from error
    names, unread = names_below(options.folder), names_below(options.folder, suffixes=UNREAD)
    if not names and unread:
        counted = count_in_words(0, count_unread(unread))
        raise WorkflowError(f"encode: there is no picture in {options.folder} that can be read; {counted}")
    if not names:
        raise WorkflowError(f"encode: there are no pictures in {options.folder}")
    report.leave_out_unread(len(names), unread)
    if not workers.are_wanted(options):
        local.device()  # refuses a device that is not there
        workers.set_threads(options)
    with errors_as_failures(ADVICE):
        effnet = arguments.load_model(loaders.CascadeEffnetLoader, "--effnet", options.effnet, options.dtype)
        with owned(options.to.parent, options.to.name):
            return _encode_all(options, effnet, names, told, report)


def _check_folder(options: argparse.Namespace) -> None:
    if not options.folder.is_dir() and not is_tar(options.folder):
        raise WorkflowError(f"encode: expected a folder of pictures, found {str(options.folder)!r}")


def _encode_all(
    options: argparse.Namespace, effnet: Handle, names: Sequence[str], told: Captions, report: pictures.Report
) -> int:
    from ..cascade_core.wording import size_in_words

    origin = latent_files.Origin(effnet.family, effnet.name, _digest(effnet), options.precision, options.size)
    done = _read_done(options.to, origin)
    todo = [(index, name) for index, name in enumerate(names) if name not in done]
    pngs = latent_files.png_names((name for _, name in todo), [picture.png for picture in done.values()])
    most, room = options.shard_size
    writer = latent_files.Writer(options.to, origin, most, room, report.add_file)
    encoded = files = pixels = 0

    found = _encode_apart(options, origin, told, todo) if workers.are_wanted(options) else None
    with report.bar(len(todo)) as bar, closing(found or _encode_here(options, effnet, told, todo)) as coming:
        try:
            for (index, name), one in coming:
                bar.update()
                if isinstance(one, str):
                    report.leave_out(name, one)
                    continue
                if not one.latent.isfinite().all():
                    report.leave_out(name, "its latent has numbers that are not finite: try --dtype float32")
                    continue
                writer.add(name, one.latent, latent_files.Picture(one.size, index, pngs[name], one.captions))
                encoded, files, pixels = encoded + 1, files + one.bytes, pixels + 3 * one.size[0] * one.size[1]
            writer.flush(last=True)
        except BaseException:  # Ctrl-C, out of memory: what is encoded stays
            writer.flush()
            raise
    size = sum(path.stat().st_size for path in report.files)
    sizes = ""
    if size:
        sizes = (
            f": {size_in_words(files)} of files, {size_in_words(pixels)} of pixels -> {size_in_words(size)} of latents"
            f" ({files / size:.1f} and {pixels / size:.1f} times smaller)"
        )
    fields = {"bytes": {"files": files, "pixels": pixels, "latents": size}}
    return report.close(encoded, len(names) - len(todo), sizes, **fields)


def _encode_here(
    options: argparse.Namespace, effnet: Handle, told: Captions, todo: Sequence[_Task]
) -> Generator[tuple[_Task, _Encoded | str]]:
    """Each picture, or why it is left out, by this process; threads read ahead."""

    def read(task: _Task) -> tuple[tuple[int, int], Tensor, int, tuple[str, ...]]:
        return *_read(options, task[1]), *_facts(options, told, task[1])

    with pictures.ahead(read, todo, options.workers) as reading:
        for task, future in reading:
            try:
                size, pixels, length, captions = future.result()
            except Exception as error:  # whatever a decoder stumbles over: one picture must not end all others
                yield task, _why(error, task[1])
                continue
            yield task, _Encoded(_latent(options, effnet, pixels), size, length, captions)


def _encode_apart(
    options: argparse.Namespace, origin: latent_files.Origin, told: Captions, todo: Sequence[_Task]
) -> Generator[tuple[_Task, _Encoded | str]]:
    """Each picture, or why it is left out, by other processes; captions are read here."""
    import torch

    from ..headless.batch.leases import Unit

    precision = getattr(torch, options.precision)
    pieces = [Unit(name, {"name": name}) for _, name in todo]
    models = _models(options, origin.identity)
    with closing(workers.results(options, pieces, models, options.to.parent, AHEAD)) as answers:
        for task, (_, answer) in zip(todo, answers, strict=True):
            if "error" in answer:
                yield task, answer["error"]["message"]
                continue
            try:
                length, captions = _facts(options, told, task[1])
            except Exception as error:
                yield task, _why(error, task[1])
                continue
            content = bytearray(base64.b64decode(answer["latent"]))
            latent = torch.frombuffer(content, dtype=precision).view(answer["shape"])
            yield task, _Encoded(latent, tuple(answer["size"]), length, captions)


def worker(options: argparse.Namespace, job: Mapping[str, Any]) -> workers.PieceWorker:
    """One of the processes that encode pictures for another. WorkflowError and CascadeError where it cannot."""
    from ..nodes import loaders

    _check_folder(options)
    configure(options).device()
    effnet = arguments.load_model(loaders.CascadeEffnetLoader, "--effnet", options.effnet, options.dtype)

    def encode(name: str) -> dict[str, Any]:
        try:
            size, pixels = _read(options, name)
        except Exception as error:
            raise workers.LeftOut(_why(error, name)) from error
        latent = _latent(options, effnet, pixels)
        content = base64.b64encode(latent.contiguous().numpy().data).decode()
        return {"size": size, "shape": latent.shape, "latent": content}

    return workers.PieceWorker(_models(options, _digest(effnet)), encode, ADVICE)


def _models(options: argparse.Namespace, digest: str) -> dict[str, str]:
    """What workers and driver have to agree in."""
    return {f"effnet: {options.effnet}": digest}


def _latent(options: argparse.Namespace, effnet: Handle, pixels: Tensor) -> Tensor:
    """A picture as `_read` has it -> (16, h, w)."""
    import torch

    from ..cascade_core.images import encode_resized

    (latent,) = encode_resized(effnet, pixels).to(getattr(torch, options.precision))
    return latent


def _read_done(target: Path, origin: latent_files.Origin) -> dict[str, latent_files.Picture]:
    """The pictures that former runs encoded, in the same way."""
    found: dict[str, latent_files.Picture] = {}
    for path in latent_files.members(target):
        shard = latent_files.read(path)
        if shard.origin != origin:
            raise WorkflowError(
                f"--to: {path} was written {shard.origin}, this would be {origin}: name another file, or give the same"
                " options"
            )
        found |= shard.pictures
    return found


def _read(options: argparse.Namespace, name: str) -> tuple[tuple[int, int], Tensor]:
    """A picture's size (H, W), and its pixels (1, 3, h, w) at the size at which it is encoded."""
    from ..cascade_core.images import resize_to_encode

    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise CascadeError("its name is no UTF-8: rename it") from error
    pixels = pictures.read(options.folder / name, options.size)
    return (pixels.shape[-2], pixels.shape[-1]), resize_to_encode(pixels)


def _facts(options: argparse.Namespace, told: Captions, name: str) -> tuple[int, tuple[str, ...]]:
    """The bytes of a picture's file, and its captions."""
    captions = tuple(filter(None, told.of(name)))
    with open_file(options.folder / name) as file:
        return file.seek(0, os.SEEK_END), captions


def _why(error: Exception, name: str) -> str:
    """Why a picture is left out, behind its name."""
    return (str(error) or type(error).__name__).removeprefix(f"{name.rpartition('/')[2]} ")


def _digest(handle: Handle) -> str:
    """A digest of the weights as they are loaded: it tells weights from others of the same shapes."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(handle.module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _shard_size(text: str) -> tuple[int | None, int | None]:
    """Pictures, bytes: one of them is None."""
    found = re.fullmatch(r"(\d{1,9})\s*(|MB|GB)", text.strip().upper())
    if not found or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(
            f"expected pictures in a file such as 1000, or its size such as 256MB: {text!r}"
        )
    unit = UNITS[found[2]]
    return (int(found[1]), None) if unit is None else (None, int(found[1]) * unit)
