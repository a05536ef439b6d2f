"""Both sides of a KSampler as ComfyUI puts them into one batch; that the latents are its own, tests/host compares."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch

from stable_cascade_nodes.cascade_core.sampling.condition import Condition
from stable_cascade_nodes.cascade_core.sampling.control import Control
from stable_cascade_nodes.headless.native.one_batch import arrange

CHUNK = 77


def words(chunks: int = 1, *controls: Control, images: int | None = None) -> Condition:
    seen = None if images is None else torch.randn(1, images, 8)
    return Condition(torch.randn(1, CHUNK * chunks, 4), torch.randn(1, 4), seen, controls=controls)


def control(on_unconditional: bool) -> Control:
    return Control(cast(Any, None), torch.zeros(1, 3, 8, 8), (8, 8), on_unconditional=on_unconditional)


def lengths(side: list[Condition]) -> list[int]:
    return [condition.sequence.shape[1] // CHUNK for condition in side]


def test_texts_of_different_lengths_are_repeated_to_one() -> None:
    long, short, other = words(2), words(), words(3)
    (first, second), (third,) = arrange([long, other], [short], guided=True)
    assert lengths([first, second, third]) == [6, 6, 6]
    assert torch.equal(third.sequence, short.sequence.repeat(1, 6, 1))
    assert torch.equal(first.sequence, long.sequence.repeat(1, 3, 1))


def test_what_is_not_in_one_batch_stays() -> None:
    long, short = words(2), words()
    assert [*map(lengths, arrange([long], [short], guided=False))] == [[2], [1]]
    assert [*map(lengths, arrange([words(5)], [short], guided=True))] == [[5], [1]]
    assert [*map(lengths, arrange([words(2, images=2)], [short], guided=True))] == [[2], [1]]
    assert [*map(lengths, arrange([words(2, images=1)], [short], guided=True))] == [[2], [2]]
    assert [*map(lengths, arrange([words(2, control(False))], [short], guided=True))] == [[2], [1]]
    assert [*map(lengths, arrange([words(2, control(True))], [short], guided=True))] == [[2], [2]]


def test_a_control_for_the_positive_side_acts_on_the_negative_one_in_full() -> None:
    """However many positive conditions there are, and whenever they act; the last one wins."""
    first, second = control(True), control(True)
    late = replace(words(1, second), start=0.6)
    positive, negative = arrange([words(1, first), late, words()], [words()], guided=True)
    assert [one.controls for one in (*positive, *negative)] == [(first,), (second,), (), (second,)]
    assert not any(one.shares_controls for one in positive)
    _, negative = arrange([words(1, first), words(1, second)], [words(), words(), words()], guided=True)
    assert [one.controls for one in negative] == [(first,), (second,), ()]


def test_a_negative_side_with_controls_of_its_own_gets_no_others() -> None:
    own, given = control(True), control(True)
    _, negative = arrange([words(1, given)], [words(1, own), words()], guided=True)
    assert [one.controls for one in negative] == [(own,), ()]


def test_the_node_that_was_applied_last_says_whether_the_negative_side_gets_the_controls() -> None:
    both, only = control(True), control(False)
    for controls, expected in (((only, both), (only, both)), ((both, only), ())):
        _, (negative,) = arrange([words(1, *controls)], [words()], guided=True)
        assert negative.controls == expected
