"""How Stage C computes in ComfyUI's memory, whole and streamed, beside a native model; on a GPU, with ComfyUI's Python:

    PYTHON benchmarks/memory_in_comfyui.py COMFYUI [--preset 3.6B] [--steps 5] [--card GB] [--native GB] [-- OPTIONS]

COMFYUI is its folder, OPTIONS are ComfyUI's own (`--lowvram`, `--disable-dynamic-vram`, ...). `--card` leaves only so
much of the GPU's memory free, as on a smaller one. The weights are random: times and bytes are those of the real ones.
(Dynamic VRAM takes what it is given of the whole GPU; there the memory is best limited by ComfyUI's `--reserve-vram`.)
Each line is a JSON object: the way, milliseconds a step (the median), bytes of weights on the device by the manager's
own count and at the peak by torch's, and whether the result is bit for bit that of the whole model. Then what is on the
device after loads in turns. On a CPU nothing streams; there it shows that the script runs: `--preset tiny -- --cpu`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

GB = 10**9
CELLS = 24  # sides of the latent of 1024 x 1024
TOKENS = 77


def start(comfyui: str, options: list[str]) -> None:
    """ComfyUI's modules and the pack, as main.py brings them up, with Dynamic VRAM where it can be had."""
    sys.path.insert(0, comfyui)
    sys.argv = [sys.argv[0], *options]
    import comfy.options

    comfy.options.enable_args_parsing()
    from comfy.cli_args import args

    control = None
    if importlib.util.find_spec("comfy_aimdo") and not args.cpu and not getattr(args, "disable_dynamic_vram", False):
        import comfy_aimdo.control as control

        control.init()  # before torch
    import comfy.model_management as manager
    import torch

    dynamic = control is not None and bool(control.init_devices(range(torch.cuda.device_count())))
    if dynamic:
        import comfy.memory_management
        import comfy.model_patcher

        comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
        comfy.memory_management.aimdo_enabled = True
    print(f"{manager.get_torch_device()}, {manager.vram_state.name}, Dynamic VRAM {dynamic}", file=sys.stderr)

    root = Path(__file__).parents[1]
    spec = importlib.util.spec_from_file_location("pack", root / "__init__.py", submodule_search_locations=[str(root)])
    assert spec is not None and spec.loader is not None
    sys.modules["pack"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


class Bench:
    def __init__(self, preset: str, steps: int) -> None:
        import torch
        from comfy import model_management as manager
        from pack.runtime import host as hosts

        self.preset, self.steps = preset, steps
        self.manager, self.host = manager, hosts.current()
        self.device = self.host.device()
        self.on_gpu = self.device.type == "cuda"
        self.dtype = torch.bfloat16 if self.on_gpu else torch.float32

    def stage_c(self) -> Any:
        """A new Stage C of random weights, always the same, as a loader gives it."""
        import torch
        from pack.cascade_core.builtin import built_in
        from pack.cascade_core.files.load import load
        from pack.cascade_core.models.config import PRESETS
        from pack.cascade_core.models.stage_c import StageC

        ((name, path),) = built_in("stage_c").items()
        config = PRESETS["stage_c"][self.preset]
        torch.manual_seed(0)
        with torch.no_grad():
            with torch.device("meta"):
                module = StageC(config).to(self.dtype).requires_grad_(False).eval()
            module.to_empty(device="cpu")
            for parameter in module.parameters():
                parameter.normal_(std=0.02)
        handle = load("stage_c", path, name=name)
        placement = self.host.placement()
        return replace(handle, module=module, config=config, dtype=self.dtype, placement=placement)

    def native(self, size: int) -> Any:
        """A model of ComfyUI's own layers, of about `size` bytes."""
        import torch
        from comfy import model_patcher, ops
        from torch import nn

        width = int((size / 64 / 2) ** 0.5)
        model = nn.Sequential(*(ops.disable_weight_init.Linear(width, width, bias=False) for _ in range(64)))
        for layer in model:
            layer.weight = nn.Parameter(torch.zeros(width, width, dtype=torch.bfloat16), requires_grad=False)
        kind = getattr(model_patcher, "CoreModelPatcher", model_patcher.ModelPatcher)
        return kind(model, self.device, torch.device("cpu"))

    def use_native(self, patcher: Any) -> None:
        import torch

        self.manager.load_models_gpu([patcher])
        width = patcher.model[0].in_features
        patcher.model(torch.zeros(64, width, dtype=torch.bfloat16, device=self.device))

    def run(self, handle: Any, whole: bool) -> tuple[Any, dict[str, Any]]:
        """The last step's result, and what was measured."""
        import torch

        like = {"dtype": self.dtype, "device": self.device}
        config, room = handle.config, 2 * GB if self.on_gpu else 0
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        if whole:
            with torch.inference_mode(False), torch.enable_grad():
                handle.acquire(room)
        torch.manual_seed(1)
        x = torch.randn(2, 16, CELLS, CELLS).to(**like)
        text = torch.randn(2, TOKENS, config.c_clip_text).to(**like)
        pooled = torch.randn(2, config.c_clip_text_pooled).to(**like)
        times: list[float] = []
        with self.host.together(handle):
            handle.acquire(room)
            prepared = handle.module.prepare(text, pooled)
            modulation = handle.module.modulate(torch.tensor([0.5, 0.5], device=self.device))
            for _ in range(self.steps + 1):  # the first one brings what stays
                began = time.perf_counter()
                handle.acquire(room)
                found = handle.module.evaluate(x, modulation, prepared).float().cpu()
                times.append(time.perf_counter() - began)
        return found, {
            "way": "whole" if whole else "streamed" if hasattr(next(handle.module.parameters()), "source") else "plain",
            "milliseconds": round(1000 * statistics.median(times[1:]), 1),
            "first": round(1000 * times[0], 1),
            "weights": handle.patcher.model_size(),
            "on device": handle.patcher.loaded_size(),
            "peak": torch.cuda.max_memory_allocated() if self.on_gpu else None,
        }


def main() -> None:
    own, options = sys.argv[1:], []
    if "--" in own:
        own, options = own[: own.index("--")], own[own.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("comfyui")
    parser.add_argument("--preset", default="3.6B", choices=["3.6B", "1B", "tiny"])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--card", type=float, help="GB of the GPU's memory that are left free")
    parser.add_argument("--native", type=float, help="GB of the native model; as large as Stage C if not given")
    chosen = parser.parse_args(own)
    start(chosen.comfyui, options)
    import torch

    bench = Bench(chosen.preset, chosen.steps)
    taken = None
    if chosen.card is not None and bench.on_gpu:
        free = torch.cuda.mem_get_info()[0]
        taken = torch.empty(max(0, int(free - chosen.card * GB)), dtype=torch.uint8, device=bench.device)
    with torch.inference_mode():
        expected = None
        for whole in (True, False):
            handle = bench.stage_c()
            try:
                found, measured = bench.run(handle, whole)
            except torch.OutOfMemoryError as error:
                print(json.dumps({"way": "whole" if whole else "streamed", "error": str(error).split(".")[0]}))
            else:
                same = None if expected is None else bool(torch.equal(found, expected))
                expected = found if expected is None else expected
                print(json.dumps(measured | {"bit for bit": same}), flush=True)
            del handle
            bench.manager.unload_all_models()

        handle = bench.stage_c()
        native = bench.native(int((chosen.native or handle.patcher.model_size() / GB) * GB))
        for turn in ("ours", "native", "ours"):
            if turn == "ours":
                bench.run(handle, whole=False)
            else:
                bench.use_native(native)
            there = {"stage_c": handle.patcher.loaded_size(), "native": native.loaded_size()}
            print(json.dumps({"after": turn} | there), flush=True)
    del taken


if __name__ == "__main__":
    main()
