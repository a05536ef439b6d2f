"""`cascade convert`: a model file in another layout or precision."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ..cascade_core.kinds import DTYPE_NAMES, QUANTISED_NAMES
from ..headless.graph import WorkflowError, list_choices
from .output import OK, complain, errors_as_failures, say

LAYOUTS = ("official", "comfyui", "diffusers", "kohya")
MODEL_LAYOUTS = LAYOUTS[:3]
LORA_LAYOUTS = ("official", "comfyui", "kohya")
DESCRIPTION = """Write a model in another layout, another precision or both, and print the path of what was written.
  official   the single files of the official code
  comfyui    single files as ComfyUI names their tensors
  diffusers  a folder with config.json; for models
  kohya      the names of kohya's trainer; for LoRAs
int8, fp8 and int4 quantise the large weights of Stage B and C, in ComfyUI's formats int8_tensorwise with ConvRot,
float8_e4m3fn and asym_w4a8_int8; a ComfyUI of 0.27 or later loads such files, and so do the loaders here.
FILE is in any layout that the loaders read; of one with several parts --part chooses one, else each is written.
Nothing is left behind where it fails, and memory holds one tensor at a time.
Exit code: 0 all is written, 2 a bad argument, 1 a failure, 130 Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.add_argument("file", metavar="FILE", type=Path, help="a model file, or a diffusers folder")
    parser.add_argument("--to", dest="layout", choices=LAYOUTS, help="the layout (comfyui for int8, fp8, int4)")
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
    if not source.exists():
        raise WorkflowError(f"convert: expected a model file or a diffusers folder, but {str(source)!r} does not exist")
    if options.layout is None and options.dtype not in QUANTISED_NAMES:
        raise WorkflowError(f"--to: expected {list_choices(LAYOUTS)}")
    if options.dtype in QUANTISED_NAMES and options.layout not in (None, "comfyui"):
        raise WorkflowError(f"--dtype {options.dtype} is a format of ComfyUI's: leave out --to {options.layout}")
    options.layout = options.layout or "comfyui"
    from ..cascade_core.files.convert import convert as write
    from ..cascade_core.files.identify import identify
    from ..cascade_core.kinds import KINDS

    if options.part is not None and options.part not in KINDS:
        raise WorkflowError(f"--part: expected one of {list_choices(KINDS, options.part)}, found {options.part!r}")
    chosen: dict[str, Any] = {"layout": options.layout, "dtype": options.dtype, "kind": options.part}
    with errors_as_failures():
        parts = identify(source)
        if parts[0].kind == "lora":
            return _convert_lora(source, options)
        if options.layout not in MODEL_LAYOUTS:
            raise WorkflowError(f"--to {options.layout} is for LoRAs: expected {list_choices(MODEL_LAYOUTS)}")
        if options.filters:
            raise WorkflowError(f"--filters is for LoRAs: {source.name} is a model, leave it out")
        several = options.part is None and len(parts) > 1
        end = options.dtype if options.dtype in QUANTISED_NAMES else options.layout
        target: Path = options.target or _beside(source, end, several)
        if target.is_file() and not options.force:
            raise WorkflowError(f"--output: {target} is there already: name another, or replace it with --force")
        with _Bar(source.name) as bar:
            done = write(source, target, overwrite=options.force, progress=bar.show, **chosen)
    for path in done.files:
        say(path)
    if done.left_out:
        names = ", ".join(KINDS[kind].name for kind in done.left_out)
        complain(f"left out, since diffusers has no layout for it: {names}")
    return OK


def _convert_lora(source: Path, options: argparse.Namespace) -> int:
    from ..cascade_core.lora.convert import convert_lora

    if options.layout not in LORA_LAYOUTS:
        raise WorkflowError(f"--to {options.layout} is for models: for a LoRA expected {list_choices(LORA_LAYOUTS)}")
    if options.dtype in QUANTISED_NAMES:
        raise WorkflowError(
            f"--dtype {options.dtype} is for Stage B and C: for a LoRA expected {', '.join(DTYPE_NAMES)}"
        )
    target: Path = options.target or _beside(source, options.layout, several=False)
    if target.is_file() and not options.force:
        raise WorkflowError(f"--output: {target} is there already: name another, or replace it with --force")
    convert_lora(source, target, options.layout, options.dtype or "float32", options.force, options.filters)
    say(target)
    return OK


def _beside(source: Path, end: str, several: bool) -> Path:
    """`name_comfyui.safetensors` where the source lies; the folder `name_comfyui` for several parts or diffusers."""
    stem = source.resolve().name if source.is_dir() else source.stem
    return source.parent / f"{stem}_{end}{'' if several or end == 'diffusers' else '.safetensors'}"


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
