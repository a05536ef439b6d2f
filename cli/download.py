"""`cascade download`: published files from the hub into the folders where the loaders look."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..cascade_core.errors import CascadeError
from ..cascade_core.files import atomic, published
from ..cascade_core.files.owner import owned
from ..cascade_core.files.published import Published
from ..cascade_core.wording import size_in_words
from ..headless.graph import WorkflowError, list_choices
from ..headless.run import configure
from . import arguments, hub
from .output import FAILED, OK, REFUSED, complain, say

DESCRIPTION = """Download published models into ComfyUI's folders, or those of --models, under names that loaders list.
Words, before the options:
  essential                      effnet, Stage A and the previewer
  big-big, big-small, ...        the size of Stage B, then of Stage C: 1.5B or 700M, 3.6B or 1B
  checkpoints                    ComfyUI's all-in-one files, which its own example workflows name: 13.8 GB
  bfloat16, float32              what the stages and encoders are stored as (bfloat16)
Sizes and licences are shown and a question asked before anything is fetched. A download that was stopped or broke off
goes on where it was when the same command is given again. HF_TOKEN, HF_ENDPOINT and HF_HOME are honoured.
Exit code: 0 all files are there, 2 a bad argument, 1 a failure, 130 Ctrl-C."""

CASCADE_LICENCE = f"""\
Stable Cascade is under the Stability AI Non-Commercial Research Community License: for research and other
non-commercial use alone. Read it first: https://huggingface.co/{published.CASCADE}/blob/main/LICENSE"""
CLIP_LICENCES = {
    "text_encoder": "The text encoder is LAION's CLIP ViT-bigG/14 (MIT licence):"
    " https://huggingface.co/laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
    "image_encoder": "The image encoder is OpenAI's CLIP ViT-L/14 (MIT licence): https://github.com/openai/CLIP",
}


@dataclass(frozen=True)
class Wanted:
    """A chosen file, as the hub has it, and where it is or will be here."""

    file: Published
    remote: hub.Remote
    path: Path
    there: bool

    @property
    def part(self) -> Path:
        """The file while it grows: in its own folder, for that may be another disk; hidden, with no model's suffix."""
        return self.path.with_name(
            f".{self.path.name}.{hashlib.sha256(self.remote.tag.encode()).hexdigest()[:12]}.part"
        )

    @property
    def missing(self) -> int:
        """Bytes that have to come."""
        return 0 if self.there else max(0, self.remote.size - hub.size_of(self.part))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.add_argument("words", metavar="WORD", nargs="*", help=", ".join(_words()))
    parser.add_argument("--controlnet", metavar="A,B", help=f"ControlNets: {', '.join(published.CONTROLNETS)}")
    parser.add_argument(published.TEXT_ENCODER, action="store_true", help="the text encoder, and CLIP's tokenizer")
    parser.add_argument(published.IMAGE_ENCODER, action="store_true", help="the image encoder")
    arguments.add(parser, "--models")
    parser.add_argument("--yes", action="store_true", help="do not ask: the licences are accepted")
    arguments.add(parser, "--json")
    parser.set_defaults(command=download)


def download(options: argparse.Namespace) -> int:
    chosen = _choose(options)
    models = configure(options, makes_models=True).models_directory()
    done: list[Wanted] = []
    code = FAILED
    try:
        wanted = [_look_up(file, models) for file in chosen]
        _check_room(wanted)
        _show(wanted, models)
        code = OK if options.yes or not any(item.missing for item in wanted) else _ask_person()
        for item in wanted if code == OK else ():
            with owned(item.path.parent, item.path.name):
                _remove_parts(item)
                if not item.there:
                    _bring(item)
            done.append(item)
            if not options.json:
                say(item.path)
    except (hub.HubError, CascadeError) as error:
        complain(str(error))
        code = FAILED
    if options.json:
        entries = [{"path": str(item.path), "bytes": item.remote.size, "downloaded": not item.there} for item in done]
        print(json.dumps({"files": entries}))
    return code


def _words() -> tuple[str, ...]:
    return (published.ESSENTIAL, *published.VARIANTS, published.CHECKPOINTS, *published.PRECISIONS)


def _choose(options: argparse.Namespace) -> list[Published]:
    words: list[str] = options.words
    for word in words:
        if word not in _words():
            raise WorkflowError(f"download: expected one of {list_choices(_words(), word)}, found {word!r}")
    for group in (published.VARIANTS, published.PRECISIONS):
        found = [word for word in words if word in group]
        if len(set(found)) > 1:
            raise WorkflowError(f"download: expected one of {', '.join(group)}, found {' and '.join(found)}")
    controlnets = [] if options.controlnet is None else [mode.strip() for mode in options.controlnet.split(",")]
    for mode in controlnets:
        if mode not in published.CONTROLNETS:
            raise WorkflowError(f"--controlnet: expected {', '.join(published.CONTROLNETS)}, found {mode!r}")
    encoders = [
        option
        for option in (published.TEXT_ENCODER, published.IMAGE_ENCODER)
        if getattr(options, option.strip("-").replace("-", "_"))
    ]
    precision = next((word for word in words if word in published.PRECISIONS), published.PRECISIONS[0])
    chosen = published.choose([*words, *controlnets, *encoders], precision)
    if not chosen:
        raise WorkflowError(
            "download: expected what to get, such as `essential big-big --text-encoder`; see cascade download --help"
        )
    return chosen


def _look_up(file: Published, models: Path) -> Wanted:
    """The file as it is at the hub and on disk; CascadeError where another file has the name."""
    from ..runtime.model_folders import folders_of

    places = folders_of(file.folder, models)
    remote = hub.ask(file)
    path = next((place / file.name for place in places if (place / file.name).is_file()), None)
    if path is None:
        # Of the folders that one key has under `models`, the one of the key's own name.
        place = models / file.folder if places[0].parent == models else places[0]
        return Wanted(file, remote, place / file.name, there=False)
    found = hub.size_of(path)
    problem = f"it has {found:,} bytes instead of {remote.size:,}" if found != remote.size else _misfit(file, path)
    if problem is not None:
        raise CascadeError(
            f"{path} is there already, but is not the published file: {problem}."
            " Nothing was downloaded: move it away, or delete it if it is a broken download"
        )
    return Wanted(file, remote, path, there=True)


def _misfit(file: Published, path: Path) -> str | None:
    """The fault of a file by its header; None if it is what is published under that name."""
    if file.kind == published.TOKENIZER:
        return None
    from ..cascade_core.files.identify import identify
    from ..cascade_core.kinds import KINDS

    try:
        parts = identify(path)
    except CascadeError as error:
        return str(error).replace(path.name, "it")
    found = [(part.kind, part.mode if part.kind == "controlnet" else part.preset) for part in parts]
    expected = (file.kind, file.preset)
    if expected in found if file.folder == published.CHECKPOINTS else found == [expected]:
        return None
    names = " and ".join(f"{KINDS[kind].name} {preset}" for kind, preset in found)
    return f"expected {KINDS[file.kind].name} {file.preset}, found {names}"


def _check_room(wanted: Sequence[Wanted]) -> None:
    needed: Counter[int] = Counter()
    places: dict[int, Path] = {}
    for item in wanted:
        place = next(folder for folder in item.path.parents if folder.is_dir())
        disk = place.stat().st_dev
        needed[disk] += item.missing
        places[disk] = place
    for disk, size in needed.items():
        free = shutil.disk_usage(places[disk]).free
        if size > free:
            raise CascadeError(
                f"{places[disk]}: {size_in_words(size)} are needed, but its disk has {size_in_words(free)} left."
                " Nothing was downloaded: make room, or choose another folder with --models"
            )


def _show(wanted: Sequence[Wanted], models: Path) -> None:
    """Tell which files are there and which have to come, and under which licences, on stderr."""
    for item in wanted:
        begun = item.remote.size - item.missing
        note = "  already there" if item.there else f"  {size_in_words(begun)} of it are there" if begun else ""
        print(f"{size_in_words(item.remote.size):>10}  {item.file.label}{note}", file=sys.stderr)
    coming = [item for item in wanted if not item.there]
    if coming:
        total = size_in_words(sum(item.missing for item in coming))
        print(f"{total:>10}  to download into {models}\n\n{CASCADE_LICENCE}", file=sys.stderr)
        for kind, licence in CLIP_LICENCES.items():
            if any(item.file.kind == kind for item in coming):
                print(licence, file=sys.stderr)


def _ask_person() -> int:
    """OK to go on; another exit code if the person says no, or is not there."""
    if sys.stdin is None or not sys.stdin.isatty():
        complain("download: nobody is there to be asked. If you accept the licences, add --yes")
        return REFUSED
    print("\nDownload now? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().casefold() in ("y", "yes"):
        return OK
    complain("nothing was downloaded")
    return FAILED


def _remove_parts(item: Wanted) -> None:
    """Remove what cannot be gone on from: of a version that the hub no longer has, or of a file that is there."""
    for old in item.path.parent.glob(f".{item.path.name}.*.part"):
        if item.there or old != item.part:
            with suppress(OSError):  # a folder that is not ours to write
                old.unlink()


def _bring(item: Wanted) -> None:
    """The file under its name, whole and checked; raises HubError or CascadeError, and then there is none."""
    try:
        try:
            hub.fetch(item.file, item.remote, item.part)
        except (hub.HubError, KeyboardInterrupt):
            if kept := hub.size_of(item.part):
                complain(f"{item.file.label}: {size_in_words(kept)} are kept; the same command goes on from there")
            raise
        intact = hub.is_intact(item.file, item.remote, item.part)
        problem = _misfit(item.file, item.part) if intact else "its content is not what the hub announces"
        if problem is not None:
            item.part.unlink()
            raise CascadeError(f"{item.file.label}: {problem}. What came is removed: try again later")
        if not atomic.claim(item.part, item.path):
            raise CascadeError(f"{item.path} has come into being meanwhile, and is left as it is")
        item.part.unlink(missing_ok=True)
    except OSError as error:
        raise CascadeError(f"{item.path} cannot be written: {error.strerror or error}") from error
