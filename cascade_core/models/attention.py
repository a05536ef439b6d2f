"""Attention by the faster way of a device.

On a CPU in bfloat16 torch's own attention takes half as long again as two products of matrices by oneDNN with the
softmax between them, if few enough scores are computed at once to stay in the processor's cache: those of some heads,
or of some queries of one. Only inference goes that way: gradients and compilers see plain torch. The scores are rounded
to bfloat16 then, as everything else is. Where a processor only imitates bfloat16, torch's own is asked in float32
(`linear.multiplied`).
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from .linear import infers, is_imitated, multiplied

SCORES = 2**21  # bytes of the scores that are computed at once


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k' / sqrt(d)) v: q (B, heads, N, d), k and v (B, heads, L, d) -> (B, heads, N, d)."""
    if not _by_heads(q):
        return multiplied(F.scaled_dot_product_attention, q, k, v)
    batch, heads, tokens, width = q.shape
    score = k.shape[2] * q.element_size()  # bytes of a query's scores in one head
    rows = min(tokens, max(1, SCORES // score))
    step = max(1, SCORES // (rows * score))
    out = q.new_empty(batch, tokens, heads, width).transpose(1, 2)  # as the next layer reads it
    keys = k.transpose(2, 3) * width**-0.5
    for image, first, top in product(range(batch), range(0, heads, step), range(0, tokens, rows)):
        some, part = slice(first, first + step), slice(top, top + rows)
        scores = torch.bmm(q[image, some, part], keys[image, some])
        out[image, some, part] = torch.bmm(torch.softmax(scores, dim=-1), v[image, some])
    return out


def _by_heads(q: Tensor) -> bool:
    is_half = q.is_cpu and q.dtype == torch.bfloat16 and not is_imitated(q)
    return is_half and infers() and torch.backends.mkldnn.is_available()
