"""The nodes: what a person wires. One list, from which both of the host's tables are made."""

from typing import Any

from .compare import CascadeCompare
from .conditioning import CascadeControlNetApply, CascadeImageEncode, CascadeTextEncode
from .dataset import CascadeDataset
from .decode import CascadePreviewDecode, CascadeStageADecode
from .hints import (
    CascadeCannyHint,
    CascadeFaceIdentityHint,
    CascadeInpaintHint,
    CascadePictureHint,
    CascadeSuperResolutionHint,
)
from .images import CascadeOutpaintPad, CascadePasteBack, CascadePicture
from .latents import CascadeEmptyLatents, CascadeEncodeImage
from .loaders import (
    CascadeControlNetLoader,
    CascadeEffnetLoader,
    CascadeImageEncoderLoader,
    CascadePreviewerLoader,
    CascadeStageALoader,
    CascadeStageBLoader,
    CascadeStageCLoader,
    CascadeTextEncoderLoader,
)
from .lora import CascadeLoRAApply, CascadeLoRAApplyStageB
from .sampling import CascadeStageBSampler, CascadeStageCSampler
from .training import CascadeControlNetTrain, CascadeLoRATrain

NODES: tuple[type[Any], ...] = (
    CascadeStageCLoader,
    CascadeStageBLoader,
    CascadeStageALoader,
    CascadeTextEncoderLoader,
    CascadeImageEncoderLoader,
    CascadeEffnetLoader,
    CascadePreviewerLoader,
    CascadeControlNetLoader,
    CascadeLoRAApply,
    CascadeLoRAApplyStageB,
    CascadeTextEncode,
    CascadeImageEncode,
    CascadeControlNetApply,
    CascadePictureHint,
    CascadeCannyHint,
    CascadeInpaintHint,
    CascadeSuperResolutionHint,
    CascadeFaceIdentityHint,
    CascadeEmptyLatents,
    CascadeEncodeImage,
    CascadePicture,
    CascadeOutpaintPad,
    CascadePasteBack,
    CascadeCompare,
    CascadeStageCSampler,
    CascadeStageBSampler,
    CascadeStageADecode,
    CascadePreviewDecode,
    CascadeDataset,
    CascadeLoRATrain,
    CascadeControlNetTrain,
)

NODE_CLASS_MAPPINGS = {node.__name__: node for node in NODES}
NODE_DISPLAY_NAME_MAPPINGS = {node.__name__: f"Stable Cascade: {node.DISPLAY_NAME}" for node in NODES}
