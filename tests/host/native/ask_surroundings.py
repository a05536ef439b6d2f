"""What the host answers inside ComfyUI. See bare_comfyui.py; the folders are those of the test."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bare_comfyui
import torch


def find(pack: Any) -> dict[str, Any]:
    import comfy.utils
    import folder_paths
    from comfy import model_management
    from the_pack.runtime import host as hosts

    host = hosts.current()
    folder_paths.add_model_folder_path("diffusion_models", str(Path(folder_paths.base_path) / "disk"))
    keys = ("diffusion_models", "checkpoints", "diffusers")
    facts: dict[str, Any] = {
        "files": {name: str(path.relative_to(folder_paths.base_path)) for name, path in host.model_files(keys).items()},
        "folders": [str(host.output_directory()), str(host.input_directory()), str(host.temporary_directory())],
        "pictures": host.picture_names(),
        "annotated": str(host.picture_path("made.png [output]")),
        "escapes": [failure(lambda name=name: host.picture_path(name)) for name in ("../x.png", "link.png")],
        "of insightface": [
            str(folder.relative_to(folder_paths.base_path)) for folder in host.model_folders("insightface")
        ],
        "device": str(host.device()),
        "tokenizers": [[folder.is_dir(), (folder / "vocab.json").is_file()] for folder in host.tokenizer_folders()],
        "precision": precision(host, model_management),
        "previews": previews(host),
    }

    seen: list[Any] = []
    comfy.utils.set_progress_bar_global_hook(
        lambda value, total, preview, node_id: seen.append([value, total, preview and [preview[0], *preview[1:]]])
    )
    notes: list[str] = []
    logging.getLogger().addHandler(Noting(notes))

    def broken() -> Any:
        raise RuntimeError("no room")

    comfy.utils.PROGRESS_THROTTLE_MIN_INTERVAL = 0  # newer ComfyUIs tell steps without a picture ten times a second
    with host.progress("Stage C Sampler", 3) as advance:
        for preview in (lambda: "picture", broken, lambda: "never made"):
            advance(preview)
    facts["progress"], facts["notes"] = seen, notes

    model_management.interrupt_current_processing()
    try:
        host.check_cancel()
    except model_management.InterruptProcessingException:
        facts["cancelled"] = True
    host.check_cancel()

    own = hosts.configure(input="elsewhere")
    facts["a program's own choice"] = [hosts.current() is not own, hosts.current().input_directory().name]
    return facts


class Noting(logging.Handler):
    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        self.notes.append(record.getMessage())


def failure(call: Callable[[], Any]) -> str:
    from the_pack.cascade_core.errors import CascadeError

    try:
        return f"found {call()}"
    except CascadeError as error:
        return str(error)


def precision(host: Any, manager: Any) -> dict[str, list[str]]:
    """Of Stage C, Stage B, Stage A, text encoder and image encoder, for some options and devices."""
    from comfy.cli_args import args

    kinds = ("stage_c", "stage_b", "stage_a", "text_encoder", "image_encoder")

    def names() -> list[str]:
        return [host.dtype(kind) for kind in kinds]

    def under(*options: str) -> list[str]:
        for option in options:
            setattr(args, option, True)
        found = names()
        for option in options:
            setattr(args, option, False)
        return found

    found = {"a CPU": names(), "bf16 everywhere": under("bf16_unet", "bf16_vae", "bf16_text_enc")}
    manager.should_use_fp16 = lambda device: True
    found["an old GPU"] = names()
    manager.should_use_bf16 = lambda device: True
    found["a GPU"] = names()
    found["--fp16-unet"] = under("fp16_unet")
    found["--force-fp16"] = under("force_fp16")
    found["--fp32-unet --fp16-vae --fp16-text-enc"] = under("fp32_unet", "fp16_vae", "fp16_text_enc")
    found["fp8"] = under("fp8_e4m3fn_unet", "fp8_e4m3fn_text_enc")
    return found


def previews(host: Any) -> dict[str, Any]:
    from comfy.cli_args import LatentPreviewMethod, args

    found: dict[str, Any] = {"off": [host.wants_previews(), host.rough_preview("stage_c") is None]}
    args.preview_method = LatentPreviewMethod.Auto
    for kind, shape in (("stage_c", (2, 16, 24, 20)), ("stage_b", (2, 4, 64, 48))):
        found[kind] = host.rough_preview(kind)(torch.zeros(shape)).size
    return found


if __name__ == "__main__":
    bare_comfyui.run(find)
