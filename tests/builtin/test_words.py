"""What the built-in text encoder knows, as people are told it. Run: pytest tests/builtin/test_words.py"""

from pathlib import Path

import pytest

import stable_cascade_nodes
from stable_cascade_nodes.cascade_core.builtin import built_in, words
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.models.tokenizer import split_words
from stable_cascade_nodes.nodes.conditioning import CascadeTextEncode

PAGE = Path(stable_cascade_nodes.__file__).parent / "web" / "docs" / "CascadeTextEncode.md"


def test_the_node_and_its_page_list_every_word() -> None:
    (path,) = built_in("text_encoder").values()
    known = load("text_encoder", path).module.known_words
    assert len(known) > 50
    for text in (CascadeTextEncode.DESCRIPTION, PAGE.read_text(encoding="utf-8")):
        said = {word.strip(".,") for word in split_words(text)}
        assert {word for word in known if word.isalnum()} - {*words.PLURALS.values()} <= said


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a large red circle on a white background", []),
        ("a face with brown skin, long black hair, glasses and a smile on a rose background", []),
        ("a red star above a blue heart", []),  # held out of the training, not out of the world
        ("a red circle on a green background", ["no green background"]),
        ("two brown circles on a black background", ["no brown circles", "no black background"]),
        ("a (white:1.2) heart, a white heart", ["no white heart"]),
        ("a face with green skin and blue hair", ["no green skin", "no blue hair"]),
        ("a turquoise circle", []),  # a word that is not known is told as such
    ],
)
def test_a_colour_of_something_else(text: str, told: list[str]) -> None:
    assert [sentence.split(" in its world; choose ")[0] for sentence in words.unseen_colours(text)] == [
        f"there is {each}" for each in told
    ]


def test_a_long_list_is_told_in_short_and_a_short_one_whole() -> None:
    assert words.summary(("a", "red", ",", "circle")) == "a, red, circle"
    every = tuple({*words.COLORS, *words.BACKGROUNDS, *words.PLURALS, "zig"})
    assert words.summary(every).startswith("shapes (circle, square, ...)")
