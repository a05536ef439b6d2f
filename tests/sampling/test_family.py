"""Parts of different families are refused with a message that says what to choose."""

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.models.family import check_family

from .runs import run_b, run_c

C, B = torch.zeros(1, 16, 3, 3), torch.zeros(1, 4, 8, 8)


def test_the_message_of_a_tiny_model(handle):
    with pytest.raises(CascadeError) as error:
        check_family(handle(), "positive", "stable-cascade")
    assert str(error.value) == (
        "Stage C is tiny (built-in), but `positive` comes from a published model: "
        "choose tiny (built-in) in its loader, or a published Stage C"
    )


def test_the_message_of_a_published_model(handle):
    published = handle("stage_b", name="stage_b_bf16.safetensors", family="stable-cascade")
    with pytest.raises(CascadeError) as error:
        check_family(published, "latent", "tiny")
    assert str(error.value) == (
        "Stage B is stage_b_bf16.safetensors, but `latent` comes from tiny (built-in): "
        "choose a published model in its loader, or the tiny (built-in) Stage B"
    )


def test_the_message_of_another_family(handle):
    with pytest.raises(CascadeError, match=r"choose tiny \(built-in\) in its loader, or a Stage C of the family birds"):
        check_family(handle(), "latent", "birds")


def test_the_same_family_and_an_unknown_one_pass(handle):
    check_family(handle(), "positive", "tiny")
    check_family(handle(), "positive", None)


@pytest.mark.parametrize("name", ["positive", "negative", "latent"])
def test_stage_c_asks_every_input(handle, condition, name):
    families = {"positive": "tiny", "negative": "tiny", "latent": "tiny"} | {name: "stable-cascade"}
    with pytest.raises(CascadeError, match=f"but `{name}` comes from"):
        run_c(
            handle(),
            [condition(0), condition(0, family=families["positive"])],
            [condition(0, family=families["negative"])],
            C,
            seed=0,
            family=families["latent"],
        )


@pytest.mark.parametrize("name", ["positive", "negative", "stage_c", "latent"])
def test_stage_b_asks_every_input(handle, condition, name):
    families = {"positive": None, "negative": "tiny", "stage_c": "tiny", "latent": None} | {name: "birds"}
    with pytest.raises(CascadeError, match=f"but `{name}` comes from a model of the family birds"):
        run_b(
            handle("stage_b"),
            [condition(0, family=families["positive"])],
            [condition(0, family=families["negative"])],
            C,
            B,
            seed=0,
            stage_c_family=families["stage_c"],
            family=families["latent"],
        )


def test_a_model_of_another_kind_is_refused(handle, condition):
    with pytest.raises(CascadeError, match=r"Expected a Stage C, but tiny \(built-in\) is a Stage B"):
        run_c(handle("stage_b"), [condition(0)], [condition(0)], C, seed=0)
    with pytest.raises(CascadeError, match=r"Expected a Stage B, but tiny \(built-in\) is a Stage C"):
        run_b(handle("stage_c"), [condition(0)], [condition(0)], C, B, seed=0)
