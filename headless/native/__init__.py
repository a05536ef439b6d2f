"""Stand-ins for ComfyUI's own nodes: those of Stable Cascade workflows, and those that people wire between ours.

Ids, inputs, outputs and results are the host's, so that a workflow runs in both. A file has the nodes of one concern.
"""

from collections.abc import Mapping
from typing import Any

from . import (
    canny,
    cascade,
    compositing,
    conditioning,
    controlnets,
    encoding,
    images,
    latents,
    loaders,
    loading,
    lora,
    masks,
    primitives,
    sampling,
    saving,
)

_FILES: tuple[Any, ...] = (
    loaders, lora, encoding, conditioning, controlnets, cascade, latents, loading, images, canny, masks, compositing,
    primitives, sampling, saving,
)  # fmt: skip
_NODES: tuple[type[Any], ...] = tuple(node for file in _FILES for node in file.NODES)

CLASSES: Mapping[str, type[Any]] = {node.__name__: node for node in _NODES}
NAMES: Mapping[str, str] = {node.__name__: node.DISPLAY_NAME for node in _NODES}
