"""Weights that lie elsewhere and come to the device for each operation that needs them.

A network whose weights stream keeps its modules, its names and its tensor objects, so a second network over the same
tensors (a LoRA's) streams with it. Each tensor answers what it is (shape, type, the device on which it computes) by
itself, and asks its `Source` for values where torch computes with it, wherever in the code that is. Knows no host:
where values come from, and what of them stays on the device, is the source's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import EllipsisType
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

as_it_is = torch._C.DisableTorchFunctionSubclass  # pyright: ignore[reportPrivateUsage]  (torch documents it so)
SIZES = ("__len__", "dim", "element_size", "is_contiguous", "ndimension", "nelement", "numel", "size", "stride")
DESCRIBING = frozenset([*SIZES, "is_complex", "is_floating_point", "is_inference", "requires_grad_"])
COMPUTING = frozenset(["H", "T", "imag", "mH", "mT", "real"])  # attributes that are views of the values
DEVICES = frozenset(["is_cpu", "is_cuda", "is_mps", "is_xpu"])
CUTS = (int, slice, EllipsisType, type(None))  # what takes a part of a tensor without looking at another


class Source(Protocol):
    """Where one tensor's values are."""

    device: torch.device  # where the values come to

    def take(self) -> tuple[Tensor, Callable[[], None] | None]:
        """The values on `device`; and, where they are only lent for one operation, what to call after it."""
        ...

    def home(self) -> Tensor:
        """The values where they lie while nothing computes."""
        ...


AnySource = TypeVar("AnySource", bound=Source)


class Streamed(nn.Parameter):
    """A parameter or buffer whose values come from its source, whenever torch computes with it.

    It is the tensor that it was, turned by `stream` and back by `settle`, in between by `lift` and `lay`. It holds no
    memory but one number.
    """

    source: Source
    cuts: tuple[Any, ...]  # of a part of a tensor: the indices that take it
    ordinary: type[Tensor]  # the class of the tensor while it does not stream

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Iterable[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name == "__get__":
            name = cast(Any, func).__self__.__name__
            if name == "device":
                return args[0].source.device
            if name in DEVICES:
                return name == f"is_{args[0].source.device.type}"
            describes = name not in COMPUTING
        else:
            describes = name in DESCRIBING
        if describes:
            with as_it_is():
                return func(*args, **(kwargs or {}))
        if name == "__getitem__" and isinstance(args[0], Streamed):
            index = cast("tuple[Any, ...]", args[1] if isinstance(args[1], tuple) else (args[1],))
            if all(isinstance(cut, CUTS) for cut in index):
                return _part(args[0], args[1])
        changes = name == "__set__" or (name.endswith("_") and not name.endswith("__"))
        if changes and args and isinstance(args[0], Streamed):
            raise RuntimeError("A weight that streams cannot be changed: acquire the model with gradients enabled")
        return _compute(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """An ordinary tensor on the device, with values of its own."""
        values = self.clone()
        memo[id(self)] = values if self.ordinary is Tensor else nn.Parameter(values, self.requires_grad)
        return memo[id(self)]


def stream(module: nn.Module, source_of: Callable[[Tensor], AnySource]) -> list[AnySource]:
    """Let the module's tensors stream from what `source_of` makes of each; the sources, in their order.

    A source takes `data` of its tensor, and may hold the tensor itself by a weak reference only: for `lay`.
    """
    sources: list[AnySource] = []
    for tensor in _tensors(module):
        source = source_of(tensor)
        sources.append(source)
        turned = cast(Streamed, tensor)
        turned.ordinary, turned.source, turned.cuts = type(tensor), source, ()
        lift(tensor)
    return sources


def lay(tensor: Tensor, values: Tensor) -> None:
    """A streamed tensor is an ordinary one with these values, which lie on the device, until `lift`.

    What is there needs no asking, and costs no more than without streaming. To be called whenever its source's values
    have moved.
    """
    if not values.is_meta:  # no tensor of another device can become one of those
        _become(tensor, cast(Streamed, tensor).ordinary, values)


def lift(tensor: Tensor) -> None:
    """A streamed tensor asks its source for values, and keeps none."""
    # One number stands for all; what should ever compute with it by mistake gives no plausible result.
    nothing = torch.nan if tensor.is_floating_point() else -1
    with torch.inference_mode(False):
        _become(tensor, Streamed, torch.full((), nothing, dtype=tensor.dtype).expand(tensor.shape))


def settle(module: nn.Module) -> None:
    """Make the module's tensors ordinary ones again, with the values that their sources have at home."""
    for tensor in _tensors(module):
        if hasattr(tensor, "source"):
            turned = cast(Streamed, tensor)
            with torch.inference_mode(False), torch.no_grad():
                home = turned.source.home()
                home = home.clone() if home.is_inference() else home  # those could never be trained
            _become(tensor, turned.ordinary, home)
            del turned.source, turned.ordinary, turned.cuts


def _become(tensor: Tensor, kind: type[Tensor], values: Tensor) -> None:
    """The same tensor object, of another class and with other memory."""
    with torch.inference_mode(False), torch.no_grad():
        cast(Any, tensor).__class__ = cast(Streamed, tensor).ordinary
        tensor.data = values
        cast(Any, tensor).__class__ = kind


def _part(whole: Streamed, index: Any) -> Streamed:
    """A part of a streamed tensor, whose values come when something computes with it, not now and again then."""
    with as_it_is():
        part = whole.detach()[index].as_subclass(Streamed)
    part.source, part.ordinary, part.cuts = whole.source, Tensor, (*whole.cuts, index)
    return part


def _compute(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The function's result with values in the place of streamed tensors, which it does not share with a source."""
    taken: dict[int, Tensor] = {}
    lent: list[Tensor] = []
    give_back: list[Callable[[], None]] = []

    def values(item: Any) -> Any:
        if isinstance(item, Streamed):
            if id(item.source) not in taken:
                tensor, back = item.source.take()
                if back is not None:
                    give_back.append(back)
                    lent.append(tensor)
                    if torch.is_grad_enabled():  # a backward pass would read them when they are gone
                        tensor = tensor.clone()
                taken[id(item.source)] = tensor
            tensor = taken[id(item.source)]
            for cut in item.cuts:
                tensor = tensor[cut]
            return tensor
        if type(item) in (list, tuple):
            return type(item)(map(values, item))
        return item

    try:
        result = func(*map(values, args), **{name: values(item) for name, item in kwargs.items()})
        return _own(result, {tensor.untyped_storage().data_ptr() for tensor in lent}) if lent else result
    finally:
        for back in give_back:
            back()


def _own(result: Any, lent: set[int]) -> Any:
    """The result, copied where it is a view of what was lent."""
    if isinstance(result, Tensor):
        shares = not result.is_mkldnn and result.untyped_storage().data_ptr() in lent
        return result.clone() if shares else result
    if type(result) in (list, tuple):
        return type(result)(_own(item, lent) for item in result)
    return result


def _tensors(module: nn.Module) -> list[Tensor]:
    """The module's parameters and buffers, each once."""
    return [*module.parameters(), *module.buffers()]
