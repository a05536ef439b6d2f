"""What the registry hands out, laid down in `custom_nodes` as it is installed: every node is there, and they draw."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stable_cascade_nodes import NODE_CLASS_MAPPINGS
from stable_cascade_nodes.headless import graph, shipped, workflow_file
from stable_cascade_nodes.recipes import languages
from stable_cascade_nodes.recipes.tiny.reader import is_right

from .. import registry_archive
from ..recipes.tiny.caption_parser import scene_of
from .conftest import Start
from .server import PACK, ComfyUI

PROMPT = "a large red star at the center on a white background"


@pytest.fixture(scope="module")
def installed(start_comfyui: Start, tmp_path_factory: pytest.TempPathFactory) -> ComfyUI:
    folder = tmp_path_factory.mktemp("registry")
    pack = registry_archive.unpack(folder / "custom_nodes" / PACK)
    assert not (pack / "app").exists() and not (pack / "recipes").exists()
    return start_comfyui(pack=None, folder=folder)


def test_every_node_and_every_word_is_there(installed: ComfyUI) -> None:
    assert "IMPORT FAILED" not in installed.log()
    assert installed.object_info().keys() >= NODE_CLASS_MAPPINGS.keys()
    assert installed.get("/i18n").keys() >= set(languages.LANGUAGES)
    assert set(shipped.names()) <= set(installed.get("/workflow_templates")[PACK])
    assert b"# " in installed.fetch(f"/extensions/{PACK}/docs/CascadePicture.md")


def test_text_to_image_draws_what_it_is_told(installed: ComfyUI) -> None:
    workflow = workflow_file.read(Path(shipped.FOLDER / "text_to_image.json"))
    prompt = graph.convert(workflow, *graph.read_object_info(installed.object_info())).prompt
    by_title = {graph.title_of(node): id for id, node in prompt.items()}
    prompt[by_title["Prompt"]]["inputs"]["text"] = PROMPT
    run = installed.run(prompt)
    assert run.error is None
    (image,) = run.images(by_title["Picture out"])
    picture = np.asarray(Image.open(io.BytesIO(installed.view(**image))).convert("RGB"))
    assert is_right(picture, scene_of(PROMPT))
