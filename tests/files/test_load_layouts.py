"""Files of every layout: loaded to the same weights, what is copied for that, and refused in their own names."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files import load
from stable_cascade_nodes.cascade_core.files.dtypes import DTYPES
from stable_cascade_nodes.cascade_core.files.header import read_header
from stable_cascade_nodes.cascade_core.files.layouts import TABLES, from_official
from stable_cascade_nodes.cascade_core.files.save import save
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.text import TextEncoder
from stable_cascade_nodes.cascade_core.models.tokenizer import WordTokenizer

from .tiny_models import WORDS, rewrite, tiny


def in_layout(kind: str, layout: str, source: Path, target: Path, prefix: str = "") -> Path:
    """The same model with another layout's names."""
    tensors = load_file(source)
    written: dict[str, torch.Tensor] = {}
    for name, how in from_official(kind, layout, tensors).items():
        pieces = list(how.pieces(tensors.__getitem__))
        written[prefix + name] = (torch.cat(pieces) if len(pieces) > 1 else pieces[0]).contiguous()
    save_file(written, target, dict(read_header(source).metadata))
    return target


def assert_same(module: nn.Module, source: Path, dtype: torch.dtype = torch.float32) -> None:
    saved = load_file(source)
    assert module.state_dict().keys() == saved.keys()
    for name, tensor in module.state_dict().items():
        expected = saved[name].to(dtype) if saved[name].is_floating_point() else saved[name]
        assert torch.equal(tensor, expected), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("kind", "layout"), TABLES)
def test_every_layout_gives_the_same_weights(kind: str, layout: str, dtype: str, tmp_path: Path) -> None:
    official = tmp_path / "official.safetensors"
    if kind == "text_encoder":
        config = replace(PRESETS[kind]["tiny"], vocab_size=len(WORDS) + 2)
        encoder = TextEncoder(config, WordTokenizer(WORDS, config.max_positions))
        save(official, encoder, kind, vocabulary=WORDS)
    else:
        save(official, tiny(kind), kind)
    other = in_layout(kind, layout, official, tmp_path / "other.safetensors")
    assert_same(load.load(kind, other, dtype=dtype).module, official, DTYPES[dtype])


def test_only_what_is_put_together_is_copied(stage_b_file: Path, tmp_path: Path) -> None:
    """Into one block; the rest are the file's own pages."""
    split = in_layout("stage_b", "comfyui", stage_b_file, tmp_path / "split.safetensors")
    state = load.load("stage_b", split).module.state_dict()
    fused = {name: tensor for name, tensor in state.items() if "in_proj" in name}
    assert len({tensor.untyped_storage().data_ptr() for tensor in fused.values()}) == 1
    kept = sorted(tensor.data_ptr() for name, tensor in state.items() if name not in fused)
    assert kept[-1] - kept[0] < split.stat().st_size


def test_without_a_placement_all_weights_go_to_the_device(stage_b_file: Path, tmp_path: Path) -> None:
    """The file's pages and the copies alike."""
    split = in_layout("stage_b", "comfyui", stage_b_file, tmp_path / "split.safetensors")
    module = load.load("stage_b", split, dtype="float32", device="meta").module
    assert {tensor.device.type for tensor in module.state_dict().values()} == {"meta"}


def test_float8_is_cast(stage_b_file: Path, tmp_path: Path) -> None:
    """As ComfyUI saves it: every floating tensor."""
    small = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in load_file(stage_b_file).items()}
    save_file(small, tmp_path / "f8.safetensors", dict(read_header(stage_b_file).metadata))
    module = load.load("stage_b", tmp_path / "f8.safetensors", dtype="bfloat16").module
    assert_same(module, tmp_path / "f8.safetensors", torch.bfloat16)


def test_pickled_files_of_the_official_code(stage_b_file: Path, tmp_path: Path) -> None:
    """With an outer entry; there they tell no configuration, so only published sizes can be read: Stage A."""
    module = StageA(PRESETS["stage_a"]["published"])
    torch.save({"state_dict": module.state_dict()}, tmp_path / "vqgan.pt")
    save(tmp_path / "same.safetensors", module, "stage_a")
    assert_same(load.load("stage_a", tmp_path / "vqgan.pt").module, tmp_path / "same.safetensors")


def test_errors_use_the_names_of_the_file(stage_b_file: Path, tmp_path: Path) -> None:
    split = in_layout("stage_b", "diffusers", stage_b_file, tmp_path / "split.safetensors")
    name = next(name for name in load_file(split) if name.endswith("attention.to_q.weight"))
    stem = name.removesuffix("to_q.weight")

    def change(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[f"{stem}to_k.weight"], tensors["clip_txt_pooled_mapper.bias"]
        for letter in "qkv":
            del tensors[f"{stem}to_{letter}.bias"]
        tensors[f"{stem}to_v.weight"] = torch.zeros(64, 128)

    with pytest.raises(CascadeError) as caught:
        load.load("stage_b", rewrite(split, tmp_path / "bad.safetensors", change))
    message = str(caught.value)
    assert f"5 missing ({stem}to_k.weight, {stem}to_q.bias, {stem}to_k.bias, ...)" in message
    assert f"1 of another shape ({stem}to_v.weight [64, 128] instead of [128, 128])" in message
