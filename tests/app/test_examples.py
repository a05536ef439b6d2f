"""The prompts that the page offers: built-in models know their words, and draw them.

Run: pytest tests/app/test_examples.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stable_cascade_nodes.app import examples
from stable_cascade_nodes.cascade_core.builtin import words
from stable_cascade_nodes.headless import shipped
from stable_cascade_nodes.recipes.tiny import reader

from ..workflow_runs import Runner

PROMPTS = {(name, prompt) for name in shipped.names() for prompt in examples.prompts(name, True, "a star")}
SEED = 1


@pytest.mark.parametrize(("workflow", "prompt"), sorted(PROMPTS))
def test_the_built_in_encoder_knows_every_word(tiny: Callable[..., Any], workflow: str, prompt: str) -> None:
    learned = {"[zig]"} if workflow.startswith("lora") else set[str]()
    assert set(tiny("text_encoder").module.unknown_words(prompt)) <= learned
    assert words.unseen_colours(prompt) == []


def test_a_workflow_that_wants_no_prompt_has_none_and_published_models_get_others() -> None:
    assert examples.prompts("image_variation", True, "") == ()
    published = examples.prompts("text_to_image", False, "a star")
    assert published and not set(published) & {prompt for _, prompt in PROMPTS}
    assert examples.prompts("my_own_way", True, "a star") == examples.prompts("text_to_image", True, "a star")


def test_they_are_drawn_as_they_say(tmp_path: Path) -> None:
    runner = Runner("text_to_image", tmp_path)
    drawn: list[reader.Reading] = []
    for prompt in examples.prompts("text_to_image", True, "a star"):
        (made, *_) = runner.run({"Prompt.text": prompt, "Stage C.seed": SEED, "Stage B.seed": SEED})
        drawn.append(reader.read(Image.fromarray(made)))
    circle, pair, three, face = drawn
    assert [(shape.color, shape.shape) for shape in circle.shapes] == [("red", "circle")]
    assert {(shape.color, shape.shape) for shape in pair.shapes} == {("blue", "star"), ("yellow", "heart")}
    assert [(shape.color, shape.shape) for shape in three.shapes] == [("green", "square")] * 3
    assert face.face is not None and (face.face.skin, face.face.hair, face.face.glasses) == ("brown", "black", True)
    assert [one.background for one in drawn] == ["white", "mint", "gray", "sky"]
