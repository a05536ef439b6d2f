"""The noise of the steps in ComfyUI's samplers. See bare_comfyui.py and answer_prompts.py."""

from __future__ import annotations

import inspect
from typing import Any


def as_newer_comfyui() -> None:
    """Have an old ComfyUI draw it as newer ones do, which our stand-ins follow.

    On a CPU it came from a generator of the run's own seed, so that the first step's noise was the first latent's
    again; newer ones take the next seed.
    """
    from comfy.k_diffusion import sampling

    before: Any = sampling.default_noise_sampler
    if "seed += 1" not in inspect.getsource(before):
        sampling.default_noise_sampler = lambda x, seed=None: before(x, seed=None if seed is None else seed + 1)
