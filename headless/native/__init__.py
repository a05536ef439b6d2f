"""Stand-ins for nodes of the host that people wire between ours.

Ids, inputs, outputs and results are the host's, so that a workflow runs in both.
"""

from collections.abc import Mapping
from typing import Any

from .conditioning import ConditioningCombine, ConditioningSetTimestepRange, ConditioningZeroOut
from .images import EmptyImage, ImageBatch, ImageInvert, ImageScale, ImageScaleBy
from .latents import LatentFromBatch, RepeatLatentBatch, SetLatentNoiseMask
from .loading import LoadImage, LoadImageMask
from .primitives import PrimitiveBoolean, PrimitiveFloat, PrimitiveInt, PrimitiveString, PrimitiveStringMultiline
from .sampling import KSampler, KSamplerAdvanced, ModelSamplingStableCascade
from .saving import PreviewImage, SaveImage

_NODES: tuple[type[Any], ...] = (
    ConditioningCombine, ConditioningSetTimestepRange, ConditioningZeroOut, EmptyImage, ImageBatch, ImageInvert,
    ImageScale, ImageScaleBy, KSampler, KSamplerAdvanced, LatentFromBatch, LoadImage, LoadImageMask,
    ModelSamplingStableCascade, PreviewImage, PrimitiveBoolean, PrimitiveFloat, PrimitiveInt, PrimitiveString,
    PrimitiveStringMultiline, RepeatLatentBatch, SaveImage, SetLatentNoiseMask,
)  # fmt: skip

CLASSES: Mapping[str, type[Any]] = {node.__name__: node for node in _NODES}
NAMES: Mapping[str, str] = {node.__name__: node.DISPLAY_NAME for node in _NODES}
