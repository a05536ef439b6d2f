"""Every dialect of LoRA files gives the same weights. Run: pytest tests/lora/test_dialects.py"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.lora.attach import attach_lora, check_matched, fuse_lora
from stable_cascade_nodes.cascade_core.lora.read import read_lora
from stable_cascade_nodes.cascade_core.lora.write import save_lora
from stable_cascade_nodes.cascade_core.models.handle import Handle

from . import files


@pytest.fixture
def stage_c(tiny: Callable[..., Handle]) -> Handle:
    return tiny("stage_c")


@pytest.fixture
def stage_b(tiny: Callable[..., Handle]) -> Handle:
    return tiny("stage_b")


@pytest.fixture
def text_encoder(tiny: Callable[..., Handle]) -> Handle:
    return tiny("text_encoder")


def changes_of(handle: Handle) -> dict[str, dict[str, tuple[Tensor, Tensor]]]:
    paths = files.attention_paths([name for name, _ in handle.module.named_parameters()])
    assert paths
    width = handle.module.get_parameter(f"{paths[0]}.in_proj_weight").shape[1]
    return files.factors(paths, width)


def difference(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    return max(
        float((found[name].double() - tensor).abs().max() / tensor.abs().max()) for name, tensor in wanted.items()
    )


@pytest.mark.parametrize("dialect", files.DIALECTS)
def test_merged_weights_agree(stage_c: Handle, tmp_path: Path, dialect: str) -> None:
    base, changes = dict(stage_c.module.state_dict()), changes_of(stage_c)
    lora = read_lora(files.write(tmp_path / "l.safetensors", files.DIALECTS[dialect](changes)))
    handle, report = attach_lora(stage_c, lora)
    weights = fuse_lora(handle).module.state_dict()
    assert difference(weights, files.wanted(base, changes)) < 1e-6
    assert difference(weights, {name: tensor.double() for name, tensor in base.items()}) > 1e-3
    assert len(report.matched) == len(lora.changes) and not report.unmatched and not report.unused


def test_the_official_numbers(stage_c: Handle, tmp_path: Path) -> None:
    """N = 2k is the output of attention k, N = 2k + 1 its fused rows, down blocks before up blocks."""
    paths = files.attention_paths([name for name, _ in stage_c.module.named_parameters()])
    assert [path for path in paths if path.startswith("down")] == paths[: len(paths) // 2]
    tensors = files.official(changes_of(stage_c))
    handle, _ = attach_lora(stage_c, read_lora(files.write(tmp_path / "l.safetensors", tensors)))
    weights, base = fuse_lora(handle).module.state_dict(), stage_c.module.state_dict()
    for k, path in enumerate(paths):
        for number, name in ((2 * k, f"{path}.out_proj.weight"), (2 * k + 1, f"{path}.in_proj_weight")):
            delta = tensors[f"weights.{number}.lora_up"] @ tensors[f"weights.{number}.lora_down"] / files.RANK
            assert torch.allclose(weights[name] - base[name], delta, atol=1e-6), name


@pytest.mark.parametrize("dialect", ["official", "kohya", "comfyui"])
@pytest.mark.parametrize("source", ["official", "kohya", "PEFT"])
def test_written_in_another_dialect(stage_c: Handle, tmp_path: Path, source: str, dialect: str) -> None:
    base, changes = dict(stage_c.module.state_dict()), changes_of(stage_c)
    lora = read_lora(files.write(tmp_path / "l.safetensors", files.DIALECTS[source](changes)))
    save_lora(tmp_path / "w.safetensors", lora, [stage_c], dialect=dialect)
    again = read_lora(tmp_path / "w.safetensors")
    assert again.family == stage_c.family
    handle, report = attach_lora(stage_c, again)
    assert difference(fuse_lora(handle).module.state_dict(), files.wanted(base, changes)) < 1e-6
    assert not report.unmatched


@pytest.mark.parametrize(
    ("dialect", "names"),
    [
        ("official", ["weights.0.lora_down", "weights.0.lora_up"]),
        ("kohya", ["lora_unet_down_blocks_0_2_attention_attn_to_q.lora_down.weight"]),
        ("comfyui", ["diffusion_model.down_blocks.0.2.attention.attn.to_v.lora_up.weight"]),
    ],
)
def test_written_names(stage_c: Handle, tmp_path: Path, dialect: str, names: list[str]) -> None:
    from safetensors import safe_open

    lora = read_lora(files.write(tmp_path / "l.safetensors", files.official(changes_of(stage_c))))
    save_lora(tmp_path / "w.safetensors", lora, [stage_c], dialect=dialect)
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert set(names) <= set(file.keys())


@pytest.mark.parametrize(
    "form", ["lora_decoder_unet_{flat}", "lora_unet_{flat}", "diffusion_model.{path}", "decoder.{path}"]
)
def test_stage_b(stage_b: Handle, tmp_path: Path, form: str) -> None:
    """Convolutions and mappers, too; `clip_mapper` under diffusers' name."""
    tensors: dict[str, Tensor] = {}
    wanted: dict[str, Tensor] = {}
    torch.manual_seed(0)
    for path, called in (
        ("clip_mapper", "clip_txt_pooled_mapper"),
        ("down_blocks.0.0.channelwise.0", "down_blocks.0.0.channelwise.0"),
        ("down_downscalers.1.1", "down_downscalers.1.1"),
        ("effnet_mapper.0", "effnet_mapper.0"),
    ):
        weight = stage_b.module.get_parameter(f"{path}.weight")
        down, up = torch.randn(2, *weight.shape[1:]) / 9, torch.randn(weight.shape[0], 2, *[1] * (weight.ndim - 2))
        name = form.format(path=called, flat=called.replace(".", "_"))
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(1.0)}
        wanted[f"{path}.weight"] = weight.double() + 0.5 * torch.tensordot(up.flatten(1), down, dims=1).double()
    handle, report = attach_lora(stage_b, read_lora(files.write(tmp_path / "l.safetensors", tensors)))
    assert difference(fuse_lora(handle).module.state_dict(), wanted) < 1e-6
    assert len(report.matched) == 4


@pytest.mark.parametrize("form", ["lora_te_{flat}", "lora_prior_te_{flat}", "text_encoders.clip_g.transformer.{path}"])
def test_text_encoder_and_stage_in_one_file(stage_c: Handle, text_encoder: Handle, tmp_path: Path, form: str) -> None:
    path = "text_model.encoder.layers.0.self_attn.q_proj"
    weight = text_encoder.module.get_parameter(f"{path}.weight")
    down, up = torch.randn(3, weight.shape[1]), torch.randn(weight.shape[0], 3)
    name = form.format(path=path, flat=path.replace(".", "_"))
    tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
    tensors |= files.DIALECTS["kohya"](changes_of(stage_c))
    lora = read_lora(files.write(tmp_path / "l.safetensors", tensors))
    handle, report = attach_lora(text_encoder, lora, 0.5)
    assert report.matched == (name,) and len(report.unused) == len(lora.changes) - 1 and not report.unmatched
    wanted = {f"{path}.weight": weight.double() + 0.5 * up.double() @ down.double()}
    assert difference(fuse_lora(handle).module.state_dict(), wanted) < 1e-6
    assert attach_lora(stage_c, lora)[1].unused == (name,)


@pytest.mark.parametrize("axis", [0, 1])
def test_dora(stage_c: Handle, tmp_path: Path, axis: int) -> None:
    """magnitude * (W + D) / |W + D|, by rows or by columns; at half strength half of that change."""
    path = "up_blocks.0.0.channelwise.0"
    weight = stage_c.module.get_parameter(f"{path}.weight").double()
    torch.manual_seed(1)
    down, up = torch.randn(2, weight.shape[1]), torch.randn(weight.shape[0], 2)
    magnitude = torch.rand(weight.shape[0], 1) + 0.5 if axis == 1 else torch.rand(1, weight.shape[1]) + 0.5
    name = f"lora_prior_unet_{path.replace('.', '_')}"
    tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.dora_scale": magnitude}
    lora = read_lora(files.write(tmp_path / "l.safetensors", tensors | {f"{name}.alpha": torch.tensor(2.0)}))
    changed = weight + up.double() @ down.double()
    full = magnitude.double() * changed / changed.norm(dim=axis, keepdim=True)
    for strength in (1.0, 0.5):
        found = fuse_lora(attach_lora(stage_c, lora, strength)[0]).module.get_parameter(f"{path}.weight")
        assert torch.allclose(found.double(), weight + strength * (full - weight), atol=1e-6)
    save_lora(tmp_path / "w.safetensors", lora, [stage_c], dialect="kohya")
    again = fuse_lora(attach_lora(stage_c, read_lora(tmp_path / "w.safetensors"))[0]).module.get_parameter(
        f"{path}.weight"
    )
    assert torch.allclose(again.double(), full, atol=1e-6)
    with pytest.raises(CascadeError, match="DoRA, for which the official dialect has no place"):
        save_lora(tmp_path / "w.safetensors", lora, [stage_c])


def test_unknown_names_are_reported(stage_c: Handle, tmp_path: Path) -> None:
    tensors = files.DIALECTS["kohya"](changes_of(stage_c))
    tensors |= {
        "lora_unet_down_blocks_9_2_attention_attn_to_q.lora_down.weight": torch.zeros(1, 4),
        "lora_unet_down_blocks_9_2_attention_attn_to_q.lora_up.weight": torch.zeros(4, 1),
        "lora_unet_clf_1.oft_blocks": torch.zeros(1),
    }
    lora = read_lora(files.write(tmp_path / "l.safetensors", tensors))
    report = attach_lora(stage_c, lora)[1]
    assert report.unmatched == ("lora_unet_down_blocks_9_2_attention_attn_to_q", "lora_unet_clf_1.oft_blocks")
    assert "2 unmatched (lora_unet_down_blocks_9_2_attention_attn_to_q, lora_unet_clf_1.oft_blocks)" in str(report)


def test_nothing_matched_is_an_error(stage_c: Handle, tmp_path: Path) -> None:
    name = "lora_unet_down_blocks_9_2_attention_attn_to_q"
    tensors = {f"{name}.lora_down.weight": torch.zeros(1, 4), f"{name}.lora_up.weight": torch.zeros(4, 1)}
    lora = read_lora(files.write(tmp_path / "l.safetensors", tensors))
    handle, report = attach_lora(stage_c, lora)
    assert handle is stage_c
    with pytest.raises(CascadeError, match=rf"LoRA l\.safetensors changes nothing of the Stage C: .*found {name}"):
        check_matched(lora, {"stage_c": report})


@pytest.mark.parametrize("dialect", ["official", "kohya"])
def test_of_another_size(stage_c: Handle, tmp_path: Path, dialect: str) -> None:
    paths = files.attention_paths([name for name, _ in stage_c.module.named_parameters()])
    tensors = files.DIALECTS[dialect](files.factors(paths, 2048))
    lora = read_lora(files.write(tmp_path / "l.safetensors", tensors))
    with pytest.raises(CascadeError, match=r"2048.* x .*160.*choose the (model|Stage C) that"):
        attach_lora(stage_c, lora)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weights.0.lora_down": torch.zeros(1, 4)}, "weights.0 lacks its lora_up"),
        ({"weights.0.lora_up": torch.zeros(1, 4)}, "weights.0 lacks its lora_down"),
        ({"weights.0.lora_up": torch.zeros(4, 2), "weights.0.lora_down": torch.zeros(1, 4)}, "rank 1.*rank 2"),
        (
            {"embeddings.embeddings": torch.zeros(2, 4), "embeddings.indices": torch.tensor([3])},
            "2 embeddings, but 1 indices",
        ),
    ],
)
def test_damaged(tmp_path: Path, tensors: dict[str, Tensor], message: str) -> None:
    with pytest.raises(CascadeError, match=message):
        read_lora(files.write(tmp_path / "l.safetensors", tensors))


PAIR = {"lora_unet_clf_1.lora_down.weight": torch.zeros(2, 4), "lora_unet_clf_1.lora_up.weight": torch.zeros(4, 2)}


@pytest.mark.parametrize(
    "entry", ["", "[]", "null", '{"family": 3}', '{"filters": [1]}', '{"tokens": [{"text": "a"}]}', "[" * 100_000]
)
def test_an_entry_that_cannot_be_used(tmp_path: Path, entry: str) -> None:
    save_file(PAIR, tmp_path / "x.safetensors", {"cascade_lora": entry})
    with pytest.raises(CascadeError, match=r"x\.safetensors: the metadata entry `cascade_lora` cannot be used: get"):
        read_lora(tmp_path / "x.safetensors")


def test_an_entry_may_know_more(tmp_path: Path) -> None:
    save_file(PAIR, tmp_path / "x.safetensors", {"cascade_lora": '{"family": "mine", "later": 1}'})
    assert read_lora(tmp_path / "x.safetensors").family == "mine"
