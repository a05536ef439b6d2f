"""LoRA nodes: which models they give, what they say, and `embedding:` in prompts.

Run: pytest tests/nodes/test_lora.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stable_cascade_nodes import NODE_CLASS_MAPPINGS
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.lora.lora import Lora, NewToken
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.runtime import host

from ..lora import files

WIDTH = 128  # width of the tiny text encoder's words


def load(node: str) -> Handle:
    return NODE_CLASS_MAPPINGS[node]().load("tiny (built-in)")[0]


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    """A models folder with LoRAs: a style, one with a word, one of another model, one of Stage B."""
    stage_c, stage_b = load("CascadeStageCLoader"), load("CascadeStageBLoader")
    folder = tmp_path / "models" / "loras"
    folder.mkdir(parents=True)
    paths = files.attention_paths([name for name, _ in stage_c.module.named_parameters()])
    changes = files.factors(paths, stage_c.module.get_parameter(f"{paths[0]}.in_proj_weight").shape[1])
    files.write(folder / "style.safetensors", files.DIALECTS["kohya"](changes))
    tokens = {"embeddings.embeddings": torch.ones(1, WIDTH), "embeddings.indices": torch.tensor([100])}
    files.write(folder / "fernando.safetensors", files.official(changes) | tokens)
    files.write(folder / "large.safetensors", files.official(files.factors(paths, 2048)))
    weight = stage_b.module.get_parameter("down_blocks.0.0.channelwise.0.weight")
    down, up = torch.ones(1, weight.shape[1]), torch.ones(weight.shape[0], 1)
    name = "lora_decoder_unet_down_blocks_0_0_channelwise_0"
    files.write(folder / "b.safetensors", {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up})
    save_file({"lora_unet_input_blocks_1_1_proj_in.lora_down.weight": torch.zeros(4, 320)}, folder / "sdxl.safetensors")
    host.configure(models=folder.parent)
    return folder


def apply(**inputs: Any) -> tuple[Handle | None, ...]:
    return NODE_CLASS_MAPPINGS["CascadeLoRAApply"]().apply(
        **{"stage_c": load("CascadeStageCLoader"), "lora_name": "style.safetensors", "strength": 1.0} | inputs
    )


def run(handle: Handle) -> Tensor:
    torch.manual_seed(0)
    config: Any = handle.config
    with torch.inference_mode():
        text, pooled = torch.randn(1, 5, config.c_clip_text), torch.randn(1, config.c_clip_text_pooled)
        return handle.module(torch.randn(1, 16, 4, 4), torch.rand(1), text, pooled)


def test_a_new_model_over_the_same_weights(loras: Path) -> None:
    stage_c = load("CascadeStageCLoader")
    before = run(stage_c)
    changed, encoder = apply(stage_c=stage_c)
    assert encoder is None and changed is not None
    assert not torch.allclose(run(changed), before, atol=1e-3)
    assert torch.equal(run(stage_c), before)
    fused, _ = apply(stage_c=stage_c, fuse=True)
    assert fused is not None and torch.allclose(run(fused), run(changed), atol=1e-4)
    assert not any("branches" in name for name, _ in fused.module.named_parameters())
    assert apply(stage_c=stage_c, strength=0.0)[0] is stage_c


def test_two_in_a_row_add_up(loras: Path) -> None:
    stage_c = load("CascadeStageCLoader")
    twice = apply(stage_c=apply(stage_c=stage_c, strength=0.5)[0], strength=0.5)[0]
    once = apply(stage_c=stage_c)[0]
    assert twice is not None and once is not None
    assert torch.allclose(run(twice), run(once), atol=1e-3)


def test_stage_b(loras: Path) -> None:
    stage_b = load("CascadeStageBLoader")
    node = NODE_CLASS_MAPPINGS["CascadeLoRAApplyStageB"]()
    (changed,) = node.apply(stage_b=stage_b, lora_name="b.safetensors", strength=1.0)
    assert changed is not stage_b and changed.kind == "stage_b"
    with pytest.raises(CascadeError, match=r"fernando\.safetensors changes nothing of the Stage B"):
        node.apply(stage_b=stage_b, lora_name="fernando.safetensors", strength=1.0)


def test_words_of_an_official_file(loras: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = load("CascadeTextEncoderLoader")
    with pytest.raises(CascadeError, match="have no names in its file"):
        apply(lora_name="fernando.safetensors", text_encoder=encoder)
    _, named = apply(lora_name="fernando.safetensors", text_encoder=encoder, tokens="[fernando]=^star$")
    encode = NODE_CLASS_MAPPINGS["CascadeTextEncode"]().encode
    assert isinstance(encode(named, "a [fernando]"), tuple)  # no warning: it knows the word
    assert "does not know and skips: [fernando]" in encode(encoder, "a [fernando]")["ui"]["text"][0]
    capsys.readouterr()
    apply(lora_name="fernando.safetensors")  # its changes act without the words
    assert "brings words (without names): connect `text_encoder` to say them" in capsys.readouterr().err


def test_a_trained_lora_on_the_wire_instead_of_a_file(loras: Path) -> None:
    lora = Lora("fresh", {}, (NewToken("[zig]", torch.ones(1, WIDTH), "^star$"),), "tiny")
    _, encoder = apply(lora=lora, text_encoder=load("CascadeTextEncoderLoader"))
    assert encoder is not None
    module: Any = encoder.module
    assert module.unknown_words("two [zig]") == []


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"lora_name": "b.safetensors"}, r"LoRA b\.safetensors"),
        ({"lora_name": "large.safetensors"}, r"LoRA large\.safetensors numbers \d+ weights .*2048.*choose the Stage C"),
        ({"lora_name": "sdxl.safetensors"}, r"sdxl\.safetensors is a LoRA of another model"),
    ],
)
def test_what_does_not_fit(loras: Path, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(CascadeError, match=message):
        apply(**inputs)


def test_a_file_of_which_nothing_acts(loras: Path) -> None:
    layer = "lora_te_text_model_encoder_layers_31_mlp_fc1"
    text = {f"{layer}.hada_w{i}_{x}": torch.zeros(4, 4) for i in (1, 2) for x in "ab"}
    files.write(loras / "text.safetensors", text)
    with pytest.raises(
        CascadeError, match=rf"it holds changes of the text encoder \({layer}\): connect `text_encoder`"
    ):
        apply(lora_name="text.safetensors")
    tokens = {"embeddings.embeddings": torch.ones(1, WIDTH), "embeddings.indices": torch.tensor([100])}
    files.write(loras / "words.safetensors", tokens)
    with pytest.raises(CascadeError, match="holds new words for prompts alone: connect `text_encoder` to Apply LoRA"):
        apply(lora_name="words.safetensors")
    _, encoder = apply(
        lora_name="words.safetensors", text_encoder=load("CascadeTextEncoderLoader"), tokens="[a]", strength=1.0
    )
    assert encoder is not None
    files.write(loras / "oft.safetensors", {"lora_unet_clf_1.oft_blocks": torch.zeros(4, 2, 2)})
    with pytest.raises(CascadeError, match=r"found lora_unet_clf_1\.oft_blocks, which is another kind: choose another"):
        apply(lora_name="oft.safetensors")


def test_a_missing_file_is_named_with_its_folder(loras: Path) -> None:
    found = NODE_CLASS_MAPPINGS["CascadeLoRAApply"].VALIDATE_INPUTS(lora_name="gone.safetensors")
    assert f"There is no LoRA 'gone.safetensors' in the model folders loras: put the file into {loras}" in found
    found = NODE_CLASS_MAPPINGS["CascadeLoRAApply"].VALIDATE_INPUTS(lora_name="stile.safetensors")
    assert "(did you mean style.safetensors?)" in found
    assert NODE_CLASS_MAPPINGS["CascadeLoRAApply"].VALIDATE_INPUTS(lora_name="style.safetensors") is True


def test_names_without_a_place_are_told(loras: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage_c = load("CascadeStageCLoader")
    paths = files.attention_paths([name for name, _ in stage_c.module.named_parameters()])
    tensors = files.DIALECTS["kohya"](files.factors(paths, 160))
    stray = "lora_unet_down_blocks_9_2_attention_attn_to_q"
    tensors |= {f"{stray}.lora_down.weight": torch.zeros(1, 4), f"{stray}.lora_up.weight": torch.zeros(4, 1)}
    files.write(loras / "stray.safetensors", tensors)
    apply(lora_name="stray.safetensors")
    assert f"1 names of stray.safetensors found no place in what is connected: {stray}" in capsys.readouterr().err


def test_rehearsed_without_weights(loras: Path) -> None:
    stage_c = NODE_CLASS_MAPPINGS["CascadeStageCLoader"]().rehearse("tiny (built-in)")[0]
    encoder = NODE_CLASS_MAPPINGS["CascadeTextEncoderLoader"]().rehearse("tiny (built-in)")[0]
    node = NODE_CLASS_MAPPINGS["CascadeLoRAApply"]()
    inputs = {"stage_c": stage_c, "strength": 1.0, "text_encoder": encoder, "fuse": True}
    found = node.rehearse(**inputs, lora_name="fernando.safetensors", tokens="[fernando]=^star$")
    assert [handle.kind for handle in found] == ["stage_c", "text_encoder"]
    with pytest.raises(CascadeError, match="choose the Stage C"):
        node.rehearse(**inputs, lora_name="large.safetensors")
    (loras / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    with pytest.raises(OSError, match=r"broken\.safetensors"):  # a bad file, which is no bad workflow
        node.rehearse(**inputs, lora_name="broken.safetensors")


def test_embeddings_in_prompts(loras: Path) -> None:
    folder = loras.parent / "embeddings"
    folder.mkdir()
    encoder = load("CascadeTextEncoderLoader")
    module: Any = encoder.module
    star = module.text_model.embeddings.token_embedding.weight[module.tokenizer.vocabulary["star"]]
    save_file({"clip_g": star[None].clone(), "clip_l": torch.zeros(1, 768)}, folder / "bright.safetensors")
    save_file({"clip_g": torch.zeros(1, 1280)}, folder / "published.safetensors")
    encode = NODE_CLASS_MAPPINGS["CascadeTextEncode"]().encode
    (found,) = encode(encoder, "a large embedding:bright on a (mint:1.2) background")
    (wanted,) = encode(encoder, "a large star on a (mint:1.2) background")
    assert torch.allclose(found[0][0], wanted[0][0], atol=1e-5)
    assert torch.allclose(found[0][1]["pooled_output"], wanted[0][1]["pooled_output"], atol=1e-5)
    for name, more in (("out", {}), ("both", {"clip_g": torch.zeros(1, WIDTH)})):
        save_file({"clip_g_out": torch.zeros(2, WIDTH), **more}, folder / f"{name}.safetensors")
        with pytest.raises(CascadeError, match=rf"{name}\.safetensors is an output embedding of OneTrainer .*train it"):
            encode(encoder, f"a embedding:{name}")
    with pytest.raises(CascadeError, match=r"embedding:gone, but there is none .*put its file into .*embeddings"):
        encode(encoder, "a (embedding:gone:1.2)")
    with pytest.raises(CascadeError, match="have 1280 numbers each, but the text encoder's words 128"):
        encode(encoder, "embedding:published")


def test_a_text_encoder_that_is_not_there(loras: Path) -> None:
    with pytest.raises(CascadeError, match="`text_encoder` is empty: the Apply LoRA before it has none connected"):
        NODE_CLASS_MAPPINGS["CascadeTextEncode"]().encode(None, "a star")
