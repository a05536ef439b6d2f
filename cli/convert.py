"""`cascade convert`: a model file in another layout or precision."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.kinds import DTYPE_NAMES, QUANTISED_NAMES
from ..cascade_core.wording import all_of
from ..headless.graph import WorkflowError, list_choices
from .output import OK, complain, errors_as_failures, say

if TYPE_CHECKING:
    from ..cascade_core.files.model_part import Part

LAYOUTS = ("official", "comfyui", "diffusers", "kohya")
MODEL_LAYOUTS = LAYOUTS[:3]
LORA_LAYOUTS = ("official", "comfyui", "kohya")
DESCRIPTION = """Write a model in another layout, another precision or both, and print the path of what was written.
  official   the single files of the official code
  comfyui    single files as ComfyUI names their tensors
  diffusers  a folder with config.json; for models
  kohya      the names of kohya's trainer; for LoRAs
int8, fp8 and int4 quantise the large weights of Stage B and C, in ComfyUI's formats int8_tensorwise with ConvRot,
float8_e4m3fn and asym_w4a8_int8; a ComfyUI of 0.27 or later loads such files, and so do the loaders here. What is
quantised stays so without --dtype, in the layout comfyui, and is decoded in the others.
FILE is in any layout that the loaders read; of one with several parts --part chooses one, else each is written.
Nothing is left behind where it fails, and memory holds one tensor at a time.
Exit code: 0 all is written, 2 a bad argument, 1 a failure, 130 Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.add_argument("file", metavar="FILE", type=Path, help="a model file, or a diffusers folder")
    parser.add_argument(
        "--to", dest="layout", choices=LAYOUTS, help="the layout (as in FILE; comfyui for int8, fp8, int4)"
    )
    dtypes = (*DTYPE_NAMES, *QUANTISED_NAMES)
    parser.add_argument("--dtype", choices=dtypes, help="the precision (as in FILE)")
    parser.add_argument("--part", metavar="KIND", help="only this part, such as stage_c, effnet or text_encoder")
    parser.add_argument(
        "-o", "--output", dest="target", metavar="TARGET", type=Path, help="a file, or a folder (beside FILE)"
    )
    parser.add_argument(
        "--filters",
        metavar="TEXT",
        default="",
        help="of an official LoRA whose numbers fit several sets of weights: its training's module_filters",
    )
    parser.add_argument("--force", action="store_true", help="replace what is there")
    parser.set_defaults(command=convert)


def convert(options: argparse.Namespace) -> int:
    source: Path = options.file
    if source.name.endswith("(built-in)") and not source.exists():
        raise WorkflowError(
            f"convert: expected a file, but {str(source)!r} is built in: its precision is chosen where it is loaded,"
            ' such as `cascade run text_to_image --set "Stable Cascade: Load Stage C.dtype=int8"`'
        )
    if not source.exists():
        raise WorkflowError(f"convert: expected a model file or a diffusers folder, but {str(source)!r} does not exist")
    if options.layout is None and options.dtype is None:
        raise WorkflowError(f"convert: expected --to ({list_choices(LAYOUTS)}), --dtype or both, found neither")
    if options.dtype in QUANTISED_NAMES and options.layout not in (None, "comfyui"):
        raise WorkflowError(f"--dtype {options.dtype} is a format of ComfyUI's: leave out --to {options.layout}")
    from ..cascade_core.files.convert import convert as write
    from ..cascade_core.files.identify import identify
    from ..cascade_core.kinds import KINDS

    if options.part is not None and options.part not in KINDS:
        raise WorkflowError(f"--part: expected one of {list_choices(KINDS, options.part)}, found {options.part!r}")
    with errors_as_failures():
        parts = identify(source)
        used = [part for part in parts if options.part in (None, part.kind)] or parts
        end = options.dtype if options.dtype in QUANTISED_NAMES else options.layout or options.dtype
        options.layout = options.layout or _own_layout(source, used, options.dtype)
        if parts[0].kind == "lora":
            return _convert_lora(source, options, end)
        if options.layout not in MODEL_LAYOUTS:
            raise WorkflowError(f"--to {options.layout} is for LoRAs: expected {list_choices(MODEL_LAYOUTS)}")
        if options.filters:
            raise WorkflowError(f"--filters is for LoRAs: {source.name} is a model, leave it out")
        several = options.part is None and len(parts) > 1
        target: Path = options.target or _beside(source, end, several or options.layout == "diffusers")
        if target.is_file() and not options.force:
            raise WorkflowError(f"--output: {target} is there already: name another, or replace it with --force")
        if known := [part.precision for part in used if part.header.quantised]:
            _tell_of_quantised(source, known[0], options)
        chosen: dict[str, Any] = {"layout": options.layout, "dtype": options.dtype, "kind": options.part}
        with _Bar(source.name) as bar:
            done = write(source, target, overwrite=options.force, progress=bar.show, **chosen)
    for path in done.files:
        say(path)
    if done.left_out:
        names = ", ".join(KINDS[kind].name for kind in done.left_out)
        complain(f"left out, since diffusers has no layout for it: {names}")
    return OK


def _own_layout(source: Path, parts: Sequence[Part], dtype: str | None) -> str:
    """The layout in which FILE is written where none is chosen: its own; WorkflowError where that cannot be."""
    if dtype in QUANTISED_NAMES:
        return "comfyui"
    if parts[0].kind == "lora":
        known, own = LORA_LAYOUTS, {str(parts[0].mode).partition(",")[0].casefold()}
    else:  # kinds of which a layout has no names of its own are told as official
        of_files = {part.layout for part in parts} - {"official"} or {"official"}
        known, own = MODEL_LAYOUTS, {"diffusers"} if source.is_dir() else of_files
    if len(own) > 1 or not own <= set(known):
        raise WorkflowError(
            f"--to: expected {list_choices(known)}, since {source.name} cannot stay {all_of(sorted(own))}"
        )
    return own.pop()


def _tell_of_quantised(source: Path, precision: str, options: argparse.Namespace) -> None:
    if options.dtype in QUANTISED_NAMES:
        complain(
            f"{source.name} is {precision} already: its weights are rounded a second time, and are better made of the"
            " file from which it came"
        )
    elif options.dtype is None and options.layout != "comfyui":
        complain(
            f"{source.name}: its {precision} weights are decoded, into bfloat16: only --to comfyui keeps quantised ones"
        )


def _convert_lora(source: Path, options: argparse.Namespace, end: str) -> int:
    from ..cascade_core.lora.convert import convert_lora

    if options.layout not in LORA_LAYOUTS:
        raise WorkflowError(f"--to {options.layout} is for models: for a LoRA expected {list_choices(LORA_LAYOUTS)}")
    if options.dtype in QUANTISED_NAMES:
        raise WorkflowError(
            f"--dtype {options.dtype} is for Stage B and C: for a LoRA expected {', '.join(DTYPE_NAMES)}"
        )
    target: Path = options.target or _beside(source, end, is_folder=False)
    if target.is_file() and not options.force:
        raise WorkflowError(f"--output: {target} is there already: name another, or replace it with --force")
    convert_lora(source, target, options.layout, options.dtype or "float32", options.force, options.filters)
    say(target)
    return OK


def _beside(source: Path, end: str, is_folder: bool) -> Path:
    """`name_comfyui.safetensors` where the source lies; the folder `name_comfyui` for several parts or diffusers."""
    stem = source.resolve().name if source.is_dir() else source.stem
    return source.parent / f"{stem}_{end}{'' if is_folder else '.safetensors'}"


class _Bar:
    """Bytes done, on stderr where a person looks at it."""

    def __init__(self, label: str) -> None:
        from tqdm import tqdm

        self._bar = tqdm(desc=label, unit="B", unit_scale=True, file=sys.stderr, disable=None, leave=False)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)
