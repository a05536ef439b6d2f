"""Names and shapes of the layouts: at full size without values, against diffusers and ComfyUI themselves."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stable_cascade_nodes.cascade_core.files.diffusers_config import write_config
from stable_cascade_nodes.cascade_core.files.layouts import TABLES, Source, chain, from_official, layout_of, to_official
from stable_cascade_nodes.cascade_core.models.config import PRESETS

from ..host.lanes import Lane
from ..models.hosts import in_host
from .networks import FULL_SIZE, Shapes, official_shapes, part_of, published_shapes, random_tensors, shapes_of

# Tensors per file, official and with q, k and v apart, as the facts about the published files have them.
COUNTS = {
    ("stage_c", "3.6B"): (1294, 1550),
    ("stage_c", "1B"): (654, 782),
    ("stage_b", "1.5B"): (1454, 1726),
    ("stage_b", "700M"): (826, 970),
    ("stage_a", "published"): (122, 122),
}
SIZES = pytest.mark.parametrize(("kind", "preset"), FULL_SIZE)


def translated(kind: str, layout: str, shapes: Shapes) -> Shapes:
    return {name: source.shape(shapes) for name, source in from_official(kind, layout, shapes).items()}


def back(kind: str, layout: str, theirs: Shapes) -> Shapes:
    prefix = "model.diffusion_model."
    sources = to_official(part_of(kind, None, layout, theirs, prefix))
    return {
        name: source.shape({prefix + one: shape for one, shape in theirs.items()}) for name, source in sources.items()
    }


def diffusers_network(kind: str, config: Any) -> Any:
    from diffusers import StableCascadeUNet
    from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel

    cls: Any = PaellaVQModel if kind == "stage_a" else StableCascadeUNet
    with torch.device("meta"):
        return cls.from_config(write_config(kind, config))


def make(source: Source, tensors: dict[str, Tensor]) -> Tensor:
    pieces = list(source.pieces(tensors.__getitem__))
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0].contiguous()


@SIZES
def test_official_files_have_the_known_number_of_tensors(kind: str, preset: str) -> None:
    shapes = published_shapes(kind, preset)
    assert len(shapes) == COUNTS[kind, preset][0]
    assert translated(kind, "official", shapes) == back(kind, "official", shapes) == shapes


@SIZES
def test_diffusers_at_full_size(kind: str, preset: str) -> None:
    ours = published_shapes(kind, preset)
    theirs = shapes_of(diffusers_network(kind, PRESETS[kind][preset]).state_dict())
    assert translated(kind, "diffusers", ours) == theirs
    assert back(kind, "diffusers", theirs) == ours
    assert len(theirs) == COUNTS[kind, preset][1]
    assert layout_of(kind, theirs) == "diffusers"


@SIZES
def test_comfyui_at_full_size(kind: str, preset: str) -> None:
    ours = published_shapes(kind, preset)
    theirs = translated(kind, "comfyui", ours)
    assert back(kind, "comfyui", theirs) == ours
    assert len(theirs) == COUNTS[kind, preset][1]
    assert {name: shape for name, shape in ours.items() if "in_proj" not in name}.items() <= theirs.items()
    for name in (name for name in ours if "in_proj" in name):
        stem, _, end = name.partition("in_proj_")
        rows, *rest = ours[name]
        for letter in "qkv":
            assert theirs[f"{stem}to_{letter}.{end}"] == (rows // 3, *rest)
    assert layout_of(kind, theirs) == ("official" if kind == "stage_a" else "comfyui")


@pytest.mark.host
@pytest.mark.parametrize(
    ("kind", "preset", "built"),
    [
        ("stage_c", "3.6B", "stage_c.StageC(operations=ops)"),
        (
            "stage_c",
            "1B",
            "stage_c.StageC(c_cond=1536, c_hidden=[1536, 1536], nhead=[24, 24], blocks=[[4, 12], [12, 4]],"
            " operations=ops)",
        ),
        ("stage_b", "1.5B", "stage_b.StageB(operations=ops)"),
        (
            "stage_b",
            "700M",
            "stage_b.StageB(c_hidden=[320, 576, 1152, 1152], nhead=[-1, 9, 18, 18],"
            " blocks=[[2, 4, 14, 4], [4, 14, 4, 2]], block_repeat=[[1, 1, 1, 1], [2, 2, 2, 2]], operations=ops)",
        ),
        ("stage_a", "published", "stage_a.StageA()"),
        ("effnet", "published", "stage_c_coder.StageC_coder()"),
    ],
)
def test_comfyui_itself_at_full_size(lane: Lane, kind: str, preset: str, built: str, tmp_path: Path) -> None:
    module = built.partition(".")[0]
    found = in_host(
        lane,
        "import torch, comfy.ops as ops_of\n"
        f"from comfy.ldm.cascade import {module}\n"
        "ops = ops_of.disable_weight_init\n"
        "with torch.device('meta'):\n"
        f"    network = {built}\n"
        "found = {name: torch.tensor(list(tensor.shape)) for name, tensor in network.state_dict().items()}",
        {"unused": torch.zeros(1)},
        tmp_path,
    )
    theirs = {name: tuple(shape.tolist()) for name, shape in found.items()}
    if kind == "effnet":  # two of ours in one; `mean` and `std` are read by nobody
        ours = {f"encoder.{name}": shape for name, shape in published_shapes("effnet", "published").items()}
        ours |= {f"previewer.{name}": shape for name, shape in published_shapes("previewer", "published").items()}
        assert theirs.pop("encoder.mean", None) == theirs.pop("encoder.std", None)
        assert theirs == ours
    else:
        assert translated(kind, "comfyui", published_shapes(kind, preset)) == theirs


@pytest.mark.parametrize(("kind", "layout"), TABLES)
def test_values_survive_both_ways(kind: str, layout: str) -> None:
    ours = random_tensors(official_shapes(kind, PRESETS[kind]["tiny"]))

    theirs = {name: make(source, ours) for name, source in from_official(kind, layout, ours).items()}
    assert shapes_of(theirs) == translated(kind, layout, shapes_of(ours))
    sources = to_official(part_of(kind, None, layout, shapes_of(theirs)))
    again = {name: make(source, theirs) for name, source in sources.items()}
    assert again.keys() == ours.keys()
    for name, tensor in ours.items():
        assert torch.equal(again[name], tensor), name
        stored = sources[name].stored_shape(tuple(tensor.shape))
        assert {tuple(theirs[piece].shape) for piece in sources[name].names} == {stored}


def test_rows_are_queries_keys_and_values_in_this_order() -> None:
    block = "down_blocks.0.2.attention"
    fused = {f"{block}.attn.in_proj_bias": torch.arange(6.0)}
    for layout, stem in (("comfyui", f"{block}.attn"), ("diffusers", block)):
        parts = from_official("stage_c", layout, fused)
        values = {name: next(source.pieces(fused.__getitem__)).tolist() for name, source in parts.items()}
        assert values == {f"{stem}.to_q.bias": [0, 1], f"{stem}.to_k.bias": [2, 3], f"{stem}.to_v.bias": [4, 5]}


def test_text_encoders_of_all_in_one_files() -> None:
    """The projection lies there turned (in x out), or as we have it; both are read."""
    rest = {"transformer.text_model.final_layer_norm.bias": (6,)}
    turned = to_official(part_of("text_encoder", None, "comfyui", rest | {"text_projection": (6, 4)}, "clip_g."))
    assert turned["text_projection.weight"] == Source(("clip_g.text_projection",), transposed=True)
    assert turned["text_model.final_layer_norm.bias"] == Source(
        ("clip_g.transformer.text_model.final_layer_norm.bias",)
    )
    plain = {"transformer.text_projection.weight": (4, 6)}
    kept = to_official(part_of("text_encoder", None, "comfyui", rest | plain))
    assert kept["text_projection.weight"] == Source(("transformer.text_projection.weight",))


def test_a_layout_is_told_by_most_of_the_names() -> None:
    for kind, layout in TABLES:
        ours = official_shapes(kind, PRESETS[kind]["tiny"] if kind != "stage_a" else PRESETS[kind]["published"])
        assert layout_of(kind, translated(kind, layout, ours)) == layout
        assert layout_of(kind, ours) == "official"
    assert layout_of("effnet", ["backbone.0.0.weight"]) == "official"


def test_two_steps_at_once() -> None:
    qkv = Source(("q", "k", "v"))
    assert chain(Source(("fused",), (1, 3)), {"fused": qkv}) == Source(("k",))
    assert chain(Source(("fused",)), {"fused": qkv}) == qkv
    assert chain(Source(("fused",), (2, 3)), {"fused": Source(("stored",))}) == Source(("stored",), (2, 3))
    turned = Source(("stored",), transposed=True)
    assert chain(Source(("name",)), {"name": turned}) == turned


@pytest.mark.host
def test_openclip_names_are_read_as_comfyui_reads_them(lane: Lane, tmp_path: Path) -> None:
    """For both encoders: its own conversion, on random values."""
    ours = {
        kind: random_tensors(official_shapes(kind, PRESETS[kind]["tiny"])) for kind in ("text_encoder", "image_encoder")
    }
    theirs = {
        f"{kind}:{name}": make(source, tensors)
        for kind, tensors in ours.items()
        for name, source in from_official(kind, "openclip", tensors).items()
    }
    found = in_host(
        lane,
        "import comfy.utils, comfy.clip_vision\n"
        "def part(kind, prefix):\n"
        "    cut = {n.partition(':')[2]: t for n, t in given.items() if n.startswith(kind + ':')}\n"
        "    return {prefix + n: t for n, t in cut.items()}\n"
        "text = comfy.utils.clip_text_transformers_convert(part('text_encoder', ''), '', '')\n"
        "image = comfy.clip_vision.convert_to_transformers(part('image_encoder', 'visual.'), 'visual.')\n"
        "found = {'text_encoder:' + n: t.contiguous() for n, t in text.items()}\n"
        "found |= {'image_encoder:' + n: t.contiguous() for n, t in image.items()}",
        theirs,
        tmp_path,
    )
    expected = {f"{kind}:{name}": tensor for kind, tensors in ours.items() for name, tensor in tensors.items()}
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
