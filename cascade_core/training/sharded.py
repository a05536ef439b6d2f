"""One training on several processes, each with a part of the weights, their gradients and the optimiser's state.

By torch's FSDP2: started by `torchrun`, the processes draw the same batch, and each takes its share of it. Alone, or
where nobody started others, everything here does nothing.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import CascadeError
from ..models.blocks import AttnBlock, TimestepBlock
from ..models.body import Body

PATIENCE = timedelta(hours=12)  # how long a process waits for others, which may still encode


def join() -> torch.device | None:
    """Take part in what `torchrun` started; returns this process's device, None where it started nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return None
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return device


def count() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process; 0 is the one that writes and prints."""
    return dist.get_rank() if count() > 1 else 0


def wait() -> None:
    """Wait until all processes have come here."""
    if count() > 1:
        dist.barrier()  # pyright: ignore[reportUnknownMemberType]  (half typed)


def share(batch: int) -> slice:
    """This process's part of a batch."""
    part = batch // count()
    return slice(rank() * part, (rank() + 1) * part)


def check_batch(batch: int) -> None:
    if batch % count():
        raise CascadeError(
            f"batch_size: expected a multiple of the {count()} processes, found {batch}: it is divided among them"
        )


def shard(body: Body, device: torch.device) -> None:
    """Divide a stage's weights: each block is put together when it computes, and what is in no block with the whole."""
    if count() == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(device.type, (count(),))
    for level in (*body.down_blocks, *body.up_blocks):
        for block in level.children():
            fully_shard(block, mesh=mesh)
            # What is constant over a step is computed outside of the blocks' own forward.
            if isinstance(block, AttnBlock):
                register_fsdp_forward_method(block, "text_kv")
            if isinstance(block, TimestepBlock):
                register_fsdp_forward_method(block, "modulate")
    fully_shard(body, mesh=mesh)


def whole(value: Tensor) -> Tensor:
    """A tensor put together of the processes' parts; all of them have to ask."""
    return cast(Any, value).full_tensor() if hasattr(value, "full_tensor") else value


def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """All of a module's tensors, put together, on the CPU where there are parts."""
    state = module.state_dict()
    return state if count() == 1 else {name: whole(tensor.detach()).cpu() for name, tensor in state.items()}


def part_of(value: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, divided as `like` is."""
    if not hasattr(like, "full_tensor") or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    divided: Any = like
    return distribute_tensor(value.to(divided.device, divided.dtype), divided.device_mesh, divided.placements)


def joined(value: Tensor) -> Tensor:
    """The rows of all processes, in their order."""
    if count() == 1:
        return value
    parts = [torch.empty_like(value) for _ in range(count())]
    dist.all_gather(parts, value.contiguous())  # pyright: ignore[reportUnknownMemberType]  (half typed)
    return torch.cat(parts)


def mean(losses: dict[str, float]) -> dict[str, float]:
    """The means of losses over all processes."""
    if count() == 1:
        return losses
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    values = torch.tensor(list(losses.values()), device=device)
    dist.all_reduce(values)  # pyright: ignore[reportUnknownMemberType]  (half typed)
    return {name: float(value) / count() for name, value in zip(losses, values, strict=True)}
