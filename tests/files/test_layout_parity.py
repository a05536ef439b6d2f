"""Folders that diffusers and transformers write themselves: loaded by us, they compute what their own classes do."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stable_cascade_nodes.benchmarks.peers import alive, deviation, paella, unet
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files import load
from stable_cascade_nodes.cascade_core.models.clip_config import PUBLISHED_TEXT
from stable_cascade_nodes.cascade_core.models.config import StageAConfig, StageBConfig, StageCConfig
from stable_cascade_nodes.cascade_core.models.vision import CLIP_MEAN, CLIP_STD

from ..models import test_stage_a, test_stage_b, test_stage_c
from ..models.conftest import _write_clip_files

LIMIT = 1e-5  # of the largest value
STAGE_C = {
    "sca and crp": test_stage_c.SMALL,
    "without": replace(test_stage_c.SMALL, t_conds=()),
    "levels of half the size": replace(test_stage_c.SMALL, switch_level=(True,)),
    "repeats": test_stage_c.CONFIGS["repeats"],
}
STAGE_B = {
    "sca": test_stage_b.SMALL,
    "without": replace(test_stage_b.SMALL, t_conds=()),
    "repeats going down": test_stage_b.CONFIGS["repeats going down"],
}
SHARDS = pytest.mark.parametrize("shard", ["10GB", "100KB"], ids=["one file", "shards"])


def saved(other: Any, folder: Path, shard: str = "10GB") -> Any:
    """The network, after its own class has written it."""
    other.save_pretrained(folder, max_shard_size=shard)
    assert (len(list(folder.glob("*.safetensors"))) > 1) == (shard != "10GB")
    return other


def diffusers_unet(config: StageBConfig | StageCConfig) -> Any:
    """With weights that are random everywhere."""
    return alive(unet, config)


def loaded(kind: str, folder: Path, **options: Any) -> Any:
    return load.load(kind, folder, dtype="float32", **options).module


@SHARDS
@pytest.mark.parametrize("config", STAGE_C.values(), ids=STAGE_C)
def test_stage_c_of_diffusers(config: StageCConfig, shard: str, tmp_path: Path) -> None:
    other = saved(diffusers_unet(config), tmp_path / "prior", shard)
    module = loaded("stage_c", tmp_path / "prior")
    assert module.config == config
    none = torch.zeros(2, 1, config.c_clip_img)  # what the pipelines of diffusers feed where there is no image
    for size in ((6, 10), (5, 7), (9, 2)):
        for images in (0, 1, 3):
            given = test_stage_c.inputs(config, size=size, images=images)
            found = module(**given if images else given | {"images": None})
            expected = test_stage_c.by_diffusers(other, given if images else given | {"images": none})
            assert deviation(found, expected) < LIMIT


def test_stage_c_with_extra_conditions(tmp_path: Path) -> None:
    """One picture at a time: diffusers asks `sca or 0`, which fails for more."""
    other = saved(diffusers_unet(test_stage_c.SMALL), tmp_path)
    module, given = loaded("stage_c", tmp_path), test_stage_c.inputs(test_stage_c.SMALL, batch=1, size=(5, 8))
    plain = module(**given)
    for extra in ({"sca": torch.tensor([0.3])}, {"crp": torch.tensor([0.7])}):
        found = module(**given, **extra)
        assert deviation(found, test_stage_c.by_diffusers(other, given | extra)) < LIMIT
        assert deviation(found, plain) > 1e-2


@SHARDS
@pytest.mark.parametrize("config", STAGE_B.values(), ids=STAGE_B)
def test_stage_b_of_diffusers(config: StageBConfig, shard: str, tmp_path: Path) -> None:
    other = saved(diffusers_unet(config), tmp_path / "decoder", shard)
    module = loaded("stage_b", tmp_path / "decoder")
    assert module.config == config
    for size in ((32, 48), (18, 22), (34, 16)):
        for pooled in (1, 3):
            given = test_stage_b.inputs(config, size=size, pooled=pooled)
            assert deviation(module(**given), test_stage_b.by_diffusers(other, given)) < LIMIT
    given = test_stage_b.inputs(config, batch=1)
    if config.t_conds:
        found = module(**given, sca=torch.tensor([0.4]))
        assert deviation(found, test_stage_b.by_diffusers(other, given | {"sca": torch.tensor([0.4])})) < LIMIT
        assert deviation(found, module(**given)) > 1e-2
    pixels = torch.rand(1, 3, 24, 20)
    expected = test_stage_b.by_diffusers(other, given | {"pixels": pixels})
    assert deviation(module(**given, pixels=pixels), expected) < LIMIT


@SHARDS
@pytest.mark.parametrize("scale", [0.43, 0.5])
@pytest.mark.parametrize("config", test_stage_a.CONFIGS.values(), ids=test_stage_a.CONFIGS)
def test_stage_a_of_diffusers(config: StageAConfig, scale: float, shard: str, tmp_path: Path) -> None:
    """Its pipelines multiply by config.scale_factor, the class itself does not."""
    config = replace(config, scale=scale)
    shard = shard if shard == "10GB" else "10KB"
    other = saved(alive(paella, config), tmp_path / "vqgan", shard)
    module, factor = loaded("stage_a", tmp_path / "vqgan"), 2**config.levels
    assert module.config == config
    torch.manual_seed(0)
    for height, width in ((16, 24), (24, 40), (40, 8)):
        pixels = torch.rand(2, 3, height, width)
        latent = module.encode(pixels)
        assert deviation(latent, other.encode(pixels).latents / scale) < LIMIT
        assert latent.shape[-2:] == (height // factor, width // factor)
        assert deviation(module.decode(latent), other.decode(latent * scale).sample) < LIMIT


def clip_text(folder: Path, eos: int | None) -> tuple[Any, int]:
    """transformers' own text encoder, written into `folder` beside its tokenizer; the tokenizer's end token."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    end = _write_clip_files(folder / "tokenizer")
    config = CLIPTextConfig(
        vocab_size=end + 4,  # three trained tokens behind the end
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=32,
        hidden_act="gelu",
        bos_token_id=end - 1,
        eos_token_id=end if eos is None else eos,
        pad_token_id=end,
    )
    model = alive(CLIPTextModelWithProjection, config)
    model.save_pretrained(folder / "text_encoder")
    return model, end


def assert_equal_text(found: tuple[Tensor, Tensor], model: Any, ids: Tensor, mask: Tensor) -> None:
    expected = model(ids, mask, output_hidden_states=True)
    assert deviation(found[0], expected.hidden_states[-1]) < LIMIT  # before the last norm
    assert deviation(found[1], expected.text_embeds) < LIMIT


@pytest.mark.parametrize("eos", [2, None], ids=["at the greatest id", "at the end token"])
def test_text_encoder_of_transformers(eos: int | None, tmp_path: Path) -> None:
    model, end = clip_text(tmp_path, eos)
    module = loaded("text_encoder", tmp_path / "text_encoder")
    assert (module.tokenizer.end, module.tokenizer.pad) == (end, end)
    assert module.config.eos_token_id == (end if eos is None else 2)

    chunks = [module._split(prompt, truncate=True)[0] for prompt in ("a red star", "", "red " * 90)]
    ids, mask = module._pad(chunks)
    assert_equal_text(module(ids, mask), model, ids, mask)

    trained = ids.clone()
    trained[0, 2] = end + 1  # pooled there by the old rule, at the end by the new one
    assert_equal_text(module(trained, mask), model, trained, mask)
    last = module(trained, mask)[0][0, ids[0].tolist().index(end)]
    at_end = module.text_projection(module.text_model.final_layer_norm(last))
    assert (deviation(module(trained, mask)[1][0], at_end) < LIMIT) == (eos is None)


def test_text_encoder_without_its_config_is_read_as_the_published_one(tmp_path: Path) -> None:
    assert PUBLISHED_TEXT.eos_token_id == 2
    clip_text(tmp_path, None)
    (tmp_path / "text_encoder" / "config.json").unlink()
    with pytest.raises(CascadeError, match=r"unknown size.*1280"):
        loaded("text_encoder", tmp_path / "text_encoder")


def test_image_encoder_of_transformers(tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
        projection_dim=24,
        hidden_act="quick_gelu",
    )
    model = alive(CLIPVisionModelWithProjection, config)
    model.save_pretrained(tmp_path)
    module = loaded("image_encoder", tmp_path)
    pixels = torch.rand(3, 3, 32, 32)
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    assert deviation(module(pixels), model((pixels - mean) / std).image_embeds) < LIMIT


def test_a_whole_pipeline(tmp_path: Path) -> None:
    """As StableCascadeDecoderPipeline writes itself: each loader takes its part, the tokenizer is found."""
    from diffusers import DDPMWuerstchenScheduler, StableCascadeDecoderPipeline
    from transformers import CLIPTokenizer

    text_encoder, end = clip_text(tmp_path / "made", None)
    decoder = diffusers_unet(test_stage_b.SMALL)
    vqgan = alive(paella, test_stage_a.SMALL)
    tokenizer = CLIPTokenizer.from_pretrained(str(tmp_path / "made" / "tokenizer"), local_files_only=True)
    scheduler: Any = DDPMWuerstchenScheduler()
    pipeline: Any = StableCascadeDecoderPipeline(decoder, tokenizer, text_encoder, scheduler, vqgan)
    pipeline.save_pretrained(tmp_path / "saved")

    module = loaded("stage_b", tmp_path / "saved", name="saved/")
    given = test_stage_b.inputs(test_stage_b.SMALL)
    assert deviation(module(**given), test_stage_b.by_diffusers(decoder, given)) < LIMIT
    latent = torch.randn(1, 4, 4, 6)
    assert deviation(loaded("stage_a", tmp_path / "saved").decode(latent), vqgan.decode(latent * 0.43).sample) < LIMIT
    module = loaded("text_encoder", tmp_path / "saved")
    assert module.tokenizer.end == end
    ids, mask = module._pad(module._split("a red star", truncate=True))
    assert_equal_text(module(ids, mask), text_encoder, ids, mask)
    with pytest.raises(CascadeError, match="but no Stage C"):
        loaded("stage_c", tmp_path / "saved")


def test_a_config_that_lies_is_found_by_the_shapes(tmp_path: Path) -> None:
    saved(diffusers_unet(test_stage_b.SMALL), tmp_path / "decoder")
    file = tmp_path / "decoder" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"clip_seq": 2, "timestep_conditioning_type": []}))
    with pytest.raises(CascadeError) as caught:
        loaded("stage_b", tmp_path / "decoder")
    message = str(caught.value)
    assert "decoder does not fit Stage B custom: of " in message
    assert "unexpected (down_blocks.0.1.mapper_sca." in message
    assert "clip_txt_pooled_mapper.weight [72, 12] instead of [48, 12]" in message  # by the name in the file
