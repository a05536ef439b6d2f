"""What makes unseen combinations: words whose states know no colour before them, and scenes in more colours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stable_cascade_nodes.cascade_core.builtin import control_path, world
from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.models.effnet import Effnet
from stable_cascade_nodes.cascade_core.models.text import TextEncoder
from stable_cascade_nodes.cascade_core.models.tokenizer import split_words
from stable_cascade_nodes.recipes.tiny import networks, text_parts
from stable_cascade_nodes.recipes.tiny.caption_kinds import token_row
from stable_cascade_nodes.recipes.tiny.captions import VOCABULARY, captions
from stable_cascade_nodes.recipes.tiny.control_parts import Reader
from stable_cascade_nodes.recipes.tiny.networks import shipped
from stable_cascade_nodes.recipes.tiny.training_data import Amounts, Data, is_end, until_end
from stable_cascade_nodes.recipes.tiny.wider import wider_scene

WIDER = [wider_scene(index) for index in range(400)]


@pytest.fixture
def few(tmp_path: Path) -> Data:
    return Data(tmp_path, amounts=Amounts(pictures=2, latents=8, wider=4, large=2))


def test_wider_scenes_are_of_no_combination_of_the_world_but_where_one_of_two_stays() -> None:
    for scene in WIDER:
        if scene.face is not None:
            assert scene.face.skin not in world.SKINS or scene.face.hair not in world.HAIRS
            continue
        stayed = [shape for shape in scene.shapes if shape.color in world.COLORS]
        assert len(stayed) <= (scene.kind == "relation")
        assert not any((shape.color, shape.shape) in world.HELD_OUT_SHAPES for shape in stayed)
        assert scene.background not in [shape.color for shape in scene.shapes]
        assert scene.kind != "count" or len({shape.rgb for shape in scene.shapes}) == 1
    assert {scene.kind for scene in WIDER} == set(world.KIND_WEIGHTS)


def test_wider_scenes_are_told_in_known_words_and_drawn_in_those_colours() -> None:
    for scene in WIDER[:40]:
        assert set(split_words(captions(scene)[0])) <= set(VOCABULARY)
        for shape in scene.shapes:
            assert draw(scene, 256).getpixel((int(shape.x * 256), int(shape.y * 256))) == shape.rgb
    face = next(scene for scene in WIDER if scene.face is not None and scene.face.skin == "blue")
    assert face.face is not None
    plain = replace(face, face=replace(face.face, glasses=False))
    cheek = int((face.face.x - 0.2 * face.face.r) * 256), int((face.face.y + 0.3 * face.face.r) * 256)
    assert draw(plain, 256).getpixel(cheek) == face.face.skin_rgb


def test_words_learn_to_say_themselves_and_the_pooled_vector_stays(few: Data) -> None:
    part = text_parts.words(few, 10)
    losses = part.loss(np.random.default_rng(0))
    assert list(losses) == ["words", "end", "pooled"] and all(loss.item() < 0.5 for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in part.module.text_model.encoder.parameters())


def test_the_whole_caption_is_told_in_as_many_rows_as_asked(few: Data) -> None:
    rows = torch.zeros(400, dtype=torch.long)
    sequence, pooled = few.texts("composed", whole=0.25)(rows)
    told_whole = pooled.abs().sum(1) > 0
    assert 60 < int(told_whole.sum()) < 140
    lacking = sequence.abs().sum(2) == 0  # (B, L)
    assert torch.equal(lacking.sum(1), (~told_whole).long())


def test_where_a_caption_ends() -> None:
    ids = torch.tensor([[50, 3, 4, 51, 51, 51], [50, 51, 51, 51, 51, 51]])
    ids = ids + (text_parts.TOKENIZER.end - 51)
    assert until_end(ids).sum(1).tolist() == [4, 2] and is_end(ids).nonzero().tolist() == [[0, 3], [1, 1]]


def test_apart_a_colour_is_known_where_it_stands_alone() -> None:
    encoder = shipped(TextEncoder)
    prompts = [f"a large {color} cross at the center on a white background" for color in ("yellow", "blue")]
    ids = torch.as_tensor(np.stack([token_row(prompt) for prompt in prompts])).long()
    yellow, blue = text_parts.apart(encoder, ids, text_parts.color_words())
    color = 1 + split_words(prompts[0]).index("yellow")
    differs = (yellow - blue).abs().amax(1) > 1e-5
    assert differs.nonzero().flatten().tolist() == [color]
    usual = encoder.encode(prompts).sequence[0]
    assert torch.allclose(yellow[: color + 1], usual[: color + 1], atol=1e-5)
    assert not torch.allclose(yellow[color + 1], usual[color + 1], atol=0.1)
    nothing = torch.zeros_like(text_parts.color_words())
    assert torch.allclose(text_parts.apart(encoder, ids, nothing)[0], usual, atol=1e-4)


def test_stage_c_learns_from_scenes_of_all_sorts(few: Data) -> None:
    assert few.wider_latents()(torch.arange(2)).shape == (2, 16, 6, 6)
    assert few.large_latents()(torch.arange(2)).shape == (2, 16, 12, 12)
    part = text_parts.stage_c(few, 10)
    losses = part.loss(np.random.default_rng(0))
    assert list(losses) == ["v", "large"] and all(0 < loss.item() < 1 for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in part.module.parameters())


def test_a_controlnet_goes_on_from_what_is_shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its linear reader is new. Where none is shipped its backbone begins with the encoder's middle layers."""
    own = load("controlnet", control_path("canny"), dtype="float32").module.state_dict()
    begun = Reader("canny").net
    assert all(torch.equal(tensor, own[name]) for name, tensor in begun.state_dict().items())
    assert not torch.equal(
        own["backbone.2.0.block.0.0.weight"], shipped(Effnet).state_dict()["backbone.2.0.block.0.0.weight"]
    )
    assert all(parameter.requires_grad for parameter in begun.parameters())
    monkeypatch.setattr(networks, "control_path", lambda mode: tmp_path / mode)
    fresh, encoder = (net.backbone[2].state_dict() for net in (Reader("canny").net, shipped(Effnet)))
    assert fresh.keys() == encoder.keys()
    assert all(torch.equal(tensor, encoder[name]) for name, tensor in fresh.items() if name.endswith("weight"))
