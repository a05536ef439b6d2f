"""The registry's icon and banner: of the sizes that it takes, and what the built-in models draw."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from stable_cascade_nodes.recipes import registry

SAME = 2.0  # of 255, on average: processors round differently


@pytest.fixture(scope="module")
def icon() -> Image.Image:
    return Image.open(registry.ICON)


@pytest.fixture(scope="module")
def banner() -> Image.Image:
    return Image.open(registry.BANNER)


def differ(first: Image.Image, second: Image.Image) -> float:
    values = [np.asarray(each.convert("RGBA"), float) for each in (first, second)]
    return float(np.abs(values[0] - values[1]).mean())


def test_the_sizes_are_the_registry_s(icon: Image.Image, banner: Image.Image) -> None:
    assert icon.size == (400, 400)  # square, and the most that it takes
    assert banner.width * 9 == banner.height * 21 and banner.width >= 1024
    assert registry.ICON.stat().st_size < 100_000 and registry.BANNER.stat().st_size < 400_000


def test_the_icon_is_what_the_models_draw(icon: Image.Image) -> None:
    assert differ(icon, registry.icon(registry.models())) < SAME
    assert differ(icon, icon.transpose(Image.Transpose.ROTATE_180)) > 10 * SAME  # which would tell another picture


@pytest.mark.slow
def test_the_banner_is_what_the_models_draw(banner: Image.Image) -> None:
    assert differ(banner, registry.banner(registry.models())) < SAME
