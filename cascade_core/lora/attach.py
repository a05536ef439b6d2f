"""A LoRA on a model: a new handle over the same weights. The model itself never changes."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch

from ..errors import CascadeError
from ..kinds import KINDS
from ..memory import Beside
from ..models.adapters import adaptable, adapted, fused, replaced
from ..models.family import describe
from ..models.handle import Handle
from ..models.text import TextEncoder
from ..wording import first_of
from .fit import LoraReport, fit
from .lora import Lora
from .names import is_of_text
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
        weights = adaptable(handle.module)
        beside_weights = {name: branches for name, branches in fitted.branches.items() if name in weights}
        others = {name: branches for name, branches in fitted.branches.items() if name not in weights}
        module = replaced(adapted(handle.module, beside_weights), others)
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
    """CascadeError where nothing of the LoRA acts in the models of `reports`, by their kind."""
    has_text = "text_encoder" in reports
    if any(report.matched for report in reports.values()) or (lora.tokens and has_text):
        return
    found = list(lora.changes) or list(lora.others)
    nothing = f"LoRA {lora.name} changes nothing of the {' and '.join(KINDS[kind].name for kind in reports)}"
    if not has_text and (lora.tokens if not found else all(map(is_of_text, found))):
        what = f"changes of the text encoder ({first_of(found)})" if found else "new words for prompts alone"
        raise CascadeError(f"{nothing}: it holds {what}: connect `text_encoder` to Apply LoRA")
    if not lora.changes:
        raise CascadeError(
            f"{nothing}: expected low rank, LoHa, LoKr, IA3 or full differences, found {first_of(found) or 'no names'},"
            " which is another kind: choose another LoRA, or use it in ComfyUI's own nodes"
        )
    raise CascadeError(
        f"{nothing}: expected names of its weights in a known dialect, found {first_of(found)}: choose a LoRA of this"
        " model"
    )


def beside(handle: Handle, module: torch.nn.Module) -> Handle:
    """A handle for a second module over the weights of a model, which its placement brings."""
    root = handle.root
    placement = Beside(root.placement, root.module)
    return replace(root, module=module, placement=placement, shift=handle.shift, base=root)
