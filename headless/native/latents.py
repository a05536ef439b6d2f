"""Stand-ins for the host's nodes that pick and repeat latents of a batch, and mask them.

LATENT is `{"samples": (B, C, h, w)}`, perhaps with `noise_mask` (b, 1, H, W) and `batch_index`, the B numbers that
choose the noise of each; what else is in it stays as it is.
"""

import math
from typing import TYPE_CHECKING, Any

from . import inputs

if TYPE_CHECKING:
    from torch import Tensor

Latent = dict[str, Any]


class LatentFromBatch:
    DISPLAY_NAME = "Get Latent From Batch"
    CATEGORY = "latent/batch"
    DESCRIPTION = "Some latents of a batch, counted from its end below 0, which keep the noise that they have in it."
    FUNCTION = REHEARSE = "frombatch"
    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "samples": ("LATENT",),
                "batch_index": inputs.integer(0, -inputs.LARGEST, inputs.LARGEST, step=None),
                "length": ("INT", {"default": 1, "min": 1, "max": 64}),
            }
        }

    def frombatch(self, samples: Latent, batch_index: int, length: int) -> tuple[Latent]:
        batch: Tensor = samples["samples"]
        from_start = batch_index if batch_index >= 0 else batch_index + batch.shape[0]
        first = max(0, min(batch.shape[0] - 1, from_start))
        chosen = slice(first, min(batch.shape[0], first + length))
        numbers = samples.get("batch_index", range(batch.shape[0]))
        result = {**samples, "samples": batch[chosen].clone(), "batch_index": list(numbers[chosen])}
        mask: Tensor | None = samples.get("noise_mask")
        if mask is not None and mask.shape[0] > 1:
            result["noise_mask"] = _repeated(mask, math.ceil(batch.shape[0] / mask.shape[0]))[chosen].clone()
        return (result,)


class RepeatLatentBatch:
    DISPLAY_NAME = "Repeat Latent Batch"
    CATEGORY = "latent/batch"
    DESCRIPTION = "The batch several times, each time with noise of its own."
    FUNCTION = REHEARSE = "repeat"
    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"samples": ("LATENT",), "amount": ("INT", {"default": 1, "min": 1, "max": 64})}}

    def repeat(self, samples: Latent, amount: int) -> tuple[Latent]:
        result = {**samples, "samples": _repeated(samples["samples"], amount)}
        mask: Tensor | None = samples.get("noise_mask")
        if mask is not None and mask.shape[0] > 1:
            result["noise_mask"] = _repeated(mask, amount)
        if numbers := samples.get("batch_index"):
            offset = max(numbers) - min(numbers) + 1
            result["batch_index"] = [number + i * offset for i in range(amount) for number in numbers]
        return (result,)


class SetLatentNoiseMask:
    DISPLAY_NAME = "Set Latent Noise Mask"
    CATEGORY = "latent/inpaint"
    DESCRIPTION = "The latent with a mask: 1 where a sampler makes it anew."
    FUNCTION = REHEARSE = "set_mask"
    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"samples": ("LATENT",), "mask": ("MASK",)}}

    def set_mask(self, samples: Latent, mask: "Tensor") -> tuple[Latent]:
        return ({**samples, "noise_mask": mask.reshape(-1, 1, *mask.shape[-2:])},)


def _repeated(batch: "Tensor", amount: int) -> "Tensor":
    return batch.repeat(amount, *(1 for _ in batch.shape[1:]))


NODES = (LatentFromBatch, RepeatLatentBatch, SetLatentNoiseMask)
