"""The order in which the official code numbers the weights of a LoRA, recorded from that code.

Run where its `modules/` can be imported (https://github.com/Stability-AI/StableCascade at 7a7d341; `modules.controlnet`
needs only a class ControlNetDeliverer): python official_order.py FOLDER > official_order.json
"""

from __future__ import annotations

import json
import re
import sys

FILTERS = (".attn", ".attn kv_mapper", "", "channelwise", "attn.out_proj", "kv_mapper", "down_blocks.1", "mapper")
SIZES = {
    "c_hidden": (32, 32),
    "nhead": (2, 2),
    "blocks": ((1, 2), (2, 1)),
    "c_cond": 32,
    "c_clip_text": 24,
    "c_clip_text_pooled": 24,
    "c_clip_img": 16,
}


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    from modules.lora import LoRA, apply_lora  # pyright: ignore
    from modules.stage_c import StageC  # pyright: ignore

    orders = {}
    for filters in FILTERS:
        stage = StageC(**{name: list(size) if isinstance(size, tuple) else size for name, size in SIZES.items()})
        apply_lora(stage, filters=filters.split() or None, rank=2)
        names = {id(module): name for name, module in stage.named_modules()}
        found = [names[id(module)] for module in stage.modules() if isinstance(module, LoRA)]
        orders[filters] = [re.sub(r"\.parametrizations\.(\w+)\.0$", r".\1", name) for name in found]
    json.dump(orders, sys.stdout, indent=0)


if __name__ == "__main__":
    main()
