"""Pick Pictures: which ones a text means, that each becomes the picture of a whole run, and what is shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from stable_cascade_nodes.cascade_core.errors import CascadeError, Withheld
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.nodes.latents import CascadeEmptyLatents
from stable_cascade_nodes.nodes.picking import CascadePickLatents, picked_places
from stable_cascade_nodes.nodes.sampling import CascadeStageBSampler
from stable_cascade_nodes.runtime import host

Part = Callable[[str], Handle]
B = {"seed": 5, "steps": 3, "cfg": 1.1, "sampler": "ddpm", "shift": 1.0}


def of_stage_c(count: int, **more: Any) -> dict[str, Any]:
    samples = torch.randn(count, 16, 6, 6, generator=torch.Generator().manual_seed(3))
    return {"samples": samples, "cascade_family": "tiny", "cascade_size": (250, 256), **more}


def pick(latent: dict[str, Any], picks: str, previewer: Handle | None = None) -> Any:
    return CascadePickLatents().pick(latent, picks, previewer)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("", []),
        (" , ", []),
        ("2", [1]),
        ("2, 5-6", [1, 4, 5]),
        ("6,2 , 2-3,", [1, 2, 5]),
        ("3 - 3", [2]),
        ("1-8", [*range(8)]),
        ("all", [*range(8)]),
        (" ALL ", [*range(8)]),
    ],
)
def test_a_text_means_places(text: str, places: list[int]) -> None:
    assert picked_places(text, 8) == places


@pytest.mark.parametrize("text", ["0", "9", "6-2", "1-9", "-1", "two", "1;2", "1.5", "all, 1", "²", "1-", "9" * 400])
def test_what_means_no_picture_is_refused(text: str) -> None:
    with pytest.raises(CascadeError, match=r"`picks`: expected numbers of the 8 pictures, such as 1 or 1-8 or all, fo"):
        picked_places(text, 8)


def prompt() -> Any:
    generator = torch.Generator().manual_seed(1)
    options = {"pooled_output": torch.randn(1, 128, generator=generator), "cascade_family": "tiny"}
    return [[torch.randn(1, 24, 128, generator=generator), options]]


@pytest.mark.parametrize("settings", [B, {**B, "cfg": 1.0, "sampler": "dpmpp_2m"}], ids=["official", "economical"])
def test_a_picked_picture_is_the_one_of_the_whole_run(part: Part, settings: dict[str, Any]) -> None:
    """The same seed, and to the last bit the same numbers whatever lies beside it in the batch.

    A single latent in an evaluation is the exception: oneDNN has another convolution for it, which rounds otherwise.
    """
    given = of_stage_c(6)
    prompts = {"positive": prompt(), "negative": prompt()}
    _, empty = CascadeEmptyLatents().make(256, 250, 6)
    sample = CascadeStageBSampler().sample
    (whole,) = sample(part("stage_b"), **prompts, stage_c=given, latent=empty, **settings)
    for picks, places in (("2", [1]), ("3, 5-6", [2, 4, 5])):
        stage_c, stage_b = pick(given, picks)["result"]
        (made,) = sample(part("stage_b"), **prompts, stage_c=stage_c, latent=stage_b, **settings)
        alone = len(places) == 1 and settings["cfg"] == 1
        torch.testing.assert_close(made["samples"], whole["samples"][places], rtol=0, atol=1e-5 if alone else 0)
        assert made["cascade_size"] == (250, 256)


def test_places_masks_and_sizes_go_along(part: Part) -> None:
    masks = torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 1, 8, 8)
    given = of_stage_c(4, batch_index=[7, 9, 11, 13], noise_mask=masks, someone="else")
    stage_c, stage_b = pick(given, "2, 4")["result"]
    assert torch.equal(stage_c["samples"], given["samples"][[1, 3]])
    assert stage_c["batch_index"] == [9, 13]
    assert torch.equal(stage_c["noise_mask"], masks[[1, 1]])  # fewer masks than pictures are used in turn
    assert (stage_c["someone"], stage_c["cascade_family"], stage_c["cascade_size"]) == ("else", "tiny", (250, 256))
    assert stage_b["samples"].shape == (2, 4, 63, 64) and not stage_b["samples"].any()
    assert stage_b["cascade_size"] == (250, 256)
    again = pick(stage_c, "2")["result"][0]
    assert again["batch_index"] == [13]
    del given["cascade_size"]
    assert pick(given, "1")["result"][1]["samples"].shape == (1, 4, 64, 64)  # as large as its cells


def test_nothing_picked_withholds_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    answer = pick(of_stage_c(4), "")
    assert all(isinstance(value, Withheld) for value in answer["result"]) and len(answer["result"]) == 2
    (text,) = answer["ui"]["text"]
    assert text.startswith("nothing is picked of 4 pictures yet, so nothing after this node runs: give picks")
    assert capsys.readouterr().err == f"Pick Pictures: {text}\n"
    assert pick(of_stage_c(4), "1, 3")["ui"] == {"text": ["picked 1, 3 of 4"], "previews": []}


def test_all_pictures_are_shown_whatever_is_picked(part: Part, tmp_path: Path) -> None:
    for picks in ("", "2"):
        shown = pick(of_stage_c(3), picks, part("previewer"))["ui"]["previews"]
        paths = [host.current().directory(entry["type"]) / entry["subfolder"] / entry["filename"] for entry in shown]
        pictures = [Image.open(path) for path in paths]
        assert [picture.size for picture in pictures] == [(48, 48)] * 3
        assert len({picture.tobytes() for picture in pictures}) == 3


def test_a_rehearsal_has_the_shapes_of_what_comes(part: Part) -> None:
    given = of_stage_c(4)
    placeholder = {**given, "samples": given["samples"].to("meta")}
    for picks, count in (("2, 4", 2), ("", 4)):  # with nothing picked what comes after is to fit already
        stage_c, stage_b = CascadePickLatents().rehearse(placeholder, picks, part("previewer"))
        assert stage_c["samples"].is_meta
        assert (len(stage_c["samples"]), len(stage_c["batch_index"]), len(stage_b["samples"])) == (count,) * 3


@pytest.mark.parametrize("method", ["pick", "rehearse"])
def test_what_does_not_fit_is_refused(part: Part, method: str) -> None:
    call = getattr(CascadePickLatents(), method)
    with pytest.raises(CascadeError, match="found '5'"):
        call(of_stage_c(4), "5")
    with pytest.raises(CascadeError, match="expected a latent of Stage C"):
        call(CascadeEmptyLatents().make(64, 64, 2)[1], "1")
    with pytest.raises(CascadeError, match="`latent` comes from"):
        call(of_stage_c(4) | {"cascade_family": "other"}, "1", part("previewer"))
    with pytest.raises(CascadeError, match="batch_index"):
        call(of_stage_c(4, batch_index=[1]), "1")
