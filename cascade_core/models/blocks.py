"""The blocks that Stage B and Stage C are made of, on token-major activations (B, H, W, C).

Module names are the published checkpoints' names. Every block is called as `block(x, skip, inputs)` and takes from
`inputs` what it needs at its own place, which it is told once, at construction; a forward therefore depends on its
arguments alone. The blocks know nothing of timesteps as numbers, text, or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .linear import Linear, linear

NORM_EPS = 1e-6
GRN_CHUNK = 64  # tokens summed at a time: their float32 squares stay in the cache
Maps = Sequence[Tensor | None]  # one for each residual block, added before it: (1 or B, C, h, w) of any size


@dataclass(frozen=True)
class BlockInputs:
    """Inputs of the blocks at a step; each block reads the entry of its own number."""

    kv: Sequence[tuple[Tensor, Tensor]]  # text keys and values per attention block, (B, heads, L, d) each
    modulation: Sequence[Tensor]  # scale and shift per timestep block, (B or 1, 2C)
    control: Maps = ()


def layer_norm(x: Tensor) -> Tensor:
    """LayerNorm over the last axis, with no weights, as everywhere in Stage B and C."""
    return F.layer_norm(x, x.shape[-1:], eps=NORM_EPS)


def channels_first(x: Tensor) -> Tensor:
    """(B, H, W, C) seen as (B, C, H, W); no copy."""
    return x.permute(0, 3, 1, 2)


def channels_last(x: Tensor) -> Tensor:
    """(B, C, H, W) as contiguous (B, H, W, C)."""
    return x.permute(0, 2, 3, 1).contiguous()


def resize(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resize of (B, C, H, W) with aligned corners, in float32 as officially; the type of x comes back."""
    if x.shape[-2:] == (height, width):
        return x
    return F.interpolate(x.float(), (height, width), mode="bilinear", align_corners=True).to(x.dtype)


def add_residual(h: Tensor, x: Tensor) -> Tensor:
    """x + h, in the place of h; under autocast h is of lower precision than x, which the sum keeps, as officially."""
    return h.add_(x) if h.dtype == x.dtype else x + h


class GlobalResponseNorm(nn.Module):
    """gamma * (x * N) + beta + x, N = |x|_HW / (mean over channels of |x|_HW + 1e-6), after ConvNeXt V2, eq. 2, 3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C)
        chunks = torch.split(x.flatten(1, 2), GRN_CHUNK, dim=1)
        squares = torch.stack([chunk.float().square().sum(1) for chunk in chunks]).sum(0)  # (B, C) float32
        norm = squares.clamp_min(1e-24).sqrt()  # the square root has no gradient at 0, and half precision has zeros
        scale = norm / (norm.mean(-1, keepdim=True) + 1e-6)
        scale = (1 + self.gamma.flatten() * scale).to(x.dtype)
        return torch.addcmul(self.beta, x, scale[:, None, None])


class ResBlock(nn.Module):
    """Depthwise convolution, then a channel mixer; `c_skip` channels of the skip are concatenated after the norm."""

    def __init__(self, channels: int, c_skip: int, kernel_size: int, dropout: float, index: int) -> None:
        super().__init__()
        self.index = index  # its entry of the control maps
        self.depthwise = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.channelwise = nn.Sequential(
            Linear(channels + c_skip, channels * 4),
            nn.GELU(),
            GlobalResponseNorm(channels * 4),
            nn.Dropout(dropout),
            Linear(channels * 4, channels),
        )

    def forward(self, x: Tensor, skip: Tensor | None, inputs: BlockInputs) -> Tensor:
        control = inputs.control[self.index] if self.index < len(inputs.control) else None
        if control is not None:
            x = x + resize(control, *x.shape[1:3]).permute(0, 2, 3, 1).to(x.dtype)
        h = layer_norm(self.depthwise(channels_first(x)).permute(0, 2, 3, 1))
        if skip is not None:
            h = torch.cat([h, skip], dim=-1)
        return add_residual(self.channelwise(h), x)


class TimestepBlock(nn.Module):
    """x * (1 + a) + b; (a, b) come from the embedded timestep and the embedded extra conditions. Not residual."""

    def __init__(self, channels: int, c_r: int, t_conds: Sequence[str], index: int) -> None:
        super().__init__()
        self.index = index
        self.names = ("mapper", *(f"mapper_{name}" for name in t_conds))
        for name in self.names:
            self.add_module(name, nn.Linear(c_r, channels * 2))

    def modulate(self, embeddings: Sequence[Tensor]) -> Tensor:
        """One (S, c_r) embedding per mapper -> (S, 2C)."""
        mapped = [self.get_submodule(name)(e) for name, e in zip(self.names, embeddings, strict=True)]
        return torch.stack(mapped).sum(0)

    def forward(self, x: Tensor, skip: Tensor | None, inputs: BlockInputs) -> Tensor:
        a, b = inputs.modulation[self.index][:, None, None].chunk(2, dim=-1)
        return torch.addcmul(b, x, 1 + a)


class Attention(nn.Module):
    """Multi-head attention with fused q, k, v rows, under torch.nn.MultiheadAttention's parameter names."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def project(self, tokens: Tensor, first: int = 0) -> Tensor:
        """The rows of q, k, v from `first` on, of tokens (B, L, C): (B, L, 3C - first)."""
        return linear(tokens, self.in_proj_weight[first:], self.in_proj_bias[first:])

    def key_value(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, L, d) of tokens (B, L, C)."""
        kv = self.project(tokens, tokens.shape[-1])
        k, v = torch.unflatten(kv, -1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return k, v

    def forward(self, x: Tensor, kv: tuple[Tensor, Tensor]) -> Tensor:  # x (B, N, C)
        qkv = self.project(x)
        q, k, v = torch.unflatten(qkv, -1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, N, d) each
        k = torch.cat([k, kv[0].expand(k.shape[0], -1, -1, -1)], dim=2)  # image tokens first, then text
        v = torch.cat([v, kv[1].expand(v.shape[0], -1, -1, -1)], dim=2)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class AttnBlock(nn.Module):
    """x + attention of the normalised image tokens over themselves and the text tokens."""

    def __init__(self, channels: int, c_cond: int, heads: int, index: int) -> None:
        super().__init__()
        self.index = index
        self.attention = nn.ModuleDict({"attn": Attention(channels, heads)})
        self.kv_mapper = nn.Sequential(nn.SiLU(), nn.Linear(c_cond, channels))

    def text_kv(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the text tokens (B, L, c_cond): constant over the steps of an image."""
        attn = self.attention["attn"]
        assert isinstance(attn, Attention)
        return attn.key_value(self.kv_mapper(clip))

    def forward(self, x: Tensor, skip: Tensor | None, inputs: BlockInputs) -> Tensor:
        tokens = layer_norm(x).flatten(1, 2)
        return add_residual(self.attention["attn"](tokens, inputs.kv[self.index]).view_as(x), x)
