"""The blocks that Stage B and Stage C are made of, on token-major activations (B, H, W, C).

Module names are the published checkpoints' names. Every block is called as `block(x, skip, given)`, where `given` is
its own entry of the step's inputs (`own`), so that a forward depends on its arguments alone, and blocks of one kind
compute alike, whatever their number. The blocks know nothing of timesteps as numbers, text, or files.

The stream x that runs through all of them grows beyond float16's numbers. It can therefore be carried at a `scale`, a
power of two: every reader of it is a norm without weights, which takes the scale out again, so that in float32 the
result is the same to the last bit. What is added to the stream gets the scale before it can overflow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import attend
from .compiling import Call, call
from .linear import Conv2d, Linear, hold, infers, linear, scaled
from .quantised import Rotations, group_of, quantise

NORM_EPS = 1e-6
GRN_CHUNK = 64  # tokens summed at a time on a CPU: their float32 squares stay in its cache
Maps = Sequence[Tensor | None]  # one for each residual block, added before it: (1 or B, C, h, w) of any size


@dataclass(frozen=True)
class BlockInputs:
    """Inputs of the blocks at a step; each block reads the entry of its own number."""

    kv: Sequence[Tensor]  # text keys, then values, per attention block, (B or 1, 2 heads, L, d)
    modulation: Sequence[Tensor]  # factors and shifts per timestep block, (B or 1, 2C)
    control: Maps = ()
    call: Call = call  # of a block
    scale: float = 1.0  # of the stream


def layer_norm(x: Tensor, scale: float = 1.0) -> Tensor:
    """LayerNorm over the last axis, with no weights, as everywhere in Stage B and C; of x without its scale."""
    return F.layer_norm(x, x.shape[-1:], eps=NORM_EPS * scale**2)


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


def gelu(x: Tensor) -> Tensor:
    """GELU, in the place of x where it may be; oneDNN's own layout knows no such operation."""
    return torch.ops.aten.gelu_(x) if infers() and not x.is_mkldnn else F.gelu(x)


def token_norms(x: Tensor) -> Tensor:
    """Euclidean norms over H and W of (B, H, W, C): (B, C), summed in float32.

    One reduction, since on a GPU every operation is a launch, and a compiler makes one loop of it. On a CPU in chunks,
    where a reduction over the tokens, which lie far apart in memory, would take as long as a product of matrices.
    """
    if not x.is_cpu or torch.compiler.is_compiling():
        norm = cast(Callable[..., Tensor], torch.linalg.vector_norm)  # pyright: ignore[reportUnknownMemberType]  (untyped)
        return norm(x, dim=(1, 2), dtype=torch.promote_types(x.dtype, torch.float32))
    chunks = torch.split(x.flatten(1, 2), GRN_CHUNK, dim=1)
    squares = torch.stack([chunk.float().square().sum(1) for chunk in chunks]).sum(0)
    return squares.clamp_min(1e-24).sqrt()  # the square root has no gradient at 0, and half precision has zeros


class GlobalResponseNorm(nn.Module):
    """gamma * (x * N) + beta + x, N = |x|_HW / (mean over channels of |x|_HW + 1e-6), after ConvNeXt V2, eq. 2, 3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor, norm: Tensor, out_scale: float = 1.0, reuse: bool = False) -> Tensor:
        """x (B, H, W, C), or some of its tokens; norm (B, C): `token_norms` of all. reuse: x may become the result."""
        factor = norm / (norm.mean(-1, keepdim=True) + 1e-6)
        factor = (1 + self.gamma.flatten() * factor).to(x.dtype)
        fits = torch.promote_types(x.dtype, self.beta.dtype) == x.dtype
        out = x if reuse and fits else None
        return torch.addcmul(scaled(self.beta, out_scale), x, factor[:, None, None], value=out_scale, out=out)


class Block(nn.Module):
    """A block of the trunk: (B, H, W, C) in and out."""

    def __init__(self, index: int) -> None:
        """index: its number among the blocks of its kind."""
        super().__init__()
        self.index = index

    def own(self, inputs: BlockInputs) -> Tensor | None:
        """Its entry of the inputs: the `given` of its forward."""
        raise NotImplementedError


class ResBlock(Block):
    """Depthwise convolution, then a channel mixer; `c_skip` channels of the skip are concatenated after the norm."""

    def __init__(self, channels: int, c_skip: int, kernel_size: int, dropout: float, index: int) -> None:
        super().__init__(index)
        self.depthwise = Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.channelwise = nn.Sequential(
            Linear(channels + c_skip, channels * 4),
            nn.GELU(),
            GlobalResponseNorm(channels * 4),
            nn.Dropout(dropout),
            Linear(channels * 4, channels),
        )

    def own(self, inputs: BlockInputs) -> Tensor | None:
        return inputs.control[self.index] if self.index < len(inputs.control) else None

    def forward(
        self,
        x: Tensor,
        skip: Tensor | None,
        given: Tensor | None,  # (1 or B, C, h, w)
        scale: float = 1.0,
    ) -> Tensor:
        x, h = self.look(x, given, scale)
        h = joined(h, skip, scale)
        h = self.widen(h, 1.0 if skip is None else scale)
        return self.narrow(h, token_norms(h), x, scale)

    def look(self, x: Tensor, given: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
        """The stream with its control, and what each of its tokens sees around it, normalised."""
        if given is not None:
            x = torch.add(x, resize(given, *x.shape[1:3]).permute(0, 2, 3, 1).to(x.dtype), alpha=scale)
        return x, layer_norm(self.depthwise(channels_first(x), scale).permute(0, 2, 3, 1), scale)

    def widen(self, h: Tensor, scale: float) -> Tensor:
        """The hidden layer of any tokens, four times as wide. scale: that of h."""
        h = self.channelwise[0](h, scale)
        return gelu(h if scale == 1 else h.float().div_(scale))

    def narrow(self, h: Tensor, norm: Tensor, x: Tensor, scale: float) -> Tensor:
        """The stream after the block at any tokens: h their hidden layer, x their stream, norm that of all tokens."""
        _, _, respond, dropout, project = self.channelwise
        h = respond(h, norm, scale, reuse=infers())
        h = dropout(h.to(x.dtype) if h.dtype == torch.float32 else h)
        return add_residual(project(h, scale), x)


def joined(h: Tensor, skip: Tensor | None, scale: float) -> Tensor:
    """h and, beside it, the channels of the skip, which is the stream itself, at its scale."""
    return h if skip is None else torch.cat([scaled(h, scale), skip], dim=-1)


class TimestepBlock(Block):
    """x * (1 + a) + b; (a, b) come from the embedded timestep and the embedded extra conditions. Not residual."""

    def __init__(self, channels: int, c_r: int, t_conds: Sequence[str], index: int) -> None:
        super().__init__(index)
        self.names = ("mapper", *(f"mapper_{name}" for name in t_conds))
        for name in self.names:
            self.add_module(name, nn.Linear(c_r, channels * 2))

    def modulate(self, embeddings: Sequence[Tensor], scale: float) -> Tensor:
        """One (S, c_r) embedding per mapper -> 1 + a and b at the stream's scale, (S, 2C), added up in float32."""
        mapped = [self.get_submodule(name)(e) for name, e in zip(self.names, embeddings, strict=True)]
        a, b = torch.stack(mapped).sum(0, dtype=torch.float32).chunk(2, dim=-1)
        return torch.cat([1 + a, scaled(b, scale)], dim=-1).to(mapped[0].dtype)

    def own(self, inputs: BlockInputs) -> Tensor:
        return inputs.modulation[self.index]

    def forward(self, x: Tensor, skip: Tensor | None, given: Tensor, scale: float = 1.0) -> Tensor:
        """given: (1 or B, 2C), of the same scale."""
        factor, shift = given[:, None, None].chunk(2, dim=-1)
        return torch.addcmul(shift, x, factor)


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
        weight = self.in_proj_weight[first:] if first else self.in_proj_weight
        return linear(tokens, weight, self.in_proj_bias[first:])

    def key_value(self, tokens: Tensor) -> Tensor:
        """Keys, then values, (B, 2 heads, L, d) of tokens (B, L, C)."""
        return torch.unflatten(self.project(tokens, tokens.shape[-1]), -1, (2 * self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, kv: Tensor, out_scale: float = 1.0, most: int | None = None) -> Tensor:
        """x (B, N, C), kv (1 or B, 2 heads, L, d). most: queries that are looked up at once; None for all."""
        qkv = torch.unflatten(self.project(x), -1, (3 * self.heads, -1)).transpose(1, 2)
        q, own = qkv.tensor_split((self.heads,), dim=1)
        k, v = torch.cat([own, kv.expand(len(x), -1, -1, -1)], dim=2).chunk(2, dim=1)  # image tokens first, then text
        found = [attend(part, k, v) for part in torch.split(q, most or q.shape[2], dim=2)]
        out = found[0] if len(found) == 1 else torch.cat(found, dim=2)  # (B, heads, N, d)
        return self.out_proj(scaled(out.transpose(1, 2).flatten(2), out_scale), out_scale)


def large_weights(module: nn.Module) -> list[str]:
    """The names of the blocks' large weights, which may be quantised: those that these layers multiply with."""
    ends: dict[type[nn.Module], str] = {Linear: "weight", Attention: "in_proj_weight"}
    modules = cast(Iterable[tuple[str, nn.Module]], module.named_modules())
    return [f"{path}.{ends[type(each)]}" for path, each in modules if type(each) in ends]


def quantise_large_weights(module: nn.Module, name: str) -> None:
    """Have the module hold its large weights as `name`, one of kinds.QUANTISED_NAMES, each where it lies."""
    first = next(module.parameters())
    rotations = Rotations(first.dtype, first.device)
    for path in large_weights(module):
        weight = module.get_parameter(path).detach()
        if group_of(weight.shape[1]):
            hold(module, path, quantise(weight, name, rotations))


class AttnBlock(Block):
    """x + attention of the normalised image tokens over themselves and the text tokens."""

    def __init__(self, channels: int, c_cond: int, heads: int, index: int) -> None:
        super().__init__(index)
        self.attention = nn.ModuleDict({"attn": Attention(channels, heads)})
        self.kv_mapper = nn.Sequential(nn.SiLU(), Linear(c_cond, channels))

    def text_kv(self, clip: Tensor) -> Tensor:
        """Keys, then values, of the text tokens (B, L, c_cond): constant over the steps of an image."""
        attn = self.attention["attn"]
        assert isinstance(attn, Attention)
        return attn.key_value(self.kv_mapper(clip))

    def own(self, inputs: BlockInputs) -> Tensor:
        return inputs.kv[self.index]

    def forward(
        self, x: Tensor, skip: Tensor | None, given: Tensor, scale: float = 1.0, most: int | None = None
    ) -> Tensor:
        """given: (1 or B, 2 heads, L, d). most: see `Attention`."""
        tokens = layer_norm(x, scale).flatten(1, 2)
        return add_residual(self.attention["attn"](tokens, given, scale, most).view_as(x), x)
