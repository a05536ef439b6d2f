"""CascadeTextEncode: a native CONDITIONING, and one warning for words that the encoder does not know."""

from collections.abc import Callable

import pytest
import torch

from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.pipeline import encode_text
from stable_cascade_nodes.nodes.conditioning import CascadeTextEncode

from .conftest import WORDS

Part = Callable[[str], Handle]


def test_a_known_prompt(part: Part, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = part("text_encoder")
    (conditioning,) = CascadeTextEncode().encode(encoder, "a red circle")
    ((sequence, options),) = conditioning
    assert sequence.shape == (1, 24, 128) and options["pooled_output"].shape == (1, 128)
    assert options["cascade_family"] == "tiny"
    expected = encode_text(encoder, "a red circle")
    assert torch.equal(sequence, expected.sequence) and torch.equal(options["pooled_output"], expected.pooled)
    assert capsys.readouterr().err == ""


def test_unknown_words_are_named_once_with_the_known_ones(part: Part, capsys: pytest.CaptureFixture[str]) -> None:
    answer = CascadeTextEncode().encode(part("text_encoder"), "a sunset, a red sunset")
    assert set(answer) == {"ui", "result"}
    ((sequence, _),) = answer["result"][0]
    assert sequence.shape == (1, 24, 128)
    (message,) = answer["ui"]["text"]
    assert message.count("sunset") == 1
    assert ", ".join(WORDS) in message
    assert message in capsys.readouterr().err


def test_the_empty_prompt_is_fine(part: Part) -> None:
    assert isinstance(CascadeTextEncode().encode(part("text_encoder"), ""), tuple)
