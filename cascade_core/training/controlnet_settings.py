"""The settings of a ControlNet. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import CascadeError
from ..kinds import FACE_DETECTORS
from .setting import REQUIRED, setting, share
from .settings import TrainingSettings

BOTTLENECK_OF_HINT = {
    "own": "effnet",
    "canny": "effnet",
    "inpainting": "effnet",
    "super_resolution": "large",
    "identity": "simple",
}


@dataclass(frozen=True)
class ControlNetSettings(TrainingSettings):
    """The settings of a ControlNet. `detector` is a name: whoever begins the training brings the detector itself."""

    hint: str = setting(
        "own",
        "What it is steered by: own control pictures, which lie under the pictures' names in the data set's sub-folder"
        " `control`; or edges, holes, small pictures or faces that are made of the pictures themselves.",
        choices=tuple(BOTTLENECK_OF_HINT),
        place=REQUIRED,
    )
    bottleneck: str = setting(
        "auto",
        "How a new one sees hints: effnet by pixels; simple and large by one value for each cell of the latent. auto is"
        " what the published ones have.",
        choices=("auto", "effnet", "simple", "large"),
    )
    detector: str = setting(
        FACE_DETECTORS[0], "Who finds the faces, for identity alone.", choices=FACE_DETECTORS, may_change=True
    )
    offset_noise: float = share(
        0.0,
        "Noise that is the same all over the picture, so that brightness is learned: 0.1 officially for inpainting and"
        " super-resolution, else 0.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bottleneck == "effnet" and BOTTLENECK_OF_HINT[self.hint] != "effnet":
            raise CascadeError(
                f"bottleneck: effnet takes pixels, but {self.hint} hints have one value for each cell of the latent:"
                " choose auto, simple or large"
            )
