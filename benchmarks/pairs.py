"""Networks that are used together, by presets of their kinds. Importing this needs no torch."""

PAIRS = {
    "large": {"stage_a": "published", "stage_b": "1.5B", "stage_c": "3.6B"},
    "small": {"stage_a": "published", "stage_b": "700M", "stage_c": "1B"},
    "tiny": {"stage_a": "tiny", "stage_b": "tiny", "stage_c": "tiny"},
}

SIDE = 128
"""Sides of pictures are multiples of it: whole cells in each stage, as many in diffusers' pipelines as in ours."""

PEERS = ("diffusers", "diffusers-onednn", "diffusers-compiled", "comfyui")
"""Whom ours are timed beside: with linear layers computed as ours are on a CPU, or with blocks compiled by torch."""
