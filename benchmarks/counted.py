"""What one evaluation takes, counted on torch's meta device, where nothing is computed: operations, FLOPs, bytes.

On a GPU an operation is a launch of a kernel, and eager runs of these networks are bound by launches. An operation is
what writes memory, so that views are none, and a cast, a copy and the writing of zeros are one each; a linear layer, a
convolution and an attention are one. What is constant over an image's steps is left out of ours, which computes it once
an image, and is part of diffusers', which computes it in every step. The meta device is no CPU: the GPU's path is
counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from .networks import META, in_type, inputs, network, ours
from .others import theirs
from .peers import twin

PAIR = 2  # a guided step: the conditional and the unconditional latent
SCALE = 2.0**-12  # of the stream in float16, as a probe may choose it, which needs values


class Operations(TorchDispatchMode):
    """Counts what writes memory, by the operator's name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        before = {_storage(tensor) for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        made = [tensor for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]
        fresh = any(_storage(tensor) not in before for tensor in made) and "empty" not in func.__name__
        if fresh or func._schema.is_mutable:
            self.counts[func.__name__.partition(".")[0]] += 1
        return result


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


class Alive(TorchDispatchMode):
    """The bytes of what operations made and is still alive, and the most of them."""

    def __init__(self, counted: Iterable[Tensor] = ()) -> None:
        """counted: what is added up elsewhere, and not here where an operation gives a view of it."""
        super().__init__()
        self.counted = {StorageWeakRef(tensor.untyped_storage()) for tensor in counted}
        self.sizes: dict[StorageWeakRef, int] = {}
        self.total = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        reference = StorageWeakRef(storage)
        if reference in self.counted or reference in self.sizes:
            return
        self.sizes[reference] = storage.nbytes()
        self.total += storage.nbytes()
        if self.total > self.most:  # as far as is known: some may have gone since
            self.sizes = {storage: size for storage, size in self.sizes.items() if not storage.expired()}
            self.total = sum(self.sizes.values())
            self.most = max(self.most, self.total)


def operations(run: Callable[[], Any]) -> Counter[str]:
    with Operations() as counted:
        run()
    return counted.counts


def measure(
    kind: str, preset: str, size: int, dtype: torch.dtype, images: int = 1, diffusers: bool = True
) -> dict[str, Any]:
    """Of an evaluation at `size` x `size` pixels, guided in Stage B and C: operations, bytes, and ours' FLOPs."""
    module = in_type(network(kind, preset, META), dtype)
    if kind != "stage_a":
        module.scale = SCALE if dtype == torch.float16 else None
    given = inputs(kind, preset, size, images * (1 if kind == "stage_a" else PAIR), META).to(dtype)
    with torch.inference_mode():
        runs = {"ours": ours(module, given)}
        if diffusers:
            runs["diffusers"] = theirs(twin(module), kind, given)
        counts = {name: operations(run) for name, run in runs.items()}
        most: dict[str, int] = {}
        for name, run in runs.items():
            with Alive([*module.parameters(), *module.buffers()]) as alive:
                run()
            most[name] = alive.most
    flops = FlopCounterMode(display=False)  # which inference mode passes by
    with torch.no_grad(), flops:
        ours(module, given)()
    return {
        "operations": {name: count.total() for name, count in counts.items()},
        "bytes": most,
        "flops": flops.get_total_flops(),
        "by name": {name: dict(count.most_common()) for name, count in counts.items()},
    }
