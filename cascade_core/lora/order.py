"""The order in which the official LoRA numbers weights: its files have no names.

N counts the weights that the trainer's filters chose, in the order of its generator's modules; within an attention the
output's weight comes before the fused rows of q, k and v (official code at 7a7d341, modules/lora.py and
train/train_c_lora.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..models.adapters import adaptable

FIRST = ("clip_txt_mapper", "clip_txt_pooled_mapper", "clip_img_mapper", "embedding")  # made before the blocks there
FILTERS = (
    *((".attn",), (".attention",), ("kv_mapper",), (".attn", "kv_mapper"), ("channelwise",), ("depthwise",)),
    *(("mapper",), ("down_blocks",), ("up_blocks",), ("",)),
)
"""The filters that are tried where a file names none: the official one first; the last is all weights."""


def official_order(module: nn.Module, filters: Sequence[str]) -> list[str]:
    """The names of the weights that these filters choose, in order: entry N is the file's number N.

    A filter chooses a module whose path contains it.
    """
    names: list[str] = []
    for name in adaptable(module):
        if name.endswith(".attn.out_proj.weight"):  # here it follows the fused rows, there it comes before them
            names.insert(len(names) - 1, name)
        else:
            names.append(name)
    names.sort(key=lambda name: FIRST.index(name.split(".")[0]) if name.split(".")[0] in FIRST else len(FIRST))
    return [name for name in names if any(part in name.rpartition(".")[0] for part in filters)]
