"""The environment for a bug report: versions, device, precision, memory, ComfyUI, missing extras."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..cascade_core.libraries import PACKAGES, install_command
from ..cascade_core.wording import size_in_words

if TYPE_CHECKING:
    from .local import LocalHost

LIBRARIES = ("torch", "tokenizers", "safetensors", "numpy", "Pillow")
# Extra of pyproject.toml -> modules that it brings.
EXTRAS = {
    "server": ("aiohttp", "yarl"),
    "app": ("gradio", "fastapi", "starlette", "uvicorn", "h11"),
    "completion": ("argcomplete",),
    "sde": ("torchsde",),
    "canny": ("cv2",),
    "face": ("onnxruntime", "cv2"),
    "quant": ("comfy_kitchen",),
    "batch": ("ray",),
    "bench": ("diffusers", "transformers"),
}
NAME = "stable-cascade-nodes"


def describe(local: LocalHost) -> dict[str, str]:
    """Facts by name, in the order in which a person reads them."""
    pack = Path(__file__).parents[1]
    return {
        "cascade": f"{pack_version()}, in {pack}",
        "python": f"{platform.python_version()}, {platform.platform()}",
        "libraries": ", ".join(f"{name} {_version(name) or 'missing'}" for name in LIBRARIES),
        "device": _device(local),
        "memory": _memory(),
        "comfyui": _comfyui(local),
        "models": str(local.models_directory()),
        "missing extras": _missing_extras(),
    }


def pack_version() -> str:
    """The version of this pack: as installed, or as the folder that ComfyUI reads says."""
    project = Path(__file__).parents[1] / "pyproject.toml"
    found = re.search(r'^version = "(.+)"', project.read_text(encoding="utf-8"), re.M) if project.is_file() else None
    return found[1] if found else _version(NAME) or "of unknown version"


def from_anywhere(words: Sequence[str]) -> str:
    """A command of ours, `words` behind `cascade`, as a terminal takes it in any folder and with any PATH.

    It is started as this process was: by its script, or by this Python and the pack's folder.
    """
    script = Path(sys.argv[0]).absolute()
    is_script = script.name == "cascade" and not script.is_dir()
    line = [*([str(script)] if is_script else [sys.executable, str(Path(__file__).parents[1])]), *words]
    return subprocess.list2cmdline(line) if os.name == "nt" else shlex.join(line)


def how_to_install(module: str) -> str | None:
    """A sentence about a missing library of others, by the module that was looked for; None for a module of ours."""
    library = module.partition(".")[0]
    if not library or library == __name__.partition(".")[0]:
        return None
    listed = Path(__file__).parents[1] / "requirements.txt"
    all_of_them = f'-r "{listed}"' if listed.is_file() else f"--upgrade {NAME}"
    advice = f"{library} is missing in {sys.executable}: {install_command(PACKAGES.get(library, all_of_them))}"
    if library == "torch":
        advice += (
            ", which takes several GB; without a GPU give it --extra-index-url https://download.pytorch.org/whl/cpu"
        )
    return advice


def how_to_install_extra(extra: str) -> str:
    """The command that brings the libraries of an extra, for a folder as for an installed package."""
    pack = Path(__file__).parents[1]
    is_folder = (pack / "pyproject.toml").is_file()
    return install_command(f'-e "{pack}[{extra}]"' if is_folder else f'"{NAME}[{extra}]"')


def _version(name: str) -> str | None:
    from importlib import metadata  # a tenth of what the command takes to start

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _device(local: LocalHost) -> str:
    """The device that models compute on, and the types that `auto` gives the large stages and the small parts."""
    import torch

    from ..cascade_core.files.load import choose_dtype

    where = local.device()
    named = where.type in ("cuda", "xpu")
    name = f" ({getattr(torch, where.type).get_device_name(where)})" if named else ""
    large, small = (
        [choose_dtype("auto", kind, where) for kind in kinds] for kinds in (("stage_c", "stage_b"), ("stage_a",))
    )
    types = [
        f"{dtype} for {label}"
        for dtype, label in zip([*large, *small], ("Stage C", "Stage B", "the rest"), strict=True)
    ]
    return f"{where}{name}; dtype auto is {', '.join(types).replace('torch.', '')}"


def _memory() -> str:
    """The memory of the machine, and of the GPU where there is one."""
    import torch

    known: list[str] = []
    if hasattr(os, "sysconf"):
        known.append(f"{size_in_words(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))} in all")
    gpu = next((gpu for gpu in (torch.cuda, torch.xpu) if gpu.is_available()), None)
    if gpu is not None:
        free, total = gpu.mem_get_info()
        known.append(f"GPU: {size_in_words(free)} free of {size_in_words(total)}")
    return "; ".join(known) or "unknown"


def _comfyui(local: LocalHost) -> str:
    base = local.comfyui_directory()
    if base is None:
        return "not found: this pack does not lie in its custom_nodes"
    file = base / "comfyui_version.py"
    found = re.search(r'__version__ = "(.+)"', file.read_text(encoding="utf-8")) if file.is_file() else None
    return f"{found[1] if found else 'of unknown version'}, in {base}"


def _missing_extras() -> str:
    missing = {extra: [name for name in names if find_spec(name) is None] for extra, names in EXTRAS.items()}
    return ", ".join(f"{extra} ({', '.join(names)})" for extra, names in missing.items() if names) or "none"
