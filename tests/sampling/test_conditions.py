"""Several conditions: averages, windows, batches; and what is refused."""

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError

from .runs import run_c

LATENT = torch.zeros(1, 16, 3, 4)


def sample(model, positive, negative=(), latent=LATENT, **options):
    return list(run_c(model, positive, negative, latent, **({"seed": 0, "steps": 4, "cfg": 1.0} | options)))


def test_active_conditions_are_averaged_by_strength(handle, condition):
    model = handle()
    # The stand-in is linear in the prompt's number: the average of 1 (weight 3) and 5 (weight 1) is 2.
    averaged = sample(model, [condition(1, strength=3.0), condition(5, strength=1.0)])
    one = sample(handle(), [condition(2)])
    torch.testing.assert_close(averaged[-1].x0, one[-1].x0, rtol=1e-4, atol=1e-3)
    assert [len(x) for x in model.module.inputs] == [2] * 4  # equal lengths: one evaluation


def test_the_unconditional_side_is_averaged_too(handle, condition):
    averaged = sample(handle(), [condition(0.1)], [condition(1, strength=3.0), condition(5, strength=1.0)], cfg=4.0)
    one = sample(handle(), [condition(0.1)], [condition(2)], cfg=4.0)
    torch.testing.assert_close(averaged[-1].x0, one[-1].x0, rtol=1e-4, atol=1e-2)


def test_a_strength_alone_changes_nothing_and_zero_switches_off(handle, condition):
    plain = sample(handle(), [condition(1)])
    model = handle()
    weak = sample(model, [condition(1, strength=0.3), condition(9, strength=0.0)])
    torch.testing.assert_close(weak[-1].x0, plain[-1].x0, rtol=1e-4, atol=1e-3)
    assert [len(x) for x in model.module.inputs] == [1] * 4
    with pytest.raises(CascadeError, match="`positive`: expected a condition for every step"):
        sample(handle(), [condition(1, strength=0.0)])


def test_unequal_lengths_run_as_separate_passes_with_the_same_result(handle, condition):
    model = handle()
    unequal = sample(model, [condition(0.3, tokens=3)], [condition(0.1, tokens=7)], cfg=4.0)
    equal = sample(handle(), [condition(0.3)], [condition(0.1)], cfg=4.0)
    torch.testing.assert_close(unequal[-1].x0, equal[-1].x0, rtol=1e-4, atol=1e-3)
    assert [len(x) for x in model.module.inputs] == [1] * 8


def test_a_condition_acts_within_its_percents(handle, condition):
    model = handle()
    number = []
    evaluate = model.module.evaluate

    def spy(x, modulation, prepared):
        number.append(prepared.kv[0][0].flatten()[0].item())
        return evaluate(x, modulation, prepared)

    model.module.evaluate = spy
    sample(model, [condition(1, end=0.3), condition(2, start=0.3)], steps=10)
    # At 0.3 both begin and end: the first of their batch is seen.
    assert number == pytest.approx([2.0] * 4 + [4.0] * 6)
    assert [len(x) for x in model.module.inputs] == [1, 1, 1, 2, 1, 1, 1, 1, 1, 1]


def test_a_gap_between_conditions_is_refused_before_anything_is_computed(handle, condition):
    model = handle()
    with pytest.raises(CascadeError) as error:
        sample(model, [condition(1, end=0.3), condition(2, start=0.6)], steps=10)
    assert "`positive`: expected a condition for every step, found none for the one at 0.4 of the way" in str(
        error.value
    )
    assert "(conditions: 0 to 0.3 at strength 1, 0.6 to 1 at strength 1)" in str(error.value)
    assert model.module.prepared == []


def test_a_missing_negative_is_refused_only_where_there_is_guidance(handle, condition):
    with pytest.raises(CascadeError, match="`negative`: expected a condition for every step"):
        sample(handle(), [condition(1)], [], cfg=4.0)
    late = condition(0, start=0.5)
    with pytest.raises(CascadeError, match="`negative`"):
        sample(handle(), [condition(1)], [late], cfg=4.0)
    sample(handle(), [condition(1)], [late], cfg=4.0, cfg_start_percent=0.5)
    with pytest.raises(CascadeError, match=r"`positive`.*\(conditions: none\)"):
        sample(handle(), [])


def test_a_condition_per_image_or_one_for_all(handle, condition):
    latent = LATENT.repeat(2, 1, 1, 1)
    each = condition(0, batch=2)
    each.sequence[1] = 1.0
    together = sample(handle(), [each], [condition(0.2)], latent, cfg=4.0)
    second = condition(0)
    second.sequence[:] = 1.0
    alone = sample(handle(), [second], [condition(0.2)], seed=1, cfg=4.0)
    torch.testing.assert_close(together[-1].x0[1:], alone[-1].x0, rtol=1e-4, atol=1e-3)


def test_parts_of_a_condition_may_differ_in_batch(handle, condition):
    latent = LATENT.repeat(2, 1, 1, 1)
    mixed = condition(0.5, pooled=torch.full((2, 8), 0.5))
    plain = sample(handle(), [condition(0.5)], [condition(0.1)], latent, cfg=4.0)
    torch.testing.assert_close(
        sample(handle(), [mixed], [condition(0.1)], latent, cfg=4.0)[-1].x0, plain[-1].x0, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sequence": torch.zeros(1, 3, 1280)},
            "Stage C is tiny (built-in), which takes text tokens 8 wide, but those of `positive` are 1280 wide: "
            "encode it with the encoder that belongs to this model",
        ),
        ({"pooled": torch.zeros(1, 9)}, "takes pooled text vectors 8 wide, but those of `positive` are 9 wide"),
        ({"images": torch.zeros(1, 1, 768)}, "takes image embeddings 6 wide, but those of `positive` are 768 wide"),
        (
            {"pooled": torch.zeros(1, 1, 8)},
            "`positive`: expected pooled text vectors with 2 axes, found shape (1, 1, 8)",
        ),
        ({"sequence": torch.zeros(3, 4, 8)}, "`positive`: expected one entry or as many as there are images (2)"),
        ({"strength": -1.0}, "`positive`: expected a strength of at least 0, found -1.0"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(handle, condition, changes, message):
    with pytest.raises(CascadeError) as error:
        sample(handle(), [condition(0, **changes)], [condition(0)], LATENT.repeat(2, 1, 1, 1))
    assert message in str(error.value)
