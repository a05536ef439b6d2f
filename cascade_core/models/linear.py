"""Linear layers and convolutions: for numbers that are carried at a scale, and multiplied the faster way on a CPU.

A layer is linear but for its bias: what comes in at a scale goes out at the same scale, if the bias is told of it.

Asked with ordinary float32 tensors, torch calls MKL, which on AMD processors takes twice as long as oneDNN; asked with
tensors in oneDNN's own layout, it calls oneDNN, as it does for bfloat16 in any case. Only inference goes that way:
gradients, autocast and compilers see plain torch. Results differ by rounding, 1e-6 of the largest value.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def packed(x: Tensor) -> Tensor:
    """x in oneDNN's layout where a product with it is faster for that, else x itself; F.linear and F.gelu take both."""
    pays = (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and torch.backends.mkldnn.is_available()
    )
    return x.to_mkldnn() if pays else x


def unpacked(x: Tensor) -> Tensor:
    """The ordinary tensor of what `packed` began."""
    return x.to_dense() if x.is_mkldnn else x


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x weight' + bias over the last axis."""
    return unpacked(F.linear(packed(x), weight, bias))


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
        bias = None if self.bias is None else scaled(self.bias, scale)
        return self._conv_forward(input, self.weight, bias)  # pyright: ignore[reportPrivateUsage]  (torch's own subclasses do)
