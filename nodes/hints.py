"""Nodes that make hints of pictures, which steer Stage C through a ControlNet.

A hint covers the whole picture. The samplers bring it to the size of their latent, and refuse one of another aspect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..runtime import face_detectors
from . import inputs, sockets

if TYPE_CHECKING:
    from torch import Tensor

    from ..cascade_core.hints import Hint
    from ..cascade_core.models.handle import Handle

CANNY_CHANNELS, PICTURE_CHANNELS = 1, 3


class _Hint:
    """The shared part of the hint nodes: their outputs."""

    CATEGORY = "Stable Cascade/hints"
    FUNCTION, REHEARSE = "make", "rehearse"
    RETURN_TYPES, RETURN_NAMES = (sockets.HINT, "IMAGE"), ("hint", "image")
    OUTPUT_TOOLTIPS = ("The hint, for Apply ControlNet.", "What the network sees, to look at.")

    def _outputs(self, hint: Hint) -> tuple[Hint, Tensor]:
        return hint, sockets.to_image(hint.picture)

    def _placeholders(self, kind: str, image: Tensor, channels: int, family: str | None) -> tuple[Hint, Tensor]:
        """A hint of one value a picture, and its picture, not computed: no check asks for the number of values."""
        import torch

        from ..cascade_core.hints import Hint

        batch, height, width = sockets.image_size("image", image)
        values = torch.empty(batch, channels, 1, 1, device="meta")
        picture = sockets.placeholder_image(batch, height, width)
        return Hint(kind, values, picture.movedim(-1, 1), (height, width), family), picture


class CascadePictureHint(_Hint):
    DISPLAY_NAME = "Picture Hint"
    DESCRIPTION = (
        "A control picture as it is, for a ControlNet that was trained from own control pictures (Train ControlNet)."
    )
    SEARCH_ALIASES = ("stable cascade", "control picture", "own", "controlnet", "pose", "depth", "preprocessor")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        tooltip = "A control picture such as the ControlNet was trained with, of the aspect of what is to be made."
        return {"required": {"image": inputs.wire("IMAGE", tooltip)}}

    def make(self, image: Tensor) -> tuple[Hint, Tensor]:
        from ..cascade_core.hints import make_picture_hint

        return self._outputs(make_picture_hint(sockets.to_pixels(image)))

    def rehearse(self, image: Tensor) -> tuple[Hint, Tensor]:
        return self._placeholders("picture", image, PICTURE_CHANNELS, None)


class CascadeCannyHint(_Hint):
    DISPLAY_NAME = "Canny Hint"
    DESCRIPTION = (
        "The edges of a picture, found as officially: at 224 x 224, whatever its size. Stage C then draws something"
        " else with these edges."
    )
    SEARCH_ALIASES = ("stable cascade", "canny", "edges", "lines", "controlnet", "preprocessor")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": inputs.wire("IMAGE", "The picture whose edges are kept. A batch gives one hint for each."),
                "low": inputs.integer(100, 0, 1000, "Edges this strong are kept where they continue others."),
                "high": inputs.integer(200, 0, 1000, "Edges this strong are kept; lower finds more of them."),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, image: object = None) -> bool | str:
        """True, or how to get OpenCV; `image`, a link, is named since a host asks about nothing only where it is."""
        from ..cascade_core.hints import import_opencv

        try:
            import_opencv()
        except CascadeError as error:
            return str(error)
        return True

    def make(self, image: Tensor, low: int, high: int) -> tuple[Hint, Tensor]:
        from ..cascade_core.hints import make_canny_hint

        return self._outputs(make_canny_hint(sockets.to_pixels(image), low, high))

    def rehearse(self, image: Tensor, low: int, high: int) -> tuple[Hint, Tensor]:
        from ..cascade_core.hints import import_opencv

        import_opencv()
        return self._placeholders("canny", image, CANNY_CHANNELS, None)


class CascadeInpaintHint(_Hint):
    DISPLAY_NAME = "Inpainting Hint"
    DESCRIPTION = (
        "The picture with white where the mask is: there Stage C fills in what the prompt says. For outpainting it"
        " takes the padded picture and its mask. Paste Back then keeps all other pixels exactly."
    )
    SEARCH_ALIASES = ("stable cascade", "inpaint", "outpaint", "mask", "controlnet", "preprocessor")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": inputs.wire("IMAGE", "The picture."),
                "mask": inputs.wire("MASK", "1 where it is made anew. Any size of the picture's aspect."),
                "threshold": inputs.decimal(
                    0.5, 0.0, 0.99, "What the mask must exceed: the network knows no half masked pixels."
                ),
            }
        }

    def make(self, image: Tensor, mask: Tensor, threshold: float) -> tuple[Hint, Tensor]:
        from ..cascade_core.hints import make_inpaint_hint

        fitted = self._mask(image, mask, threshold)
        return self._outputs(make_inpaint_hint(sockets.to_pixels(image), fitted, threshold))

    def rehearse(self, image: Tensor, mask: Tensor, threshold: float) -> tuple[Hint, Tensor]:
        from ..cascade_core.hints import make_inpaint_hint

        batch, height, width = sockets.image_size("image", image)
        pixels = sockets.placeholder_image(batch, height, width).movedim(-1, 1)
        hint = make_inpaint_hint(pixels, self._mask(image, mask, threshold).to("meta"), threshold)
        return hint, hint.picture.movedim(1, -1)

    def _mask(self, image: Tensor, mask: Tensor, threshold: float) -> Tensor:
        """The mask as the hint takes it. CascadeError where nothing is to be filled in, as far as is known."""
        fitted = sockets.to_mask(mask, image)
        if not fitted.is_meta and not (fitted > threshold).any():
            raise CascadeError(
                f"Nothing of the mask is over {threshold:g}, so there is nothing to fill in: paint over what is to be"
                " made anew, make it transparent in the picture, or give Picture a file as `mask` that is white there"
                " (--set Picture.mask=FILE)"
            )
        return fitted


class CascadeSuperResolutionHint(_Hint):
    DISPLAY_NAME = "Super-resolution Hint"
    DESCRIPTION = (
        "The latent of a small picture, doubled: Stage C then makes the same picture at any larger size of its aspect,"
        " with new detail."
    )
    SEARCH_ALIASES = ("stable cascade", "upscale", "enlarge", "super resolution", "controlnet", "preprocessor")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "effnet": inputs.wire(sockets.EFFNET, "The effnet, of the same family as Stage C."),
                "image": inputs.wire("IMAGE", "The picture to make larger."),
            }
        }

    def make(self, effnet: Handle, image: Tensor) -> tuple[Hint, Tensor]:
        from ..cascade_core.hints import make_super_resolution_hint

        return self._outputs(make_super_resolution_hint(effnet, sockets.to_pixels(image)))

    def rehearse(self, effnet: Handle, image: Tensor) -> tuple[Hint, Tensor]:
        return self._placeholders("super_resolution", image, effnet.config.c_latent, effnet.family)


class CascadeFaceIdentityHint(_Hint):
    DISPLAY_NAME = "Face Identity Hint"
    DESCRIPTION = (
        "Who is where in a picture: the faces in it, and for each the numbers by which it is known. Stage C then draws"
        " these people there, before whatever the prompt says."
    )
    SEARCH_ALIASES = ("stable cascade", "face", "identity", "insightface", "arcface", "controlnet", "preprocessor")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": inputs.wire("IMAGE", "A picture with at least one face."),
                "detector": inputs.choice(
                    face_detectors.DETECTORS,
                    face_detectors.TINY,
                    "Who finds faces: the built-in detector knows cartoon faces, for the built-in ControlNet;"
                    " insightface knows people (extra `face`, its files in models/insightface).",
                ),
                "max_faces": inputs.integer(4, 1, 12, "At most so many faces, the large ones near the middle first."),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, detector: object = None) -> bool | str:
        """True, or what the detector misses; None is a link."""
        return True if detector is None else face_detectors.check(detector)

    def make(self, image: Tensor, detector: str, max_faces: int) -> tuple[Hint, Tensor]:
        from ..cascade_core.hints import make_identity_hint

        pixels = sockets.to_pixels(image)
        return self._outputs(make_identity_hint(face_detectors.DETECTORS[detector].make(), pixels, max_faces))

    def rehearse(self, image: Tensor, detector: str, max_faces: int) -> tuple[Hint, Tensor]:
        chosen = face_detectors.DETECTORS[detector]
        return self._placeholders("identity", image, chosen.width, chosen.family)


NODES = (CascadePictureHint, CascadeCannyHint, CascadeInpaintHint, CascadeSuperResolutionHint, CascadeFaceIdentityHint)
