# pyright: reportMissingImports=false
"""ComfyUI as the host: its folders, options, memory manager, progress bar and log.

Only this file names ComfyUI's modules, and only inside functions: nothing is imported before it is needed.
"""

from __future__ import annotations

import inspect
import logging
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import model_folders
from .host import Advance, Host, Preview

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor, nn

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
        return _Managed()

    @contextmanager
    def together(self, *handles: Handle | None) -> Iterator[None]:
        """For models that compute in turns.

        ComfyUI may take a model off the device whenever another is asked for. In here one of these brings all of them,
        in one request, and one that lies on its device is not asked for again: none pushes out another between steps.
        """
        roots = [handle.root for handle in handles if handle is not None]
        modules = {root.placement: root.module for root in roots if isinstance(root.placement, _Managed)}
        group = _Group([placement.model(module) for placement, module in modules.items()])
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
    def progress(self, label: str, total: int) -> Iterator[Advance]:
        """Steps are counted on the node, too; a picture that cannot be made ends the previews, not the run."""
        import comfy.utils
        import latent_preview

        with super().progress(label, total) as count:
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
                    self.warn(label, f"there are no more previews of this run: {error}")
                bar.update_absolute(bar.current + 1, total, picture)

            yield advance

    def check_cancel(self) -> None:
        from comfy import model_management

        model_management.throw_exception_if_processing_interrupted()

    def say(self, level: int, node: str, message: str) -> None:
        """A message in the log and, where the editor is open, on the node."""
        logging.log(level, "%s: %s", node, message)
        from comfy_execution.utils import get_executing_context

        server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
        context = get_executing_context()
        if server is not None and context is not None:
            server.send_progress_text(message, context.node_id)


class _Model:
    """A network as the memory manager has it: one patcher, of one of two kinds.

    Streamed, the manager has the weights one by one, in modules that it may leave off the device, in part or until one
    is used (Dynamic VRAM). Whole, it has the network itself, whose plain layers compute only where all of them lie: for
    gradients, and where there is nothing to stream to. Its weak references see patchers and what they hold, so these
    are held here, and this by handles alone: the last handle of a model takes its memory along.
    """

    def __init__(self, module: nn.Module) -> None:
        from comfy import model_management as manager

        self.module = module
        self.device, self.home = manager.get_torch_device(), manager.unet_offload_device()
        state = manager.VRAMState  # in the others there is one memory, or all stays on the card
        apart = manager.vram_state in (state.NORMAL_VRAM, state.LOW_VRAM, state.NO_VRAM)
        self.can_stream = apart and self.device != self.home
        self.streams = False
        self.brought = 0  # bytes on the device after the last request: with less, there may be room again for more
        self.patcher: Any = None
        self._register(self.can_stream)

    def _register(self, streams: bool) -> None:
        from comfy import model_patcher

        if streams:
            # ModelPatcherDynamic under Dynamic VRAM; 0.3.64 has only one kind
            patcher = getattr(model_patcher, "CoreModelPatcher", model_patcher.ModelPatcher)
            self.patcher = patcher(_in_single_weights(self.module, self.device), self.device, self.home)
        else:
            from ..cascade_core.streaming import settle

            settle(self.module)
            self.patcher = model_patcher.ModelPatcher(self.module, self.device, self.home)
        self.streams = streams

    def turn(self, whole: bool) -> None:
        """Streamed or whole from now on; what lies whole on the device stays so."""
        from comfy import model_management as manager

        wanted = self.can_stream and not whole
        if self.streams == wanted or (wanted and self.is_ready()):
            return
        if any(patcher is self.patcher for patcher in manager.loaded_models()):
            others = [loaded for loaded in manager.current_loaded_models if loaded.model is not self.patcher]
            manager.free_memory(1e32, self.device, others)
        self._register(not self.streams)

    def is_ready(self) -> bool:
        """Whether it can compute as it lies."""
        from comfy import model_management as manager

        if self.streams:
            there = any(patcher is self.patcher for patcher in manager.loaded_models())
            return there and self.patcher.loaded_size() >= self.brought
        return _lies_on(self.module, self.device)


class _Group:
    """Models that are brought to their devices by one request, and the room that was asked for so far."""

    def __init__(self, models: Sequence[_Model]) -> None:
        self.models = models
        self.room = -1

    def acquire(self, model: _Model, room: int) -> None:
        """This one is ready, with `room` bytes beside it; else all of them are brought."""
        import torch

        model.turn(whole=torch.is_grad_enabled())
        if room > self.room or not model.is_ready():
            self.room = max(room, self.room)
            self._bring()

    def _bring(self) -> None:
        import torch
        from comfy import model_management as manager

        # Moving under the host's inference_mode makes inference tensors, which can never be trained. The manager moves
        # ours away like that; bringing them back here makes them ordinary ones again.
        with torch.inference_mode(False), torch.no_grad():
            for whole in (False, True):  # whole ones last: what streams can do with less
                patchers = [model.patcher for model in self.models if model.streams != whole]
                if patchers:
                    manager.load_models_gpu(patchers, memory_required=self.room, force_full_load=whole)
            for model in self.models:
                if not model.streams and not model.is_ready():  # --novram brings nothing of plain layers
                    model.patcher.partially_load(model.device, 2 * model.patcher.model_size())
                model.brought = model.patcher.loaded_size()


class _Managed:
    """Placement by ComfyUI's memory manager."""

    def __init__(self) -> None:
        self.models: dict[nn.Module, _Model] = {}
        self.group: _Group | None = None  # while `together`

    def model(self, module: nn.Module) -> _Model:
        if module not in self.models:
            self.models[module] = _Model(module)
        return self.models[module]

    def patcher(self, module: nn.Module) -> Any:
        return self.model(module).patcher

    def acquire(self, module: nn.Module, activation_bytes: int = 0) -> torch.device:
        model = self.model(module)
        (self.group or _Group([model])).acquire(model, activation_bytes)
        return model.device


def _in_single_weights(module: nn.Module, device: torch.device) -> nn.Module:
    """The weights of a network, which streams from now on, each as a layer of ComfyUI's without a computation."""
    import torch
    from comfy import ops
    from torch import nn

    from ..cascade_core.streaming import lay, lift, stream

    give_back = getattr(ops, "uncast_bias_weight", None)  # 0.3.64 takes nothing back
    offloadable = {} if give_back is None else {"offloadable": True}

    class SingleWeight(nn.Module, ops.CastWeightBiasOp):
        def __init__(self, tensor: Tensor) -> None:
            super().__init__()
            self.device = device
            self.weight = nn.Parameter(tensor.data, requires_grad=False)
            self.bias = None
            self.tensor = weakref.ref(tensor)  # the network's

        def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
            super()._apply(fn, recurse)  # the manager moves it
            tensor = self.tensor()
            if tensor is not None and self.weight.device == device:
                lay(tensor, self.weight.data)
            elif tensor is not None:
                lift(tensor)
            return self

        def take(self) -> tuple[Tensor, Callable[[], None] | None]:
            weight = self.weight
            if weight.device == device:
                return weight, None
            lent = ops.cast_bias_weight(self, dtype=weight.dtype, device=device, bias_dtype=weight.dtype, **offloadable)
            return lent[0], (lambda: None) if give_back is None else partial(give_back, self, *lent)

        def home(self) -> Tensor:
            return self.weight.data

    network = type(module).__name__  # so that the log names it
    with torch.inference_mode(False):
        return type(network, (nn.ModuleList,), {})(stream(module, SingleWeight))


def _lies_on(module: nn.Module, where: torch.device) -> bool:
    devices = {tensor.device for tensors in (module.parameters(), module.buffers()) for tensor in tensors}
    return all(found.type == where.type and where.index in (None, found.index) for found in devices)
