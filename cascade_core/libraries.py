"""Libraries that only some people need: the package that brings each, and how this Python gets it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

PACKAGES = {
    "cv2": "opencv-python-headless",
    "onnxruntime": "onnxruntime",
    "ray": "ray",
    "torchsde": "torchsde",
}  # by module


def missing_packages(*modules: str) -> list[str]:
    """The packages of those modules that are not there."""
    return [PACKAGES[module] for module in modules if find_spec(module) is None]


def install_command(*packages: str) -> str:
    """What a person types; it names the Python, since ComfyUI often has one of its own."""
    return f'"{sys.executable}" -m pip install {" ".join(packages)}'
