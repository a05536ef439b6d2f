"""Files: loaded exactly, or refused with one message; written whole."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files import load
from stable_cascade_nodes.cascade_core.files.header import read_header
from stable_cascade_nodes.cascade_core.files.save import save
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.text import TextEncoder
from stable_cascade_nodes.cascade_core.models.tokenizer import WordTokenizer

from ..model_files import write_header, write_values
from ..models.conftest import _write_clip_files
from .networks import published_shapes
from .tiny_models import CLASSES, WORDS, rewrite, tiny


@pytest.mark.parametrize("kind", CLASSES)
def test_save_and_load_give_back_every_value_and_setting(kind: str, tmp_path: Path) -> None:
    module, file = tiny(kind), tmp_path / "file.safetensors"
    save(file, module, kind, family="tiny", target="v", x0_clamp=3.0)

    handle = load.load(kind, file)

    assert (handle.kind, handle.name, handle.family) == (kind, "file.safetensors", "tiny")
    assert (handle.target, handle.x0_clamp, handle.dtype) == ("v", 3.0, torch.float32)
    assert handle.config == PRESETS[kind]["tiny"]
    assert handle.acquire() == torch.device("cpu")
    assert not handle.module.training
    for key, tensor in handle.module.state_dict().items():
        assert torch.equal(tensor, module.state_dict()[key]), key


def test_text_encoder_brings_its_vocabulary(tmp_path: Path) -> None:
    config = replace(PRESETS["text_encoder"]["tiny"], vocab_size=len(WORDS) + 2)
    encoder = TextEncoder(config, WordTokenizer(WORDS, config.max_positions)).eval()
    save(tmp_path / "t.safetensors", encoder, "text_encoder", family="tiny", vocabulary=WORDS)

    loaded: Any = load.load("text_encoder", tmp_path / "t.safetensors", name="tiny (built-in)")

    assert loaded.name == "tiny (built-in)"
    assert loaded.module.known_words == tuple(WORDS)
    for ours, theirs in zip(loaded.module.encode(["a red circle"]), encoder.encode(["a red circle"]), strict=True):
        assert torch.equal(ours, theirs)


def test_cast_while_loading_leaves_counters_alone(tmp_path: Path) -> None:
    save(tmp_path / "p.safetensors", tiny("previewer"), "previewer")
    module = load.load("previewer", tmp_path / "p.safetensors", dtype="bfloat16").module
    assert {tensor.dtype for tensor in module.parameters()} == {torch.bfloat16}
    assert module.get_buffer("blocks.2.num_batches_tracked").dtype == torch.int64


def test_save_casts(tmp_path: Path) -> None:
    save(tmp_path / "p.safetensors", tiny("previewer"), "previewer", dtype="bfloat16")
    assert read_header(tmp_path / "p.safetensors").tensors["blocks.0.weight"].dtype == "BF16"
    assert load.load("previewer", tmp_path / "p.safetensors").dtype == torch.float32


def test_the_weights_are_the_files_own_pages(stage_b_file: Path) -> None:
    """Nothing is copied at load, and changing a weight afterwards does not change the file."""
    before = stage_b_file.read_bytes()
    module = load.load("stage_b", stage_b_file).module
    first, *_, last = (module.state_dict()[key] for key in read_header(stage_b_file).tensors)
    apart = abs(last.data_ptr() - first.data_ptr()) + last.nbytes
    assert apart <= len(before)  # both within one mapping

    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    assert stage_b_file.read_bytes() == before


def test_a_model_loaded_under_inference_mode_can_be_trained(stage_b_file: Path) -> None:
    with torch.inference_mode():
        module = load.load("stage_b", stage_b_file, dtype="float32").module
    module.requires_grad_(True)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    before = module.get_parameter("clf.1.weight").detach().clone()
    predicted = module(torch.randn(1, 4, 16, 16), torch.ones(1), torch.randn(1, 16, 3, 3), torch.randn(1, 128))
    predicted.square().sum().backward()
    optimiser.step()
    assert not torch.equal(module.get_parameter("clf.1.weight"), before)


def test_wrong_kind_says_where_it_belongs(stage_b_file: Path) -> None:
    with pytest.raises(CascadeError, match=r"b\.safetensors is a Stage B file \(tiny\): choose it in the Stage B l"):
        load.load("stage_c", stage_b_file)


def test_missing_unexpected_and_misshapen_are_one_message(stage_b_file: Path, tmp_path: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for key in [key for key in tensors if key.startswith("effnet_mapper") or key == "clip_mapper.bias"]:
            del tensors[key]
        tensors["other"] = torch.zeros(1)
        tensors["clf.1.bias"] = torch.zeros(7)

    with pytest.raises(CascadeError) as caught:
        load.load("stage_b", rewrite(stage_b_file, tmp_path / "bad.safetensors", change))
    message = str(caught.value)
    assert "bad.safetensors does not fit Stage B tiny" in message
    assert "5 missing (effnet_mapper.0.weight, " in message and "..." in message
    assert "1 unexpected (other)" in message
    assert "1 of another shape (clf.1.bias [7] instead of [64])" in message


def test_a_configuration_that_cannot_be_built(stage_b_file: Path, tmp_path: Path) -> None:
    entry = json.loads(read_header(stage_b_file).metadata["cascade"])
    entry["config"]["c_hidden"] = []
    save_file(load_file(stage_b_file), tmp_path / "odd.safetensors", {"cascade": json.dumps(entry)})
    with pytest.raises(CascadeError, match=r"odd\.safetensors describes a Stage B that cannot be built"):
        load.load("stage_b", tmp_path / "odd.safetensors")


def test_a_vocabulary_that_does_not_fit_its_encoder(tmp_path: Path) -> None:
    config = PRESETS["text_encoder"]["tiny"]
    encoder = TextEncoder(config, WordTokenizer(WORDS, config.max_positions))
    words = [f"word{i}" for i in range(config.vocab_size)]
    save(tmp_path / "t.safetensors", encoder, "text_encoder", vocabulary=words)
    with pytest.raises(
        CascadeError, match=r"t\.safetensors describes a text encoder that cannot be built: This tokenizer does not fit"
    ):
        load.load("text_encoder", tmp_path / "t.safetensors")


def test_a_published_text_encoder_wants_its_tokenizer(tmp_path: Path) -> None:
    shapes = {name: ("BF16", shape) for name, shape in published_shapes("text_encoder", "published").items()}
    write_header(tmp_path / "clip.safetensors", shapes)
    with pytest.raises(CascadeError, match=r"clip\.safetensors: no tokenizer"):
        load.load("text_encoder", tmp_path / "clip.safetensors")


def test_the_parts_of_an_all_in_one(tmp_path: Path) -> None:
    """As ComfyUI's for Stage C: 9 GB that take no room here; only what is asked for is read."""
    small = {kind: CLASSES[kind](PRESETS[kind]["published"]) for kind in ("effnet", "previewer")}
    prefixes = {"effnet": "vae.encoder.", "previewer": "vae.previewer."}
    text = {
        f"text_encoder.clip_g.transformer.{name}": ("BF16", shape)
        for name, shape in published_shapes("text_encoder", "published").items()
        if name != "text_projection.weight"
    }
    shapes: dict[str, Any] = {
        **{f"model.diffusion_model.{n}": ("BF16", shape) for n, shape in published_shapes("stage_c", "3.6B").items()},
        **text,
        "text_encoder.clip_g.text_projection": ("F32", (1280, 1280)),
        "text_encoder.clip_g.logit_scale": ("F32", ()),
        **{f"clip_l_vision.{n}": ("BF16", s) for n, s in published_shapes("image_encoder", "published").items()},
        "vae.encoder.mean": ("F32", (1, 3, 1, 1)),
        "vae.encoder.std": ("F32", (1, 3, 1, 1)),
    }
    values = {"text_encoder.clip_g.text_projection": torch.randn(1280, 1280)}
    for kind, module in small.items():
        tensors = {prefixes[kind] + name: tensor for name, tensor in module.state_dict().items()}
        values |= tensors
        shapes |= {n: ("F32" if t.is_floating_point() else "I64", tuple(t.shape)) for n, t in tensors.items()}
    file = tmp_path / "checkpoints" / "all.safetensors"
    write_header(file, shapes)
    write_values(file, values)
    end = _write_clip_files(file.parent / "tokenizer")

    for kind, module in small.items():
        loaded = load.load(kind, file).module.state_dict()
        for name, tensor in module.state_dict().items():
            assert torch.equal(loaded[name], tensor)
    encoder: Any = load.load("text_encoder", file, dtype="bfloat16").module
    assert encoder.tokenizer.end == end
    turned = values["text_encoder.clip_g.text_projection"].T.bfloat16()
    assert torch.equal(encoder.text_projection.weight, turned) and encoder.text_projection.weight.is_contiguous()
    assert load.load("stage_c", file, dtype="bfloat16").config == PRESETS["stage_c"]["3.6B"]
    assert load.load("image_encoder", file, dtype="bfloat16").config == PRESETS["image_encoder"]["published"]
    assert file.stat().st_size > 9e9 and file.stat().st_blocks * 512 < 3e8
    with pytest.raises(CascadeError, match="but no Stage A"):
        load.load("stage_a", file)


@pytest.mark.parametrize(
    ("kind", "new_card", "expected"),
    [
        ("stage_c", True, torch.bfloat16),
        ("stage_b", True, torch.bfloat16),
        ("stage_c", False, torch.float16),
        ("stage_b", False, torch.float16),
        ("stage_a", True, torch.float32),
    ],
)
def test_auto_on_cards(kind: str, new_card: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old cards compute in no bfloat16; there it is float16."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: new_card)
    path = built_in(kind)["tiny (built-in)"]
    assert load.describe(kind, path, device="cuda").dtype == expected


def test_cast_weights_lie_in_one_block(stage_b_file: Path) -> None:
    """Then all of their memory goes back when the model goes."""
    module = load.load("stage_b", stage_b_file, dtype="bfloat16").module
    assert len({weight.untyped_storage().data_ptr() for weight in module.parameters()}) == 1
    saved = load_file(stage_b_file)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, saved[name].to(tensor.dtype))
        assert tensor.data_ptr() % 64 == 0


def test_unknown_dtype(stage_b_file: Path) -> None:
    with pytest.raises(CascadeError, match=r"dtype: expected auto, float32, .*, int8, fp8, int4, found 'int3'"):
        load.load("stage_b", stage_b_file, dtype="int3")


def test_save_replaces_whole_files_only(stage_b_file: Path, small_disk: None) -> None:
    before = stage_b_file.read_bytes()
    with pytest.raises(CascadeError, match=r"b\.safetensors.* cannot be written: File too large"):
        save(stage_b_file, tiny("stage_b"), "stage_b")
    assert stage_b_file.read_bytes() == before
    assert os.listdir(stage_b_file.parent) == [stage_b_file.name]


def test_saved_files_are_as_readable_as_any_other(stage_b_file: Path, tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    assert stage_b_file.stat().st_mode == (tmp_path / "other").stat().st_mode
