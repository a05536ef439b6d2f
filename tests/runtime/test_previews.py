"""What is shown of a step: a wired previewer always, else what the host wants and this family has."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from stable_cascade_nodes.cascade_core.files.metadata import PUBLISHED_FAMILY
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.pipeline import preview_pixels
from stable_cascade_nodes.runtime import host, previews

Part = Callable[[str], Handle]


@pytest.fixture
def editor(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A host whose setting asks for previews; the stages that it was asked to show itself."""
    asked: list[str] = []
    monkeypatch.setattr(host.current(), "wants_previews", lambda: True)
    monkeypatch.setattr(host.current(), "rough_preview", asked.append)
    return asked


def test_a_wired_previewer_shows_the_first_image(part: Part) -> None:
    wired = part("previewer")
    assert previews.choose_previewer(part("stage_c"), wired) is wired
    show = previews.choose_picture(part("stage_c"), wired)
    assert show is not None
    latent = torch.randn(2, 16, 6, 5, generator=torch.Generator().manual_seed(0))
    picture = show(latent)
    assert (picture.mode, picture.size) == ("RGB", (40, 48))
    expected = preview_pixels(wired, latent)[0] * 255
    shown = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).reshape(48, 40, 3).movedim(-1, 0)
    assert (shown - expected).abs().max() <= 0.5


def test_nothing_is_shown_where_nobody_asks(part: Part) -> None:
    assert previews.choose_previewer(part("stage_c"), None) is None
    assert previews.choose_picture(part("stage_c"), None) is None


@pytest.mark.usefixtures("editor")
def test_the_built_in_stage_c_has_its_own_previewer(part: Part) -> None:
    chosen = previews.choose_previewer(part("stage_c"), None)
    assert chosen is not None and (chosen.kind, chosen.family) == ("previewer", "tiny")


def test_the_hosts_own_pictures_are_of_published_latents_only(part: Part, editor: list[str]) -> None:
    for kind in ("stage_b", "stage_c"):
        published = replace(part(kind), family=PUBLISHED_FAMILY)
        assert previews.choose_previewer(published, None) is None
        previews.choose_picture(published, None)
    assert editor == ["stage_b", "stage_c"]
    assert previews.choose_previewer(part("stage_b"), None) is None
    assert previews.choose_picture(part("stage_b"), None) is None
    assert editor == ["stage_b", "stage_c"]
