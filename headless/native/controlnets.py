"""Stand-ins for the host's nodes that apply a ControlNet: its hint is any picture with the channels that it takes.

The middle of the picture is brought to the size of the latent. One that takes one channel gets the mean of them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...cascade_core.errors import CascadeError
from ...nodes import sockets
from . import inputs

if TYPE_CHECKING:
    from torch import Tensor

    from ...cascade_core.models.handle import Handle
    from ...cascade_core.sampling.control import Control

_WANTED = {
    3: "a picture of 3 channels",
    4: "the picture with its mask as a fourth channel, by Join Image with Alpha",
    16: "what StableCascade_SuperResolutionControlnet makes of a picture",
}


class ControlNetApply:
    DISPLAY_NAME = "Apply ControlNet (DEPRECATED)"
    CATEGORY = "conditioning/controlnet"
    DESCRIPTION = "The prompt steered by a picture; the unconditional side too, where it has no ControlNet of its own."
    FUNCTION = REHEARSE = "apply_controlnet"
    RETURN_TYPES = ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        wires = inputs.wires(conditioning="CONDITIONING", control_net="CONTROL_NET", image="IMAGE")
        return {"required": {**wires, "strength": inputs.decimal(1.0, 0.0, 10.0)}}

    def apply_controlnet(
        self, conditioning: sockets.Conditioning, control_net: Handle, image: Tensor, strength: float
    ) -> tuple[sockets.Conditioning]:
        if strength == 0:
            return (conditioning,)
        return (sockets.with_control(conditioning, _control(control_net, image, strength)),)


class ControlNetApplyAdvanced:
    DISPLAY_NAME = "Apply ControlNet"
    CATEGORY = "conditioning/controlnet"
    DESCRIPTION = "Both prompts steered by a picture, for a part of the steps. Stable Cascade needs no `vae` for it."
    FUNCTION = REHEARSE = "apply_controlnet"
    RETURN_TYPES, RETURN_NAMES = ("CONDITIONING", "CONDITIONING"), ("positive", "negative")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        wires = inputs.wires(positive="CONDITIONING", negative="CONDITIONING", control_net="CONTROL_NET", image="IMAGE")
        settings = {
            "strength": inputs.decimal(1.0, 0.0, 10.0),
            "start_percent": inputs.decimal(0.0, 0.0, 1.0, 0.001),
            "end_percent": inputs.decimal(1.0, 0.0, 1.0, 0.001),
        }
        return {"required": wires | settings, "optional": inputs.wires(vae="VAE")}

    def apply_controlnet(
        self,
        positive: sockets.Conditioning,
        negative: sockets.Conditioning,
        control_net: Handle,
        image: Tensor,
        strength: float,
        start_percent: float,
        end_percent: float,
        vae: Any = None,
    ) -> tuple[sockets.Conditioning, sockets.Conditioning]:
        if strength == 0:
            return positive, negative
        control = _control(control_net, image, strength, start_percent, end_percent, on_unconditional=False)
        return sockets.with_control(positive, control), sockets.with_control(negative, control)


def _control(
    handle: Handle, image: Tensor, strength: float, start: float = 0.0, end: float = 1.0, **more: Any
) -> Control:
    """The ControlNet with its hint; CascadeError for a picture of other channels."""
    from ...cascade_core.sampling.control import Control

    takes, found = handle.config.c_in, image.shape[-1]
    if takes != found and takes != 1:
        raise CascadeError(
            f"ControlNet {handle.name} takes {takes} channels, but `image` has {found}: connect"
            f" {_WANTED.get(takes, 'what it was made for')}"
        )
    hint = image.movedim(-1, 1).float().cpu()
    hint = hint.mean(1, keepdim=True) if takes == 1 else hint
    return Control(handle, hint, (image.shape[1], image.shape[2]), strength, start, end, crop=True, **more)


NODES = (ControlNetApply, ControlNetApplyAdvanced)
