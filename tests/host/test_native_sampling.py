"""Our KSampler, KSamplerAdvanced and ModelSamplingStableCascade beside ComfyUI's own, on the same weights."""

from __future__ import annotations

import pytest

from stable_cascade_nodes.cascade_core.sampling.samplers import SAMPLERS

from .bare import find_facts
from .lanes import Lane

CLOSE = 1e-4
# ComfyUI computes the sigma of a second evaluation in float32. The network hears of it 10,000 times enlarged, and
# one of random weights makes much of its last digit: up to 9e-3 was seen. Without that rounding the samplers are
# compared in tests/sampling/test_comfyui.py.
WIDE = 3e-2


@pytest.fixture(scope="module")
def facts(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    return find_facts(lane, "sample_natively.py", tmp_path_factory.mktemp("sampling"))


def test_all_ran(facts: dict[str, float]) -> None:
    assert {name.split(",")[0] for name in facts} == set(SAMPLERS)
    assert len(facts) > 180


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_latents(facts: dict[str, float], sampler: str) -> None:
    found = {name: value for name, value in facts.items() if name.split(",")[0] == sampler}
    worst = max(found, key=lambda name: found[name])
    print(f"{worst}: {found[worst]:.1e}")
    assert found[worst] < (WIDE if SAMPLERS[sampler].second and sampler != "heun" else CLOSE), worst
