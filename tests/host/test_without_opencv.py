"""ComfyUI where no OpenCV is installed: what needs it is refused before anything runs, what does not runs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .conftest import Start
from .server import ComfyUI, Refused

PICTURE = {"class_type": "CascadePicture", "inputs": {"image": "face (built-in)"}}
COMMAND = r'"\S+python\S*" -m pip install'


@pytest.fixture(scope="module")
def bare(start_comfyui: Start, tmp_path_factory: pytest.TempPathFactory) -> ComfyUI:
    """A server whose Python finds neither OpenCV nor onnxruntime."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules.update(cv2=None, onnxruntime=None)\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        return start_comfyui()


def refusal(server: ComfyUI, node: dict[str, Any]) -> str:
    """What validation says of the one node between a picture and an output."""
    shown = {"class_type": "PreviewImage", "inputs": {"images": ["2", 1]}}
    with pytest.raises(Refused) as refused:
        server.submit({"1": PICTURE, "2": node, "3": shown})
    assert refused.value.status == 400
    (error,) = refused.value.answer["node_errors"]["2"]["errors"]
    return error["details"]


def test_canny_is_refused(bare: ComfyUI) -> None:
    node = {"class_type": "CascadeCannyHint", "inputs": {"image": ["1", 0], "low": 100, "high": 200}}
    assert re.search(rf"Canny edges need OpenCV: {COMMAND} opencv-python-headless$", refusal(bare, node))


def test_insightface_is_refused(bare: ComfyUI) -> None:
    inputs = {"image": ["1", 0], "detector": "insightface", "max_faces": 4}
    said = refusal(bare, {"class_type": "CascadeFaceIdentityHint", "inputs": inputs})
    assert re.search(rf"packages \({COMMAND} opencv-python-headless onnxruntime\), and \S+det_10g.onnx", said)


def test_feathers_do_without(bare: ComfyUI) -> None:
    """As the sides of an outpainting, and inside a pasted mask; tests/test_images.py has OpenCV's own distances."""
    sides = {"left": 32, "top": 0, "right": 0, "bottom": 0, "feather": 8}
    paste = {"image": ["2", 0], "original": ["2", 0], "mask": ["2", 1], "feather": 8}
    run = bare.run(
        {
            "1": PICTURE,
            "2": {"class_type": "CascadeOutpaintPad", "inputs": {"image": ["1", 0], **sides}},
            "3": {"class_type": "CascadePasteBack", "inputs": paste},
            "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
        }
    )
    assert run.error is None and len(run.images("4")) == 1
