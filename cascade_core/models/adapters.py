"""Branches beside the weights of a network (LoRA, Hu et al. 2021), which stay as they are.

`adapted` gives a second tree of modules over the same tensors. In it, what has branches computes W x + sum of branches,
so a branch acts at its own precision, whatever the weights are stored in, and can be trained while they are frozen.
Biases and norms are small: `replaced` gives them new values. Knows no files and no names of other programs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Attention
from .linear import Conv2d, ConvTranspose2d, Held, Linear, Weight, held, linear, multiplied, scaled
from .quantised import Quantised

SMALLEST_LENGTH = 1e-12  # DoRA divides by the length of a row or a column, and one of zeros has none


class LowRank(nn.Module):
    """scale * up @ down, added to a weight or to some of its rows.

    down (rank, in) or, of a convolution, (rank, in, height, width); up (out, rank). rows: first and last + 1 of the
    weight's rows that `up` stands for; None for all. A `down` without height and width acts alike on a whole kernel, as
    in the official code.
    """

    def __init__(self, down: Tensor, up: Tensor, scale: float = 1.0, rows: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.down = nn.Parameter(down, requires_grad=False)
        self.up = nn.Parameter(up, requires_grad=False)
        self.scale = scale
        self.rows = rows

    def act(self, x: Tensor, rows: slice, weight: Weight) -> Tensor:
        """The output (..., n) that these n of its own rows add for x (..., in). weight: all of what it lies beside."""
        low = multiplied(F.linear, x, self.down.to(x.dtype))
        return multiplied(F.linear, low, self.up[rows].to(x.dtype)) * self.scale

    def delta(self, weight: Weight) -> Tensor:
        """The whole change (out, in[, height, width]) of `weight`, of its own rows."""
        return (self.up @ self.down.flatten(1)).reshape(-1, *self.down.shape[1:]) * self.scale


class Dense(nn.Module):
    """A change of all of a weight that has no low rank; `rows` as in LowRank."""

    def __init__(self, change: Tensor, rows: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.change = nn.Parameter(change, requires_grad=False)
        self.rows = rows

    def act(self, x: Tensor, rows: slice, weight: Weight) -> Tensor:
        return multiplied(F.linear, x, self.change[rows].to(x.dtype))

    def delta(self, weight: Weight) -> Tensor:
        return self.change


class Computed(nn.Module):
    """A change that is made of smaller tensors anew at each use, so that a whole network's takes no more memory.

    make: the factors -> scale times smaller, the change; of `shape` (out, in[, height, width]). rows as in LowRank.
    """

    def __init__(
        self,
        make: Callable[..., Tensor],
        factors: Sequence[Tensor],
        shape: Sequence[int],
        scale: float = 1.0,
        rows: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.make = make
        self.factors = nn.ParameterList(nn.Parameter(factor, requires_grad=False) for factor in factors)
        self.shape, self.scale, self.rows = tuple(shape), scale, rows

    def act(self, x: Tensor, rows: slice, weight: Weight) -> Tensor:
        return multiplied(F.linear, x, self.delta(weight)[rows].to(x.dtype))

    def delta(self, weight: Weight) -> Tensor:
        return self.make(*self.factors).reshape(self.shape) * self.scale


class Decomposed(nn.Module):
    """DoRA by columns over a change D of low rank: the weight becomes magnitude * (W + D) / |W + D| (Liu et al. 2024).

    magnitude (in,): the length of each column of the changed weight, over a convolution's kernel, too; rows: as in
    LowRank, of which `low` has none. The lengths that are divided by count as numbers, without gradients (section 4.3).
    """

    def __init__(self, low: LowRank, magnitude: Tensor, rows: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.low = low
        self.magnitude = nn.Parameter(magnitude, requires_grad=False)
        self.rows = rows

    def act(self, x: Tensor, rows: slice, weight: Weight) -> Tensor:
        own = self._own(weight)
        factors = self._factors(own)  # of columns, which are the places of x
        stretched = linear(x * (factors - 1).to(x.dtype), own[rows], None)  # W x itself is there without branches
        return stretched + self.low.act(x * factors.to(x.dtype), rows, own)

    def delta(self, weight: Weight) -> Tensor:
        own = self._own(weight)
        factors = self._factors(own).view(1, -1, *[1] * (own.ndim - 2))
        return merged(own, [self.low], torch.float32) * factors - merged(own, [], torch.float32)

    def _own(self, weight: Weight) -> Weight:
        return weight if self.rows is None else weight[slice(*self.rows)]

    def _factors(self, own: Weight) -> Tensor:
        with torch.no_grad():
            lengths = column_lengths(merged(own, [self.low], torch.float32)).clamp_min(SMALLEST_LENGTH)
        return self.magnitude.to(lengths.device) / lengths


Branch = LowRank | Dense | Computed | Decomposed
Branches = Mapping[str, Sequence[Branch]]  # by the name of the weight that they change


class _Adapted(nn.Module):
    """A module with branches: a second one over the tensors of a first."""

    branches: nn.ModuleList

    def all_branches(self) -> Sequence[Branch]:
        return cast(Sequence[Branch], tuple(self.branches))


class AdaptedLinear(Linear, _Adapted):
    def forward(self, input: Tensor, scale: float = 1.0) -> Tensor:
        y = linear(input, self.weight, scaled(self.bias, scale))
        return _add(y, input, self.all_branches(), self.weight)


class AdaptedAttention(Attention, _Adapted):
    def project(self, tokens: Tensor, first: int = 0) -> Tensor:
        return _add(super().project(tokens, first), tokens, self.all_branches(), self.in_proj_weight, first)


class AdaptedConv2d(Conv2d, _Adapted):
    def forward(self, input: Tensor, scale: float = 1.0) -> Tensor:
        weight = merged(self.weight, self.all_branches(), input.dtype)
        return self.convolved(input, weight, None if self.bias is None else scaled(self.bias, scale))


class AdaptedConvTranspose2d(ConvTranspose2d, _Adapted):
    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return self.convolved(input, merged(self.weight, self.all_branches(), input.dtype))


_ADAPTED: dict[type[nn.Module], type[_Adapted]] = {
    Linear: AdaptedLinear,
    nn.Linear: AdaptedLinear,
    Attention: AdaptedAttention,
    Conv2d: AdaptedConv2d,
    nn.Conv2d: AdaptedConv2d,
    ConvTranspose2d: AdaptedConvTranspose2d,
    nn.ConvTranspose2d: AdaptedConvTranspose2d,
}
_PLAIN: dict[type[_Adapted], type[nn.Module]] = {
    AdaptedLinear: Linear,
    AdaptedAttention: Attention,
    AdaptedConv2d: Conv2d,
    AdaptedConvTranspose2d: ConvTranspose2d,
}


def _weight_of(module: nn.Module) -> str:
    return "in_proj_weight" if isinstance(module, Attention) else "weight"


def adaptable(module: nn.Module) -> dict[str, Weight]:
    """The weights that may have branches, by name, in the order of the modules."""
    found: dict[str, Weight] = {}
    for path, child in cast(Iterable[tuple[str, nn.Module]], module.named_modules()):
        if type(child) in _ADAPTED or isinstance(child, _Adapted):
            found[f"{path}.{_weight_of(child)}"] = held(getattr(child, _weight_of(child)))
    return found


def adapted(module: nn.Module, branches: Branches) -> nn.Module:
    """A second `module` over the same tensors, with these branches added to those that it has already.

    The branches are not copied: whoever trains them trains what this computes. KeyError for a weight that `adaptable`
    does not name.
    """
    twin = share(module)
    for name, added in branches.items():
        path, _, weight = name.rpartition(".")
        found = twin.get_submodule(path)
        if type(found) in _ADAPTED:
            found = share(found, _ADAPTED[type(found)])
            found.branches = nn.ModuleList()
            parent, _, child = path.rpartition(".")
            setattr(twin.get_submodule(parent), child, found)
        if not isinstance(found, _Adapted) or weight != _weight_of(found):
            raise KeyError(name)
        found.branches.extend(added)
    return twin


def replaced(module: nn.Module, branches: Branches) -> nn.Module:
    """A second `module` over the same tensors, but for copies of these parameters with the branches summed in."""
    twin = share(module)
    for name, added in branches.items():
        path, _, parameter = name.rpartition(".")
        total = merged(module.get_parameter(name), added)
        setattr(twin.get_submodule(path), parameter, nn.Parameter(total, requires_grad=False))
    return twin


def fused(module: nn.Module) -> nn.Module:
    """A second module without branches: where weights had some, copies with these summed in; the others are shared."""
    twin = share(module)
    for path, child in tuple(cast(Iterable[tuple[str, nn.Module]], module.named_modules())):
        if isinstance(child, _Adapted):
            plain = share(child, _PLAIN[type(child)])
            del plain.branches
            weight = _weight_of(child)
            total = merged(held(getattr(child, weight)), child.all_branches())
            setattr(plain, weight, nn.Parameter(total, requires_grad=False))
            parent, _, name = path.rpartition(".")
            setattr(twin.get_submodule(parent), name, plain)
    return twin


def share(module: nn.Module, cls: type[nn.Module] | None = None) -> nn.Module:
    """A second tree of modules over the same parameters and buffers; its top is of class `cls`."""
    # copy.deepcopy with the tensors in its memo would do, but copies a text encoder's vocabulary for every prompt, too.
    twin: nn.Module = object.__new__(cls or type(module))
    state: dict[str, Any] = {k: cast(Any, v).copy() if isinstance(v, dict) else v for k, v in vars(module).items()}
    state["_modules"] = {name: share(child) for name, child in module.named_children()}
    vars(twin).update(state)
    return twin


def merged(weight: Weight, branches: Sequence[Branch], dtype: torch.dtype | None = None) -> Tensor:
    """The weight with its branches, summed in float32 (float64 stays), as `dtype` or the weight's own."""
    exact = torch.promote_types(weight.dtype, torch.float32)
    total = weight.float() if isinstance(weight, Quantised) else weight.to(exact, copy=True)
    for branch in branches:
        delta = branch.delta(weight).to(weight.device, exact)
        rows = total if branch.rows is None else total[slice(*branch.rows)]
        rows += delta.reshape(*delta.shape, *[1] * (rows.ndim - delta.ndim))
    return total.to(dtype or weight.dtype)


def column_lengths(weight: Tensor) -> Tensor:
    """The length (in,) of each column of a weight (out, in[, height, width]), over its kernel, too."""
    return weight.square().sum((0, *range(2, weight.ndim))).sqrt()


def _add(y: Tensor, x: Tensor, branches: Sequence[Branch], weight: Weight | Held, first: int = 0) -> Tensor:
    """y, the weight's rows from `first` on times x, plus what the branches add to these rows.

    rows of the weight   0        first     start          end       last
    y                             |---------------------------------|
    a branch's rows        begin |----------|--------------|
    what it adds to y                       |--------------|
    """
    last, whole = first + y.shape[-1], held(weight)
    for branch in branches:
        begin, end = branch.rows or (0, last)
        start = max(begin, first)
        if start >= end:
            continue
        change = branch.act(x, slice(start - begin, end - begin), whole)
        y = y + (change if (start, end) == (first, last) else F.pad(change, (start - first, last - end)))
    return y
