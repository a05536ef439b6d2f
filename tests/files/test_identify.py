"""What a file is, from names and shapes alone: one test a row of the signatures, at full size without values."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.header import Header, TensorInfo, open_tensors
from stable_cascade_nodes.cascade_core.files.identify import find_part, find_parts, identify
from stable_cascade_nodes.cascade_core.files.layouts import from_official
from stable_cascade_nodes.cascade_core.files.model_part import Part
from stable_cascade_nodes.cascade_core.files.signatures import SIGNATURES, Signature
from stable_cascade_nodes.cascade_core.kinds import KINDS
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.wording import article

from .headers import behind, header_of, refusal, shapes
from .networks import PUBLISHED, Shapes, official_shapes

LAYOUTS = [
    (kind, preset, layout)
    for kind, preset in PUBLISHED
    for layout in sorted({row.layout for row in SIGNATURES if row.kind == kind})
]


@pytest.mark.parametrize(("kind", "preset", "layout"), LAYOUTS)
def test_every_part_in_every_layout(kind: str, preset: str, layout: str) -> None:
    prefix = "visual." if (kind, layout) == ("image_encoder", "openclip") else ""
    tensors = shapes(kind, preset, layout)
    (part,) = find_parts(header_of(behind(prefix, tensors)))
    assert (part.kind, part.preset, part.layout, part.prefix) == (kind, preset, layout, prefix)
    assert (part.config, part.precision, part.ignored) == (PRESETS[kind][preset], "bfloat16", ())
    assert (part.family, part.target, part.x0_clamp, part.vocabulary) == ("stable-cascade", "epsilon", None, None)
    assert {name: info.shape for name, info in part.names.items()} == tensors


class TestAllInOne:
    """ComfyUI's files of several parts."""

    @staticmethod
    def stage_c(projection: str) -> Shapes:
        text = behind("transformer.", shapes("text_encoder")) | {"logit_scale": ()}
        text[projection] = text.pop("transformer.text_projection.weight")
        return {
            **behind("model.diffusion_model.", shapes("stage_c", "1B")),
            **behind("text_encoder.clip_g.", text),
            **behind("vae.encoder.", shapes("effnet") | {"mean": (1, 3, 1, 1), "std": (1, 3, 1, 1)}),
            **behind("vae.previewer.", shapes("previewer")),
            **behind("clip_l_vision.", shapes("image_encoder")),
        }

    @pytest.mark.parametrize("projection", ["text_projection", "transformer.text_projection.weight"])
    def test_stage_c(self, projection: str) -> None:
        parts = find_parts(header_of(self.stage_c(projection)))
        assert {part.kind: (part.preset, part.layout, part.prefix) for part in parts} == {
            "stage_c": ("1B", "official", "model.diffusion_model."),
            "text_encoder": ("published", "comfyui", "text_encoder.clip_g."),
            "effnet": ("published", "official", "vae.encoder."),
            "previewer": ("published", "official", "vae.previewer."),
            "image_encoder": ("published", "official", "clip_l_vision."),
        }
        names = {part.kind: set(part.names) for part in parts}
        assert names["stage_c"] == set(shapes("stage_c", "1B"))
        assert names["effnet"] == set(shapes("effnet"))
        assert len(names["text_encoder"]) == 517 and projection in names["text_encoder"]

    def test_stage_b(self) -> None:
        parts = find_parts(
            header_of(
                behind("model.diffusion_model.", shapes("stage_b", "1.5B", "comfyui"))
                | behind("text_encoder.clip_g.transformer.", shapes("text_encoder"))
                | behind("vae.", shapes("stage_a"))
            )
        )
        assert {part.kind: (part.preset, part.layout, part.prefix) for part in parts} == {
            "stage_b": ("1.5B", "comfyui", "model.diffusion_model."),
            "text_encoder": ("published", "comfyui", "text_encoder.clip_g."),
            "stage_a": ("published", "official", "vae."),
        }

    def test_effnet_and_previewer_as_comfyui_saves_a_vae(self) -> None:
        tensors = behind("encoder.", shapes("effnet")) | behind("previewer.", shapes("previewer"))
        parts = find_parts(header_of(tensors))
        assert [(part.kind, part.prefix) for part in parts] == [("effnet", "encoder."), ("previewer", "previewer.")]

    def test_the_wanted_part_is_found_and_a_missing_one_named(self) -> None:
        parts = find_parts(header_of(self.stage_c("text_projection")))
        assert find_part(parts, "effnet", "all.safetensors").kind == "effnet"
        with pytest.raises(CascadeError) as caught:
            find_part(parts, "stage_a", "all.safetensors")
        assert str(caught.value) == (
            "all.safetensors holds Stage C (1B), effnet (published), previewer (published), text encoder (published)"
            " and image encoder (published), but no Stage A: choose a Stage A file in the Stage A loader"
        )


class TestWholeClips:
    """Files with both towers of a CLIP, of which one is a part of Stable Cascade."""

    def test_laions_big_g(self) -> None:
        tensors = shapes("text_encoder") | {
            "logit_scale": (),
            "text_model.embeddings.position_ids": (1, 77),
            "vision_model.embeddings.patch_embedding.weight": (1664, 3, 14, 14),
            "visual_projection.weight": (1280, 1664),
        }
        (part,) = find_parts(header_of(tensors))
        assert (part.kind, set(part.names)) == ("text_encoder", set(shapes("text_encoder")))

    def test_openais_large(self) -> None:
        tensors = shapes("image_encoder") | {
            "logit_scale": (),
            "text_model.embeddings.token_embedding.weight": (49408, 768),
            "text_projection.weight": (768, 768),
        }
        (part,) = find_parts(header_of(tensors))
        assert (part.kind, set(part.names)) == ("image_encoder", set(shapes("image_encoder")))

    def test_open_clips_big_g(self) -> None:
        tensors = shapes("text_encoder", layout="openclip") | {
            "logit_scale": (),
            "visual.conv1.weight": (1664, 3, 14, 14),
        }
        (part,) = find_parts(header_of(tensors))
        assert (part.kind, part.layout, len(part.names)) == ("text_encoder", "openclip", len(tensors) - 2)


class TestPrecision:
    @pytest.mark.parametrize(
        ("stored", "precision"),
        [("F32", "float32"), ("F16", "float16"), ("BF16", "bfloat16"), ("F8_E4M3", "float8_e4m3fn"),
         ("F8_E5M2", "float8_e5m2"), ("F64", "float64"), ("U8", "unknown")],
    )  # fmt: skip
    def test_one_type(self, stored: str, precision: str) -> None:
        (part,) = find_parts(header_of(shapes("previewer"), stored))
        assert part.precision == precision

    def test_the_type_of_most_values_counts(self) -> None:
        """ComfyUI's float8 files keep the small tensors in a better type; counters are of no type that matters."""
        path = Path("file")
        tensors = {
            name: TensorInfo("F8_E4M3" if len(shape) > 1 else "BF16" if shape else "I64", shape, path)
            for name, shape in shapes("previewer").items()
        }
        (part,) = find_parts(Header(path, tensors, {}))
        assert part.precision == "float8_e4m3fn"

    def test_scaled_float8_is_refused(self) -> None:
        said = refusal(shapes("stage_b", "700M") | {"scaled_fp8": (0,)})
        assert "holds a Stage B in scaled float8, which cannot be read here" in said

    @pytest.mark.parametrize(
        ("beside", "what"),
        [
            ("down_blocks.0.1.attention.attn.to_q.comfy_quant", "ComfyUI's quantised format (comfy_quant)"),
            ("clf.1.scale_weight", "scaled float8"),
            ("clip_txt_mapper.weight.quant_state.bitsandbytes__nf4", "4-bit nf4 (bitsandbytes)"),
            ("clip_txt_mapper.weight.quant_state.bitsandbytes__fp4", "4-bit fp4 (bitsandbytes)"),
            ("clip_txt_mapper.SCB", "8-bit integers (bitsandbytes)"),
            ("down_blocks.0.2.attention.attn.out_proj.wscales", "4-bit SVDQuant (nunchaku)"),
            ("down_blocks.0.2.attention.attn.out_proj.qweight", "4-bit integers (GPTQ or AWQ)"),
        ],
    )
    def test_quantised_weights_are_named(self, beside: str, what: str) -> None:
        """Also where low-rank weights beside them have the names of a LoRA, and where the sizes are packed ones."""
        of_svdquant = {"down_blocks.0.2.attention.attn.out_proj.lora_down": (2048, 32)} if "wscales" in beside else {}
        said = refusal(shapes("stage_c", "3.6B") | {beside: (1,)} | of_svdquant)
        assert f"holds a Stage C in {what}, which cannot be read here: expected bfloat16" in said
        assert said.endswith("choose the model's bfloat16 file")
        assert f"holds weights in {what}, which cannot be read here" in refusal({beside: (1,), "x.weight": (3, 3)})

    def test_comfyuis_metadata_says_so_too(self) -> None:
        header = header_of(shapes("stage_b", "700M"))
        quantised = replace(header, metadata={"_quantization_metadata": "{}"})
        with pytest.raises(CascadeError, match=r"holds a Stage B in ComfyUI's quantised format"):
            find_parts(quantised)


@pytest.mark.parametrize("row", SIGNATURES)
def test_a_size_that_no_row_knows_is_shown(row: Signature) -> None:
    names = (*row.keys, row.probe[0], f"x{row.mark}")
    said = refusal({row.prefixes[0] + name: (7, 7, 7, 7) for name in names})
    assert (
        f"looks like {article(KINDS[row.kind].name)} file, but of an unknown size: {row.probe[0]} has the shape" in said
    )
    assert all(f"{length} ({preset})" in said for length, preset in row.presets.items())


def test_renamed_tensors_are_missed() -> None:
    tensors = dict(shapes("stage_c", "3.6B"))
    tensors["clip_txt_map.weight"] = tensors.pop("clip_txt_mapper.weight")
    assert "looks like a Stage C file with official names, but it lacks clip_txt_mapper.weight:" in refusal(tensors)


def test_unknown_tensors_are_shown() -> None:
    said = refusal({"b\n": (1,), "a": (2,), "c" * 200: (3,), "d": (4,)})
    assert (
        "is no part of Stable Cascade" in said
        and f"found 4 tensors (a, b\\n, {'c' * 80}..., ...): choose another file" in said
    )
    assert "found 0 tensors (none)" in refusal({})


class TestMetadata:
    @staticmethod
    def entry(kind: str, config: Any, **more: Any) -> dict[str, str]:
        return {"cascade": json.dumps({"kind": kind, "config": asdict(config), **more})}

    def test_it_wins_and_carries_any_width(self) -> None:
        config = replace(PRESETS["previewer"]["tiny"], widths=(24, 8))
        told = self.entry("previewer", config, family="mine", target="v", x0_clamp=3)
        (part,) = find_parts(header_of(shapes("stage_a"), metadata=told))
        assert (part.kind, part.preset, part.config, part.layout) == ("previewer", "custom", config, "official")
        assert (part.family, part.target, part.x0_clamp) == ("mine", "v", 3.0)

    @pytest.mark.parametrize("layout", ["official", "comfyui", "diffusers"])
    def test_the_layout_is_told_by_the_names(self, layout: str) -> None:
        config = PRESETS["stage_b"]["tiny"]
        ours = official_shapes("stage_b", config)
        theirs = {name: source.shape(ours) for name, source in from_official("stage_b", layout, ours).items()}
        (part,) = find_parts(header_of(theirs, metadata=self.entry("stage_b", config)))
        assert (part.kind, part.preset, part.layout) == ("stage_b", "tiny", layout)

    def test_what_shapes_no_tensor_changes_no_size(self) -> None:
        config = replace(PRESETS["stage_b"]["1.5B"], dropout=(0.0,) * 4, nhead=(0, 0, 20, 20))
        (part,) = find_parts(header_of({}, metadata=self.entry("stage_b", config)))
        assert (part.preset, part.config) == ("1.5B", config)

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
    def test_an_entry_that_cannot_be_used(self, change: dict[str, Any], message: str) -> None:
        entry = {"kind": "stage_b", "family": "tiny", "config": {}, "target": "v"} | change
        with pytest.raises(CascadeError, match=message):
            find_parts(header_of({}, metadata={"cascade": json.dumps(entry)}))

    @pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"kind": []}', "[" * 100_000])
    def test_an_entry_that_is_none(self, text: str) -> None:
        with pytest.raises(CascadeError, match="file: the metadata entry `cascade` cannot be used"):
            find_parts(header_of({}, metadata={"cascade": text}))


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (("stage_b", "1.5B", None), "f is a Stage B file (1.5B): choose it in the Stage B loader, and a Stage C file"),
        (("effnet", "published", None), "f is an effnet file (published): choose it in the effnet loader, and "),
        (("lora", "3.6B", "kohya"), "f is a LoRA (kohya), which belongs in the model folder loras: choose a "),
        (
            ("controlnet", "3.6B", "canny"),
            "f is a ControlNet file (canny, for 3.6B): choose it in the ControlNet loader, and ",
        ),
    ],
)  # fmt: skip
def test_another_kind_than_wanted(part: tuple[str, str, str | None], said: str) -> None:
    kind, preset, mode = part
    parts = (Part(header_of({}), kind, preset, mode=mode),)
    with pytest.raises(CascadeError) as caught:
        find_part(parts, "stage_c", "f")
    assert str(caught.value).startswith(said) and str(caught.value).endswith("Stage C file in the Stage C loader")


def test_pickled_weights_are_known_too(tmp_path: Path) -> None:
    state = {name: torch.zeros(shape) for name, shape in shapes("previewer").items()}
    torch.save({"state_dict": state}, tmp_path / "previewer.pt")
    (part,) = identify(tmp_path / "previewer.pt")
    assert (part.kind, part.preset, part.precision) == ("previewer", "published", "float32")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_is_called_safetensors(tmp_path: Path, zipped: bool) -> None:
    """What is in a file counts, for torch too, which would go by its name."""
    state = {name: torch.zeros(shape) for name, shape in shapes("previewer").items()}
    path = tmp_path / "previewer.safetensors"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    (part,) = identify(path)
    assert (part.kind, part.preset) == ("previewer", "published")
    with open_tensors(part.header) as get:
        assert torch.equal(get("blocks.0.weight"), state["blocks.0.weight"])
    torch.save({"a": torch.zeros(1), "b": Path("x")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CascadeError, match="is a pickled file that holds more than tensors and could run code"):
        identify(path)
