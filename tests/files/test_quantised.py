"""Files with quantised weights: written, read, told by their headers, in ComfyUI's form and in older ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from stable_cascade_nodes.benchmarks.peers import alive
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files import convert as converting
from stable_cascade_nodes.cascade_core.files.convert import convert
from stable_cascade_nodes.cascade_core.files.identify import identify
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.files.save import save
from stable_cascade_nodes.cascade_core.kinds import QUANTISED_NAMES
from stable_cascade_nodes.cascade_core.models.blocks import large_weights
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.linear import Held
from stable_cascade_nodes.cascade_core.models.quantised import pack
from stable_cascade_nodes.cascade_core.models.stage_c import StageC
from stable_cascade_nodes.cascade_core.training import stages

from .networks import part_of, published_shapes

CONFIG = replace(PRESETS["stage_c"]["tiny"], c_hidden=(64,), nhead=(2,), blocks=((1,), (1,)), c_cond=64)
LAYER = "down_blocks.0.0.channelwise.4"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "plain.safetensors"
    save(path, alive(StageC, CONFIG), "stage_c", family="narrow")
    return path


@pytest.fixture(scope="module")
def written(plain: Path) -> dict[str, Path]:
    paths = {name: plain.with_name(f"{name}.safetensors") for name in QUANTISED_NAMES}
    for name, path in paths.items():
        convert(plain, path, layout="comfyui", dtype=name)
    return paths


def rewritten(source: Path, target: Path, change: Any, metadata: dict[str, str] | None = None) -> Path:
    """The file's tensors changed, with more metadata."""
    tensors = load_file(source)
    change(tensors)
    with safe_open(source, "pt") as file:
        save_file(tensors, target, {**file.metadata(), **(metadata or {})})
    return target


def output(path: Path, dtype: str = "auto") -> Tensor:
    module: Any = load("stage_c", path, dtype=dtype).module
    with torch.inference_mode():
        return module(**module.example())


def apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", QUANTISED_NAMES)
def test_a_file_gives_what_loading_so_gives(plain: Path, written: dict[str, Path], name: str) -> None:
    """But for what stands in 16 bits in it, the timestep mappers' 8, and float8's scales, of q, k and v each."""
    assert apart(output(written[name]), output(plain, name)) < 0.04
    assert 0 < apart(output(written[name]), output(plain)) < 0.2


@pytest.mark.parametrize("name", QUANTISED_NAMES)
def test_headers_tell(written: dict[str, Path], name: str) -> None:
    (part,) = identify(written[name])
    assert (part.kind, part.precision, part.layout, part.family) == ("stage_c", name, "comfyui", "narrow")
    told = sum(tensor.nbytes for tensor in load_file(written[name]).values())
    marks = [tensor for key, tensor in load_file(written[name]).items() if key.endswith("comfy_quant")]
    assert part.bytes == told - sum(map(len, marks))


@pytest.mark.parametrize("name", QUANTISED_NAMES)
def test_what_is_quantised(written: dict[str, Path], name: str) -> None:
    """The weights of the blocks' linear layers in ComfyUI's names; the rest in 16 bits."""
    tensors = load_file(written[name])
    quantised = {key.removesuffix(".comfy_quant") for key in tensors if key.endswith("comfy_quant")}
    large = [path for path in large_weights(alive(StageC, CONFIG)) if "in_proj" not in path]
    assert quantised >= {path.removesuffix(".weight") for path in large}
    assert {layer.rpartition(".")[2] for layer in quantised} == {
        "0",
        "4",
        "1",
        "to_q",
        "to_k",
        "to_v",
        "out_proj",
        "mapper",
    }
    rest = {key for key in tensors if key.rpartition(".")[0] not in quantised}
    assert {tensors[key].dtype for key in rest} == {torch.bfloat16}
    conf = json.loads(tensors[f"{LAYER}.comfy_quant"].numpy().tobytes())
    assert (
        conf
        == {
            "int8": {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 256},
            "fp8": {"format": "float8_e4m3fn"},
            "int4": {"format": "asym_w4a8_int8", "group_size": 16, "convrot_groupsize": 256},
        }[name]
    )


def test_weights_are_the_files_pages(written: dict[str, Path]) -> None:
    module = load("stage_c", written["int8"]).module
    held = module.get_submodule(f"{LAYER}.weight")
    assert isinstance(held, Held) and not held.get_buffer("data").untyped_storage().resizable()


@pytest.mark.parametrize(("name", "most"), [("int8", 3.65e9), ("fp8", 3.65e9), ("int4", 2.3e9)])
def test_size_of_the_largest(name: str, most: float) -> None:
    """Counted, as the header would be written."""
    shapes = published_shapes("stage_c", "3.6B")
    part = part_of("stage_c", PRESETS["stage_c"]["3.6B"], shapes=shapes)
    assert 0.85 * most < converting._plan(part, Path("f"), Path("t"), "comfyui", name).size < most


def test_comfyui_tells_the_sizes_of_stage_b_apart() -> None:
    """By the columns of this weight, which are half as many in 4 bits."""
    part = part_of("stage_b", PRESETS["stage_b"]["700M"], shapes=published_shapes("stage_b", "700M"))
    specs = converting._plan(part, Path("f"), Path("t"), "comfyui", "int4").specs
    assert specs["down_blocks.1.0.channelwise.0.weight"] == ("I8", (2304, 576))
    assert specs["down_blocks.1.0.channelwise.4.weight"] == ("I8", (576, 1152))


@pytest.mark.parametrize("name", QUANTISED_NAMES)
def test_back_to_a_plain_file(written: dict[str, Path], tmp_path: Path, name: str) -> None:
    target = tmp_path / "back.safetensors"
    convert(written[name], target, layout="official", dtype="float32")
    assert identify(target)[0].precision == "float32"
    assert apart(output(target), output(written[name])) < 1e-3


class TestOtherForms:
    def test_metadata(self, written: dict[str, Path], tmp_path: Path) -> None:
        tensors = load_file(written["int8"])
        told = {
            key.removesuffix(".comfy_quant"): json.loads(tensor.numpy().tobytes())
            for key, tensor in tensors.items()
            if key.endswith("comfy_quant")
        }

        def change(tensors: dict[str, Tensor]) -> None:
            for layer in told:
                del tensors[f"{layer}.comfy_quant"]

        entry = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": told})}
        file = rewritten(written["int8"], tmp_path / "m.safetensors", change, entry)
        assert output(file).equal(output(written["int8"]))

    def test_scaled_fp8(self, written: dict[str, Path], tmp_path: Path) -> None:
        def change(tensors: dict[str, Tensor]) -> None:
            for key in [key for key in tensors if key.endswith("comfy_quant")]:
                layer = key.removesuffix(".comfy_quant")
                del tensors[key]
                tensors[f"{layer}.scale_weight"] = tensors.pop(f"{layer}.weight_scale")
                tensors[f"{layer}.scale_input"] = torch.ones(())
            tensors["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)

        file = rewritten(written["fp8"], tmp_path / "s.safetensors", change)
        assert identify(file)[0].precision == "fp8"
        assert output(file).equal(output(written["fp8"]))

    def test_one_scale_and_no_rotation(self, plain: Path, tmp_path: Path) -> None:
        """int8 as others write it, over some layers; a text mapper, which is no large weight, is decoded."""

        def change(tensors: dict[str, Tensor]) -> None:
            for layer in (LAYER, "clip_txt_mapper"):
                weight = tensors[f"{layer}.weight"]
                scale = weight.abs().max() / 127
                tensors[f"{layer}.weight"] = (weight / scale).round().to(torch.int8)
                tensors[f"{layer}.weight_scale"] = scale
                tensors[f"{layer}.comfy_quant"] = told({"format": "int8_tensorwise"})

        file = rewritten(plain, tmp_path / "t.safetensors", change)
        assert 0 < apart(output(file), output(plain)) < 0.1

    def test_awq(self, plain: Path, tmp_path: Path) -> None:
        def change(tensors: dict[str, Tensor]) -> None:
            weight = tensors[f"{LAYER}.weight"].unflatten(1, (-1, 64))
            low, high = weight.amin(-1), weight.amax(-1)
            scale = ((high - low) / 15).bfloat16().float()
            zeros = (low + 8 * scale).bfloat16().float()
            codes = ((weight - zeros[..., None]) / scale[..., None] + 8).round().clamp(0, 15)
            tensors[f"{LAYER}.weight"] = pack(codes.flatten(1).to(torch.uint8))
            tensors[f"{LAYER}.weight_scale"] = scale.T.contiguous().bfloat16()
            tensors[f"{LAYER}.weight_zeros"] = zeros.T.contiguous().bfloat16()
            tensors[f"{LAYER}.comfy_quant"] = told({"format": "awq_w4a16", "group_size": 64})

        file = rewritten(plain, tmp_path / "a.safetensors", change)
        assert 0 < apart(output(file), output(plain)) < 0.1

    @pytest.mark.parametrize(
        ("settings", "shape", "message"),
        [
            ({"format": "int8_tensorwise"}, (7, 1), r"weight_scale \[7, 1\], which do not fit together"),
            ({"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 48}, (), "which do not fit together"),
            (["int8_tensorwise"], (), "is damaged or its download is not complete"),
        ],
    )
    def test_what_does_not_fit_is_told(
        self, plain: Path, tmp_path: Path, settings: Any, shape: tuple[int, ...], message: str
    ) -> None:
        def change(tensors: dict[str, Tensor]) -> None:
            tensors[f"{LAYER}.weight"] = tensors[f"{LAYER}.weight"].to(torch.int8)
            tensors[f"{LAYER}.weight_scale"] = torch.ones(shape)
            tensors[f"{LAYER}.comfy_quant"] = told(settings)

        file = rewritten(plain, tmp_path / "x.safetensors", change)
        with pytest.raises(CascadeError, match=message):
            identify(file)

    def test_two_formats_in_one_attention(self, written: dict[str, Path], tmp_path: Path) -> None:
        """What cannot lie in one weight is decoded."""
        other = load_file(written["fp8"])

        def change(tensors: dict[str, Tensor]) -> None:
            for key in other:
                if ".0.2.attention.attn.to_q." in key:
                    tensors[key] = other[key]

        file = rewritten(written["int8"], tmp_path / "two.safetensors", change)
        assert apart(output(file), output(written["int8"])) < 0.05


def test_saving_decodes(written: dict[str, Path], tmp_path: Path) -> None:
    handle = load("stage_c", written["int8"])
    save(tmp_path / "saved.safetensors", handle.module, "stage_c", family="narrow")
    assert apart(output(tmp_path / "saved.safetensors"), output(written["int8"])) < 1e-5


def test_only_stages_are_large(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(CascadeError, match="expected the layout comfyui, found official"):
        convert(plain, tmp_path / "x.safetensors", layout="official", dtype="int8")


def told(settings: Any) -> Tensor:
    return torch.tensor(list(json.dumps(settings).encode()), dtype=torch.uint8)


def test_not_all_of_a_quantised_stage_can_be_trained(written: dict[str, Path]) -> None:
    models: Any = SimpleNamespace(stage_c=load("stage_c", written["int8"]))
    settings: Any = SimpleNamespace(batch_size=1, checkpointing=False)
    nothing: Any = None
    with (
        patch.object(stages.SourceTask, "__init__", lambda *_: None),
        patch.object(stages, "Examples", lambda *_: None),
        pytest.raises(CascadeError, match="a LoRA can be trained, but not all of the stage"),
    ):
        stages.StageCTask(models, nothing, settings, nothing)
