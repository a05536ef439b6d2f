"""Guidance by its formulas."""

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.sampling.guidance import Guidance


@pytest.fixture
def predictions():
    generator = torch.Generator().manual_seed(0)
    cond = torch.randn(3, 4, 5, 5, generator=generator) * torch.tensor([1.0, 2.0, 5.0]).view(3, 1, 1, 1)
    return cond, torch.randn(3, 4, 5, 5, generator=generator)


def test_without_rescale_it_is_the_plain_formula(predictions):
    cond, uncond = predictions
    torch.testing.assert_close(Guidance(4.0, rescale=0.0).combine(cond, uncond), 4 * cond - 3 * uncond)


def test_batch_rescale_takes_the_deviation_of_everything(predictions):
    cond, uncond = predictions
    guided = 4 * cond - 3 * uncond
    expected = 0.7 * guided * cond.std() / guided.std() + 0.3 * guided
    torch.testing.assert_close(Guidance(4.0, 0.7, "batch").combine(cond, uncond), expected)


def test_image_rescale_is_that_of_each_image_alone(predictions):
    cond, uncond = predictions
    together = Guidance(4.0, 0.7, "image").combine(cond, uncond)
    alone = [Guidance(4.0, 0.7, "batch").combine(c[None], u[None]) for c, u in zip(cond, uncond, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone))
    assert not torch.allclose(together, Guidance(4.0, 0.7, "batch").combine(cond, uncond), atol=0.1)


def test_full_rescale_restores_the_deviation(predictions):
    cond, uncond = predictions
    guided = Guidance(7.0, 1.0, "image").combine(cond, uncond)
    torch.testing.assert_close(guided.std(dim=(1, 2, 3)), cond.std(dim=(1, 2, 3)))


def test_the_window_has_its_ends():
    guidance = Guidance(4.0, start=0.2, end=0.7)
    times = [1 - percent / 10 for percent in range(11)]
    assert [guidance.active(r) for r in times] == [False] * 2 + [True] * 6 + [False] * 3
    assert not Guidance(1.0).active(0.5)


def test_impossible_settings_are_refused():
    with pytest.raises(CascadeError, match=r"cfg_start_percent 0\.8 lies after cfg_end_percent 0\.2"):
        Guidance(4.0, start=0.8, end=0.2)
    with pytest.raises(CascadeError, match="rescale_over: expected image or batch, found both"):
        Guidance(4.0, over="both")
