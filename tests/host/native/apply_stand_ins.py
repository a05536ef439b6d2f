"""ControlNets that the host's loader reads and its Apply nodes hint, and CLIP's earlier layers, beside our stand-ins.

Run by COMFYUI_PYTHON, see bare_comfyui.py. Weights are random. Writes for each case the largest difference, relative to
the largest value, and how far the value is from what it would be without what is tested.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bare_comfyui
import torch
from steer_stage_c import control_pair, deviation, randomize
from torch import Tensor

CHANNELS = {"canny": 3, "inpainting": 4, "super_resolution": 16}  # of the picture that hints
PICTURES = [(288, 224), (160, 352), (96, 96)]
CELLS = [(6, 6), (5, 9)]
TEXT = {
    "num_hidden_layers": 6,
    "hidden_size": 64,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "hidden_act": "gelu",
    "max_position_embeddings": 77,
    "eos_token_id": 49407,
}
START, END = 49406, 49407


def find(pack: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    with torch.no_grad():
        return {"hints": {mode: hints(mode) for mode in CHANNELS}, "layers": {str(n): layer(n) for n in (-1, -2, -4)}}


def hints(mode: str) -> list[list[float]]:
    """For each picture and latent: the difference of the maps, and that of maps of a picture that is not cropped."""
    from comfy.controlnet import load_controlnet
    from the_pack.cascade_core.models.blocks import resize
    from the_pack.cascade_core.sampling.control import project
    from the_pack.headless.native.controlnets import ControlNetApplyAdvanced
    from the_pack.nodes.sockets import CONTROLS

    _, ours = control_pair(mode)
    path = Path(f"{mode}.safetensors")
    theirs = load_controlnet(str(path))
    path.unlink()
    found: list[list[float]] = []
    for size in PICTURES:
        side = size if mode != "super_resolution" else (size[0] // 32, size[1] // 32)
        image = torch.rand(1, *side, CHANNELS[mode])
        given = [[torch.zeros(1, 1, 4), {}]]
        positive, _ = ControlNetApplyAdvanced().apply_controlnet(given, given, ours, image, 0.7, 0.0, 1.0)
        (control,) = positive[0][1][CONTROLS]
        for cells in CELLS:
            hinted = theirs.copy().set_cond_hint(image.movedim(-1, 1), 0.7, (0.0, 1.0))
            given_maps = hinted.get_control(torch.zeros(1, 16, *cells), torch.zeros(1), None, 1, {})["input"][::-1]
            expected = [None if one is None else resize(one, *cells) for one in given_maps]  # as its Stage C does
            maps = project(control, cells)
            assert [one is None for one in maps] == [one is None for one in expected]
            pairs = [(one, other) for one, other in zip(maps, expected, strict=True) if one is not None]
            square = torch.nn.functional.interpolate(image.movedim(-1, 1), (7, 7)).movedim(1, -1)
            whole, _ = ControlNetApplyAdvanced().apply_controlnet(given, given, ours, square, 0.7, 0.0, 1.0)
            others = project(whole[0][1][CONTROLS][0], cells)
            apart = max(deviation(one, other) for one, other in pairs)
            blind = min(deviation(others[i], expected[i]) for i, one in enumerate(maps) if one is not None)
            found.append([apart, blind])
    return found


def layer(number: int) -> list[float]:
    """The difference of the sequence and of the pooled vector; of the sequence from that of the last layer."""
    from comfy.sd1_clip import SDClipModel
    from the_pack.cascade_core.models.clip_config import TextConfig
    from the_pack.cascade_core.models.text import TextEncoder
    from the_pack.cascade_core.models.tokenizer import WordTokenizer

    theirs = SDClipModel(
        layer="hidden",
        layer_idx=-1,
        textmodel_json_config=dict(TEXT),
        special_tokens={"start": START, "end": END, "pad": END},
        layer_norm_hidden_state=False,
        enable_attention_masks=True,
        return_projected_pooled=True,
        model_options={"model_name": "clip_g"},
    ).float()
    randomize(theirs.transformer)
    config = TextConfig(END + 1, 64, 128, 6, 2, 77, 64)
    ours = TextEncoder(config, WordTokenizer((), 2)).eval()
    ours.load_state_dict(theirs.transformer.state_dict())
    ids = [START, 320, 7, 40000, END, *[END] * 72]
    mask = torch.tensor([[1] * 5 + [0] * 72])
    theirs.set_clip_options({"layer": number})
    sequence, pooled = theirs([ids])[:2]
    found: tuple[Tensor, Tensor] = ours.ending_at(number)(torch.tensor([ids]), mask)
    last, _ = ours(torch.tensor([ids]), mask)
    return [
        deviation(found[0], sequence),
        deviation(found[1], pooled),
        deviation(last, sequence),
    ]


if __name__ == "__main__":
    bare_comfyui.run(find)
