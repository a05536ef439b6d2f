"""Blocks a chunk of tokens at a time: for pictures so large that memory is short.

A residual block mixes the channels of each token by itself, but for the response norm, which wants the sum of all
tokens' squares first. So its hidden layer, four times as wide as the stream, is computed twice, a chunk at a time: for
the sum, and for the result. That is the same picture, but for rounding, with no seams. Attention is given its queries
in chunks, of which each sees all keys: elsewhere than in fused kernels its scores would be the largest tensor of all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import AttnBlock, ResBlock, joined, token_norms

TOKENS = 16384  # of a picture, in a chunk: a product of matrices of this many rows keeps any GPU busy
QUERIES = 1024  # of a picture, in a chunk of attention, whose scores are a number for each key


def call_in_chunks(block: nn.Module, x: Tensor, skip: Tensor | None, given: Tensor | None, scale: float) -> Tensor:
    """The block's output, as `compiling.call` gives it; for inference only."""
    if isinstance(block, AttnBlock):
        return block(x, skip, given, scale, QUERIES)
    if isinstance(block, ResBlock):
        return _mix(block, x, skip, given, scale)
    return block(x, skip, given, scale)


def _mix(block: ResBlock, x: Tensor, skip: Tensor | None, given: Tensor | None, scale: float) -> Tensor:
    x, h = block.look(x, given, scale)
    height, width = h.shape[1:3]
    step = max(1, TOKENS // width)
    rows = [slice(first, first + step) for first in range(0, height, step)]

    def widened(part: slice) -> Tensor:
        beside = None if skip is None else skip[:, part]
        return block.widen(joined(h[:, part], beside, scale), 1.0 if skip is None else scale)

    norms = torch.stack([token_norms(widened(part)) for part in rows])
    norm = norms.square().sum(0).sqrt()
    for part in rows:
        h[:, part] = block.narrow(widened(part), norm, x[:, part], scale)  # in the place of what is done with
    return h
