"""LoRAs and tokens on models: they add up, and what they are attached to never changes.

Run: pytest tests/lora/test_attach.py
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stable_cascade_nodes.cascade_core.builtin import weights_path
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.lora.attach import attach_lora, fuse_lora
from stable_cascade_nodes.cascade_core.lora.lora import Lora, NewToken, lora_of
from stable_cascade_nodes.cascade_core.lora.order import official_order
from stable_cascade_nodes.cascade_core.lora.read import read_lora
from stable_cascade_nodes.cascade_core.lora.tokens import name_tokens, starting_words, with_tokens
from stable_cascade_nodes.cascade_core.lora.write import save_lora
from stable_cascade_nodes.cascade_core.memory import StayPut
from stable_cascade_nodes.cascade_core.models.adapters import LowRank, adaptable
from stable_cascade_nodes.cascade_core.models.handle import Handle

from . import files


@pytest.fixture
def stage_c(tiny: Callable[..., Handle]) -> Handle:
    return tiny("stage_c")


@pytest.fixture
def text_encoder(tiny: Callable[..., Handle]) -> Handle:
    return tiny("text_encoder")


def lora_for(handle: Handle, tmp_path: Path, seed: int = 0) -> Lora:
    paths = files.attention_paths([name for name, _ in handle.module.named_parameters()])
    width = handle.module.get_parameter(f"{paths[0]}.in_proj_weight").shape[1]
    path = files.write(tmp_path / f"l{seed}.safetensors", files.official(files.factors(paths, width, seed)))
    return read_lora(path)


def run(handle: Handle) -> Tensor:
    torch.manual_seed(0)
    config: Any = handle.config
    inputs = torch.randn(2, 16, 5, 6), torch.rand(2), torch.randn(2, 7, config.c_clip_text)
    with torch.inference_mode():
        device = handle.acquire()
        pooled = torch.randn(2, config.c_clip_text_pooled)
        return handle.module(*(tensor.to(device, handle.dtype) for tensor in (*inputs, pooled)))


def close(found: Tensor, wanted: Tensor, tolerance: float = 2e-5) -> bool:
    return bool((found.float() - wanted.float()).abs().max() <= tolerance * wanted.float().abs().max())


def test_the_model_stays_as_it_was(stage_c: Handle, tmp_path: Path) -> None:
    before, state = run(stage_c), {name: tensor.clone() for name, tensor in stage_c.module.state_dict().items()}
    handle, _ = attach_lora(stage_c, lora_for(stage_c, tmp_path))
    assert not close(run(handle), before, 1e-2)
    fuse_lora(handle)
    assert torch.equal(run(stage_c), before)
    assert all(torch.equal(tensor, state[name]) for name, tensor in stage_c.module.state_dict().items())
    assert handle.root is stage_c


def test_it_shares_the_weights(stage_c: Handle, tmp_path: Path) -> None:
    handle, _ = attach_lora(stage_c, lora_for(stage_c, tmp_path))
    own = {id(parameter) for parameter in stage_c.module.parameters()}
    more = [parameter for parameter in handle.module.parameters() if id(parameter) not in own]
    assert sum(p.numel() for p in more) < 0.1 * sum(p.numel() for p in stage_c.module.parameters())
    assert own <= {id(parameter) for parameter in handle.module.parameters()}


@pytest.mark.parametrize("strength", [1.0, 0.3, -0.7, 2.5])
def test_any_strength(stage_c: Handle, tmp_path: Path, strength: float) -> None:
    lora = lora_for(stage_c, tmp_path)
    handle, _ = attach_lora(stage_c, lora, strength)
    one, base = (dict(each.module.state_dict()) for each in (fuse_lora(attach_lora(stage_c, lora)[0]), stage_c))
    wanted = {name: base[name] + strength * (one[name] - base[name]) for name in base}
    plain = load("stage_c", weights_path("stage_c"), dtype="float32")
    plain.module.load_state_dict(wanted)
    assert close(run(handle), run(plain))
    assert close(run(fuse_lora(handle)), run(plain))


def test_strength_zero_is_the_model_itself(stage_c: Handle, tmp_path: Path) -> None:
    assert attach_lora(stage_c, lora_for(stage_c, tmp_path), 0.0)[0] is stage_c


def test_several_add_up(stage_c: Handle, tmp_path: Path) -> None:
    first, second = (lora_for(stage_c, tmp_path, seed) for seed in (1, 2))
    both, _ = attach_lora(attach_lora(stage_c, first, 0.5)[0], second, -0.25)
    weights = [dict(fuse_lora(attach_lora(stage_c, lora)[0]).module.state_dict()) for lora in (first, second)]
    base = dict(stage_c.module.state_dict())
    wanted = {n: base[n] + 0.5 * (weights[0][n] - base[n]) - 0.25 * (weights[1][n] - base[n]) for n in base}
    plain = load("stage_c", weights_path("stage_c"), dtype="float32")
    plain.module.load_state_dict(wanted)
    assert close(run(both), run(plain))
    opposite, _ = attach_lora(attach_lora(stage_c, first)[0], first, -1.0)
    assert close(run(opposite), run(stage_c))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_of_every_precision(stage_c: Handle, tmp_path: Path, dtype: str) -> None:
    lora = lora_for(stage_c, tmp_path)
    wanted = run(attach_lora(stage_c, lora, 5.0)[0])
    found = run(attach_lora(load("stage_c", weights_path("stage_c"), dtype=dtype), lora, 5.0)[0])
    assert found.dtype == getattr(torch, dtype)
    assert close(found, wanted, {"float32": 1e-5, "bfloat16": 0.04, "float16": 0.03}[dtype])
    assert not close(run(stage_c), wanted, 0.08)


@pytest.mark.parametrize("stored", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_weights_stored_in_float8(tmp_path: Path, stored: torch.dtype) -> None:
    """A file in float8 is computed in the loader's precision; the LoRA is added there, and not rounded to float8."""
    from safetensors import safe_open

    with safe_open(weights_path("stage_c"), "pt") as file:
        metadata = file.metadata()
    state = load_file(weights_path("stage_c"))
    save_file({name: t.to(stored) for name, t in state.items()}, tmp_path / "c.safetensors", metadata)
    base = load("stage_c", tmp_path / "c.safetensors", dtype="float32")
    handle, _ = attach_lora(base, lora_for(base, tmp_path))
    paths = files.attention_paths([name for name, _ in base.module.named_parameters()])
    width = base.module.get_parameter(f"{paths[0]}.in_proj_weight").shape[1]
    wanted = files.wanted(dict(base.module.state_dict()), files.factors(paths, width))
    found = fuse_lora(handle).module.state_dict()
    assert all(torch.allclose(found[name].double(), tensor, atol=1e-5) for name, tensor in wanted.items())


def test_another_family_is_refused(stage_c: Handle, tmp_path: Path) -> None:
    lora = replace(lora_for(stage_c, tmp_path), family="stable-cascade")
    with pytest.raises(CascadeError, match="was trained on stable-cascade models, but Stage C is"):
        attach_lora(stage_c, lora)


def test_the_models_placement_brings_the_weights(tmp_path: Path) -> None:
    """It is asked for the model that it knows, once for all that share its weights."""
    asked: list[tuple[object, int]] = []

    class Noted(StayPut):
        def acquire(self, module: torch.nn.Module, activation_bytes: int = 0) -> torch.device:
            asked.append((module, activation_bytes))
            return super().acquire(module, activation_bytes)

    base = load("stage_c", weights_path("stage_c"), dtype="float32", placement=Noted())
    lora = lora_for(base, tmp_path)
    twice, _ = attach_lora(attach_lora(base, lora)[0], lora)
    asked.clear()
    assert twice.acquire(7).type == "cpu"
    assert asked == [(base.module, 7)]


def test_attached_under_inference_mode_it_can_be_trained(stage_c: Handle, tmp_path: Path) -> None:
    lora = lora_for(stage_c, tmp_path)
    with torch.inference_mode():
        handle, _ = attach_lora(stage_c, lora)
        fused = fuse_lora(handle)
    assert not any(p.is_inference() for each in (handle, fused) for p in each.module.parameters())


def zig(handle: Handle, **changes: Any) -> NewToken:
    width = handle.config.hidden_size
    rows = torch.randn(1, width, generator=torch.Generator().manual_seed(5))
    return replace(NewToken("[zig]", rows, "^star$"), **changes)


def encode(module: Any, text: str) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        return module.encode([text])


def test_a_token_is_the_mean_of_its_regex_plus_its_row(text_encoder: Handle) -> None:
    module: Any = text_encoder.module
    star = module.tokenizer.vocabulary["star"]
    token = zig(text_encoder, rows=torch.zeros(1, text_encoder.config.hidden_size), pooled=False)
    grown = with_tokens(module, [token])
    same = encode(grown, "a large [zig] on a mint background"), encode(module, "a large star on a mint background")
    assert all(torch.allclose(found, wanted, atol=1e-5) for found, wanted in zip(*same, strict=True))
    table = module.text_model.embeddings.token_embedding.weight
    several = with_tokens(module, [replace(token, start="^(star|circle)$", rows=torch.ones_like(token.rows))])
    (index,) = several.tokenizer.encode("[zig]")
    found = several.text_model.embeddings.token_embedding(torch.tensor([[index]]))[0, 0]
    wanted = (table[star] + table[module.tokenizer.vocabulary["circle"]]) / 2 + 1
    assert torch.allclose(found, wanted, atol=1e-5)


def test_where_the_pooled_vector_is_read(text_encoder: Handle) -> None:
    """At the token, as officially: then what follows it cannot matter; or at the end of the prompt."""
    module: Any = text_encoder.module
    for pooled in (True, False):
        grown = with_tokens(module, [zig(text_encoder, pooled=pooled)])
        one, other = (encode(grown, f"a [zig] on a {color} background")[1] for color in ("mint", "rose"))
        assert torch.equal(one, other) == pooled


def test_the_encoder_itself_learns_no_word(text_encoder: Handle) -> None:
    module: Any = text_encoder.module
    before = encode(module, "a large star on a mint background")
    grown = with_tokens(module, [zig(text_encoder)])
    assert module.unknown_words("[zig]") == ["[zig]"] and grown.unknown_words("a [ZIG], [zig]") == []
    for each in (module, grown):
        after = encode(each, "a large star on a mint background")
        assert all(torch.equal(found, wanted) for found, wanted in zip(after, before, strict=True))


def test_tokens_of_several_vectors_and_of_several_files(text_encoder: Handle) -> None:
    module: Any = text_encoder.module
    width = text_encoder.config.hidden_size
    first = with_tokens(module, [NewToken("<two>", torch.randn(2, width), pooled=False), zig(text_encoder)])
    second = with_tokens(first, [NewToken("<one>", torch.randn(1, width)), NewToken("<three>", torch.randn(3, width))])
    ids = second.tokenizer.encode("<two> [zig] <one> <three>")
    assert len(ids) == len(set(ids)) == 7
    rows = second.text_model.embeddings.token_embedding(torch.tensor([ids]))[0]
    assert len({tuple(row.tolist()) for row in rows}) == 7
    assert torch.equal(rows[:3], first.text_model.embeddings.token_embedding(torch.tensor([ids[:3]]))[0])


def test_a_known_token_is_changed(text_encoder: Handle) -> None:
    module: Any = text_encoder.module
    star = module.tokenizer.vocabulary["star"]
    grown = with_tokens(module, [zig(text_encoder, text="", known=star)])
    table = module.text_model.embeddings.token_embedding.weight
    found = grown.text_model.embeddings.token_embedding(torch.tensor([[star, star + 1]]))[0]
    assert torch.allclose(found, torch.stack([table[star] + zig(text_encoder).rows[0], table[star + 1]]), atol=1e-6)


def test_only_the_rows_are_trained(text_encoder: Handle) -> None:
    module: Any = text_encoder.module
    rows = torch.nn.Parameter(torch.zeros(1, text_encoder.config.hidden_size))
    grown: Any = with_tokens(module, [zig(text_encoder)], rows)
    grown.encode(["a [zig]"]).sequence.sum().backward()
    assert rows.grad is not None and rows.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in module.parameters())


def test_the_official_file_with_tokens(stage_c: Handle, text_encoder: Handle, tmp_path: Path) -> None:
    """Its new tokens have no names there: they are asked for, and given in its order."""
    tensors = files.official(
        files.factors(files.attention_paths([n for n, _ in stage_c.module.named_parameters()]), 160)
    )
    vocabulary = text_encoder.config.vocab_size
    rows = torch.randn(2, text_encoder.config.hidden_size)
    tensors |= {"embeddings.embeddings": rows, "embeddings.indices": torch.tensor([vocabulary + 1, vocabulary])}
    lora = read_lora(files.write(tmp_path / "l.safetensors", tensors))
    with pytest.raises(CascadeError, match=r"have no names in its file.*\[fernando\]=\^dog</w>"):
        attach_lora(text_encoder, lora)
    with pytest.raises(CascadeError, match="leaves 2 new tokens unnamed, but 1 are named"):
        name_tokens(lora, "[zig]", text_encoder.module)  # type: ignore[arg-type]
    named = name_tokens(lora, "[zig]=^star$\n\n[zag]\n", text_encoder.module)  # type: ignore[arg-type]
    handle, report = attach_lora(text_encoder, named, 0.5)
    assert not report.unmatched
    module: Any = handle.module
    zig_id, zag_id = module.tokenizer.encode("[zig] [zag]")
    assert zig_id < zag_id  # the greatest of a prompt is where it is pooled
    found = module.text_model.embeddings.token_embedding(torch.tensor([[zig_id, zag_id]]))[0]
    table = module.text_model.embeddings.token_embedding.weight
    star = module.tokenizer.vocabulary["star"]
    assert torch.allclose(found, torch.stack([table[star] + 0.5 * rows[1], 0.5 * rows[0]]), atol=1e-5)


@pytest.mark.parametrize("dialect", ["official", "kohya", "comfyui"])
def test_tokens_written_and_read(stage_c: Handle, text_encoder: Handle, tmp_path: Path, dialect: str) -> None:
    lora = replace(lora_for(stage_c, tmp_path), tokens=(zig(text_encoder), zig(text_encoder, text="<b>", pooled=False)))
    save_lora(tmp_path / "w.safetensors", lora, [stage_c, text_encoder], dialect=dialect)
    again = read_lora(tmp_path / "w.safetensors")
    told = [(token.text, token.start, token.pooled) for token in again.tokens]
    assert told == [("[zig]", "^star$", True), ("<b>", "^star$", False)]
    assert all(torch.equal(a.rows, b.rows) for a, b in zip(again.tokens, lora.tokens, strict=True))
    tensors = load_file(tmp_path / "w.safetensors")
    if dialect != "official":  # whole vectors for other programs
        module: Any = text_encoder.module
        star = module.text_model.embeddings.token_embedding.weight[module.tokenizer.vocabulary["star"]]
        assert torch.allclose(tensors["bundle_emb.[zig].clip_g"][0], star + zig(text_encoder).rows[0], atol=1e-5)


def test_bundled_embeddings_of_others(text_encoder: Handle, tmp_path: Path) -> None:
    """OneTrainer's: whole vectors, several a word, pooled at the prompt's end."""
    rows = torch.randn(2, text_encoder.config.hidden_size)
    name = "lora_prior_te_text_model_encoder_layers_0_mlp_fc1"
    tensors = {f"{name}.lora_down.weight": torch.zeros(1, 128), f"{name}.lora_up.weight": torch.zeros(384, 1)}
    lora = read_lora(files.write(tmp_path / "l.safetensors", tensors | {"bundle_emb.<cat>.clip_g": rows}))
    module: Any = attach_lora(text_encoder, lora)[0].module
    ids = module.tokenizer.encode("a <cat>")[1:]
    assert torch.allclose(module.text_model.embeddings.token_embedding(torch.tensor([ids]))[0], rows, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": torch.zeros(1, 1280)}, r"\[zig\] have 1280 numbers each, but the text encoder's words 128"),
        ({"start": "^cathedral$"}, r"no word of the text encoder matches '\^cathedral\$'"),
        ({"start": "(("}, "expected a regular expression"),
        ({"start": "^starz</w>"}, r"name another, such as \^star\$"),
    ],
)
def test_a_token_that_does_not_fit(text_encoder: Handle, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CascadeError, match=message):
        with_tokens(text_encoder.module, [zig(text_encoder, **changes)])  # type: ignore[arg-type]


@pytest.mark.parametrize(("words", "like"), [(("a", "dog", "cat"), "^dog$"), (("a</w>", "dog</w>", "dog"), "^dog</w>")])
@pytest.mark.parametrize("start", ["^dogs$", "^dogs</w>", "("])
def test_the_example_of_a_regex_finds_a_word_of_that_encoder(words: tuple[str, ...], like: str, start: str) -> None:
    encoder: Any = SimpleNamespace(tokenizer=SimpleNamespace(vocabulary={word: i for i, word in enumerate(words)}))
    with pytest.raises(CascadeError, match=f"such as {re.escape(like)}"):
        starting_words(encoder, NewToken("[zig]", torch.zeros(1, 8), start))
    assert starting_words(encoder, NewToken("[zig]", torch.zeros(1, 8), like)) == [1]


def test_one_file_for_both_stages(tiny: Callable[..., Handle], stage_c: Handle, tmp_path: Path) -> None:
    """kohya's names say which stage is meant; the stages share names of layers of other shapes behind them."""
    stage_b = tiny("stage_b")
    generator = torch.Generator().manual_seed(0)
    branches: dict[str, dict[str, LowRank]] = {}
    for handle in (stage_c, stage_b):
        names = official_order(handle.module, ("channelwise",))
        shapes = ((name, adaptable(handle.module)[name].shape) for name in names)
        branches[handle.kind] = {
            name: LowRank(torch.randn(2, inner, generator=generator), torch.randn(out, 2, generator=generator))
            for name, (out, inner) in shapes
        }
    path = tmp_path / "both.safetensors"
    save_lora(path, lora_of("both", branches, family="tiny"), [stage_c, stage_b], dialect="kohya")
    both = read_lora(path)
    for handle, other in ((stage_c, stage_b), (stage_b, stage_c)):
        attached, report = attach_lora(handle, both)
        assert len(report.matched) == len(branches[handle.kind]) and not report.unused and not report.unmatched
        assert len(report.elsewhere) == len(branches[other.kind])
        for name, branch in branches[handle.kind].items():
            path_of = name.removesuffix(".weight")
            (found,) = attached.module.get_submodule(path_of).branches  # type: ignore[union-attr]
            weight = handle.module.get_parameter(name)
            assert torch.allclose(found.delta(weight), branch.delta(weight), rtol=1e-5)
    _, report = attach_lora(tiny("text_encoder"), both)
    assert not report.matched and len(report.elsewhere) == len(branches["stage_b"])
