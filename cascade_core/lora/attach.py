"""A LoRA on a model: a new handle over the same weights. The model itself never changes."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch

from ..errors import CascadeError
from ..kinds import KINDS
from ..memory import Beside
from ..models.adapters import adapted, fused
from ..models.family import describe
from ..models.handle import Handle
from ..models.text import TextEncoder
from ..wording import first_of
from .fit import LoraReport, fit
from .lora import Lora
from .tokens import with_tokens


def attach_lora(handle: Handle, lora: Lora, strength: float = 1.0) -> tuple[Handle, LoraReport]:
    """The model with the LoRA at `strength`, which may be negative; and what became of the file's changes.

    A text encoder gets its tokens, too. Several add up. Raises CascadeError where the LoRA was made for another model;
    where nothing of it belongs to this one the report says so, and the handle is what was given.
    """
    if lora.family is not None and lora.family != handle.family:
        raise CascadeError(
            f"LoRA {lora.name} was trained on {lora.family} models, but {describe(handle)}: choose the model that it"
            " was trained on"
        )
    handle.read()
    # The host runs nodes under inference_mode, whose tensors could never be trained.
    with torch.inference_mode(False), torch.no_grad():
        # A network in waiting has no values, which DoRA needs; those of its home are there.
        fitted = fit(lora, handle, strength)
        tokens = lora.tokens if handle.kind == "text_encoder" else ()
        if strength == 0 or not (fitted.branches or tokens):
            return handle, fitted.report
        module = adapted(handle.module, fitted.branches)
        if tokens:
            module = with_tokens(cast(TextEncoder, module), tokens, strength=strength)
        module.eval()
    return beside(handle, module), fitted.report


def fuse_lora(handle: Handle) -> Handle:
    """The model with its branches summed into copies of the weights that have some; the others stay shared.

    Faster at every step, for the memory of these copies; in float32 exact, in half precision rounded to the weights'.
    """
    with torch.inference_mode(False), torch.no_grad():
        handle.acquire()
        return beside(handle.root, fused(handle.module))


def check_matched(lora: Lora, reports: dict[str, LoraReport]) -> None:
    """CascadeError where no change of the LoRA found a place in the models of `reports`, by their kind."""
    if lora.changes and not any(report.matched for report in reports.values()):
        asked = " and ".join(KINDS[kind].name for kind in reports)
        raise CascadeError(
            f"LoRA {lora.name} changes nothing of the {asked}: expected names of its weights in a known dialect, found"
            f" {first_of(list(lora.changes))}: choose a LoRA of this model"
        )


def beside(handle: Handle, module: torch.nn.Module) -> Handle:
    """A handle for a second module over the weights of a model, which its placement brings."""
    root = handle.root
    placement = Beside(root.placement, root.module)
    return replace(root, module=module, placement=placement, shift=handle.shift, base=root)
