"""The detectors of faces by name: what is known of them unloaded, and how they are loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..cascade_core.builtin import built_in
from ..cascade_core.errors import CascadeError
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

    return insightface_detector(*_insightface_files())


def _insightface_files() -> tuple[Path, Path]:
    """The paths of finder and embedder, or those where they should be."""
    folders = [folder / place for folder in host.current().model_folders(INSIGHTFACE) for place in PLACES]
    finder, embedder = (
        next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)
        for name in (FINDER, EMBEDDER)
    )
    return finder, embedder


def check(name: object) -> bool | str:
    """For VALIDATE_INPUTS: True, or what is wrong with the choice of this detector."""
    from ..cascade_core.faces import check_present

    if name not in DETECTORS:
        return f"expected one of {', '.join(DETECTORS)}, found {name!r:.80}"
    try:
        if name == INSIGHTFACE:
            check_present(*_insightface_files())
    except CascadeError as error:
        return str(error)
    return True


DETECTORS = {
    TINY: KnownDetector(width=128, family="tiny", make=_cartoon_faces),
    INSIGHTFACE: KnownDetector(width=512, family="stable-cascade", make=_insightface),
}
