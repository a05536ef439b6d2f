"""The detectors of faces by name: what is known of them unloaded, and how they are loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..cascade_core.builtin import built_in
from ..cascade_core.kinds import FACE_DETECTORS
from . import host

if TYPE_CHECKING:
    from ..cascade_core.hints import Detector

TINY, INSIGHTFACE = FACE_DETECTORS
PLACES = ("models/buffalo_l", "buffalo_l", "")  # sub-folders of the model folder; insightface itself uses the first
FINDER, EMBEDDER = "det_10g.onnx", "w600k_r50.onnx"


@dataclass(frozen=True)
class KnownDetector:
    """A detector that is not loaded: the width of its embeddings, and the family of the ControlNets that know them."""

    width: int
    family: str
    make: Callable[[], Detector]


def _cartoon_faces() -> Detector:
    from ..cascade_core.builtin.faces import CartoonFaces
    from ..cascade_core.files.load import load

    path = built_in("image_encoder")[TINY]
    here = host.current()
    return CartoonFaces(load("image_encoder", path, name=TINY, device=here.device(), placement=here.placement()))


def _insightface() -> Detector:
    from ..cascade_core.faces import insightface_detector

    return insightface_detector(_insightface_file(FINDER), _insightface_file(EMBEDDER))


def _insightface_file(name: str) -> Path:
    """The path of the file, or the one where it should be."""
    paths = [folder / place / name for folder in host.current().model_folders(INSIGHTFACE) for place in PLACES]
    return next((path for path in paths if path.is_file()), paths[0])


DETECTORS = {
    TINY: KnownDetector(width=128, family="tiny", make=_cartoon_faces),
    INSIGHTFACE: KnownDetector(width=512, family="stable-cascade", make=_insightface),
}
