"""How many operations one evaluation issues, against diffusers, without a GPU:

    python benchmarks/operations.py [--size PX] [--dtype NAME] [CASE ...]

On a GPU an operation is a launch of a kernel, and eager runs of these networks are bound by launches. Counted on
torch's meta device, where nothing is computed: an operation is what writes memory, so that views are none, and a cast,
a copy and the writing of zeros are one each; a linear layer, a convolution and an attention are one. What is constant
over an image's steps is left out of ours, which computes it once an image, and is part of diffusers', which computes it
in every step. JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stable_cascade_nodes.cascade_core.models.body import slice_modulation
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC
from stable_cascade_nodes.cascade_core.sampling.sizes import stage_b_size, stage_c_size

sys.path.append(str(Path(__file__).parents[1] / "tests" / "models"))
from peers import paella, unet

TOKENS = 77
PAIR = 2  # a guided step: the conditional and the unconditional latent
SCALE = 2.0**-12  # of the stream in float16, as a probe may choose it, which needs values
Runs = tuple[Callable[[], Any], Callable[[], Any]]


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


def stage_c(preset: str, size: int) -> Runs:
    """A guided step."""
    config = PRESETS["stage_c"][preset]
    ours, theirs = StageC(config).eval(), unet(config).eval()
    ours.scale = SCALE if torch.get_default_dtype() == torch.float16 else None
    x, r = torch.zeros(PAIR, config.channels, *stage_c_size(size, size)), torch.zeros(PAIR)
    shapes = (TOKENS, config.c_clip_text), (1, config.c_clip_text_pooled), (1, config.c_clip_img)
    text, pooled, images = (torch.zeros(PAIR, *shape) for shape in shapes)
    prepared, modulation = ours.prepare(text, pooled, images), slice_modulation(ours.modulate(torch.zeros(1)), 0)
    return (
        lambda: ours.evaluate(x, modulation, prepared),
        lambda: theirs(x, r, pooled, clip_text=text, clip_img=images),
    )


def stage_b(preset: str, size: int) -> Runs:
    """A guided step."""
    config = PRESETS["stage_b"][preset]
    ours, theirs = StageB(config).eval(), unet(config).eval()
    ours.scale = SCALE if torch.get_default_dtype() == torch.float16 else None
    h, w = stage_b_size(size, size)
    x, effnet = torch.zeros(PAIR, config.channels, h, w), torch.zeros(PAIR, config.c_effnet, *stage_c_size(size, size))
    pooled, r = torch.zeros(PAIR, 1, config.c_clip), torch.zeros(PAIR)
    prepared, modulation = ours.prepare(effnet, pooled, (h, w)), slice_modulation(ours.modulate(torch.zeros(1)), 0)
    return (
        lambda: ours.evaluate(x, modulation, prepared),
        lambda: theirs(x, r, pooled, effnet=effnet),
    )


def stage_a(preset: str, size: int) -> Runs:
    """A decoded picture."""
    config = PRESETS["stage_a"][preset]
    ours, theirs = StageA(config).eval(), paella(config).eval()
    latent = torch.zeros(1, config.c_latent, *stage_b_size(size, size))
    return lambda: ours.decode(latent), lambda: theirs.decode(latent * config.scale)


CASES: dict[str, tuple[Callable[[str, int], Runs], str, float]] = {  # and the ratio that is wanted
    "stage_c 3.6B": (stage_c, "3.6B", 0.62),
    "stage_c 1B": (stage_c, "1B", 0.62),
    "stage_b 1.5B": (stage_b, "1.5B", 0.68),
    "stage_b 700M": (stage_b, "700M", 0.68),
    "stage_a": (stage_a, "published", 0.9),
}


def count(run: Callable[[], Any]) -> Counter[str]:
    with Operations() as operations:
        run()
    return operations.counts


def measure(name: str, size: int, dtype: torch.dtype) -> dict[str, Any]:
    """Operations of both by name, and the ratio of their sums."""
    build, preset, wanted = CASES[name]
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"), torch.inference_mode():
            ours, theirs = map(count, build(preset, size))
    finally:
        torch.set_default_dtype(before)
    return {
        "ours": ours.total(),
        "diffusers": theirs.total(),
        "ratio": round(ours.total() / theirs.total(), 3),
        "wanted": wanted,
        "by name": {"ours": dict(ours.most_common()), "diffusers": dict(theirs.most_common())},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--size", type=int, default=1024, metavar="PX", help="side of the picture (%(default)s)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="bfloat16")
    options = parser.parse_args()
    found = {name: measure(name, options.size, getattr(torch, options.dtype)) for name in options.cases}
    print(json.dumps({"size": options.size, "dtype": options.dtype, "cases": found}, indent=2))


if __name__ == "__main__":
    main()
