"""How much memory the training of a LoRA takes at its peak, computed without the memory:

    python -m stable_cascade_nodes.benchmarks.training_memory [OPTIONS]

Two steps (of which the second has the optimiser's state) are taken on tensors without values, by the trainer's own
branches, loss, gradient clipping and AdamW; after every operation the memory of all tensors that are alive is added up.
What a GPU adds of its own, its kernels and the allocator's gaps, is not in it (about 0.5 to 1 GiB); nor is the text
encoder (2.6 GiB in float32), which has to be there where new words are learned.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ..cascade_core.kinds import QUANTISED_NAMES
from ..cascade_core.models.adapters import adapted
from ..cascade_core.models.blocks import quantise_large_weights
from ..cascade_core.models.config import PRESETS, StageCConfig
from ..cascade_core.models.stage_c import StageC
from ..cascade_core.sampling.sizes import CELL
from ..cascade_core.training.branches import Branches
from ..cascade_core.training.denoising import Noised, denoising_loss
from ..cascade_core.training.lora_settings import LoraSettings
from ..cascade_core.training.optimizers import make_optimizers
from .counted import Alive

GIB = 2**30
TOKENS = 77
DTYPE = torch.bfloat16


def bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def step(module: StageC, branches: nn.Module, optimizer: torch.optim.Optimizer, batch: int, cells: int) -> None:
    """One step of the trainer, on zeros."""
    config = cast(StageCConfig, module.config)
    x = torch.zeros(batch, config.channels, cells, cells)
    noised = Noised(x, torch.zeros(batch), x.clone(), torch.ones(batch), torch.zeros(batch))
    shapes = (TOKENS, config.c_clip_text), (1, config.c_clip_text_pooled), (1, config.c_clip_img)
    said = [torch.zeros(batch, *shape, dtype=DTYPE) for shape in shapes]

    def predict(x: Tensor, condition: Tensor) -> Tensor:
        return module(x.to(DTYPE), condition, said[0], said[1], said[2])

    denoising_loss(noised, predict).backward()
    nn.utils.clip_grad_norm_(branches.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def peak(preset: str, rank: int, batch: int, size: int, checkpointing: bool, dtype: str) -> dict[str, int]:
    """Bytes at the peak, and what they are."""
    with FakeTensorMode():
        torch.set_default_dtype(DTYPE)
        base = StageC(PRESETS["stage_c"][preset]).eval().requires_grad_(False)
        torch.set_default_dtype(torch.float32)
        if dtype in QUANTISED_NAMES:
            quantise_large_weights(base, dtype)
        branches = Branches(base, LoraSettings(rank=rank), 1)
        module = cast(StageC, adapted(base, branches.by_weight()))
        module.checkpointing = checkpointing
        (optimizer,) = make_optimizers(branches, "adamw", 1e-4, 0.01, (0.9, 0.99))
        step(module, branches, optimizer, batch, size // CELL)  # which makes the optimiser's state
        weights = [*base.parameters(), *base.buffers()]
        kept = [entry for entries in optimizer.state.values() for entry in entries.values()]
        with Alive([*weights, *branches.parameters(), *kept]) as alive:
            step(module, branches, optimizer, batch, size // CELL)
        parts = {
            f"Stage C, {dtype}": bytes_of(weights),
            "branches, float32": bytes_of(branches.parameters()),
            "AdamW's state": bytes_of(kept),
            "gradients, activations": alive.most,
        }
    return {**parts, "all": sum(parts.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=list(PRESETS["stage_c"]), default="3.6B")
    for name, default in (("rank", 16), ("batch", 1), ("size", 768)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N")
    parser.add_argument("--dtype", choices=("bfloat16", *QUANTISED_NAMES), default="bfloat16")
    parser.add_argument("--no-checkpointing", dest="checkpointing", action="store_false")
    options = parser.parse_args()
    for name, number in peak(**vars(options)).items():
        print(f"{name:24}{number / GIB:7.2f} GiB")


if __name__ == "__main__":
    main()
