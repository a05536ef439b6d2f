# pyright: reportMissingImports=false
"""What the nodes need of their surroundings: folders, device, precision, memory, progress, previews, cancelling.

Nodes ask here and nowhere else. Inside ComfyUI its own modules answer, anywhere else the plain side, `headless`. Only
this file names ComfyUI's modules, and only inside functions: nothing is imported before it is needed.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from . import folders, local
from . import model_folders as shelves
from .local import Advance, Preview

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor, nn

    from ..cascade_core.memory import Placement
    from ..cascade_core.models.handle import Handle

configure = local.configure  # for the program that runs the nodes, which is then its own host

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}  # ComfyUI's options: those we compute in
OPTION_OF = {"stage_c": "unet", "stage_b": "unet", "text_encoder": "text_enc", "image_encoder": "text_enc"}


def in_comfyui() -> bool:
    """Whether ComfyUI runs the nodes; not where a program has made its own choices with `configure`."""
    return "comfy.model_management" in sys.modules and not local.configured()


def output_directory() -> Path:
    if not in_comfyui():
        return local.output_directory()
    import folder_paths

    return Path(folder_paths.get_output_directory())


def input_directory() -> Path:
    if not in_comfyui():
        return local.input_directory()
    import folder_paths

    return Path(folder_paths.get_input_directory())


def temporary_directory() -> Path:
    if not in_comfyui():
        return local.temporary_directory()
    import folder_paths

    return Path(folder_paths.get_temp_directory())


def model_files(keys: Sequence[str]) -> dict[str, Path]:
    """Models under these folder keys by name, as the host names them; the first key wins a clash."""
    if not in_comfyui():
        return local.model_files(keys)
    import folder_paths

    def listed(key: str) -> dict[str, Path]:
        if key == folders.DIFFUSERS:  # of which ComfyUI lists nothing
            return shelves.models(model_folders(key))
        names = filter(shelves.can_hold_weights, folder_paths.get_filename_list(key))
        paths = {name: folder_paths.get_full_path(key, name) for name in names}
        return shelves.in_order({name: Path(path) for name, path in paths.items() if path is not None})

    return shelves.first_wins(map(listed, keys))


def model_folders(key: str) -> list[Path]:
    """The folders of this key, in the order in which they are searched; of one that ComfyUI does not know, the folder
    of its name."""
    if not in_comfyui():
        return local.model_folders(key)
    import folder_paths

    if key not in folder_paths.folder_names_and_paths:
        return [Path(folder_paths.models_dir) / key]
    return [Path(folder) for folder in folder_paths.get_folder_paths(key)]


def model_folder(key: str) -> Path:
    """Where a person should put a file of this key: the folder of the key's own name where there is one."""
    found = model_folders(key)
    return next((folder for folder in found if folder.name == key), found[0])


def tokenizer_folders() -> list[Path]:
    """Where else CLIP's vocabulary may lie, for published text encoders that have none beside them."""
    fetched = [folder / folders.TOKENIZER for folder in model_folders("text_encoders")]
    if not in_comfyui():
        return [*fetched, *local.comfyui_tokenizer()]
    import comfy.model_management

    return [*fetched, Path(comfy.model_management.__file__).parents[1] / folders.COMFYUI_TOKENIZER]


def picture_names() -> list[str]:
    """What a picture combo offers of the input folder."""
    return folders.pictures(input_directory())


def picture_path(name: str) -> Path:
    """The file that a picture name of a workflow means; CascadeError if it is not there, or not inside its folder."""
    plain, kind = folders.split_annotation(name)
    roots = {"input": input_directory, "output": output_directory, "temp": temporary_directory}
    path = folders.inside(roots[kind](), plain)
    if not os.path.isfile(path):
        raise CascadeError(f"There is no picture {plain!r:.200} in {path.parent}: put it there, or choose another")
    return path


def device() -> torch.device:
    """Where models compute."""
    if not in_comfyui():
        return local.device()
    from comfy import model_management

    return model_management.get_torch_device()


def dtype(kind: str) -> str:
    """The precision that `auto` means for models of this kind: a name that `load` takes.

    ComfyUI's options decide where they name a type that plain layers compute in (fp8 is only stored), and that the
    kind bears: Stage C overflows in float16. Else the large stages get what the device is fast in, the others float32.
    """
    if not in_comfyui():
        return "auto"
    from comfy import model_management
    from comfy.cli_args import args

    refused = ("float16",) if kind == "stage_c" else ()
    for option, name in PRECISIONS.items():
        if getattr(args, f"{option}_{OPTION_OF.get(kind, 'vae')}") and name not in refused:
            return name
    where = model_management.get_torch_device()
    if kind == "stage_b" and args.force_fp16 and model_management.should_use_fp16(where):
        return "float16"
    if kind in ("stage_c", "stage_b") and model_management.should_use_bf16(where):
        return "bfloat16"
    return "float16" if kind == "stage_b" and model_management.should_use_fp16(where) else "float32"


def placement() -> Placement | None:
    """Who brings a model to `device()`, for one handle; None where it stays in the memory that it is loaded to."""
    return _Managed() if in_comfyui() else local.placement()


@contextmanager
def together(*handles: Handle | None) -> Iterator[None]:
    """For models that compute in turns, such as a stage and its previewer.

    ComfyUI may take a model off the device whenever another is asked for. In here one of these brings all of them, in
    one request, and one that lies on its device is not asked for again: none pushes out another between its steps.
    """
    roots = [handle.root for handle in handles if handle is not None]
    modules = {root.placement: root.module for root in roots if isinstance(root.placement, _Managed)}
    group = _Group([placement.patcher(module) for placement, module in modules.items()])
    before = {placement: placement.group for placement in modules}
    if not in_comfyui():
        with local.together(roots):
            yield
        return
    try:
        for placement in before:
            placement.group = group
        yield
    finally:
        for placement, former in before.items():
            placement.group = former


class _Group:
    """Patchers whose models are brought to their devices by one request, and the room that was asked for so far."""

    def __init__(self, patchers: Sequence[Any]) -> None:
        self.patchers = patchers
        self.room = -1

    def bring(self, room: int) -> None:
        """All of them wholly on their devices, with `room` bytes beside them."""
        import torch
        from comfy import model_management

        # Moving under the host's inference_mode makes inference tensors, which can never be trained. The manager moves
        # ours away like that; bringing them back here makes them ordinary ones again.
        with torch.inference_mode(False), torch.no_grad():
            model_management.load_models_gpu(self.patchers, memory_required=room, force_full_load=True)
            for patcher in self.patchers:
                if not _lies_on(patcher.model, patcher.load_device):  # --novram brings nothing of plain layers
                    patcher.partially_load(patcher.load_device, 2 * patcher.model_size())
        self.room = room


class _Managed:
    """Placement by ComfyUI's memory manager.

    The manager knows patchers and modules by weak references. Patchers are held here, and this by handles alone, so the
    last handle of a model takes its memory along. The layers are plain ones, which cannot compute half on the device:
    what the manager moved away in part is brought back whole.
    """

    def __init__(self) -> None:
        self.patchers: dict[nn.Module, Any] = {}
        self.group: _Group | None = None  # while `together`

    def patcher(self, module: nn.Module) -> Any:
        if module not in self.patchers:
            from comfy import model_management
            from comfy.model_patcher import ModelPatcher

            places = model_management.get_torch_device(), model_management.unet_offload_device()
            self.patchers[module] = ModelPatcher(module, *places)
        return self.patchers[module]

    def acquire(self, module: nn.Module, activation_bytes: int = 0) -> torch.device:
        patcher = self.patcher(module)
        group = self.group or _Group([patcher])
        if activation_bytes > group.room or not _lies_on(module, patcher.load_device):
            group.bring(activation_bytes)
        return patcher.load_device


def _lies_on(module: nn.Module, where: torch.device) -> bool:
    devices = {tensor.device for tensors in (module.parameters(), module.buffers()) for tensor in tensors}
    return all(found.type == where.type and where.index in (None, found.index) for found in devices)


def wants_previews() -> bool:
    """Whether the host's own setting asks for previews where none are wired."""
    if not in_comfyui():
        return False
    from comfy.cli_args import LatentPreviewMethod, args

    return args.preview_method != LatentPreviewMethod.NoPreviews


def rough_preview(kind: str) -> Callable[[Tensor], Image.Image] | None:
    """How the host itself shows a published latent (N, C, h, w) of this stage, in model space; None if it does not."""
    if not wants_previews():
        return None
    import latent_preview
    from comfy import latent_formats

    formats = {"stage_c": latent_formats.SC_Prior, "stage_b": latent_formats.SC_B}
    previewer = latent_preview.get_previewer(device(), formats[kind]())
    return None if previewer is None else lambda x0: previewer.decode_latent_to_preview_image("JPEG", x0)[1]


@contextmanager
def progress(label: str, total: int) -> Iterator[Advance]:
    """`advance(preview)` after each of `total` steps; a picture that cannot be made ends the previews, not the run."""
    with local.progress(label, total) as count:
        if not in_comfyui():
            yield count
            return
        import comfy.utils
        import latent_preview

        bar = comfy.utils.ProgressBar(total)
        previewing = True

        def advance(preview: Preview | None = None) -> None:
            nonlocal previewing
            count(None)
            picture = None
            try:
                if preview is not None and previewing:
                    picture = ("JPEG", preview(), latent_preview.MAX_PREVIEW_RESOLUTION)  # small ones are enlarged
            except RuntimeError as error:  # torch's, such as out of memory
                previewing = False
                warn(label, f"there are no more previews of this run: {error}")
            bar.update_absolute(bar.current + 1, total, picture)

        yield advance


def check_cancel() -> None:
    """Called between steps; raises once what the host stops a node with."""
    if not in_comfyui():
        local.check_cancel()
        return
    from comfy import model_management

    model_management.throw_exception_if_processing_interrupted()


def warn(node: str, message: str) -> None:
    """Tell the person something that did not stop the node: in the log and, in ComfyUI's editor, on the node."""
    _say(logging.WARNING, node, message)


def tell(node: str, message: str) -> None:
    """Tell the person what a node found out, in the same places."""
    _say(logging.INFO, node, message)


def _say(level: int, node: str, message: str) -> None:
    if not in_comfyui():
        local.say(node, message)
        return
    logging.log(level, "%s: %s", node, message)
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    from comfy_execution.utils import get_executing_context

    context = get_executing_context()
    if server is not None and context is not None:
        server.send_progress_text(message, context.node_id)
