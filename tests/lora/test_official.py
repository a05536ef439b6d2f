"""Files of the official trainer in all their forms: numbers of any filters, new and known words, both in one file.

Their layout and the wanted weights are written out here by the official code's formulas (7a7d341, modules/lora.py).
Run: pytest tests/lora/test_official.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.identify import identify
from stable_cascade_nodes.cascade_core.lora.attach import attach_lora, fuse_lora
from stable_cascade_nodes.cascade_core.lora.convert import convert_lora
from stable_cascade_nodes.cascade_core.lora.lora import with_filters
from stable_cascade_nodes.cascade_core.lora.order import official_order
from stable_cascade_nodes.cascade_core.lora.read import read_lora
from stable_cascade_nodes.cascade_core.lora.tokens import name_tokens
from stable_cascade_nodes.cascade_core.lora.write import save_lora
from stable_cascade_nodes.cascade_core.memory import StayPut
from stable_cascade_nodes.cascade_core.models.config import PRESETS, StageCConfig
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.models.stage_c import StageC

from . import files
from .official_order import SIZES

RANK = 2
NARROW = StageCConfig(**{**vars(PRESETS["stage_c"]["1B"]), **SIZES})


@pytest.fixture(scope="module")
def stage_c() -> Handle:
    """A Stage C whose widths are equal in both levels, and equal to those of its conditions, as the published are."""
    torch.manual_seed(3)
    module = StageC(NARROW).eval().requires_grad_(False)
    return Handle(module, "stage_c", "narrow", "stable-cascade", NARROW, "epsilon", None, torch.float32, StayPut())


@pytest.fixture
def text_encoder(tiny: Callable[..., Handle]) -> Handle:
    return tiny("text_encoder")


def numbered(module: nn.Module, filters: tuple[str, ...]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An official file of these filters, and by name the weights that it means: W + up down / rank, in float64."""
    random = torch.Generator().manual_seed(len(filters))
    tensors: dict[str, Tensor] = {}
    wanted: dict[str, Tensor] = {}
    for i, name in enumerate(official_order(module, filters)):
        weight = module.get_parameter(name)
        down, up = (torch.randn(shape, generator=random) for shape in ((RANK, weight.shape[1]), (len(weight), RANK)))
        tensors |= {f"weights.{i}.lora_down": down, f"weights.{i}.lora_up": up}
        change = (up.double() @ down.double() / RANK).reshape(*weight.shape[:2], *[1] * (weight.ndim - 2))
        wanted[name] = weight.double() + change
    return tensors, wanted


def distance(handle: Handle, wanted: dict[str, Tensor]) -> float:
    """The largest difference, relative to the largest weight; what is not wanted to change must not."""
    found = fuse_lora(handle).module
    return max(float((found.get_parameter(n) - w).abs().max() / w.abs().max()) for n, w in wanted.items())


def test_the_order_is_that_of_the_official_code(stage_c: Handle) -> None:
    recorded = json.loads(Path(__file__).with_name("official_order.json").read_text())
    for filters, names in recorded.items():
        assert official_order(stage_c.module, filters.split() or ("",)) == names, filters


@pytest.mark.parametrize(
    "filters",
    [(".attn",), (".attn", "kv_mapper"), ("",), ("channelwise",), ("down_blocks.1",), ("depthwise",), (".attention",)],
)
def test_filters_that_only_one_set_of_weights_fits(stage_c: Handle, tmp_path: Path, filters: tuple[str, ...]) -> None:
    tensors, wanted = numbered(stage_c.module, filters)
    lora = read_lora(files.write(tmp_path / "l.safetensors", tensors))
    if filters == ("down_blocks.1",):  # its weights have the shapes of others
        lora = with_filters(lora, "down_blocks.1")
    handle, report = attach_lora(stage_c, lora)
    assert distance(handle, wanted) < 1e-6
    unchanged = {n: p.double() for n, p in stage_c.module.named_parameters() if n not in wanted}
    assert not unchanged or distance(handle, unchanged) == 0
    assert not report.unmatched and len(report.matched) == len(wanted)


@pytest.mark.parametrize("filters", [("attn.out_proj",), ("kv_mapper",)])
def test_what_may_mean_two_sets_is_refused(stage_c: Handle, tmp_path: Path, filters: tuple[str, ...]) -> None:
    """Both sets are named; the training's own filters decide, however its configuration writes them."""
    tensors, wanted = numbered(stage_c.module, filters)
    lora = read_lora(files.write(tmp_path / "l.safetensors", tensors))
    with pytest.raises(CascadeError, match=r"2 sets of weights.*'(kv_mapper|out_proj)'.*'(kv_mapper|out_proj)'.*into"):
        attach_lora(stage_c, lora)
    handle, _ = attach_lora(stage_c, with_filters(lora, str(list(filters))))
    assert distance(handle, wanted) < 1e-6


def test_filters_that_do_not_fit(stage_c: Handle, tmp_path: Path) -> None:
    tensors, _ = numbered(stage_c.module, ("kv_mapper",))
    lora = read_lora(files.write(tmp_path / "l.safetensors", tensors))
    with pytest.raises(CascadeError, match=r"numbers 6 weights .* '\.attn' choose 12 there, the first of 32 x 32"):
        attach_lora(stage_c, with_filters(lora, ".attn"))
    with pytest.raises(CascadeError, match="'nonsense' choose 0 there: choose"):
        attach_lora(stage_c, with_filters(lora, "nonsense"))
    named = files.split(files.factors(["down_blocks.0.2.attention.attn"], 32), lambda p, x: f"{p}.to_{x}")
    with pytest.raises(CascadeError, match=r"names its weights, which needs none: leave `filters` empty"):
        with_filters(read_lora(files.write(tmp_path / "n.safetensors", named)), ".attn")


def test_converted_with_its_filters(tmp_path: Path) -> None:
    """Of the published sizes: numbers that fit two sets need filters, and become the right names."""
    width, count = PRESETS["stage_c"]["1B"].c_hidden[0], 32
    tensors = {f"weights.{i}.lora_down": torch.ones(1, width) for i in range(count)}
    tensors |= {f"weights.{i}.lora_up": torch.ones(width, 1) for i in range(count)}
    source = files.write(tmp_path / "l.safetensors", tensors)
    with pytest.raises(CascadeError, match="2 sets of weights of 1B"):
        convert_lora(source, tmp_path / "k.safetensors", "kohya")
    assert not (tmp_path / "k.safetensors").exists()
    convert_lora(source, tmp_path / "k.safetensors", "kohya", filters="attn.out_proj")
    names = identify(tmp_path / "k.safetensors")[0].header.tensors
    assert "lora_unet_down_blocks_0_2_attention_attn_out_proj.lora_up.weight" in names
    assert not any("kv_mapper" in name for name in names)


@pytest.mark.parametrize("words", ["new", "known", "both"])
def test_words(text_encoder: Handle, stage_c: Handle, tmp_path: Path, words: str) -> None:
    """Rows are added: to a known word's own, which needs no name; to the mean of the regex's for a new one."""
    module: Any = text_encoder.module
    table = module.text_model.embeddings.token_embedding.weight
    red, star = (module.tokenizer.vocabulary[word] for word in ("red", "star"))
    ids = {"new": [len(table)], "known": [red], "both": [len(table), red]}[words]
    rows = torch.randn(len(ids), table.shape[1])
    tensors = numbered(stage_c.module, (".attn",))[0]
    tensors |= {"embeddings.embeddings": rows, "embeddings.indices": torch.tensor(ids)}
    lora = read_lora(files.write(tmp_path / "l.safetensors", tensors))
    if words == "known":
        with pytest.raises(CascadeError, match="leaves 0 new tokens unnamed, but 1 are named"):
            name_tokens(lora, "[zig]=^star$", module)
    else:
        with pytest.raises(CascadeError, match="have no names in its file"):
            attach_lora(text_encoder, lora)
        lora = name_tokens(lora, "[zig]=^star$", module)
    grown: Any = attach_lora(text_encoder, lora)[0].module
    wanted = torch.cat([table, table[[star]]]).detach().clone()
    for row, index in zip(rows, ids, strict=True):
        wanted[index] += row  # the official ReToken
    said = torch.tensor([grown.tokenizer.encode("red star" + (" [zig]" if words != "known" else ""))])
    expected = [red, star] + ([len(table)] if words != "known" else [])
    found = grown.text_model.embeddings.token_embedding(said)[0]
    assert torch.allclose(found, wanted[expected], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dialect", ["official", "kohya", "comfyui"])
def test_the_dialect_is_that_of_the_weights(text_encoder: Handle, tiny: Any, tmp_path: Path, dialect: str) -> None:
    """Words are written alike in all dialects, so they do not tell it."""
    stage_c = tiny("stage_c")
    tensors = numbered(stage_c.module, (".attn",))[0]
    tensors |= {"embeddings.embeddings": torch.randn(1, 128), "embeddings.indices": torch.tensor([5])}
    lora = read_lora(files.write(tmp_path / "l.safetensors", tensors))
    save_lora(tmp_path / "w.safetensors", lora, [stage_c, text_encoder], dialect=dialect)
    told = identify(tmp_path / "w.safetensors")[0].mode
    assert told == {"official": "official", "kohya": "kohya", "comfyui": "ComfyUI"}[dialect]
