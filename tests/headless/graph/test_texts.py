"""Dynamic prompts."""

import pytest

from stable_cascade_nodes.headless.graph.texts import expand_choices


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red star", "a red star"),
        ("a red star // not this\nand more", "a red star \nand more"),
        ("a /* large\nold */ star", "a  star"),
        ("{only}", "only"),
        ("{same|same} {{deep|deep}|deep}", "same deep"),
        (r"\{kept\|as it is\}", "{kept|as it is}"),
        (r"a \(bracket\) and {b\|c}", r"a \(bracket\) and b|c"),
        ("a | b } c", "a | b } c"),
        ("open {to the end", "open to the end"),
        ("ends with \\", "ends with \\"),
        ("{" * 5000, "{" * 4000),  # no person means that
    ],
)
def test_expand(text: str, expected: str) -> None:
    assert expand_choices(text) == expected


def test_every_choice_is_made_and_made_again_alike() -> None:
    texts = [f"{i} {{red|green|blue}}" for i in range(60)]
    assert {expand_choices(text).split()[1] for text in texts} == {"red", "green", "blue"}
    assert [expand_choices(text) for text in texts] == [expand_choices(text) for text in texts]
