"""The face detectors that a node offers, by name: their facts before they are loaded, and how to load them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..cascade_core.builtin import built_in
from . import host

if TYPE_CHECKING:
    from ..cascade_core.hints import Detector

TINY = "tiny (built-in)"
INSIGHTFACE = "insightface"  # the detector, and the model folder where its files lie
PLACES = ("models/buffalo_l", "buffalo_l", "")  # in that folder; the first is where insightface itself puts them
FINDER, EMBEDDER = "det_10g.onnx", "w600k_r50.onnx"


@dataclass(frozen=True)
class Choice:
    """A detector; `width` is that of its embeddings, `family` that of the ControlNets that know them."""

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
    """Where the file lies, or should."""
    paths = [folder / place / name for folder in host.current().model_folders(INSIGHTFACE) for place in PLACES]
    return next((path for path in paths if path.is_file()), paths[0])


DETECTORS = {
    TINY: Choice(width=128, family="tiny", make=_cartoon_faces),
    INSIGHTFACE: Choice(width=512, family="stable-cascade", make=_insightface),
}
