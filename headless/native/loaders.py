"""Stand-ins for the host's loaders: MODEL is a Stage C or B, CLIP a text encoder, VAE a `Vae`, CLIP_VISION an image
encoder, CONTROL_NET a ControlNet; all are the core's handles under the native socket names."""

from __future__ import annotations

from typing import Any

from ...cascade_core.errors import CascadeError
from ...runtime import host
from .. import graph
from . import coders
from .model_files import CHECKPOINTS, DIFFUSION, VAES, ModelFile

FP8 = ("fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2")
CLIP_TYPES = [
    "stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi", "ltxv", "pixart", "cosmos", "lumina2", "wan",
    "hidream", "chroma", "ace", "omnigen2", "qwen_image", "hunyuan_image", "flux2", "ovis", "longcat_image",
    "cogvideox", "lens", "pixeldit", "ideogram4", "boogu", "krea2", "joyimage", "mage", "minimax",
]  # fmt: skip
CASCADE_CLIP = "stable_cascade"
OF_VAE = ("stage_a", "effnet", "previewer")


class CheckpointLoaderSimple(ModelFile):
    DISPLAY_NAME = "Load Checkpoint"
    CATEGORY = "loaders"
    DESCRIPTION = "Stage C or B out of a checkpoint, its text encoder, and the effnet with the previewer or Stage A."
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FILE_INPUT, WHAT, FOLDER, BUILT_IN = "ckpt_name", "checkpoint", "checkpoints", CHECKPOINTS
    KINDS = (DIFFUSION, ("text_encoder",), OF_VAE)

    @classmethod
    def VALIDATE_INPUTS(cls, ckpt_name: str | None = None) -> bool | str:
        return cls.check(ckpt_name)

    def outputs(self, name: str, rehearsal: bool) -> tuple[Any, ...]:
        """None for what the file does not hold, but a Stage C or B, without which it is none of this model."""
        model = self.model(name, DIFFUSION, rehearsal)
        others = self.models(name, [kind for kinds in self.KINDS[1:] for kind in kinds], rehearsal)
        return model, others.get("text_encoder"), coders.from_models(name, others), others.get("image_encoder")

    def load(self, **given: Any) -> tuple[Any, ...]:
        return super().load(**given)[: len(self.RETURN_TYPES)]

    def rehearse(self, **given: Any) -> tuple[Any, ...]:
        return super().rehearse(**given)[: len(self.RETURN_TYPES)]


class unCLIPCheckpointLoader(CheckpointLoaderSimple):
    DISPLAY_NAME = "Load unCLIP Checkpoint"
    DESCRIPTION = "As Load Checkpoint, with the image encoder, which lets Stage C vary a picture."
    RETURN_TYPES = ("MODEL", "CLIP", "VAE", "CLIP_VISION")
    KINDS = (*CheckpointLoaderSimple.KINDS, ("image_encoder",))


class UNETLoader(ModelFile):
    DISPLAY_NAME = "Load Diffusion Model"
    CATEGORY = "advanced/loaders"
    DESCRIPTION = "Stage C or B. The weights keep the precision that they compute in, whatever `weight_dtype` says."
    RETURN_TYPES = ("MODEL",)
    FILE_INPUT, WHAT, FOLDER = "unet_name", "diffusion model", "diffusion_models"
    BUILT_IN = {name: kinds[:1] for name, kinds in CHECKPOINTS.items()}
    KINDS = (DIFFUSION,)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"unet_name": (cls.names(),), "weight_dtype": (["default", *FP8],)}}

    @classmethod
    def VALIDATE_INPUTS(cls, unet_name: str | None = None) -> bool | str:
        return cls.check(unet_name)

    def load(self, **given: Any) -> tuple[Any, ...]:
        dtype = given["weight_dtype"]
        if dtype in FP8:
            message = f"{given[self.FILE_INPUT]} is not kept as {dtype} here: the picture is a little finer than so"
            host.current().warn(self.DISPLAY_NAME, message)
        return super().load(**given)


class CLIPLoader(ModelFile):
    DISPLAY_NAME = "Load CLIP"
    CATEGORY = "advanced/loaders"
    DESCRIPTION = "The text encoder, CLIP ViT-bigG; `type` is stable_cascade."
    RETURN_TYPES = ("CLIP",)
    FILE_INPUT, WHAT, FOLDER = "clip_name", "text encoder", "text_encoders"
    KINDS = (("text_encoder",),)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        device = (["default", "cpu"], {"advanced": True})
        return {
            "required": {"clip_name": (cls.names(),), "type": (CLIP_TYPES, {graph.RUNS_HERE: [CASCADE_CLIP]})},
            "optional": {"device": device},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, clip_name: str | None = None) -> bool | str:
        return cls.check(clip_name)

    def load(self, **given: Any) -> tuple[Any, ...]:
        _check_type(given["type"])
        return super().load(**given)

    def rehearse(self, **given: Any) -> tuple[Any, ...]:
        _check_type(given["type"])
        return super().rehearse(**given)


def _check_type(kind: str) -> None:
    if kind != CASCADE_CLIP:
        raise CascadeError(
            f"`type` is {kind}, the text encoder of another model, of which nothing runs here: choose {CASCADE_CLIP},"
            " or run the workflow in ComfyUI (`--server URL`)"
        )


class VAELoader(ModelFile):
    DISPLAY_NAME = "Load VAE"
    CATEGORY = "loaders"
    DESCRIPTION = "Stage A, the effnet, the previewer, or the last two in one file."
    RETURN_TYPES = ("VAE",)
    FILE_INPUT, WHAT, FOLDER, BUILT_IN = "vae_name", "VAE", "vae", VAES
    KINDS = (OF_VAE,)

    @classmethod
    def VALIDATE_INPUTS(cls, vae_name: str | None = None) -> bool | str:
        return cls.check(vae_name)

    def outputs(self, name: str, rehearsal: bool) -> tuple[Any, ...]:
        found = coders.from_models(name, self.models(name, OF_VAE, rehearsal))
        return (found or self.model(name, OF_VAE, rehearsal),)  # `model` says what the file is instead


class CLIPVisionLoader(ModelFile):
    DISPLAY_NAME = "Load CLIP Vision"
    CATEGORY = "loaders"
    DESCRIPTION = "The image encoder, CLIP ViT-L."
    RETURN_TYPES = ("CLIP_VISION",)
    FILE_INPUT, WHAT, FOLDER = "clip_name", "image encoder", "clip_vision"
    KINDS = (("image_encoder",),)

    @classmethod
    def VALIDATE_INPUTS(cls, clip_name: str | None = None) -> bool | str:
        return cls.check(clip_name)


class ControlNetLoader(ModelFile):
    DISPLAY_NAME = "Load ControlNet Model"
    CATEGORY = "loaders"
    DESCRIPTION = "A ControlNet for Stage C: canny, inpainting or super-resolution."
    RETURN_TYPES = ("CONTROL_NET",)
    FILE_INPUT, WHAT, FOLDER = "control_net_name", "ControlNet", "controlnet"
    KINDS = (("controlnet",),)

    @classmethod
    def VALIDATE_INPUTS(cls, control_net_name: str | None = None) -> bool | str:
        return cls.check(control_net_name)


NODES = (
    CheckpointLoaderSimple, unCLIPCheckpointLoader, UNETLoader, CLIPLoader, VAELoader, CLIPVisionLoader,
    ControlNetLoader,
)  # fmt: skip
