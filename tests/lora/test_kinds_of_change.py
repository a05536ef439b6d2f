"""LoHa, LoKr, IA3, full differences and DoRA over them: as LyCORIS computes them, in any mix.

Run: pytest tests/lora/test_kinds_of_change.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.lora.attach import attach_lora, check_matched, fuse_lora
from stable_cascade_nodes.cascade_core.lora.fit import branch_of
from stable_cascade_nodes.cascade_core.lora.read import read_lora
from stable_cascade_nodes.cascade_core.lora.slots import Group, find_slot
from stable_cascade_nodes.cascade_core.lora.write import save_lora
from stable_cascade_nodes.cascade_core.models.adapters import adapted, merged
from stable_cascade_nodes.cascade_core.models.handle import Handle

from . import files
from .lycoris_answers import ANSWERS

ANSWERED = load_file(ANSWERS)
CASES = sorted({name.split("/")[0] for name in ANSWERED} - {"base"})
ATTENTION = "down_blocks.0.2.attention.attn"
MIXER = "up_blocks.0.0.channelwise.0"
DEPTHWISE = "down_blocks.0.0.depthwise"


def answer(case: str) -> tuple[str, dict[str, Tensor], dict[str, Tensor]]:
    """The layer's name, the file's tensors under the module `m`, and the merged weight and bias."""
    own = {name.removeprefix(f"{case}/"): tensor for name, tensor in ANSWERED.items() if name.startswith(f"{case}/")}
    file = {f"m.{name.removeprefix('file/')}": tensor for name, tensor in own.items() if name.startswith("file/")}
    (layer,) = {name.split("/")[0] for name in own if not name.startswith("file/")}
    return layer, file, {name.split("/")[1]: tensor for name, tensor in own.items() if name.startswith(f"{layer}/")}


@pytest.mark.parametrize("case", CASES)
def test_as_lycoris_computes_it(case: str) -> None:
    layer, file, wanted = answer(case)
    slots = {slot[1]: tensor for name, tensor in file.items() if (slot := find_slot(name, file))}
    assert len(slots) == len(file)
    changes = Group("m", "file", slots).changes()
    base = ANSWERED[f"base/{layer}/weight"]
    branch = branch_of(changes["m"], base, None, 1.0, torch.float32)
    assert (merged(base, [branch]) - wanted["weight"]).abs().max() < 1e-6
    assert (wanted["weight"] - base).abs().max() > 1e-2
    if "bias" in wanted:
        bias = ANSWERED[f"base/{layer}/bias"]
        change = branch_of(changes["m.diff_b"], bias, None, 1.0, torch.float32)
        assert (merged(bias, [change]) - wanted["bias"]).abs().max() < 1e-6

    out, inner, *kernel = base.shape
    holder = nn.Sequential(nn.Conv2d(inner, out, kernel[0], bias=False) if kernel else nn.Linear(inner, out, False))
    holder.load_state_dict({"0.weight": base})
    x = torch.randn(2, inner, 5, 5) if kernel else torch.randn(2, 5, inner)
    found = adapted(holder, {"0.weight": [branch]})(x)
    assert torch.allclose(found, (F.conv2d if kernel else F.linear)(x, wanted["weight"]), atol=1e-5)


@pytest.fixture
def stage_c(tiny: Callable[..., Handle]) -> Handle:
    return tiny("stage_c")


def flat(path: str) -> str:
    return "lora_unet_" + path.replace(".", "_")


def loha(weight: Tensor, name: str) -> dict[str, Tensor]:
    out, inner = weight.shape[0], weight[0].numel()
    shapes = {"hada_w1_a": (out, 2), "hada_w1_b": (2, inner), "hada_w2_a": (out, 2), "hada_w2_b": (2, inner)}
    return {f"{name}.{end}": torch.randn(shape) / 3 for end, shape in shapes.items()} | {
        f"{name}.alpha": torch.tensor(1.0)
    }


def lokr(weight: Tensor, name: str) -> dict[str, Tensor]:
    (out, inner), kernel = weight.shape[:2], weight.shape[2:]
    columns = 4 if inner % 4 == 0 else 1
    return {
        f"{name}.lokr_w1": torch.randn(4, columns) / 3,
        f"{name}.lokr_w2_a": torch.randn(out // 4, 2) / 3,
        f"{name}.lokr_w2_b": torch.randn(2, inner // columns * kernel.numel()),
        f"{name}.alpha": torch.tensor(1.0),
    }


def ia3(weight: Tensor, name: str) -> dict[str, Tensor]:
    shape = (1, len(weight), 1, 1) if weight.ndim == 4 else (len(weight),)
    return {f"{name}.weight": torch.randn(shape), f"{name}.on_input": torch.tensor(False)}


def full(weight: Tensor, name: str) -> dict[str, Tensor]:
    return {f"{name}.diff": torch.randn(weight.shape) / 9, f"{name}.diff_b": torch.randn(len(weight))}


def low_rank(weight: Tensor, name: str) -> dict[str, Tensor]:
    return {
        f"{name}.lora_down.weight": torch.randn(2, *weight.shape[1:]) / 3,
        f"{name}.lora_up.weight": torch.randn(len(weight), 2, *[1] * (weight.ndim - 2)) / 3,
        f"{name}.alpha": torch.tensor(1.0),
    }


KINDS = {"loha": loha, "lokr": lokr, "ia3": ia3, "full": full, "low rank": low_rank}


def run(handle: Handle) -> Tensor:
    torch.manual_seed(0)
    config: Any = handle.config
    text = torch.randn(1, 7, config.c_clip_text), torch.randn(1, config.c_clip_text_pooled)
    with torch.inference_mode():
        return handle.module(torch.randn(1, 16, 5, 6), torch.rand(1), *text)


def file_of(stage_c: Handle, kind: str, path: Path, form: Callable[[str], str] = flat) -> Path:
    """q of an attention, a channel mixer and a depthwise convolution, changed in this way."""
    torch.manual_seed(3)
    weights = dict(stage_c.module.named_parameters())
    width = weights[f"{ATTENTION}.in_proj_weight"].shape[1]
    tensors: dict[str, Tensor] = {}
    for name, weight in (
        (f"{ATTENTION}.to_q", weights[f"{ATTENTION}.in_proj_weight"][:width]),
        (MIXER, weights[f"{MIXER}.weight"]),
        (DEPTHWISE, weights[f"{DEPTHWISE}.weight"]),
    ):
        tensors |= KINDS[kind](weight, form(name))
    return files.write(path, tensors)


@pytest.mark.parametrize("kind", KINDS)
def test_it_acts_and_leaves_the_model_alone(stage_c: Handle, tmp_path: Path, kind: str) -> None:
    before, state = run(stage_c), {name: tensor.clone() for name, tensor in stage_c.module.state_dict().items()}
    lora = read_lora(file_of(stage_c, kind, tmp_path / "l.safetensors"))
    handle, report = attach_lora(stage_c, lora)
    assert not report.unmatched and len(report.matched) == len(lora.changes) >= 3
    changed = run(handle)
    assert (changed - before).abs().max() > 1e-2 * before.abs().max()
    fused = fuse_lora(handle)
    assert torch.allclose(run(fused), changed, atol=2e-5 * float(changed.abs().max()))
    weights = fused.module.state_dict()
    touched = {f"{ATTENTION}.in_proj_weight", f"{MIXER}.weight", f"{DEPTHWISE}.weight"}
    if kind == "full":
        touched |= {f"{ATTENTION}.in_proj_bias", f"{MIXER}.bias", f"{DEPTHWISE}.bias"}
    assert {name for name in state if not torch.equal(weights[name], state[name])} == touched
    assert attach_lora(stage_c, lora, 0.0)[0] is stage_c
    assert torch.equal(run(stage_c), before)
    assert all(torch.equal(tensor, state[name]) for name, tensor in stage_c.module.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_half_strength_is_half_the_change(stage_c: Handle, tmp_path: Path, kind: str) -> None:
    lora = read_lora(file_of(stage_c, kind, tmp_path / "l.safetensors"))
    base = stage_c.module.state_dict()
    whole, half = (fuse_lora(attach_lora(stage_c, lora, s)[0]).module.state_dict() for s in (1.0, -0.5))
    for name, tensor in base.items():
        assert torch.allclose(half[name], tensor - 0.5 * (whole[name] - tensor), atol=1e-5), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["diffusion_model.{}", "lycoris_{}", "lora_prior_unet_{}", "base_model.model.{}"])
def test_every_dialect(stage_c: Handle, tmp_path: Path, kind: str, form: str) -> None:
    def name(path: str) -> str:
        return form.format(path if "." in form else path.replace(".", "_"))

    one = attach_lora(stage_c, read_lora(file_of(stage_c, kind, tmp_path / "k.safetensors")))[0]
    other = attach_lora(stage_c, read_lora(file_of(stage_c, kind, tmp_path / "o.safetensors", name)))[0]
    assert torch.equal(run(one), run(other))


def test_all_kinds_in_one_file_and_stacked(stage_c: Handle, tmp_path: Path) -> None:
    torch.manual_seed(4)
    weights = stage_c.module.state_dict()
    mixers = [name for name in weights if name.endswith("channelwise.0.weight")][: len(KINDS)]
    parts = [
        KINDS[kind](weights[name], flat(name.removesuffix(".weight"))) for kind, name in zip(KINDS, mixers, strict=True)
    ]
    mixed: dict[str, Tensor] = {}
    for part in parts:
        mixed |= part
    at_once, _ = attach_lora(stage_c, read_lora(files.write(tmp_path / "all.safetensors", mixed)))
    stacked = stage_c
    for i, part in enumerate(parts):
        stacked, _ = attach_lora(stacked, read_lora(files.write(tmp_path / f"{i}.safetensors", part)))
    assert torch.equal(run(at_once), run(stacked))
    twice, _ = attach_lora(at_once, read_lora(tmp_path / "all.safetensors"), -1.0)
    assert torch.allclose(run(twice), run(stage_c), atol=1e-4)


@pytest.mark.parametrize("dialect", ["kohya", "comfyui"])
@pytest.mark.parametrize("kind", KINDS)
def test_written_and_read_again(stage_c: Handle, tmp_path: Path, kind: str, dialect: str) -> None:
    lora = read_lora(file_of(stage_c, kind, tmp_path / "l.safetensors"))
    save_lora(tmp_path / "w.safetensors", lora, [stage_c], dialect=dialect)
    again = fuse_lora(attach_lora(stage_c, read_lora(tmp_path / "w.safetensors"))[0]).module.state_dict()
    for name, tensor in fuse_lora(attach_lora(stage_c, lora)[0]).module.state_dict().items():
        assert torch.allclose(again[name], tensor, atol=1e-6), name
    if kind != "low rank":
        with pytest.raises(CascadeError, match="of no low rank, for which the official dialect has no place: write"):
            save_lora(tmp_path / "x.safetensors", lora, [stage_c], dialect="official")


@pytest.mark.parametrize("kind", ["loha", "ia3", "full", "lokr"])
def test_a_change_of_fused_rows_is_written_apart(stage_c: Handle, tmp_path: Path, kind: str) -> None:
    """Other programs have q, k and v apart; LoKr's product has no such thirds."""
    weight = stage_c.module.get_parameter(f"{ATTENTION}.in_proj_weight")
    lora = read_lora(
        files.write(tmp_path / "l.safetensors", KINDS[kind](weight, f"diffusion_model.{ATTENTION}.in_proj"))
    )
    if kind == "lokr":
        with pytest.raises(CascadeError, match="LoKr over fused q, k, v has no form with these apart: keep the file"):
            save_lora(tmp_path / "w.safetensors", lora, [stage_c], dialect="kohya")
        return
    save_lora(tmp_path / "w.safetensors", lora, [stage_c], dialect="kohya")
    assert any("_to_k." in name for name in load_file(tmp_path / "w.safetensors"))
    handles = [attach_lora(stage_c, read_lora(tmp_path / f"{name}.safetensors"))[0] for name in "lw"]
    one, other = (fuse_lora(handle).module.state_dict() for handle in handles)
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)


def test_little_memory(stage_c: Handle, tmp_path: Path) -> None:
    """LoHa and LoKr are made anew at each use; the others keep what they change."""
    for kind in ("loha", "lokr"):
        lora = read_lora(file_of(stage_c, kind, tmp_path / "l.safetensors"))
        handle, _ = attach_lora(stage_c, lora)
        own = {id(parameter) for parameter in stage_c.module.parameters()}
        added = sum(p.nbytes for p in handle.module.parameters() if id(p) not in own)
        changed = sum(stage_c.module.get_parameter(name).nbytes for name in (f"{MIXER}.weight", f"{DEPTHWISE}.weight"))
        assert added < changed / 8, kind


def test_norms_of_a_text_encoder(tiny: Callable[..., Handle], tmp_path: Path) -> None:
    """LyCORIS's norms: differences of a weight and a bias."""
    encoder = tiny("text_encoder")
    path = "text_model.encoder.layers.0.layer_norm1"
    before = {end: encoder.module.get_parameter(f"{path}.{end}").clone() for end in ("weight", "bias")}
    change = {end: torch.randn(len(tensor)) for end, tensor in before.items()}
    name = "lora_prior_te_" + path.replace(".", "_")
    tensors = {f"{name}.w_norm": change["weight"], f"{name}.b_norm": change["bias"]}
    handle, report = attach_lora(encoder, read_lora(files.write(tmp_path / "l.safetensors", tensors)), 0.5)
    assert len(report.matched) == 2
    for end, tensor in before.items():
        assert torch.allclose(handle.module.get_parameter(f"{path}.{end}"), tensor + 0.5 * change[end])
        assert torch.equal(encoder.module.get_parameter(f"{path}.{end}"), tensor)


@pytest.mark.parametrize(("shape", "axis"), [((160, 1), 0), ((1, 160), 1)])
def test_pefts_ia3(stage_c: Handle, tmp_path: Path, shape: tuple[int, int], axis: int) -> None:
    """Its factor multiplies the weight itself; its shape tells rows from columns."""
    path = f"{ATTENTION}.out_proj"
    factors = torch.randn(shape)
    name = "base_model.model." + path.replace(".attn.out_proj", ".to_out.0")
    lora = read_lora(files.write(tmp_path / "l.safetensors", {f"{name}.ia3_l": factors}))
    found = fuse_lora(attach_lora(stage_c, lora)[0]).module.get_parameter(f"{path}.weight")
    assert torch.allclose(found, stage_c.module.get_parameter(f"{path}.weight") * factors, atol=1e-5), axis


M = flat(MIXER)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({f"{M}.hada_w1_a": torch.zeros(1, 1)}, "lacks its hada_w1_b: the file is not whole"),
        ({f"{M}.lokr_w1": torch.zeros(1, 1)}, "lacks its lokr_w2: the file is not whole"),
        ({f"{M}.lokr_w1": torch.zeros(1, 1), f"{M}.lokr_w2_a": torch.zeros(1, 1)}, "lacks its lokr_w2_b"),
        (
            {
                f"{M}.hada_{h}": torch.zeros(s)
                for h, s in zip(("w1_a", "w1_b", "w2_a", "w2_b"), [(4, 2)] * 4, strict=True)
            },
            r"do not fit together \(hada_w1_a \[4, 2\].*get the file again",
        ),
        ({f"{M}.lokr_w1": torch.zeros(4), f"{M}.lokr_w2": torch.zeros(4, 4)}, "do not fit together"),
        ({f"{M}.on_input": torch.tensor(True)}, "lacks its lora_down"),
    ],
)
def test_damaged(tmp_path: Path, tensors: dict[str, Tensor], message: str) -> None:
    with pytest.raises(CascadeError, match=message):
        read_lora(files.write(tmp_path / "l.safetensors", tensors))


@pytest.mark.parametrize("kind", KINDS)
def test_of_another_size(stage_c: Handle, tmp_path: Path, kind: str) -> None:
    tensors = KINDS[kind](torch.zeros(2048, 512), M)
    with pytest.raises(CascadeError, match=r"changes a weight of 2048.*choose the model that it was trained on"):
        attach_lora(stage_c, read_lora(files.write(tmp_path / "l.safetensors", tensors)))


def test_a_kind_that_is_not_read(stage_c: Handle, tmp_path: Path) -> None:
    tensors = {f"{M}.oft_blocks": torch.zeros(4, 2, 2), f"{M}.alpha": torch.tensor(1.0)}
    lora = read_lora(files.write(tmp_path / "l.safetensors", tensors))
    handle, report = attach_lora(stage_c, lora)
    assert handle is stage_c and report.unmatched == (f"{M}.oft_blocks",)
    with pytest.raises(CascadeError, match=rf"changes nothing of the Stage C: .*{M}\.oft_blocks"):
        check_matched(lora, {"stage_c": report})
