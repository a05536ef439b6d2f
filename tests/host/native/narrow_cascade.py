"""A pack that has ComfyUI load a narrow Stable Cascade as it loads the published one. Copied into `custom_nodes`.

ComfyUI tells the networks by their widths and knows the published ones alone. Here are others, those of `narrow.json`
in its base directory; all else, from its loaders to its samplers, is its own.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import comfy.clip_vision
import comfy.ldm.cascade.controlnet
import comfy.model_detection
import comfy.sd
import comfy.sdxl_clip
import folder_paths

NODE_CLASS_MAPPINGS: dict[str, Any] = {}
BASE = Path(folder_paths.base_path)
SIZES = json.loads((BASE / "narrow.json").read_text())

detect = comfy.model_detection.detect_unet_config
read_text_model = comfy.sdxl_clip.StableCascadeClipG.__init__


def detect_narrow(*given: Any, **named: Any) -> Any:
    found = detect(*given, **named)
    return found | SIZES["stage_" + found["stable_cascade_stage"]] if "stable_cascade_stage" in (found or {}) else found


def read_narrow_text_model(self: Any, *given: Any, model_options: Any = None, **named: Any) -> None:
    options = {**(model_options or {}), "clip_g_model_config": SIZES["text_encoder"]}
    read_text_model(self, *given, model_options=options, **named)


class NarrowVision(comfy.clip_vision.ClipVisionModel):
    def __init__(self, json_config: str) -> None:
        config = BASE / "vision.json"
        config.write_text(json.dumps(json.loads(Path(json_config).read_text()) | SIZES["image_encoder"]))
        super().__init__(str(config))


comfy.model_detection.detect_unet_config = detect_narrow
comfy.sdxl_clip.StableCascadeClipG.__init__ = read_narrow_text_model
comfy.clip_vision.ClipVisionModel = NarrowVision
comfy.sd.StageA = functools.partial(comfy.sd.StageA, **SIZES["stage_a"])
comfy.ldm.cascade.controlnet.ControlNet = functools.partial(
    comfy.ldm.cascade.controlnet.ControlNet, c_proj=SIZES["stage_c"]["c_hidden"][0]
)
