"""Stand-ins for the host's nodes that edit CONDITIONING: a list of `[sequence (B, T, D), {key: value}]`."""

from typing import Any

from . import inputs

Conditioning = list[list[Any]]


class ConditioningCombine:
    DISPLAY_NAME = "Conditioning (Combine)"
    CATEGORY = "conditioning"
    DESCRIPTION = "Both at once."
    FUNCTION = REHEARSE = "combine"
    RETURN_TYPES = ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"conditioning_1": ("CONDITIONING",), "conditioning_2": ("CONDITIONING",)}}

    def combine(self, conditioning_1: Conditioning, conditioning_2: Conditioning) -> tuple[Conditioning]:
        return ([*conditioning_1, *conditioning_2],)


class ConditioningZeroOut:
    DISPLAY_NAME = "Conditioning Zero Out"
    CATEGORY = "advanced/conditioning"
    DESCRIPTION = "The same with zeros for the sequence and the pooled vector."
    FUNCTION = REHEARSE = "zero_out"
    RETURN_TYPES = ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"conditioning": ("CONDITIONING",)}}

    def zero_out(self, conditioning: Conditioning) -> tuple[Conditioning]:
        zeroed: Conditioning = []
        for sequence, values in conditioning:
            pooled = values.get("pooled_output")
            zeros = {} if pooled is None else {"pooled_output": pooled.new_zeros(pooled.shape)}
            zeroed.append([sequence.new_zeros(sequence.shape), {**values, **zeros}])
        return (zeroed,)


class ConditioningSetTimestepRange:
    DISPLAY_NAME = "ConditioningSetTimestepRange"
    CATEGORY = "advanced/conditioning"
    DESCRIPTION = "For a part of the steps only: from start to end, 0 being the first step and 1 the last."
    FUNCTION = REHEARSE = "set_range"
    RETURN_TYPES = ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        percent = {"min": 0.0, "max": 1.0, "step": 0.001}
        return {
            "required": {
                "conditioning": ("CONDITIONING",),
                "start": ("FLOAT", {"default": 0.0, **percent}),
                "end": ("FLOAT", {"default": 1.0, **percent}),
            }
        }

    def set_range(self, conditioning: Conditioning, start: float, end: float) -> tuple[Conditioning]:
        limits = {"start_percent": start, "end_percent": end}
        return ([[sequence, {**values, **limits}] for sequence, values in conditioning],)


class ConditioningAverage:
    DISPLAY_NAME = "Conditioning (Average)"
    CATEGORY = "conditioning"
    DESCRIPTION = "The weighted mean of two prompts: 1 is `conditioning_to` alone. Of the other the first entry counts."
    FUNCTION = REHEARSE = "addWeighted"
    RETURN_TYPES = ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        strength = inputs.decimal(1.0, 0.0, 1.0)
        wires = inputs.wires(conditioning_to="CONDITIONING", conditioning_from="CONDITIONING")
        return {"required": {**wires, "conditioning_to_strength": strength}}

    def addWeighted(
        self, conditioning_to: Conditioning, conditioning_from: Conditioning, conditioning_to_strength: float
    ) -> tuple[Conditioning]:
        from torch.nn.functional import pad

        other, others = conditioning_from[0]
        pooled_from, share = others.get("pooled_output"), 1.0 - conditioning_to_strength
        result: Conditioning = []
        for sequence, values in conditioning_to:
            length = sequence.shape[1]
            fitted = pad(other[:, :length], (0, 0, 0, max(0, length - other.shape[1])))
            mixed = dict(values)
            if pooled_from is not None:
                pooled = values.get("pooled_output", pooled_from)
                mixed["pooled_output"] = conditioning_to_strength * pooled + share * pooled_from
            result.append([conditioning_to_strength * sequence + share * fitted, mixed])
        return (result,)


class ConditioningConcat:
    DISPLAY_NAME = "Conditioning (Concat)"
    CATEGORY = "conditioning"
    DESCRIPTION = "One prompt's tokens behind the other's, whose pooled vector stays. Of it the first entry counts."
    FUNCTION = REHEARSE = "concat"
    RETURN_TYPES = ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": inputs.wires(conditioning_to="CONDITIONING", conditioning_from="CONDITIONING")}

    def concat(self, conditioning_to: Conditioning, conditioning_from: Conditioning) -> tuple[Conditioning]:
        import torch

        other = conditioning_from[0][0]
        return ([[torch.cat([sequence, other], 1), values] for sequence, values in conditioning_to],)


NODES = (
    ConditioningCombine, ConditioningZeroOut, ConditioningSetTimestepRange, ConditioningAverage, ConditioningConcat,
)  # fmt: skip
