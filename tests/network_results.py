"""What each kind of network gives for fixed inputs, by every way that leads through it. Imports nothing of ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def inputs(*shapes: tuple[int, ...]) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.rand(shape) for shape in shapes]


def compute(handle: Any) -> list[Tensor]:
    """What the network gives for fixed inputs, by every way that leads through it."""
    module, config = handle.module, handle.config
    net: Any = module

    def cast(*tensors: Tensor) -> list[Tensor]:
        return [tensor.to(handle.dtype) for tensor in tensors]

    if handle.kind == "stage_c":
        c = config
        x, text, pooled, image, control = inputs(
            (2, 16, 6, 5), (2, 9, c.c_clip_text), (2, c.c_clip_text_pooled), (2, 1, c.c_clip_img), (2, 1, 6, 5)
        )
        ratio = torch.tensor([0.7, 0.3])
        x, text, pooled, image, control = cast(x, text, pooled, image, control)
        found = net(x, ratio, text, pooled, image, sca=ratio, crp=ratio, control=(None, control))
        return [found, net(x, ratio, text, pooled)]
    if handle.kind == "stage_b":
        x, effnet, pooled, pixels = cast(*inputs((2, 4, 16, 32), (2, 16, 3, 2), (2, config.c_clip), (2, 3, 64, 32)))
        return [net(x, torch.tensor([0.7, 0.3]), effnet, pooled, pixels), net(x, torch.ones(2), effnet, pooled)]
    if handle.kind == "stage_a":
        pixels, latent = inputs((1, 3, 32, 64), (1, 4, 8, 12))
        return [net.encode(pixels), net.decode(latent)]
    if handle.kind == "text_encoder":
        return [*net.encode(["a (red:1.3) star", "a blue circle"]), *net.ending_at(-2).encode(["a star " * 40])]
    if handle.kind == "controlnet":
        return [found for found in net.project(inputs((1, config.c_in, 64, 96))[0]) if found is not None]
    if handle.kind == "previewer":
        return [net(inputs((1, 16, 5, 6))[0])]
    return [net(inputs((1, 3, 70, 96))[0])]


@torch.inference_mode()
def result(handle: Any) -> list[Tensor]:
    return compute(handle)
