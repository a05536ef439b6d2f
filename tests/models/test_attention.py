"""Attention on a CPU in bfloat16, a few scores at a time: torch's, but for rounding; plain torch everywhere else."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stable_cascade_nodes.cascade_core.models import attention
from stable_cascade_nodes.cascade_core.models.attention import attend

ROUNDING = 2.0**-8  # of bfloat16


def drawn(batch: int, heads: int, tokens: int, keys: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (tokens, keys, keys)
    return [torch.randn(batch, heads, length, 16, generator=generator).bfloat16() for length in shapes]


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize("scores", [1, 700, 4096, 2**21], ids=["a row", "rows", "heads", "all"])
@pytest.mark.parametrize(("batch", "heads", "tokens", "keys"), [(1, 3, 9, 13), (2, 4, 25, 29), (2, 2, 1, 4)])
def test_results_equal_torch(
    scores: int, batch: int, heads: int, tokens: int, keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "SCORES", scores)
    q, k, v = drawn(batch, heads, tokens, keys)
    expected = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
    with torch.inference_mode():
        found = attend(q, k, v)
    assert found.dtype == torch.bfloat16
    assert (found - expected).abs().max() < 4 * ROUNDING
    assert found.transpose(1, 2).is_contiguous()  # what the next layer reads


def test_gradients_and_other_types_are_left_to_torch() -> None:
    q, k, v = drawn(1, 2, 5, 7)
    assert torch.equal(attend(q, k, v), F.scaled_dot_product_attention(q, k, v))
    q, k, v = (each.float() for each in (q, k, v))
    with torch.inference_mode():
        assert torch.equal(attend(q, k, v), F.scaled_dot_product_attention(q, k, v))
