"""The text encoder against plain transformers; emphasis, long prompts, meta build, training."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from stable_cascade_nodes.benchmarks.peers import deviation
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.models.clip_config import PUBLISHED_TEXT, TINY_TEXT, TextConfig
from stable_cascade_nodes.cascade_core.models.text import TextEncoder
from stable_cascade_nodes.cascade_core.models.tokenizer import AddedTokens, PublishedTokenizer, WordTokenizer

WORDS = ("a", "large", "small", "red", "blue", "star", "heart", "on", ",", "white", "background")
MEDIUM = replace(PUBLISHED_TEXT, vocab_size=400, hidden_size=256, intermediate_size=512, layers=6, heads=8)
PROMPTS = ["a red star", "", "A Blue heart, on a white background!"]


@pytest.fixture(scope="module")
def tiny() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(TINY_TEXT, WordTokenizer(WORDS, TINY_TEXT.max_positions)).requires_grad_(False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_clip_files: Callable[[Path], int]) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_clip_files(folder)
    return folder


@pytest.fixture(scope="module")
def medium(folder: Path) -> TextEncoder:
    torch.manual_seed(1)
    encoder = TextEncoder(MEDIUM, PublishedTokenizer(folder)).requires_grad_(False)
    for parameter in encoder.parameters():  # biases and norms start at 0 and 1: make every one count
        parameter.add_(0.02 * torch.randn_like(parameter))
    return encoder


def reference(encoder: TextEncoder, eos_token_id: int) -> Any:
    """The same weights in transformers' own model."""
    config = encoder.config
    model = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=config.max_positions,
            projection_dim=config.projection_dim,
            hidden_act=config.hidden_act,
            bos_token_id=encoder.tokenizer.start,
            eos_token_id=eos_token_id,
            pad_token_id=encoder.tokenizer.pad,
        )
    )
    model.load_state_dict(encoder.state_dict(), strict=True)
    return model.eval()


@pytest.mark.parametrize("legacy", [True, False])
def test_equals_plain_transformers(medium: TextEncoder, folder: Path, legacy: bool) -> None:
    end = medium.tokenizer.end
    prompts = [*PROMPTS, "red star " * 60]  # the last one is over the limit
    batch = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)(
        prompts, padding="max_length", truncation=True, max_length=77, return_tensors="pt"
    )
    chunks = [chunk for prompt in prompts for chunk in medium._split(prompt, truncate=True)]
    ids, mask = medium._pad(chunks)
    assert torch.equal(ids, batch.input_ids) and torch.equal(mask, batch.attention_mask)

    model = reference(medium, 2 if legacy else end)
    with torch.no_grad():
        expected = model(**batch, output_hidden_states=True)
        faster = medium.encode(prompts, truncate=True)  # by oneDNN's products
    got = medium.encode(prompts, truncate=True)  # where gradients could be wanted, by torch's own
    assert deviation(faster.sequence, got.sequence) < 1e-5
    assert deviation(faster.pooled, got.pooled) < 1e-5
    assert got.sequence.shape == (4, 77, 256) and got.pooled.shape == (4, 1280)
    assert torch.equal(got.sequence, expected.hidden_states[-1])
    torch.testing.assert_close(got.pooled, expected.text_embeds, rtol=0, atol=1e-6)
    # The sequence is the one before the last norm, and the mask is felt behind the end token.
    normed = model.text_model.final_layer_norm(got.sequence)
    torch.testing.assert_close(normed, expected.last_hidden_state, rtol=0, atol=1e-6)
    unmasked = model(batch.input_ids, output_hidden_states=True).hidden_states[-1]
    assert not torch.allclose(got.sequence[0, 10:], unmasked[0, 10:], atol=1e-3)


def test_plain_short_prompts_equal_the_official_ones(medium: TextEncoder) -> None:
    official, ours = medium.encode(PROMPTS, truncate=True), medium.encode(PROMPTS)
    assert torch.equal(ours.sequence, official.sequence) and torch.equal(ours.pooled, official.pooled)
    full = "red " * 75
    assert torch.equal(medium.encode([full]).sequence, medium.encode([full], truncate=True).sequence)


def test_tiny_equals_plain_transformers(tiny: TextEncoder) -> None:
    words = "a red star"
    row = [tiny.tokenizer.start, *tiny.tokenizer.encode(words), tiny.tokenizer.end]
    ids = torch.tensor([row + [tiny.tokenizer.pad] * (24 - len(row))])
    mask = torch.tensor([[1] * len(row) + [0] * (24 - len(row))])
    with torch.no_grad():
        expected = reference(tiny, tiny.tokenizer.end)(ids, mask, output_hidden_states=True)
    got = tiny.encode([words])
    torch.testing.assert_close(got.sequence, expected.hidden_states[-1], rtol=0, atol=1e-6)
    torch.testing.assert_close(got.pooled, expected.text_embeds, rtol=0, atol=1e-6)


def test_published_names_and_sizes(folder: Path) -> None:
    with torch.device("meta"):
        encoder = TextEncoder(PUBLISHED_TEXT, PublishedTokenizer(folder))
    names = encoder.state_dict()
    assert len(names) == 2 + 32 * 16 + 2 + 1
    assert all(name.startswith("text_model.") for name in names if name != "text_projection.weight")
    assert names["text_projection.weight"].shape == (1280, 1280)
    assert names["text_model.embeddings.token_embedding.weight"].shape == (49408, 1280)
    assert names["text_model.encoder.layers.31.mlp.fc1.weight"].shape == (5120, 1280)
    assert names["text_model.encoder.layers.0.self_attn.q_proj.bias"].shape == (1280,)
    assert sum(tensor.numel() for tensor in names.values()) == 694_659_840


def test_weights_move_rows_away_from_the_empty_prompt(tiny: TextEncoder) -> None:
    plain, empty = tiny.encode(["a red star"]), tiny.encode([""])
    weighted = tiny.encode(["a (red:1.3) (star:0)"])
    expected = plain.sequence.clone()
    expected[:, 2] = empty.sequence[:, 2] + 1.3 * (plain.sequence[:, 2] - empty.sequence[:, 2])
    expected[:, 3] = empty.sequence[:, 3]
    torch.testing.assert_close(weighted.sequence, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(weighted.pooled, plain.pooled, rtol=0, atol=1e-6)
    # Weight 1 changes nothing, not even the last bit.
    assert torch.equal(tiny.encode(["a (red:1.0) star"]).sequence, plain.sequence)


def test_truncated_prompts_keep_brackets_as_text(medium: TextEncoder) -> None:
    literal = medium.encode([r"a \(red:1.3\) star"])
    assert torch.equal(medium.encode(["a (red:1.3) star"], truncate=True).sequence, literal.sequence)


def test_long_prompts_in_chunks(tiny: TextEncoder) -> None:
    first, second = "red star " * 11, "blue heart"  # 22 words fill a chunk
    long = tiny.encode([first + second])
    assert long.sequence.shape == (1, 48, TINY_TEXT.hidden_size)
    torch.testing.assert_close(long.sequence[:, :24], tiny.encode([first]).sequence, rtol=0, atol=1e-6)
    torch.testing.assert_close(long.sequence[:, 24:], tiny.encode([second]).sequence, rtol=0, atol=1e-6)
    torch.testing.assert_close(long.pooled, tiny.encode([first]).pooled, rtol=0, atol=1e-6)
    assert torch.equal(tiny.encode([first + second], truncate=True).sequence, tiny.encode([first]).sequence)

    weighted = tiny.encode([first + "(blue:1.3) heart"])
    expected = tiny.encode(["(blue:1.3) heart"]).sequence
    torch.testing.assert_close(weighted.sequence[:, 24:], expected, rtol=0, atol=1e-6)


def test_a_short_piece_is_not_parted(tiny: TextEncoder) -> None:
    """As ComfyUI joins chunks: up to 7 tokens of one weight stay together, 8 and more fill the chunk."""
    first = "red star " * 9  # 18 of 22
    for count, lengths in ((4, [22]), (5, [18, 5]), (7, [18, 7]), (8, [22, 4])):
        chunks = tiny._split(first + f"({'blue ' * count}:1.3)", truncate=False)
        assert [len(chunk) for chunk in chunks] == lengths
        assert [weight for chunk in chunks for _, weight in chunk] == [1.0] * 18 + [1.3] * count
    joined = tiny.encode([first + "(blue heart on a large star:1.3)"]).sequence
    parts = [tiny.encode([text]).sequence for text in (first, "(blue heart on a large star:1.3)")]
    torch.testing.assert_close(joined, torch.cat(parts, dim=1), rtol=0, atol=1e-5)


def test_unequal_batch_is_filled_with_the_empty_prompt(tiny: TextEncoder) -> None:
    short, long = "(red:1.5) star", "red star " * 12
    both = tiny.encode([short, long])
    assert both.sequence.shape == (2, 48, TINY_TEXT.hidden_size)
    assert both.pooled.shape == (2, TINY_TEXT.projection_dim)
    filled = torch.cat([tiny.encode([short]).sequence, tiny.encode([""]).sequence], dim=1)
    torch.testing.assert_close(both.sequence[:1], filled, rtol=0, atol=1e-6)
    torch.testing.assert_close(both.sequence[1:], tiny.encode([long]).sequence, rtol=0, atol=1e-6)
    torch.testing.assert_close(both.pooled[1:], tiny.encode([long]).pooled, rtol=0, atol=1e-5)


def test_pooling_at_a_trained_token(tiny: TextEncoder) -> None:
    tokenizer = AddedTokens(tiny.tokenizer, {"[zig]": [tiny.tokenizer.end + 1]})
    ids = torch.tensor([[tiny.tokenizer.start, 0, tokenizer.encode("[zig]")[0], 5, *[tiny.tokenizer.end] * 20]])
    mask = torch.tensor([[1] * 5 + [0] * 19])
    for eos_token_id, position in ((2, 2), (tiny.tokenizer.end, 4)):
        encoder = TextEncoder(replace(TINY_TEXT, eos_token_id=eos_token_id), tokenizer)
        encoder.load_state_dict(tiny.state_dict())
        sequence, pooled = encoder(ids, mask)
        with torch.no_grad():
            expected = encoder.text_projection(encoder.text_model.final_layer_norm(sequence[:, position]))
            plain = reference(encoder, eos_token_id)(ids, mask).text_embeds
        torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(pooled, plain, rtol=0, atol=1e-6)


def test_unknown_words(tiny: TextEncoder, medium: TextEncoder) -> None:
    text = "a (purple:1.3) Zig, purple (red) [star]"
    assert tiny.unknown_words(text) == ["purple", "zig", "[star]"]
    assert tiny.known_words == WORDS
    assert torch.equal(tiny.encode(["a purple star"]).sequence, tiny.encode(["a star"]).sequence)
    assert medium.unknown_words(text) == [] and medium.known_words == ()


def test_tokenizer_of_another_encoder_is_refused() -> None:
    with pytest.raises(CascadeError, match="102 tokens and prompts of 24, the encoder 100 tokens"):
        TextEncoder(TINY_TEXT, WordTokenizer([f"w{i}" for i in range(100)], 24))
    with pytest.raises(CascadeError, match="prompts of 30"):
        TextEncoder(TINY_TEXT, WordTokenizer(WORDS, 30))


def load_on_meta(config: TextConfig, source: TextEncoder) -> TextEncoder:
    with torch.device("meta"):
        encoder = TextEncoder(config, source.tokenizer)
    weights = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    encoder.load_state_dict(weights, strict=True, assign=True)
    return encoder


def test_meta_build_then_assign(tiny: TextEncoder) -> None:
    encoder = load_on_meta(TINY_TEXT, tiny).to("cpu")
    assert not any(tensor.is_meta for tensor in [*encoder.parameters(), *encoder.buffers()])
    assert torch.equal(encoder.encode(PROMPTS).sequence, tiny.encode(PROMPTS).sequence)


def test_bfloat16_weights_give_bfloat16(tiny: TextEncoder) -> None:
    encoder = load_on_meta(TINY_TEXT, tiny).bfloat16()
    got, expected = encoder.encode(["a (red:1.2) star"]), tiny.encode(["a (red:1.2) star"])
    assert got.sequence.dtype == got.pooled.dtype == torch.bfloat16
    torch.testing.assert_close(got.sequence.float(), expected.sequence, rtol=0.1, atol=0.1)


def test_loaded_under_a_host_that_forbids_gradients_it_still_trains(tiny: TextEncoder) -> None:
    with torch.inference_mode(), torch.inference_mode(False), torch.no_grad():
        encoder = load_on_meta(TINY_TEXT, tiny)
    with torch.inference_mode():
        encoder.encode(PROMPTS)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    sequence, pooled = encoder.encode(["a (red:1.3) star"])
    (sequence.square().mean() + pooled.square().mean()).backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    optimizer.step()
    assert not torch.equal(encoder.encode(["a star"]).sequence, tiny.encode(["a star"]).sequence)


def test_importing_is_light() -> None:
    code = (
        "import sys, stable_cascade_nodes.cascade_core.models.text, stable_cascade_nodes.cascade_core.models.vision;"
        "print([name for name in ('transformers', 'tokenizers', 'torchvision') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
