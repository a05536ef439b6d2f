"""What diffusers' folders are: components by their config.json, pipelines by their model_index.json."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.diffusers_config import write_config
from stable_cascade_nodes.cascade_core.files.identify import OtherModel, identify
from stable_cascade_nodes.cascade_core.files.layouts import from_official
from stable_cascade_nodes.cascade_core.models.config import PRESETS

from ..model_files import write_header
from .networks import official_shapes


class TestFolders:
    @staticmethod
    def component(folder: Path, kind: str, config: Any, layout: str = "diffusers") -> Path:
        ours = official_shapes(kind, config)
        theirs = {name: source.shape(ours) for name, source in from_official(kind, layout, ours).items()}
        write_header(folder / "diffusion_pytorch_model.safetensors", {name: ("F32", s) for name, s in theirs.items()})
        (folder / "config.json").write_text(json.dumps(write_config(kind, config)))
        return folder

    @pytest.mark.parametrize(
        ("kind", "preset"), [("stage_c", "1B"), ("stage_b", "700M"), ("stage_a", "published"), ("stage_c", "tiny")]
    )
    def test_a_component(self, tmp_path: Path, kind: str, preset: str) -> None:
        folder = self.component(tmp_path / "x", kind, PRESETS[kind][preset])
        for path in (folder, folder / "diffusion_pytorch_model.safetensors"):
            (part,) = identify(path)
            assert (part.kind, part.preset, part.layout, part.precision) == (kind, preset, "diffusers", "float32")

    def test_a_width_of_ones_own(self, tmp_path: Path) -> None:
        config = replace(PRESETS["stage_b"]["tiny"], c_hidden=(32, 64, 64))
        (part,) = identify(self.component(tmp_path / "x", "stage_b", config))
        assert (part.kind, part.preset, part.config.c_hidden) == ("stage_b", "custom", (32, 64, 64))

    def test_a_text_encoder(self, tmp_path: Path) -> None:
        config = replace(PRESETS["text_encoder"]["tiny"], eos_token_id=99)
        (part,) = identify(self.component(tmp_path / "x", "text_encoder", config, "official"))
        assert (part.kind, part.preset, part.config.eos_token_id) == ("text_encoder", "tiny", 99)

    def test_a_config_of_something_else_says_nothing(self, tmp_path: Path) -> None:
        folder = self.component(tmp_path / "x", "stage_b", PRESETS["stage_b"]["700M"])
        (folder / "config.json").write_text(json.dumps(write_config("stage_a", PRESETS["stage_a"]["published"])))
        (part,) = identify(folder)
        assert (part.kind, part.preset) == ("stage_b", "700M")

    def test_a_pipeline_gives_the_components_that_it_names(self, tmp_path: Path) -> None:
        self.component(tmp_path / "decoder", "stage_b", PRESETS["stage_b"]["700M"])
        self.component(tmp_path / "decoder_lite", "stage_b", PRESETS["stage_b"]["tiny"])
        self.component(tmp_path / "vqgan", "stage_a", PRESETS["stage_a"]["published"])
        self.component(tmp_path / "other", "stage_c", PRESETS["stage_c"]["tiny"])
        index = {
            "_class_name": "StableCascadeDecoderPipeline",
            "decoder": ["", ""],
            "vqgan": ["", ""],
            "tokenizer": ["", ""],
        }
        (tmp_path / "model_index.json").write_text(json.dumps(index))
        assert [(part.kind, part.preset) for part in identify(tmp_path)] == [
            ("stage_b", "700M"),
            ("stage_a", "published"),
        ]
        (tmp_path / "model_index.json").unlink()
        assert {part.kind for part in identify(tmp_path)} == {"stage_b", "stage_a"}

    def test_a_pipeline_of_another_model(self, tmp_path: Path) -> None:
        (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
        with pytest.raises(OtherModel, match=r"is a folder of another model \(StableDiffusionXLPipeline\)"):
            identify(tmp_path)

    def test_a_pipeline_without_weights(self, tmp_path: Path) -> None:
        (tmp_path / "model_index.json").write_text('{"_class_name": "StableCascadePriorPipeline", "prior": ["", ""]}')
        with pytest.raises(CascadeError, match="is a folder without weights"):
            identify(tmp_path)
