"""Shipped workflows run in this process, with other settings, by the nodes that the command has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import stable_cascade_nodes
from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cascade_core.builtin.world import Scene
from stable_cascade_nodes.headless import graph, node_classes, workflow_file

FOLDER = Path(stable_cascade_nodes.__file__).parent / "workflows"


class Keeper:
    """In place of SaveImage and PreviewImage: keeps the pictures."""

    kept: list[torch.Tensor] = []
    RETURN_TYPES = ()
    FUNCTION = "keep"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE",)}, "optional": {"filename_prefix": ("STRING", {})}}

    def keep(self, images: torch.Tensor, filename_prefix: str = "") -> dict[str, Any]:
        self.kept.append(images)
        return {"ui": {"images": []}}


class Runner:
    """A workflow that is run again and again; loaded models stay."""

    def __init__(self, name: str, folder: Path, always: Mapping[str, Any] | None = None) -> None:
        """name: of the workflow; folder: the input folder, for the pictures that `give` draws; always: settings."""
        self.folder, self.always = folder, always or {}
        self.nodes = {**node_classes.load().classes, "SaveImage": Keeper, "PreviewImage": Keeper}
        self.prompt = graph.convert(workflow_file.read(FOLDER / f"{name}.json"), graph.definitions(self.nodes)).prompt
        self.cache = graph.Cache()
        self.given = 0

    def give(self, *scenes: Scene, side: int = 256, margin: int = 0, hole: np.ndarray | None = None) -> str:
        """Scenes as a file of the input folder, several as its frames -> its name, for `Picture.image`.

        side: to which they are made smaller; margin: pixels that are cut off all around; hole: bool (256, 256), where
        all of them are transparent.
        """
        box = (margin, margin, 256 - margin, 256 - margin)
        pictures = [draw(scene).crop(box) for scene in scenes]
        if side < 256:
            pictures = [picture.resize((side, side), Image.Resampling.BOX) for picture in pictures]
        if hole is not None:
            for picture in pictures:
                picture.putalpha(Image.fromarray(np.where(hole, 0, 255).astype(np.uint8)))
        self.given += 1
        name = f"given-{self.given}.png"
        pictures[0].save(self.folder / name, save_all=True, append_images=pictures[1:])
        return name

    def run(self, settings: Mapping[str, Any]) -> np.ndarray:
        """With settings by `Title.input`, or `Class.input` -> the picture out, uint8 (B, H, W, 3)."""
        prompt = {key: {**node, "inputs": dict(node["inputs"])} for key, node in self.prompt.items()}
        for setting, value in {**self.always, **settings}.items():
            wanted, _, name = setting.partition(".")
            (node,) = [n for n in prompt.values() if wanted in (graph.title_of(n), n["class_type"])]
            node["inputs"][name] = value
        (out,) = [key for key, node in prompt.items() if graph.title_of(node) == "Picture out"]
        problems = graph.validate(prompt, self.nodes).problems
        assert not problems, problems
        Keeper.kept.clear()
        with torch.inference_mode():
            graph.execute(graph.Plan(prompt, self.nodes, outputs=[out], cache=self.cache))
        (image,) = Keeper.kept
        return (image * 255).round().byte().numpy()
