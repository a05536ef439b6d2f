"""Prompts of the nodes that the stand-in for a ComfyUI has (fake_server.py), and a picture as its result."""

import io

from PIL import Image

from ..headless.graph.fake_nodes import node

PROMPT = {"1": node("Text", "Words", text="hello"), "2": node("Show", "Out", text=["1", 0])}
LOAD = {"1": node("LoadImage", "Picture", image="a.png"), "2": node("SaveImage", images=["1", 0], filename_prefix="b")}
IMAGE = {"filename": "a_00001_.png", "subfolder": "", "type": "output"}


def png() -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (5, 4), "red").save(written, "PNG")
    return written.getvalue()


PNG = png()
