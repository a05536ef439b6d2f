"""Four steps of AdamW on a stage alone, and divided among the processes that `torchrun` started:

    torchrun --nproc-per-node 2 shared_steps.py KIND

Prints the largest difference of the weights. In float64: in float32 the sums' rounding, from which AdamW makes whole
steps where a gradient is next to nothing, would hide a small mistake.
"""

from __future__ import annotations

import copy
import sys
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.training import sharded

BATCH, STEPS = 4, 4


def inputs(kind: str, config: Any) -> tuple[list[Tensor], Tensor]:
    """The inputs of a stage, and the prediction that it should make."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(BATCH, *shape, dtype=torch.float64)

    times = torch.rand(BATCH)
    if kind == "stage_c":
        return [draw(16, 2, 2), times, draw(9, config.c_clip_text), draw(config.c_clip_text_pooled)], draw(16, 2, 2)
    return [draw(4, 16, 16), times, draw(16, 2, 2), draw(config.c_clip)], draw(4, 16, 16)


def main(kind: str) -> None:
    torch.set_num_threads(1)
    sharded.join()
    handle = load(kind, built_in(kind)["tiny (built-in)"])
    alone: Any = copy.deepcopy(handle.module).double().requires_grad_(True).train()
    divided: Any = copy.deepcopy(alone)
    divided.checkpointing = True
    sharded.shard(divided, torch.device("cpu"))
    optimizers = {module: torch.optim.AdamW(module.parameters(), lr=1e-3) for module in (alone, divided)}
    torch.manual_seed(0)
    for _ in range(STEPS):
        given, wanted = inputs(kind, handle.config)
        for module, share in ((alone, slice(None)), (divided, sharded.share(BATCH))):
            error = module(*(value[share] for value in given)) - wanted[share]
            error.square().mean().backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizers[module].step()
            optimizers[module].zero_grad()
    whole = sharded.whole_state(divided)
    worst = max(float((tensor - whole[name]).abs().max()) for name, tensor in alone.state_dict().items())
    if sharded.rank() == 0:
        print(worst)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
