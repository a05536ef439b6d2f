"""Files: identified from the header, loaded exactly or refused with one message, written whole."""

import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from stable_cascade_nodes.cascade_core import checkpoint
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.identify import Header, TensorInfo, identify, read_header
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.effnet import Effnet
from stable_cascade_nodes.cascade_core.models.previewer import Previewer
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC
from stable_cascade_nodes.cascade_core.models.text import TextEncoder
from stable_cascade_nodes.cascade_core.models.tokenizer import WordTokenizer
from stable_cascade_nodes.cascade_core.models.vision import ImageEncoder
from stable_cascade_nodes.cascade_core.tiny import built_in

WORDS = ["a", "red", "circle"]
CLASSES: dict[str, Any] = {
    "stage_c": StageC,
    "stage_b": StageB,
    "stage_a": StageA,
    "effnet": Effnet,
    "previewer": Previewer,
    "image_encoder": ImageEncoder,
}


def tiny(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return CLASSES[kind](PRESETS[kind]["tiny"])


def published_header(kind: str, preset: str) -> Header:
    """The header of a published file, without its gigabytes."""
    config = PRESETS[kind][preset]
    with torch.device("meta"):
        module = TextEncoder(config, WordTokenizer(WORDS, 77)) if kind == "text_encoder" else CLASSES[kind](config)
        state = module.state_dict()
    return Header({key: TensorInfo("BF16", tuple(tensor.shape)) for key, tensor in state.items()}, {})


def rewrite(source: Path, target: Path, change: Any) -> Path:
    """A copy of a safetensors file after `change(tensors)`."""
    tensors = load_file(source)
    change(tensors)
    save_file(tensors, target, dict(read_header(source).metadata))
    return target


@pytest.fixture
def stage_b_file(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "b.safetensors", tiny("stage_b"), "stage_b", family="tiny", target="v", x0_clamp=3.0)
    return tmp_path / "b.safetensors"


@pytest.mark.parametrize("kind", CLASSES)
def test_save_and_load_give_back_every_value_and_setting(kind: str, tmp_path: Path) -> None:
    module, file = tiny(kind), tmp_path / "file.safetensors"
    checkpoint.save(file, module, kind, family="tiny", target="v", x0_clamp=3.0)

    handle = checkpoint.load(kind, file)

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
    checkpoint.save(tmp_path / "t.safetensors", encoder, "text_encoder", family="tiny", vocabulary=WORDS)

    loaded: Any = checkpoint.load("text_encoder", tmp_path / "t.safetensors", name="tiny (built-in)")

    assert loaded.name == "tiny (built-in)"
    assert loaded.module.known_words == tuple(WORDS)
    for ours, theirs in zip(loaded.module.encode(["a red circle"]), encoder.encode(["a red circle"]), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("kind", "preset"),
    [
        ("stage_c", "3.6B"),
        ("stage_c", "1B"),
        ("stage_b", "1.5B"),
        ("stage_b", "700M"),
        ("stage_a", "published"),
        ("effnet", "published"),
        ("previewer", "published"),
        ("text_encoder", "published"),
        ("image_encoder", "published"),
    ],
)
def test_published_files_are_known_by_their_shapes(kind: str, preset: str) -> None:
    found = identify(published_header(kind, preset), "file")
    assert (found.kind, found.preset, found.config) == (kind, preset, PRESETS[kind][preset])
    assert (found.family, found.target, found.x0_clamp) == ("stable-cascade", "epsilon", None)


def test_metadata_wins_and_carries_any_width(tmp_path: Path) -> None:
    config = replace(PRESETS["previewer"]["tiny"], widths=(24, 8))
    checkpoint.save(tmp_path / "p.safetensors", Previewer(config), "previewer", family="mine")
    found = identify(read_header(tmp_path / "p.safetensors"), "p")
    assert (found.kind, found.preset, found.config, found.family) == ("previewer", "custom", config, "mine")


def test_cast_while_loading_leaves_counters_alone(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "p.safetensors", tiny("previewer"), "previewer")
    module = checkpoint.load("previewer", tmp_path / "p.safetensors", dtype="bfloat16").module
    assert {tensor.dtype for tensor in module.parameters()} == {torch.bfloat16}
    assert module.get_buffer("blocks.2.num_batches_tracked").dtype == torch.int64


def test_save_casts(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "p.safetensors", tiny("previewer"), "previewer", dtype="bfloat16")
    assert read_header(tmp_path / "p.safetensors").tensors["blocks.0.weight"].dtype == "BF16"
    assert checkpoint.load("previewer", tmp_path / "p.safetensors").dtype == torch.float32


def test_the_weights_are_the_files_own_pages(stage_b_file: Path) -> None:
    """Nothing is copied at load, and changing a weight afterwards does not change the file."""
    before = stage_b_file.read_bytes()
    module = checkpoint.load("stage_b", stage_b_file).module
    first, *_, last = (module.state_dict()[key] for key in read_header(stage_b_file).tensors)
    apart = abs(last.data_ptr() - first.data_ptr()) + last.nbytes
    assert apart <= len(before)  # both within one mapping

    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    assert stage_b_file.read_bytes() == before


def test_a_model_loaded_under_inference_mode_can_be_trained(stage_b_file: Path) -> None:
    with torch.inference_mode():
        module = checkpoint.load("stage_b", stage_b_file, dtype="float32").module
    module.requires_grad_(True)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    before = module.get_parameter("clf.1.weight").detach().clone()
    predicted = module(torch.randn(1, 4, 16, 16), torch.ones(1), torch.randn(1, 16, 3, 3), torch.randn(1, 128))
    predicted.square().sum().backward()
    optimiser.step()
    assert not torch.equal(module.get_parameter("clf.1.weight"), before)


def test_wrong_kind_says_where_it_belongs(stage_b_file: Path) -> None:
    with pytest.raises(CascadeError, match=r"b\.safetensors is a Stage B file \(tiny\): choose it in the Stage B l"):
        checkpoint.load("stage_c", stage_b_file)


def test_missing_unexpected_and_misshapen_are_one_message(stage_b_file: Path, tmp_path: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for key in [key for key in tensors if key.startswith("effnet_mapper") or key == "clip_mapper.bias"]:
            del tensors[key]
        tensors["other"] = torch.zeros(1)
        tensors["clf.1.bias"] = torch.zeros(7)

    with pytest.raises(CascadeError) as caught:
        checkpoint.load("stage_b", rewrite(stage_b_file, tmp_path / "bad.safetensors", change))
    message = str(caught.value)
    assert "bad.safetensors does not fit Stage B tiny" in message
    assert "5 missing (effnet_mapper.0.weight, " in message and "..." in message
    assert "1 unexpected (other)" in message
    assert "1 of another shape (clf.1.bias [7] instead of [64])" in message


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated_files(stage_b_file: Path, tmp_path: Path, keep: int) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(stage_b_file.read_bytes()[:keep])
    with pytest.raises(CascadeError, match=r"broken\.safetensors is damaged or its download is not complete"):
        checkpoint.load("stage_b", broken)


def header_file(path: Path, header: Any, data: bytes = b"") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


@pytest.mark.parametrize(
    "header",
    [b"not json", b"[1, 2]", {"a": 1}, {"a": {"dtype": "F32", "shape": [1]}}, {"a": {"dtype": "F32", "shape": 3}}],
)
def test_damaged_headers(tmp_path: Path, header: Any) -> None:
    with pytest.raises(CascadeError, match=r"h\.safetensors is damaged"):
        read_header(header_file(tmp_path / "h.safetensors", header))


def test_damaged_offsets_are_found_when_the_tensors_are_read(stage_b_file: Path, tmp_path: Path) -> None:
    raw = stage_b_file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header["clf.1.bias"]["data_offsets"] = [256, 512]
    broken = header_file(tmp_path / "broken.safetensors", header, raw[8 + length :])
    with pytest.raises(CascadeError, match=r"broken\.safetensors cannot be read"):
        checkpoint.load("stage_b", broken)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + bytes(100), "pickled file, which can run code"),
        (b"\x80\x02}q\x00" + bytes(100), "pickled file, which can run code"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "is a web page"),
    ],
)
def test_other_kinds_of_file_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "stage_c.ckpt").write_bytes(content)
    with pytest.raises(CascadeError, match=message):
        checkpoint.load("stage_c", tmp_path / "stage_c.ckpt")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(CascadeError, match=r"none\.safetensors cannot be read \(No such file"):
        checkpoint.load("stage_c", tmp_path / "none.safetensors")
    with pytest.raises(CascadeError, match="cannot be read"):
        checkpoint.load("stage_c", tmp_path)


def test_other_models_are_refused(tmp_path: Path) -> None:
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1)}, tmp_path / "sd.safetensors")
    with pytest.raises(CascadeError, match=r"sd\.safetensors is no part of Stable Cascade.*found the tensors model\."):
        checkpoint.load("stage_c", tmp_path / "sd.safetensors")


def test_unknown_width_without_metadata() -> None:
    odd = {"clip_txt_mapper.weight": TensorInfo("F32", (99, 1280))}
    header = Header(dict(published_header("stage_c", "1B").tensors) | odd, {})
    with pytest.raises(CascadeError, match=r"like a Stage C, but of an unknown size.*\[99, 1280\].*2048 \(3\.6B\)"):
        identify(header, "file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "stage_z"}, "kind: expected one of stage_c"),
        ({"kind": None}, "kind: expected one of"),
        ({"config": {"no_such_field": 1}}, "no_such_field is no field of StageBConfig"),
        ({"config": {"channels": "four"}}, "config.channels: expected int, found 'four'"),
        ({"config": {"channels": True}}, "config.channels: expected int, found True"),
        ({"config": {"c_hidden": [1, "x"]}}, "config.c_hidden: expected int"),
        ({"config": 7}, "cannot be used"),
        ({"target": "flow"}, "target: expected one of epsilon, v, found 'flow'"),
        ({"x0_clamp": "3"}, "x0_clamp: expected float"),
        ({"family": 3}, "family: expected str"),
    ],
)
def test_metadata_that_cannot_be_used(change: dict[str, Any], message: str) -> None:
    entry = {"kind": "stage_b", "family": "tiny", "config": {}, "target": "v"} | change
    with pytest.raises(CascadeError, match=message):
        identify(Header({}, {"cascade": json.dumps(entry)}), "file")


@pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
def test_metadata_that_is_no_entry(text: str) -> None:
    with pytest.raises(CascadeError, match="file: the metadata entry `cascade` cannot be used"):
        identify(Header({}, {"cascade": text}), "file")


def test_a_configuration_that_cannot_be_built(stage_b_file: Path, tmp_path: Path) -> None:
    entry = json.loads(read_header(stage_b_file).metadata["cascade"])
    entry["config"]["c_hidden"] = []
    save_file(load_file(stage_b_file), tmp_path / "odd.safetensors", {"cascade": json.dumps(entry)})
    with pytest.raises(CascadeError, match=r"odd\.safetensors: its metadata describes a Stage B that cannot be built"):
        checkpoint.load("stage_b", tmp_path / "odd.safetensors")


def test_a_vocabulary_that_does_not_fit_its_encoder(tmp_path: Path) -> None:
    config = PRESETS["text_encoder"]["tiny"]
    encoder = TextEncoder(config, WordTokenizer(WORDS, config.max_positions))
    words = [f"word{i}" for i in range(config.vocab_size)]
    checkpoint.save(tmp_path / "t.safetensors", encoder, "text_encoder", vocabulary=words)
    with pytest.raises(CascadeError, match=r"t\.safetensors: .* cannot be built: This tokenizer does not fit"):
        checkpoint.load("text_encoder", tmp_path / "t.safetensors")


def test_a_published_text_encoder_wants_its_tokenizer(tmp_path: Path) -> None:
    tensors = published_header("text_encoder", "published").tensors
    shapes = {
        key: {"dtype": "BF16", "shape": list(info.shape), "data_offsets": [0, 0]} for key, info in tensors.items()
    }
    with pytest.raises(CascadeError, match=r"clip\.safetensors: no tokenizer beside it"):
        checkpoint.load("text_encoder", header_file(tmp_path / "clip.safetensors", shapes))


@pytest.mark.parametrize(
    ("kind", "new_card", "expected"),
    [
        ("stage_c", True, torch.bfloat16),
        ("stage_b", True, torch.bfloat16),
        ("stage_c", False, torch.float32),
        ("stage_b", False, torch.float16),
        ("stage_a", True, torch.float32),
    ],
)
def test_auto_on_cards(kind: str, new_card: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old cards compute in no bfloat16; there Stage C stays in float32, for it overflows in float16."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: new_card)
    path = built_in(kind)["tiny (built-in)"]
    assert checkpoint.load(kind, path, device="cuda", weights=False).dtype == expected


def test_cast_weights_lie_in_one_block(stage_b_file: Path) -> None:
    """Then all of their memory goes back when the model goes."""
    module = checkpoint.load("stage_b", stage_b_file, dtype="bfloat16").module
    assert len({weight.untyped_storage().data_ptr() for weight in module.parameters()}) == 1
    saved = load_file(stage_b_file)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, saved[name].to(tensor.dtype))
        assert tensor.data_ptr() % 64 == 0


def test_unknown_dtype(stage_b_file: Path) -> None:
    with pytest.raises(CascadeError, match="dtype: expected auto, float32, bfloat16, float16, found 'int4'"):
        checkpoint.load("stage_b", stage_b_file, dtype="int4")


def test_save_replaces_whole_files_only(stage_b_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stage_b_file.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(CascadeError, match="cannot be written: no space left"):
        checkpoint.save(stage_b_file, tiny("stage_b"), "stage_b")
    assert stage_b_file.read_bytes() == before
    assert os.listdir(stage_b_file.parent) == [stage_b_file.name]


def test_saved_files_are_as_readable_as_any_other(stage_b_file: Path, tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    assert stage_b_file.stat().st_mode == (tmp_path / "other").stat().st_mode
