"""Emphasis brackets: pieces and weights."""

import pytest

from stable_cascade_nodes.cascade_core.models.prompt import parse_weights


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("a red star", [("a red star", 1.0)]),
        ("a (red) star", [("a ", 1.0), ("red", 1.1), (" star", 1.0)]),
        ("a (red:1.3) star", [("a ", 1.0), ("red", 1.3), (" star", 1.0)]),
        ("(red:.5)", [("red", 0.5)]),
        ("(red: 2 )", [("red", 2.0)]),
        ("(red:-1)", [("red", -1.0)]),
        ("((red))", [("red", 1.1 * 1.1)]),
        ("(a (red) star)", [("a ", 1.1), ("red", 1.1 * 1.1), (" star", 1.1)]),
        ("(a (red) star:0.8)", [("a ", 0.8), ("red", 0.8 * 1.1), (" star", 0.8)]),
        ("((red:1.3))", [("red", 1.3)]),
        ("((red:1.3) star:0.5)", [("red", 1.3), (" star", 0.5)]),
        ("(a)(b)", [("a", 1.1), ("b", 1.1)]),
    ],
)
def test_weights(text: str, pieces: list[tuple[str, float]]) -> None:
    parsed = parse_weights(text)
    assert [piece for piece, _ in parsed] == [piece for piece, _ in pieces]
    assert [weight for _, weight in parsed] == pytest.approx([weight for _, weight in pieces])


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (r"a \(red\) star", [("a (red) star", 1.0)]),
        (r"(a \(red\):1.2)", [("a (red)", 1.2)]),
        (r"(smile :\))", [("smile :)", 1.1)]),
        (r"(a:1.2\))", [("a:1.2)", 1.1)]),
        ("back\\slash \\", [("back\\slash \\", 1.0)]),
    ],
)
def test_escapes(text: str, pieces: list[tuple[str, float]]) -> None:
    assert parse_weights(text) == pieces


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a (red star", [("a (red star", 1.0)]),
        ("a) red star", [("a) red star", 1.0)]),
        ("a) (red) (star", [("a) ", 1.0), ("red", 1.1), (" (star", 1.0)]),
        ("(a (red:1.3)", [("(a ", 1.0), ("red", 1.3)]),
        ("()", []),
        ("(:1.3)", [(":1.3", 1.1)]),
        ("(a:)", [("a:", 1.1)]),
        ("(a:b)", [("a:b", 1.1)]),
        ("(a:nan) (b:inf)", [("a:nan", 1.1), (" ", 1.0), ("b:inf", 1.1)]),
        ("[red] {star} a:1.3", [("[red] {star} a:1.3", 1.0)]),
    ],
)
def test_anything_else_is_text(text: str, pieces: list[tuple[str, float]]) -> None:
    assert parse_weights(text) == pieces


def test_deep_nesting_is_no_recursion() -> None:
    depth = 3000
    ((piece, weight),) = parse_weights("(" * depth + "red" + ":2)" * depth)
    assert (piece, weight) == ("red", 2.0)
