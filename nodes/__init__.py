"""The nodes: what a person wires. The host's two tables are made of each file's own list."""

from typing import Any

from . import compare, conditioning, dataset, decode, hints, images, latents, loaders, lora, picking, sampling, training

NODES: tuple[type[Any], ...] = (
    *loaders.NODES,
    *lora.NODES,
    *conditioning.NODES,
    *hints.NODES,
    *latents.NODES,
    *images.NODES,
    *compare.NODES,
    *sampling.NODES,
    *picking.NODES,
    *decode.NODES,
    *dataset.NODES,
    *training.NODES,
)

NODE_CLASS_MAPPINGS = {node.__name__: node for node in NODES}
NODE_DISPLAY_NAME_MAPPINGS = {node.__name__: f"Stable Cascade: {node.DISPLAY_NAME}" for node in NODES}
