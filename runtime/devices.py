"""The devices that PyTorch can compute on here, and the one of them that a program's person means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..cascade_core.wording import all_of

if TYPE_CHECKING:
    import torch

GPUS = ("cuda", "xpu", "mps")  # whose first one is taken where none is named; the first kind that is there


def choose_device(chosen: str | None) -> torch.device:
    """The device of this name, or the first GPU, else the CPU, for None; CascadeError where it is not there.

    Names are PyTorch's: cpu, cuda, cuda:1, xpu, mps, or whatever an extension of it adds.
    """
    import torch

    if chosen is None:
        return torch.device(next((kind for kind in GPUS if _count(kind)), "cpu"))
    try:
        found = torch.device(chosen)
    except RuntimeError:  # torch knows no such name
        found = None
    if found is None or (found.index or 0) >= _count(found.type):
        raise CascadeError(f"device: expected one of what PyTorch has here ({all_of(_names())}), found {chosen!r}")
    return found


def _names() -> list[str]:
    """What there is, with numbers where there are several of a kind."""
    counts = {kind: _count(kind) for kind in ("cpu", *GPUS)}
    return [
        name
        for kind, count in counts.items()
        for name in ([kind] if count == 1 else [f"{kind}:{i}" for i in range(count)])
    ]


def _count(kind: str) -> int:
    """The number of devices of a kind that can be used; 0 for a kind that this PyTorch was not built for."""
    import torch

    if kind == "cpu":
        return 1
    module: Any = getattr(torch, kind, None)  # torch.cuda, torch.xpu, torch.mps, or an extension's
    try:
        available = torch.backends.mps.is_available if kind == "mps" else module.is_available
        return int(module.device_count()) if available() else 0
    except (AttributeError, RuntimeError, AssertionError, ImportError):  # none, or torch.hpu without its extension
        return 0
