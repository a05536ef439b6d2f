"""Weights of 8 and 4 bits: how each of ComfyUI's formats lays them out, how it is made of numbers and read back.

A format is a class, whose fields but `rotation` and `dtype` are a file's tensors. All have a row of each tensor for a
row of the weight, so a part of the rows is one of each, and weights are put together by putting these together.

ConvRot: a weight's columns may be rotated in groups, by a Hadamard matrix, before they are rounded. That spreads a
column of large numbers over its group, and what is multiplied with the weight is rotated alike. The matrix is its own
inverse, and its numbers are powers of two: exact in every type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, cast

import torch
from torch import Tensor

GROUPS = (256, 64, 16)  # of ConvRot, best first: powers of 4
SHARED = ("rotation", "codebook", "dtype")  # fields that are of all rows
SMALLEST = 1e-30  # scale: of rows of zeros
BLOCK = 16  # columns with a scale of their own in Grouped4
TABLE = (0.0508, 0.1539, 0.2603, 0.3728, 0.495, 0.6309, 0.7896, 0.9837)
"""Upper half of Grouped4's numbers: by Lloyd and Max for 16 normal numbers over their largest, errors weighed by it."""
REFINEMENTS = 2  # of a block's scale: least squares for the numbers chosen, then these anew; more gain a thousandth
AT_ONCE = {True: 2**18, False: 2**24}  # numbers that become Grouped4 at a time: a CPU's cache, a GPU's memory


def hadamard(size: int) -> Tensor:
    """The regular Hadamard matrix of a power of 4, over the root of its size: symmetric, and its own inverse."""
    four = 1 - 2 * torch.eye(4).flip(0)
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.kron(matrix, four)
    if len(matrix) != size:
        raise ValueError(f"a group of ConvRot has a power of 4 columns, not {size}")
    return matrix / size**0.5


class Rotations:
    """The matrices of a network: one of each size for all of its weights, in the type that these compute in."""

    def __init__(self, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> None:
        self.dtype, self.device = dtype, device
        self._made: dict[int, Tensor] = {}

    def get(self, size: int) -> Tensor | None:
        """None for 0."""
        if size and size not in self._made:
            self._made[size] = hadamard(size).to(self.device, self.dtype)
        return self._made.get(size)


def rotate(x: Tensor, rotation: Tensor | None) -> Tensor:
    """x (..., K) with its columns rotated in groups; twice gives x again."""
    if rotation is None:
        return x
    return (torch.unflatten(x, -1, (-1, len(rotation))) @ rotation.to(x.dtype)).flatten(-2)


@dataclass(frozen=True, eq=False)
class Quantised:
    """A weight (N, K), to be used as a tensor is: its shape, its type, its rows, its values."""

    data: Tensor
    scale: Tensor  # float32 (N, 1), unless a format says another
    rotation: Tensor | None = None  # (G, G)
    dtype: torch.dtype = torch.float32  # that it stands for, and computes in

    FORMAT: ClassVar[str]  # ComfyUI's name
    NAMES: ClassVar[dict[str, str]] = {"data": "weight", "scale": "weight_scale"}  # of a file's tensors, by field
    PACKED: ClassVar[int] = 1  # columns in one value of `data`

    @property
    def shape(self) -> torch.Size:
        return torch.Size((self.data.shape[0], self.data.shape[1] * self.PACKED))

    @property
    def ndim(self) -> int:
        return 2

    @property
    def device(self) -> torch.device:
        return self.data.device

    def tensors(self) -> dict[str, Tensor]:
        """By field."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}

    def __getitem__(self, rows: slice) -> Quantised:
        return replace(self, **{k: v[rows] for k, v in self.tensors().items() if k not in SHARED})

    def to(self, device: torch.device) -> Quantised:
        """On this device; matrices that several weights share are there already."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self.tensors().items()})

    def float(self) -> Tensor:
        """The weight's values in float32."""
        return rotate(self.rotated(torch.float32), self.rotation)

    def rotated(self, dtype: torch.dtype) -> Tensor:
        """The values (N, K) for what was rotated alike."""
        raise NotImplementedError

    @classmethod
    def make(cls, weight: Tensor, rotation: Tensor | None) -> Quantised:
        """A float32 weight (N, K), rounded to the nearest."""
        raise NotImplementedError

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], group: int, rotations: Rotations) -> Quantised:
        """The weight of a file's tensors, by field, its columns rotated in such groups."""
        data = tensors["data"]
        scale = tensors["scale"].float().reshape(-1, 1).expand(len(data), 1)
        return cls(data, scale, rotations.get(group), rotations.dtype)

    def to_file(self) -> dict[str, Tensor]:
        """The tensors that `from_file` reads, by their last names in a file."""
        return {name: self.tensors()[key] for key, name in self.NAMES.items()}

    def settings(self) -> dict[str, object]:
        """What a file tells besides, as ComfyUI writes it."""
        return {"format": self.FORMAT}

    @classmethod
    def stack(cls, parts: Sequence[Quantised]) -> Quantised:
        """Weights of this format below one another."""
        first = parts[0].tensors()
        return replace(parts[0], **{k: torch.cat([p.tensors()[k] for p in parts]) for k in first if k not in SHARED})


@dataclass(frozen=True, eq=False)
class Int8(Quantised):
    """Whole numbers from -127 to 127, with a scale for each row; ConvRot or not."""

    FORMAT: ClassVar[str] = "int8_tensorwise"

    def levels(self) -> Tensor:
        """int8 (N, K): rotated values over `scale`."""
        return self.data

    def rotated(self, dtype: torch.dtype) -> Tensor:
        return self.levels() * self.scale.to(dtype)

    def settings(self) -> dict[str, object]:
        group = {} if self.rotation is None else {"convrot": True, "convrot_groupsize": len(self.rotation)}
        return {"format": self.FORMAT, **group}

    @classmethod
    def make(cls, weight: Tensor, rotation: Tensor | None) -> Quantised:
        return cls(*to_int8(rotate(weight, rotation)), rotation)


def to_int8(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of x (M, K) as int8, and what they are to be multiplied with, float32 (M, 1)."""
    scale = (x.abs().amax(-1, keepdim=True).float() / 127).clamp_min(SMALLEST)
    return (x / scale).round_().to(torch.int8), scale


@dataclass(frozen=True, eq=False)
class Float8(Quantised):
    """Numbers of 4 or 5 exponent bits, with one scale: that of each row here, for several weights in one."""

    FORMAT: ClassVar[str] = "float8_e4m3fn"

    def rotated(self, dtype: torch.dtype) -> Tensor:
        return self.data.to(dtype) * self.scale.to(dtype)

    @classmethod
    def make(cls, weight: Tensor, rotation: Tensor | None) -> Quantised:
        kind = torch.float8_e4m3fn
        largest = torch.finfo(kind).max
        scale = (weight.abs().amax() / largest).clamp_min(SMALLEST)
        data = (weight * (1.0 / scale)).clamp_(-largest, largest).to(kind)
        return cls(data, scale.expand(len(weight), 1))

    def to_file(self) -> dict[str, Tensor]:
        return super().to_file() | {"weight_scale": self.scale[0, 0]}


@dataclass(frozen=True, eq=False)
class Grouped4(Int8):
    """Numbers of a table of 16, two in a byte, with a scale for each block of columns: int8 once it is looked up."""

    scale: Tensor  # float32 (N,)
    blocks: Tensor = field(kw_only=True)  # float8_e4m3fn (N, K / block), over `scale`
    codebook: Tensor | None = None  # float32 (16,), rising; None: the whole numbers from -8 to 7

    FORMAT: ClassVar[str] = "asym_w4a8_int8"
    NAMES: ClassVar[dict[str, str]] = {
        "data": "weight",
        "blocks": "weight_s_rel",
        "scale": "weight_s_channel",
        "codebook": "weight_codebook",
    }
    PACKED: ClassVar[int] = 2

    def levels(self) -> Tensor:
        codes = unpack(self.data)
        values = codes.float() - 8 if self.codebook is None else self.codebook[codes.int()]
        scales = self.blocks.float()[..., None]
        decoded = (torch.unflatten(values, -1, (scales.shape[1], -1)) * scales).round_()
        return decoded.clamp_(-127, 127).flatten(1).to(torch.int8)

    def rotated(self, dtype: torch.dtype) -> Tensor:
        return self.levels() * self.scale.to(dtype)[:, None]

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], group: int, rotations: Rotations) -> Quantised:
        blocks = tensors["blocks"].view(torch.float8_e4m3fn)
        codebook = tensors.get("codebook")
        both = rotations.get(group), rotations.dtype
        return cls(tensors["data"], tensors["scale"].float(), *both, blocks=blocks, codebook=codebook)

    def settings(self) -> dict[str, object]:
        block = self.shape[1] // self.blocks.shape[1]
        return {"format": self.FORMAT, "group_size": block, "convrot_groupsize": len(cast(Tensor, self.rotation))}

    @classmethod
    def make(cls, weight: Tensor, rotation: Tensor | None) -> Quantised:
        rows = max(1, AT_ONCE[weight.is_cpu] // weight.shape[1])
        upper = torch.tensor(TABLE, device=weight.device)
        table = torch.cat([-upper.flip(0), upper])
        return cls.stack([cls._make(rotate(part, rotation), rotation, table) for part in torch.split(weight, rows)])

    @classmethod
    def _make(cls, weight: Tensor, rotation: Tensor | None, table: Tensor) -> Quantised:
        x = torch.unflatten(weight, -1, (-1, BLOCK))
        scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-8)
        chosen = table[_nearest(table, x / scale).int()]
        for _ in range(REFINEMENTS):
            energy = (chosen * chosen).sum(-1, keepdim=True).clamp_min(1e-8)
            scale = ((x * chosen).sum(-1, keepdim=True) / energy).clamp_min(1e-8)
            chosen = table[_nearest(table, x / scale).int()]
        of_row = ((chosen * scale).abs().amax((1, 2)) / 127).clamp_min(1e-8)
        blocks = (scale.squeeze(-1) / of_row[:, None]).to(torch.float8_e4m3fn)
        # Scales of blocks were rounded: once more, the nearest of what they give.
        levels = (table * blocks.float()[..., None]).round_().clamp_(-127, 127)
        codes = _nearest(levels, x / of_row[:, None, None]).flatten(1)
        return cls(pack(codes), of_row, rotation, blocks=blocks, codebook=table)

    @classmethod
    def stack(cls, parts: Sequence[Quantised]) -> Quantised:
        own = cast(Sequence[Grouped4], parts)
        first = own[0].codebook
        others = [part.codebook for part in own if part.codebook is not first]
        if all(first is not None and other is not None and first.equal(other) for other in others):
            return super().stack(parts)
        return Int8.stack([Int8(part.levels(), part.scale[:, None], part.rotation, part.dtype) for part in own])


@dataclass(frozen=True, eq=False)
class Awq4(Quantised):
    """Whole numbers from 0 to 15, two in a byte, with a factor and a summand for each group of columns."""

    scale: Tensor  # (N, K / G)
    zeros: Tensor = field(kw_only=True)  # (N, K / G)

    FORMAT: ClassVar[str] = "awq_w4a16"
    NAMES: ClassVar[dict[str, str]] = {"data": "weight", "scale": "weight_scale", "zeros": "weight_zeros"}
    PACKED: ClassVar[int] = 2

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], group: int, rotations: Rotations) -> Quantised:
        return cls(tensors["data"], tensors["scale"].mT, dtype=rotations.dtype, zeros=tensors["zeros"].mT)

    def rotated(self, dtype: torch.dtype) -> Tensor:
        groups = torch.unflatten(unpack(self.data).to(dtype) - 8, -1, (self.scale.shape[1], -1))
        return torch.addcmul(self.zeros.to(dtype)[..., None], groups, self.scale.to(dtype)[..., None]).flatten(1)


def unpack(data: Tensor) -> Tensor:
    """The two values from 0 to 15 of each byte (N, K / 2), the lower one first: uint8 (N, K)."""
    data = data.view(torch.uint8)
    return torch.stack([data & 15, data >> 4], dim=-1).flatten(1)


def pack(codes: Tensor) -> Tensor:
    """What `unpack` reads, of (N, K), as int8."""
    return (codes[:, 0::2] | (codes[:, 1::2] << 4)).view(torch.int8)


def _nearest(table: Tensor, x: Tensor) -> Tensor:
    """The place in a rising table (..., 16) of the number nearest to each x, uint8; of two equally near the lower."""
    places = torch.zeros(x.shape, dtype=torch.uint8, device=x.device)
    for middle in ((table[..., 1:] + table[..., :-1]) / 2).unbind(-1):  # faster by far than a search for each
        places += (x > (middle[..., None] if middle.ndim else middle)).view(torch.uint8)  # a sum of one type
    return places


FORMATS: dict[str, type[Quantised]] = {
    **{each.FORMAT: each for each in (Int8, Float8, Grouped4, Awq4)},
    "float8_e5m2": Float8,
}  # by ComfyUI's names
MADE: dict[str, type[Quantised]] = {"int8": Int8, "fp8": Float8, "int4": Grouped4}  # by people's, of what is made here


def quantise(weight: Tensor, name: str, rotations: Rotations) -> Quantised:
    """A weight (N, K) as `name` of MADE, on its device."""
    kind = MADE[name]
    rotation = None if kind is Float8 else rotations.get(group_of(weight.shape[1]))
    here = None if rotation is None else rotation.to(weight.device)
    return replace(kind.make(weight.float(), here), rotation=rotation, dtype=rotations.dtype)


def group_of(columns: int) -> int:
    """The columns of a group of ConvRot; 0 where none of GROUPS divides them: such a weight stays as it is."""
    return next((group for group in GROUPS if columns % group == 0), 0)
