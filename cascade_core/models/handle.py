"""A model on a wire: an immutable handle.

A handle is cached and shared by the host and read by any number of branches, so nothing in it is ever
changed: whoever wants another model (with adapters, on another device) makes another handle.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from ..memory import Placement, WhenUsed, behind

Target = Literal["epsilon", "v"]


@dataclass(frozen=True, eq=False)
class Handle:
    module: nn.Module
    kind: str  # "stage_c", "stage_b", ...: a key of kinds.KINDS
    name: str  # the person's choice: a file name or "tiny (built-in)"
    family: str  # models whose latents and conditions fit together: "stable-cascade", "tiny", ...
    config: Any  # the frozen dataclass of the kind
    target: Target  # the quantity that the network predicts
    x0_clamp: float | None  # bound of the predicted clean latent, for models trained with one
    dtype: torch.dtype  # the weights' type
    placement: Placement
    shift: float | None = None  # that sampling by ComfyUI's nodes goes by; None: the stage's own
    compile: str = "off"  # how it is evaluated: a name of kinds.COMPILE_NAMES
    remark: str = ""  # what a person should know of how its file was read
    base: "Handle | None" = None  # the model whose weights this shares, where something is attached to them

    @property
    def root(self) -> "Handle":
        """The model as it was loaded, whose placement brings the weights."""
        return self if self.base is None else self.base.root

    def read(self) -> None:
        """Bring weights that wait in their file (WhenUsed) into memory: for what shares a module's tensors."""
        root = self.root
        if isinstance(root.placement, WhenUsed):
            root.placement.read(root.module)

    def acquire(self, activation_bytes: int = 0) -> torch.device:
        """Bring the module to where it computes, and say where; call it immediately before each use."""
        return self.placement.acquire(self.module, activation_bytes)

    @property
    def patcher(self) -> Any:
        """What the host's memory manager has of the model, by the name under which ComfyUI asks for it; else None.

        A model with adapters has its root's: the weights are one model's, however many handles share them.
        """
        root = self.root
        patcher_of = getattr(behind(root.placement), "patcher", None)
        return None if patcher_of is None else patcher_of(root.module)
