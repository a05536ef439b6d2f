# pyright: reportMissingImports=false
"""ComfyUI as the host: its folders, options, progress bar and log; `comfyui_memory.py` has its memory manager.

Only these two files name ComfyUI's modules, and only inside functions: nothing is imported before it is needed.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import model_folders
from .comfyui_memory import Group, Managed
from .host import Advance, Host, Preview

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

    from ..cascade_core.memory import Placement
    from ..cascade_core.models.handle import Handle

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}  # ComfyUI's options: those we compute in
OPTION_OF = {"stage_c": "unet", "stage_b": "unet", "text_encoder": "text_enc", "image_encoder": "text_enc"}


def is_running() -> bool:
    """Whether this process is ComfyUI."""
    return "comfy.model_management" in sys.modules


def server() -> Any | None:
    """ComfyUI's web server while it takes middlewares and routes, which is until all packs are imported; else None."""
    found = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    return found if is_running() and found is not None and not found.app.frozen else None


class ComfyUIHost(Host):
    """What ComfyUI answers."""

    def output_directory(self) -> Path:
        import folder_paths

        return Path(folder_paths.get_output_directory())

    def input_directory(self) -> Path:
        import folder_paths

        return Path(folder_paths.get_input_directory())

    def temporary_directory(self) -> Path:
        import folder_paths

        return Path(folder_paths.get_temp_directory())

    def comfyui_directory(self) -> Path:
        import comfy.model_management

        # Not folder_paths.base_path: that is --base-directory where there is one, as in the desktop app.
        return Path(inspect.getfile(comfy.model_management)).parents[1]

    def model_folders(self, key: str) -> list[Path]:
        """The folders of this key; of one that ComfyUI does not know, the folder of its name."""
        import folder_paths

        if key not in folder_paths.folder_names_and_paths:
            return [Path(folder_paths.models_dir) / key]
        return [Path(folder) for folder in folder_paths.get_folder_paths(key)]

    def models_of(self, key: str) -> dict[str, Path]:
        """Models under one folder key, as ComfyUI names them; it lists nothing of diffusers folders."""
        if key == model_folders.DIFFUSERS:
            return super().models_of(key)
        import folder_paths

        names = filter(model_folders.can_hold_weights, folder_paths.get_filename_list(key))
        paths = {name: folder_paths.get_full_path(key, name) for name in names}
        return model_folders.in_order({name: Path(path) for name, path in paths.items() if path is not None})

    def device(self) -> torch.device:
        from comfy import model_management

        return model_management.get_torch_device()

    def dtype(self, kind: str) -> str:
        """The precision that `auto` means for models of this kind.

        ComfyUI's options decide where they name a type that plain layers compute in (fp8 is only stored). Else the
        large stages get what the device is fast in, the others float32.
        """
        from comfy import model_management
        from comfy.cli_args import args

        for option, name in PRECISIONS.items():
            if getattr(args, f"{option}_{OPTION_OF.get(kind, 'vae')}"):
                return name
        where = model_management.get_torch_device()
        if kind not in ("stage_c", "stage_b"):
            return "float32"
        if not args.force_fp16 and model_management.should_use_bf16(where):
            return "bfloat16"
        return "float16" if model_management.should_use_fp16(where) else "float32"

    def placement(self) -> Placement:
        return Managed()

    def keep_whole(self, handle: Handle) -> None:
        from ..cascade_core.memory import behind

        placement = behind(handle.root.placement)
        if isinstance(placement, Managed):
            placement.model(handle.root.module).must_be_whole = True

    @contextmanager
    def together(self, *handles: Handle | None) -> Iterator[None]:
        """For models that compute in turns.

        ComfyUI may take a model off the device whenever another is asked for. In here one of these brings all of them,
        in one request, and one that lies on its device is not asked for again: none pushes out another between steps.
        """
        roots = [handle.root for handle in handles if handle is not None]
        modules = {root.placement: root.module for root in roots if isinstance(root.placement, Managed)}
        group = Group([placement.model(module) for placement, module in modules.items()])
        before = {placement: placement.group for placement in modules}
        try:
            for placement in before:
                placement.group = group
            yield
        finally:
            for placement, former in before.items():
                placement.group = former

    def wants_previews(self) -> bool:
        from comfy.cli_args import LatentPreviewMethod, args

        return args.preview_method != LatentPreviewMethod.NoPreviews

    def rough_preview(self, kind: str) -> Callable[[Tensor], Image.Image] | None:
        if not self.wants_previews():
            return None
        import latent_preview
        from comfy import latent_formats

        formats = {"stage_c": latent_formats.SC_Prior, "stage_b": latent_formats.SC_B}
        previewer = latent_preview.get_previewer(self.device(), formats[kind]())
        return None if previewer is None else lambda x0: previewer.decode_latent_to_preview_image("JPEG", x0)[1]

    @contextmanager
    def progress(self, label: str, total: int, before: int = 0) -> Iterator[Advance]:
        """Steps are counted on the node, too; a picture that cannot be made ends the previews, not the run."""
        import comfy.utils
        import latent_preview

        with super().progress(label, total, before) as count:
            bar = comfy.utils.ProgressBar(total)
            previewing = True

            def advance(preview: Preview | None = None, words: str = "") -> None:
                nonlocal previewing
                count(None, words)
                picture = None
                try:
                    if preview is not None and previewing:
                        picture = ("JPEG", preview(), latent_preview.MAX_PREVIEW_RESOLUTION)  # small ones are enlarged
                except RuntimeError as error:  # torch's, such as out of memory
                    previewing = False
                    self.warn(label, f"there are no more previews of this run: {error}")
                bar.update_absolute(bar.current + 1, total, picture)

            yield advance

    def check_cancel(self) -> None:
        from comfy import model_management

        model_management.throw_exception_if_processing_interrupted()

    def withheld(self) -> object:
        from comfy_execution.graph_utils import ExecutionBlocker

        return ExecutionBlocker(None)

    def say(self, level: int, node: str, message: str) -> None:
        """A message in the log and, where the editor is open, on the node."""
        logging.log(level, "%s: %s", node, message)
        from comfy_execution.utils import get_executing_context

        server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
        context = get_executing_context()
        if server is not None and context is not None:
            server.send_progress_text(message, context.node_id)
