"""ControlNets and a Stage C that they steer, by ComfyUI's modules and by ours on the same weights. See bare_comfyui.py.

Writes for each case the largest difference, relative to the largest value, and how much the ControlNets changed. The
projections are compared in float32. What Stage C makes of them is compared in float64: its many blocks of random
weights multiply the rounding of float32 to 1e-6 in one build of torch and to 1e-5 in another; a mistake stays as large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import bare_comfyui
import torch
from torch import Tensor, nn

WIDTH = 64  # of the Stage C; the files of the ControlNets have the published one
PROJECTED = [0, 4, 8, 12, 51, 55, 59, 63]  # of the published networks; the others are gaps
MODES: dict[str, tuple[str, int, list[int]]] = {  # bottleneck, channels of the hint, projected blocks
    "canny": ("effnet", 1, PROJECTED),
    "inpainting": ("effnet", 4, PROJECTED),
    "super_resolution": ("large", 16, PROJECTED),
    "identity": ("simple", 512, list(range(64))),
}
SHAPES = {"effnet": [(288, 224), (160, 352)], "large": [(9, 7), (5, 11)], "simple": [(9, 7), (5, 11)]}
STACKS: dict[str, list[tuple[str, float]]] = {
    "canny, weaker": [("canny", 0.4)],
    "canny, stronger": [("canny", 1.7)],
    "canny and inpainting": [("canny", 0.8), ("inpainting", 0.5)],
    "identity between others": [("inpainting", 0.6), ("identity", 0.9), ("canny", 0.3)],
}


def find(pack: Any) -> dict[str, Any]:
    from the_pack.cascade_core.models.config import StageCConfig

    torch.manual_seed(0)
    config = StageCConfig(
        c_hidden=(WIDTH, WIDTH), nhead=(2, 2), c_cond=WIDTH, c_clip_text=32, c_clip_text_pooled=24, c_clip_img=16
    )
    with torch.no_grad():
        pairs = {mode: control_pair(mode) for mode in MODES}
        files = {mode: [ours.kind, ours.config.c_in, ours.config.c_proj] for mode, (_, ours) in pairs.items()}
        projections = {mode: [maps(mode, *pair, size) for size in sizes(mode)] for mode, pair in pairs.items()}
        for mode, (theirs, ours) in pairs.items():
            narrow(theirs.double())
            narrow(ours.module.double())
            pairs[mode] = theirs, replace(ours, dtype=torch.float64)
        theirs, ours = stage_pair(config)
        stages = theirs.double(), ours.double()
        return {
            "files": files,
            "projections": projections,
            "one": {mode: [one(mode, *pair, stages, size) for size in sizes(mode)] for mode, pair in pairs.items()},
            "stacks": {name: stack(stages, [(*pairs[mode], mode, by) for mode, by in s]) for name, s in STACKS.items()},
        }


def sizes(mode: str) -> list[tuple[int, int]]:
    return SHAPES[MODES[mode][0]]


def control_pair(mode: str) -> tuple[Any, Any]:
    """ComfyUI's module of random weights, and what our loader makes of a file of its tensors."""
    from comfy.ldm.cascade.controlnet import ControlNet
    from safetensors.torch import save_file
    from the_pack.cascade_core.files.load import load

    bottleneck, channels, blocks = MODES[mode]
    theirs = ControlNet(channels, proj_blocks=blocks, bottleneck_mode=bottleneck, operations=nn).eval()
    randomize(theirs)
    path = Path(f"{mode}.safetensors")
    save_file(theirs.state_dict(), path)
    ours = load("controlnet", path, dtype="float32")
    return theirs, ours


def narrow(net: Any) -> None:
    """Leave the first channels of each projection: all that a Stage C of WIDTH takes."""
    for projection in net.projections:
        projection[2].weight = nn.Parameter(projection[2].weight[:WIDTH].clone(), requires_grad=False)


def stage_pair(config: Any) -> tuple[Any, Any]:
    """A narrow Stage C with the published blocks."""
    from comfy import supported_models
    from comfy.ldm.cascade.stage_c import StageC as Theirs
    from the_pack.cascade_core.models.stage_c import StageC

    ours = StageC(config).eval()
    randomize(ours)
    theirs = Theirs(
        c_hidden=[WIDTH, WIDTH],
        nhead=[2, 2],
        c_cond=WIDTH,
        c_clip_text=32,
        c_clip_text_pooled=24,
        c_clip_img=16,
        operations=nn,
    ).eval()
    names: Any = supported_models.Stable_Cascade_C.process_unet_state_dict
    theirs.load_state_dict(names(None, dict(ours.state_dict())), strict=True)
    return theirs, ours


def randomize(module: nn.Module) -> None:
    """Every weight counts, also those that training starts at 0 or 1."""
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(("bias", "gamma", "beta", "running_mean")):
            tensor.normal_(0, 0.1)
        elif tensor.ndim == 1 and tensor.is_floating_point():
            tensor.uniform_(0.7, 1.3)
        elif tensor.is_floating_point():
            tensor.normal_(0, tensor[0].numel() ** -0.5)


def hint_for(mode: str, size: tuple[int, int], batch: int = 1) -> Tensor:
    return torch.rand(batch, MODES[mode][1], *size)


def maps(mode: str, theirs: Any, ours: Any, size: tuple[int, int]) -> float:
    """Every projection, each in the place of its residual block; ComfyUI's list has the last block first."""
    hint = hint_for(mode, size, 2)
    expected = theirs(hint)["input"][::-1]
    found = ours.module.project(hint)
    assert [a is None for a in found] == [a is None for a in expected]
    return max(deviation(a, b) for a, b in zip(found, expected, strict=True) if a is not None)


def one(mode: str, theirs: Any, ours: Any, stages: tuple[Any, Any], size: tuple[int, int]) -> list[float]:
    """A hint of any size for a latent of odd sides: Stage C itself brings the maps to it."""
    hint, batch = hint_for(mode, size, 2).double(), inputs((11, 7), 2)
    return compare(stages, batch, theirs(hint), ours.module.project(hint))


def stack(stages: tuple[Any, Any], controls: Sequence[tuple[Any, Any, str, float]]) -> list[float]:
    """Hints on their way through ComfyUI's adapter and ours, which bring them to the latent, weigh and add them."""
    from comfy.controlnet import T2IAdapter
    from the_pack.cascade_core.sampling.control import Control, blend, project

    # ComfyUI rounds a hint of cells up to a multiple of eight, which ours does not: such a latent where there is one.
    cells = (16, 8) if any(MODES[mode][0] != "effnet" for *_, mode, _ in controls) else (9, 7)
    latent = inputs(cells)
    previous, weighed = None, []
    for theirs, ours, mode, strength in controls:
        pixels = MODES[mode][0] == "effnet"
        hint = hint_for(mode, (cells[0] * 16, cells[1] * 16) if pixels else (cells[0] // 2, cells[1] // 2))
        ways = (32, "bilinear") if pixels else (1, "nearest-exact")  # as ComfyUI's loader tells it
        adapter = T2IAdapter(theirs, MODES[mode][1], *ways, device=torch.device("cpu"))
        previous = adapter.set_cond_hint(hint, strength).set_previous_controlnet(previous)
        weighed.append(Control(ours, hint, (cells[0] * 32, cells[1] * 32), strength))
    assert previous is not None
    control = previous.get_control(latent[0], latent[1], None, 1, {})
    found = blend([dict.fromkeys(weighed, 1.0)], {each: project(each, cells) for each in weighed}, 1)
    return compare(stages, latent, control, found)


def inputs(cells: tuple[int, int], batch: int = 1) -> tuple[Tensor, ...]:
    """Latent, noise, text, pooled text, image embeddings; the noise in float32, in which both embed it."""
    shapes = ((batch, 16, *cells), (batch, 9, 32), (batch, 1, 24), (batch, 1, 16))
    latent, *conditions = (torch.randn(shape).double() for shape in shapes)
    return latent, torch.rand(batch), *conditions


def compare(stages: tuple[Any, Any], given: tuple[Tensor, ...], control: Any, found: Any) -> list[float]:
    """The difference between the two Stages C, and what the ControlNets change."""
    theirs, ours = stages
    plain = theirs(*given)
    expected = theirs(*given, control=control)  # uses its list up
    return [deviation(ours(*given, control=found), expected), deviation(plain, expected)]


def deviation(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


if __name__ == "__main__":
    bare_comfyui.run(find)
