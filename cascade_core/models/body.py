"""The trunk that Stage B and Stage C share: levels of blocks going down, then up with skips, and its conditioning.

A stage is called in three parts, so that what is constant is computed once per image: `prepare` (text keys and
values, constant maps), `modulate` (all timesteps at once), `evaluate` (one step). `forward` is the three in a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]  (half typed)

from .blocks import AttnBlock, Block, BlockInputs, Maps, ResBlock, TimestepBlock, channels_first, layer_norm, resize
from .config import StageBConfig, StageCConfig
from .linear import Conv2d, scaled

Modulation = tuple[Tensor, ...]  # one (S, 2C) tensor per timestep block
SMALLEST = 2.0**-16  # scale of the stream: below, what is small in it gets lost in float16
ROOM = 2.0**12  # where the probe's stream may end, of float16's 2**16: other pictures are louder


@dataclass(frozen=True)
class Prepared:
    """Inputs of a stage that stay the same over the steps of an image, prepared once."""

    kv: tuple[Tensor, ...]  # text keys, then values, per attention block, (B, 2 heads, L, d)
    constant: Tensor | None = None  # (B, h, w, C), added to the embedded input (Stage B)
    control: Maps = ()  # Stage C

    @property
    def batch(self) -> int:
        """Images: 1 for all, or one for each."""
        return self.kv[0].shape[0]

    @property
    def tokens(self) -> int:
        """Text tokens; what is equally long can lie in one batch."""
        return self.kv[0].shape[2]

    def map(self, change: Callable[[Tensor], Tensor]) -> Prepared:
        """The same of changed tensors."""
        kv = tuple(change(one) for one in self.kv)
        constant = None if self.constant is None else change(self.constant)
        return Prepared(kv, constant, tuple(None if one is None else change(one) for one in self.control))

    def tensors(self) -> list[Tensor]:
        """All that are there, in the order of `map`."""
        return [one for one in (*self.kv, self.constant, *self.control) if one is not None]

    @staticmethod
    def cat(each: Sequence[Prepared]) -> Prepared:
        """Several as one batch, without control yet; their text must be equally long."""
        kv = tuple(torch.cat(of_block) for of_block in zip(*(one.kv for one in each), strict=True))
        constants = [one.constant for one in each if one.constant is not None]
        return Prepared(kv, torch.cat(constants) if constants else None)


def recomputed(block: nn.Module, x: Tensor, skip: Tensor | None, given: Tensor | None, scale: float) -> Tensor:
    """The block's output, of which the backward pass computes all but the arguments again."""
    again = cast(Callable[..., Tensor], checkpoint)
    return again(block, x, skip, given, scale, use_reentrant=False)


@dataclass
class Inner:
    """What the levels from `level` on gave in an evaluation, for the next one to take instead of computing them.

    After DeepCache (Ma et al. 2023): from step to step the inner levels change little. Evaluations that are given the
    same one compute them and take them in turns.
    """

    level: int  # 1: all but the first
    output: Tensor | None = None  # (B, H, W, C), as it enters the level above; None: the next evaluation computes it

    def exchange(self, x: Tensor) -> Tensor:
        """What was kept, once; else x, which is kept."""
        kept, self.output = self.output, x if self.output is None else None
        return x if kept is None else kept


def slice_modulation(modulation: Modulation, step: int) -> Modulation:
    """The rows (1, 2C) of one step."""
    return tuple(m[step : step + 1] for m in modulation)


def drawn(module: nn.Module, x: tuple[int, ...], *others: tuple[int, ...]) -> list[Tensor]:
    """Normal numbers of these shapes for three times: x, the times, the others; in the module's type, on its device."""
    weight = next(module.parameters())
    generator = torch.Generator().manual_seed(0)
    first, *rest = (torch.randn(3, *shape, generator=generator).to(weight) for shape in (x, *others))
    return [first, torch.tensor([1.0, 0.5, 0.05], device=weight.device), *rest]


def embed_ratio(r: Tensor, channels: int) -> Tensor:
    """Sinusoidal embedding (S, channels) of r in 0..1, in float32: in bfloat16 r * 10000 would lose its digits."""
    half = channels // 2
    frequencies = torch.exp(torch.arange(half, device=r.device, dtype=torch.float32) * -(math.log(10000) / (half - 1)))
    angles = r.float()[:, None] * 10000 * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class LayerNorm(nn.Module):
    """LayerNorm without weights, as a module: it holds a place in the checkpoints' numbering."""

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x)


class Body(nn.Module):
    """Embedding-sized (B, H, W, C) in and out; the subclasses condition and read out."""

    embedding: nn.Sequential  # of the subclass: patches, a convolution, a norm

    def __init__(
        self,
        config: StageBConfig | StageCConfig,
        downscaler: Callable[[int, int], nn.Module],
        upscaler: Callable[[int, int], nn.Module],
    ) -> None:
        """The scalers make the module between two levels (wider index order: level i-1 -> i, and i -> i-1)."""
        super().__init__()
        self.config = config
        self.checkpointing = False  # under gradients: compute the blocks' activations again instead of keeping them
        self.scale: float | None = None  # of the stream; None: 1, or not chosen yet, see `modulate`
        levels = len(config.c_hidden)
        numbers: dict[type, Iterator[int]] = {
            kind: iter(range(1 << 16)) for kind in (ResBlock, TimestepBlock, AttnBlock)
        }

        def block(letter: str, level: int, c_skip: int = 0) -> nn.Module:
            c, dropout = config.c_hidden[level], config.dropout[level]
            if letter == "C":
                return ResBlock(c, c_skip, config.kernel_size, dropout, next(numbers[ResBlock]))
            if letter == "T":
                return TimestepBlock(c, config.c_r, config.t_conds, next(numbers[TimestepBlock]))
            if letter == "A":
                return AttnBlock(c, config.c_cond, config.nhead[level], next(numbers[AttnBlock]))
            raise ValueError(f"level_config: expected the letters C, T or A, found {letter!r}")

        def repeat_mappers(level: int, repeats: int) -> nn.ModuleList:
            c = config.c_hidden[level]
            return nn.ModuleList(Conv2d(c, c, 1) for _ in range(repeats - 1))

        self.down_blocks = nn.ModuleList()
        self.down_downscalers = nn.ModuleList()
        self.down_repeat_mappers = nn.ModuleList()
        for level in range(levels):
            scaler = nn.Sequential(LayerNorm(), downscaler(level - 1, level)) if level else nn.Identity()
            self.down_downscalers.append(scaler)
            layers = range(config.blocks[0][level])
            self.down_blocks.append(
                nn.ModuleList(block(letter, level) for _ in layers for letter in config.level_config[level])
            )
            self.down_repeat_mappers.append(repeat_mappers(level, config.block_repeat[0][level]))

        self.up_blocks = nn.ModuleList()
        self.up_upscalers = nn.ModuleList()
        self.up_repeat_mappers = nn.ModuleList()
        for i, level in enumerate(reversed(range(levels))):
            self.up_blocks.append(
                nn.ModuleList(
                    block(letter, level, config.c_hidden[level] if i and not layer and not place else 0)
                    for layer in range(config.blocks[1][i])
                    for place, letter in enumerate(config.level_config[level])
                )
            )
            scaler = nn.Sequential(LayerNorm(), upscaler(level, level - 1)) if level else nn.Identity()
            self.up_upscalers.append(scaler)
            self.up_repeat_mappers.append(repeat_mappers(level, config.block_repeat[1][i]))

    def text_kv(self, clip: Tensor) -> tuple[Tensor, ...]:
        """Text keys and values of every attention block, from clip tokens (B, L, c_cond)."""
        return tuple(m.text_kv(clip) for m in self.modules() if isinstance(m, AttnBlock))

    def modulate(self, r: Tensor, sca: Tensor | None = None, crp: Tensor | None = None) -> Modulation:
        """Noise conditions r (S,) in 0..1 -> factors and shifts (S, 2C) of every timestep block; sca, crp default 0.

        The first call in float16 chooses the stream's scale, which the shifts have.
        """
        dtype = next(self.parameters()).dtype
        if self.scale is None and dtype == torch.float16:
            self.scale = self._probe()
        values = {"sca": sca, "crp": crp}
        conditions = [r, *(values[name] for name in self.config.t_conds)]
        embeddings = [
            embed_ratio(torch.zeros_like(r) if value is None else value, self.config.c_r).to(dtype)
            for value in conditions
        ]
        scale = self.scale or 1.0
        return tuple(m.modulate(embeddings, scale) for m in self.modules() if isinstance(m, TimestepBlock))

    def example(self) -> dict[str, Tensor]:
        """Inputs of `forward` for the probe, small and always the same."""
        raise NotImplementedError

    @torch.inference_mode()
    def _probe(self) -> float:
        """The largest scale, 1 at most, that leaves the example's stream within ROOM, measured at the smallest one."""
        peaks: list[Tensor] = []
        read = [m for m in self.modules() if isinstance(m, Block)]
        read += [m.depthwise for m in self.modules() if isinstance(m, ResBlock)]
        hooks = [m.register_forward_hook(lambda _, __, out: peaks.append(out.abs().amax())) for m in read]
        self.scale = SMALLEST
        try:
            self(**self.example())
        finally:
            self.scale = None
            for hook in hooks:
                hook.remove()
        peak = float(torch.stack(peaks).amax()) / SMALLEST
        if not math.isfinite(peak):
            return SMALLEST
        return min(1.0, max(SMALLEST, 2.0 ** -math.ceil(math.log2(max(peak, 1.0) / ROOM))))

    def embed(self, x: Tensor, constant: Tensor | None = None) -> Tensor:
        """Latent (B, C, h, w) -> tokens (B, h', w', C'), with the image's constant map added."""
        h = layer_norm(self.embedding[1](self.embedding[0](x)).permute(0, 2, 3, 1).contiguous())
        return h if constant is None else h + constant

    def trunk(self, x: Tensor, inputs: BlockInputs, inner: Inner | None = None) -> Tensor:
        """The levels down and up, on (B, H, W, C); without the inner ones where their output was kept."""
        outputs: list[Tensor] = []
        x = scaled(x, inputs.scale)
        levels = len(self.down_blocks)
        deepest = levels - 1 if inner is None or inner.output is None else inner.level - 1
        for level in range(deepest + 1):
            x = _rescale(self.down_downscalers[level], x, inputs.scale)
            for module, _ in _in_order(self.down_blocks[level], self.down_repeat_mappers[level]):
                x = self._run(module, x, None, inputs)
            outputs.append(x)
        for level in range(deepest, -1, -1):
            i = levels - 1 - level
            if inner is not None and level == inner.level - 1:
                x = inner.exchange(x)
            skip = outputs.pop()
            if i == 0:
                skip = None  # the deepest output is x itself
            else:
                x = resize(channels_first(x), *skip.shape[1:3]).permute(0, 2, 3, 1)
            for module, enters in _in_order(self.up_blocks[i], self.up_repeat_mappers[i]):
                x = self._run(module, x, skip if enters else None, inputs)
            x = _rescale(self.up_upscalers[i], x, inputs.scale)
        return x

    def _run(self, module: nn.Module, x: Tensor, skip: Tensor | None, inputs: BlockInputs) -> Tensor:
        """One module of a level; nobody else holds x while it computes, which for a large picture would be memory."""
        if not isinstance(module, Block):  # a repeat mapper
            return module(channels_first(x), inputs.scale).permute(0, 2, 3, 1)
        again = self.checkpointing and torch.is_grad_enabled()
        call = recomputed if again else inputs.call
        return call(module, x, skip, module.own(inputs), inputs.scale)

    def initialise(self) -> None:
        """Weights for training from scratch, after the official code: zero timestep mappers, small last layers."""
        residual_blocks = sum(self.config.blocks[0])
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, ResBlock):
                module.get_parameter("channelwise.4.weight").data *= math.sqrt(1 / residual_blocks)
        for name, parameter in self.named_parameters():
            if "_mapper." in name and "repeat" not in name and "kv_mapper" not in name and name.endswith("weight"):
                nn.init.normal_(parameter, std=0.02)
            elif ".mapper" in name:
                nn.init.zeros_(parameter)
        nn.init.xavier_uniform_(self.get_parameter("embedding.1.weight"), gain=0.02)
        nn.init.zeros_(self.get_parameter("clf.1.weight"))


def _in_order(blocks: nn.Module, repeat_mappers: nn.Module) -> list[tuple[nn.Module, bool]]:
    """A level's blocks, and once more after each repeat mapper; and which of them the skip enters: each run's first."""
    order: list[tuple[nn.Module, bool]] = []
    for mapper in (None, *repeat_mappers.children()):
        order += [] if mapper is None else [(mapper, False)]
        order += [(block, place == 0) for place, block in enumerate(blocks.children())]
    return order


def _rescale(scaler: nn.Module, x: Tensor, scale: float) -> Tensor:
    """Norm on (B, H, W, C), then the convolution between two levels."""
    if isinstance(scaler, nn.Identity):
        return x
    _, convolution = scaler.children()
    return scaled(convolution(channels_first(layer_norm(x, scale))), scale).permute(0, 2, 3, 1)
