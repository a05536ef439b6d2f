"""Linear layers and convolutions: for numbers that are carried at a scale, and multiplied the faster way.

A layer is linear but for its bias: what comes in at a scale goes out at the same scale, if the bias is told of it.

Asked with ordinary float32 tensors, torch calls MKL, which uses AVX-512 on Intel's processors alone and so takes twice
as long as oneDNN on others that have it; where none has it MKL is the faster by a tenth. Asked with tensors in oneDNN's
own layout, torch calls oneDNN, as it does for bfloat16 in any case. Only inference goes that way: gradients, autocast
and compilers see plain torch. Results differ by rounding, 1e-6 of the largest value.

A processor without arithmetic for bfloat16 or float16 imitates it, in six to eight times the time of float32. There,
in inference, a layer's numbers are made float32 for its product, and the result is rounded.

A weight may be one of fewer bits (`quantised.py`), `Held` in the parameter's place. A GPU multiplies int8 with int8,
where that is a format's arithmetic: by comfy-kitchen's kernels where it has some, else by torch's. Everywhere else the
weight is decoded for the product, and let go.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache, partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .quantised import Grouped4, Int8, Quantised, rotate, to_int8

HALVES = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}
"""Types of half precision, and torch's word for whether a CPU computes in them."""
FEWEST_ROWS = 17  # of x: torch multiplies int8 with no fewer
FIRST_INT8 = (7, 5)  # compute capability that multiplies int8

Weight = Tensor | Quantised


class Held(nn.Module):
    """A quantised weight in a layer, under the name that its parameter had."""

    def __init__(self, weight: Quantised) -> None:
        super().__init__()
        self.kind, self.dtype = type(weight), weight.dtype
        self.fields = tuple(weight.tensors())
        for name, tensor in weight.tensors().items():
            self.register_buffer(name, tensor)

    def value(self) -> Quantised:
        return self.kind(**{name: self.get_buffer(name) for name in self.fields}, dtype=self.dtype)

    def __getitem__(self, rows: slice) -> Quantised:
        return self.value()[rows]


def hold(module: nn.Module, name: str, weight: Quantised) -> None:
    """Put a quantised weight in the place of the module's parameter, or of the one that it had before."""
    path, _, last = name.rpartition(".")
    layer = module.get_submodule(path)
    delattr(layer, last)
    layer.add_module(last, Held(weight))


def held(weight: Weight | Held) -> Weight:
    """The weight itself."""
    return weight.value() if isinstance(weight, Held) else weight


def infers() -> bool:
    """Whether a result alone is wanted, in whatever way: no gradient needs what it came of, no compiler follows it."""
    return not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def packed(x: Tensor) -> Tensor:
    """x in oneDNN's layout where a product with it is faster for that, else x itself; F.linear and F.gelu take both."""
    pays = (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and infers()
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
        and not _has_fast_mkl()
    )
    return x.to_mkldnn() if pays else x


@cache
def _has_fast_mkl() -> bool:
    """Is there Intel's library, and a processor on which it uses what that has?

    Told by names and not by a race of the two: the load of a moment would decide, and rounding with it.
    """
    if not torch.backends.mkl.is_available():
        return False
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return True
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            said = file.read(4096)
    except OSError:  # not Linux
        said = platform.processor()
    return "GenuineIntel" in said


def unpacked(x: Tensor) -> Tensor:
    """The ordinary tensor of what `packed` began."""
    return x.to_dense() if x.is_mkldnn else x


def multiplied(operation: Callable[..., Tensor], x: Tensor, *tensors: Tensor | None) -> Tensor:
    """operation(x, *tensors), a product or a convolution of one type, in float32 where that type is only imitated."""
    if not is_imitated(x):
        return operation(x, *tensors)
    return operation(x.float(), *(None if tensor is None else tensor.float() for tensor in tensors)).to(x.dtype)


def is_imitated(x: Tensor) -> bool:
    """Is a product with x one of a type that the processor only imitates, and a result alone wanted?"""
    return x.is_cpu and x.dtype in HALVES and infers() and not has_arithmetic(x.dtype)


def has_arithmetic(dtype: torch.dtype) -> bool:
    """Does this processor compute in a type of half precision, rather than imitate it?

    A torch that has no word for it is believed to.
    """
    asked: Callable[[], bool] | None = getattr(torch.ops.mkldnn, HALVES[dtype], None)
    return torch.backends.mkldnn.is_available() and (asked is None or asked())


def linear(x: Tensor, weight: Weight | Held, bias: Tensor | None) -> Tensor:
    """x weight' + bias over the last axis."""
    if not isinstance(weight, Tensor):
        quantised = weight.value() if isinstance(weight, Held) else weight

        def product(x: Tensor, bias: Tensor | None) -> Tensor:
            return _by_quantised(x, quantised, bias)

        return multiplied(product, x, bias)
    return multiplied(_by_library, x, weight, bias)


def _by_library(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return unpacked(F.linear(packed(x), weight, bias))


def _by_quantised(x: Tensor, weight: Quantised, bias: Tensor | None) -> Tensor:
    """`linear` with a quantised weight, in the type of x, or of autocast."""
    device = x.device.type
    x = x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x
    if torch.is_grad_enabled() and x.requires_grad:
        apply = cast(Callable[..., Tensor], _Frozen.apply)  # pyright: ignore[reportUnknownMemberType]  (half typed)
        y = apply(rotate(x, weight.rotation), weight)
        return y if bias is None else y + bias.to(y.dtype)
    if isinstance(weight, Int8) and multiplies_int8(x, weight):
        kernels = None if torch.compiler.is_compiling() else _kernels()
        return _by_kernels(kernels, x, weight, bias) if kernels else by_int8(x, weight, bias)
    return linear(rotate(x, weight.rotation), weight.rotated(x.dtype), bias)


class _Frozen(torch.autograd.Function):
    """x W' of a weight that learns nothing: decoded once more for the gradient of x, instead of kept for it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Quantised) -> Tensor:
        ctx.weight = weight
        return F.linear(x, weight.rotated(x.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        return grad @ ctx.weight.rotated(grad.dtype), None


def multiplies_int8(x: Tensor, weight: Int8) -> bool:
    """Can the device of x multiply them as int8?"""
    rows, columns = weight.shape
    fits = x.numel() >= FEWEST_ROWS * columns and columns % 8 == 0 and rows % 8 == 0
    return fits and x.is_cuda and _has_int8(x.device.index)


@cache
def _has_int8(device: int | None) -> bool:
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= FIRST_INT8


def by_int8(x: Tensor, weight: Int8, bias: Tensor | None) -> Tensor:
    """`linear` by a product of int8: each row of x gets a scale of its own, too."""
    values, scale = to_int8(rotate(x, weight.rotation).flatten(0, -2))
    # Behind the cast `_int_mm` is the one int8 product that torch has; it is documented nowhere.
    product = cast(Callable[..., Tensor], cast(Any, torch)._int_mm)(values, weight.levels().t()) * scale
    of_rows = weight.scale.flatten()
    y = product * of_rows if bias is None else torch.addcmul(bias.float(), product, of_rows)
    return torch.unflatten(y.to(x.dtype), 0, x.shape[:-1])


@cache
def _kernels() -> Any:
    """comfy-kitchen, where it has kernels for this machine's GPU; ComfyUI brings it, elsewhere it is an extra."""
    try:
        import comfy_kitchen  # pyright: ignore[reportMissingImports]  (an extra)
    except (ImportError, OSError):
        return None
    library: Any = comfy_kitchen
    return library if any(map(library.registry.is_available, ("cuda", "triton", "hip"))) else None


def _by_kernels(kernels: Any, x: Tensor, weight: Int8, bias: Tensor | None) -> Tensor:
    group = 0 if weight.rotation is None else len(weight.rotation)
    if isinstance(weight, Grouped4):
        sizes = {"group_size": weight.shape[1] // weight.blocks.shape[1], "convrot_groupsize": group}
        tensors = weight.data, weight.blocks, weight.scale, weight.codebook
        return kernels.w4a8_int8_linear(x, *tensors, bias=bias, out_dtype=x.dtype, **sizes)
    return kernels.int8_linear(x, weight.data, weight.scale, bias, x.dtype, group > 0, group)


def scaled(x: Tensor, scale: float) -> Tensor:
    """x * scale; no operation where that is 1."""
    return x if scale == 1 else x * scale


class Linear(nn.Linear):
    """torch's layer, by `linear`; scale: that of the input and of the output."""

    def forward(self, input: Tensor, scale: float = 1.0) -> Tensor:
        return linear(input, self.weight, scaled(self.bias, scale))


class Conv2d(nn.Conv2d):
    """torch's layer; scale: that of the input and of the output."""

    def forward(self, input: Tensor, scale: float = 1.0) -> Tensor:
        return self.convolved(input, self.weight, None if self.bias is None else scaled(self.bias, scale))

    def convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x by another weight and bias of this layer's shapes."""
        return multiplied(self._conv_forward, x, weight, bias)  # pyright: ignore[reportPrivateUsage]  (torch's own subclasses do)


class ConvTranspose2d(nn.ConvTranspose2d):
    """torch's layer, with no padding of what comes out."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return self.convolved(input, self.weight)

    def convolved(self, x: Tensor, weight: Tensor) -> Tensor:
        """x by another weight of this layer's shape."""
        padding = cast("tuple[int, ...]", self.padding)
        convolve = partial(F.conv_transpose2d, stride=self.stride, padding=padding)
        return multiplied(convolve, x, weight, self.bias)
