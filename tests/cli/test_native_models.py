"""The stand-ins for the host's loaders and for what takes their models; the models are the built-in ones, and small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from stable_cascade_nodes.cascade_core.builtin import weights_path
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.headless import native
from stable_cascade_nodes.headless.native import coders, loaders
from stable_cascade_nodes.nodes import sockets
from stable_cascade_nodes.runtime import host

from .. import model_files

STAGE_C, STAGE_B = {"ckpt_name": "tiny stage_c (built-in)"}, {"ckpt_name": "tiny stage_b (built-in)"}


@pytest.fixture(autouse=True)
def models(new_program: Path) -> Path:
    host.configure(models=new_program / "models", device="cpu")
    for key in ("checkpoints", "vae", "text_encoders", "controlnet"):
        (new_program / "models" / key).mkdir(parents=True)
    return new_program / "models"


def test_a_checkpoint_gives_what_is_in_it() -> None:
    model, clip, vae, vision = loaders.unCLIPCheckpointLoader().load(**STAGE_C)
    assert [handle.kind for handle in (model, clip, vision)] == ["stage_c", "text_encoder", "image_encoder"]
    assert (vae.encoder.kind, vae.decoder.kind, vae.cell) == ("effnet", "previewer", 32)
    model, clip, vae = loaders.CheckpointLoaderSimple().load(**STAGE_B)
    assert (model.kind, vae.encoder.kind, vae.cell) == ("stage_b", "stage_a", 4)
    assert vae.encoder is vae.decoder


def test_what_nothing_uses_is_never_read() -> None:
    model, clip, vae, vision = loaders.unCLIPCheckpointLoader().load(**STAGE_C)

    def waiting(handle: Any) -> bool:
        return next(handle.module.parameters()).is_meta

    assert all(map(waiting, (model, clip, vae.encoder, vae.decoder, vision)))
    (found,) = native.encoding.CLIPTextEncode().encode(clip, "a red star")
    assert not waiting(clip) and all(map(waiting, (model, vae.encoder, vae.decoder, vision)))
    expected = load("text_encoder", weights_path("text_encoder"))
    ((sequence, options),) = found
    wanted: Any = expected.module
    with torch.inference_mode():  # as nodes run
        torch.testing.assert_close(sequence, wanted.encode(["a red star"]).sequence, rtol=0, atol=0)
    assert options[sockets.FAMILY] == "tiny"
    model.read()
    assert not waiting(model) and not next(model.module.parameters()).requires_grad


def test_a_lora_and_an_earlier_layer_are_of_models_that_wait() -> None:
    model, clip, _ = loaders.CheckpointLoaderSimple().load(**STAGE_C)
    named = {"lora_name": "tiny zig (built-in)"}
    for strength, same in ((0.0, True), (1.0, False)):
        other, words = native.lora.LoraLoader().load_lora(
            model, clip, **named, strength_model=strength, strength_clip=strength
        )
        assert (other is model, words is clip) == (same, same)
    (alone,) = native.lora.LoraLoaderModelOnly().load_lora_model_only(model, **named, strength_model=0.5)
    assert alone is not None and alone.root is model and alone.kind == "stage_c"
    encode = native.encoding.CLIPTextEncode().encode
    last, same, earlier = (
        encode(native.encoding.CLIPSetLastLayer().set_last_layer(clip, layer)[0], "a red star")[0][0]
        if layer
        else encode(clip, "a red star")[0][0]
        for layer in (0, -1, -2)
    )
    assert torch.equal(last[0], same[0]) and torch.equal(last[1]["pooled_output"], earlier[1]["pooled_output"])
    assert not torch.equal(last[0], earlier[0]) and last[0].shape == earlier[0].shape
    with pytest.raises(CascadeError, match="has 3 layers and cannot stop at -24"):
        native.encoding.CLIPSetLastLayer().set_last_layer(clip, -24)


def test_names_of_another_system(models: Path) -> None:
    (models / "vae" / "cascade").mkdir()
    save_file(load_file(weights_path("stage_a")), models / "vae" / "cascade" / "stage_a.safetensors")
    loader = loaders.VAELoader
    assert loader.names()[:3] == ["tiny stage_a (built-in)", "tiny effnet (built-in)", "cascade/stage_a.safetensors"]
    for name in ("cascade/stage_a.safetensors", "cascade\\stage_a.safetensors"):
        assert loader.VALIDATE_INPUTS(vae_name=name) is True
        assert loader.IS_CHANGED(vae_name=name)
        assert loader.find(name) == models / "vae" / "cascade" / "stage_a.safetensors"


def test_a_missing_file_says_where_it_belongs_and_how_it_comes(models: Path) -> None:
    found = loaders.ControlNetLoader.VALIDATE_INPUTS(control_net_name="stable_cascade_canny.safetensors")
    assert found == (
        "There is no ControlNet 'stable_cascade_canny.safetensors' in the model folder controlnet: put the file into"
        f" {models / 'controlnet'} (`cascade download --controlnet canny` does so), or choose another"
    )
    assert loaders.CheckpointLoaderSimple.VALIDATE_INPUTS() is True  # linked


def test_files_of_other_models(models: Path) -> None:
    path = models / "checkpoints" / "sd_xl.safetensors"
    save_file({"conditioner.embedders.1.model.ln_final.weight": torch.zeros(1)}, path)
    with pytest.raises(CascadeError, match="is an SDXL checkpoint, not a part of Stable Cascade: use it in ComfyUI"):
        loaders.CheckpointLoaderSimple().load(ckpt_name="sd_xl.safetensors")
    with pytest.raises(OSError, match="SDXL"):  # the workflow may be a good one
        loaders.CheckpointLoaderSimple().rehearse(ckpt_name="sd_xl.safetensors")
    model_files.write_decoder_all_in_one(models / "text_encoders" / "whole.safetensors")
    with pytest.raises(CascadeError, match="holds a Stage B and a Stage A, but no text encoder"):
        loaders.CLIPLoader().load(clip_name="whole.safetensors", type="stable_cascade")
    with pytest.raises(CascadeError, match="`type` is sd3, the text encoder of another model"):
        loaders.CLIPLoader().load(clip_name="tiny (built-in)", type="sd3")


def test_what_a_file_does_not_hold_is_told_where_it_is_wanted() -> None:
    model, clip, vae = loaders.CheckpointLoaderSimple().load(**STAGE_B)
    image = torch.rand(1, 64, 64, 3)
    with pytest.raises(CascadeError, match="`clip` is empty: the file of its loader holds no text encoder"):
        native.encoding.CLIPTextEncode().encode(None, "")
    with pytest.raises(CascadeError, match="`clip_vision` is empty"):
        native.encoding.CLIPVisionEncode().encode(None, image, "center")
    with pytest.raises(CascadeError, match=r"`vae` is Stage A .*: connect the effnet"):
        native.cascade.StableCascade_StageC_VAEEncode().execute(image, vae, 42)
    with pytest.raises(CascadeError, match="`vae` is empty"):
        native.cascade.VAEEncode().encode(image, None)
    with pytest.raises(CascadeError, match=r"`vae` is .* which cannot decode a latent"):
        alone = coders.Vae("effnet.safetensors", vae.encoder, None)
        native.cascade.VAEDecode().decode({"samples": torch.zeros(1, 16, 2, 2)}, alone)
    assert clip is not None and model is not None


def test_a_hint_of_other_channels() -> None:
    (net,) = loaders.ControlNetLoader().load(control_net_name="tiny inpainting (built-in)")
    with pytest.raises(CascadeError, match=r"takes 4 channels, but `image` has 3: .* Join Image with Alpha"):
        native.controlnets.ControlNetApply().apply_controlnet([], net, torch.rand(1, 8, 8, 3), 1.0)
    (canny,) = loaders.ControlNetLoader().load(control_net_name="tiny canny (built-in)")
    given = [[torch.zeros(1, 2, 4), {}]]
    image = torch.rand(1, 8, 6, 3)
    ((_, options),) = native.controlnets.ControlNetApply().apply_controlnet(given, canny, image, 0.5)[0]
    (control,) = options[sockets.CONTROLS]
    torch.testing.assert_close(control.hint[:, 0], image.mean(-1))
    assert (control.strength, control.size, control.crop, control.on_unconditional) == (0.5, (8, 6), True, True)
    assert native.controlnets.ControlNetApply().apply_controlnet(given, canny, image, 0.0)[0] is given
    sides = native.controlnets.ControlNetApplyAdvanced().apply_controlnet(given, given, canny, image, 1.0, 0.2, 0.7)
    (one,), (other,) = (side[0][1][sockets.CONTROLS] for side in sides)
    assert one is other and (one.start, one.end, one.on_unconditional) == (0.2, 0.7, False)


def test_prompts_mixed() -> None:
    first = [[torch.ones(1, 3, 2), {"pooled_output": torch.ones(1, 2), "x": 1}]]
    second = [[torch.full((1, 2, 2), 3.0), {"pooled_output": torch.full((1, 2), 5.0)}]]
    ((sequence, options),) = native.conditioning.ConditioningAverage().addWeighted(first, second, 0.5)[0]
    assert sequence[0, :, 0].tolist() == [2.0, 2.0, 0.5] and options["pooled_output"].tolist() == [[3.0, 3.0]]
    ((joined, options),) = native.conditioning.ConditioningConcat().concat(first, second)[0]
    assert joined[0, :, 0].tolist() == [1.0, 1.0, 1.0, 3.0, 3.0] and options["x"] == 1
    assert first[0][1]["pooled_output"].tolist() == [[1.0, 1.0]]
