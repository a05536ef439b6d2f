"""Every use case as its shipped workflow does it, with the built-in cascade: what do the pictures mean?

Run: pytest tests/test_use_cases.py -m "slow or not slow" -s

Pictures to start from are drawn, prompts leave out what the picture must tell, and the reader, which knows nothing of
the networks, says what came out. The long form makes 50 pictures with 50 seeds for each figure, and as many with the
same seeds for its baseline: without the picture, without the ControlNet, or at denoise 1. `LEVELS` has what was
measured; 20 points lie between a figure and its baseline at least. The short form makes 10, in half of the steps.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stable_cascade_nodes.cascade_core.builtin.world import Scene, Shape
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import shipped
from stable_cascade_nodes.recipes.tiny import control_judge
from stable_cascade_nodes.recipes.tiny.captions import told_apart
from stable_cascade_nodes.recipes.tiny.control_judge import RIGHT, TRIALS, Trial
from stable_cascade_nodes.recipes.tiny.data import picture
from stable_cascade_nodes.recipes.tiny.data import test_scenes as scenes_of
from stable_cascade_nodes.recipes.tiny.reader import is_right, matches, read
from stable_cascade_nodes.runtime import host

from .workflow_runs import FOLDER, Runner

SEEDS = 2  # pictures of one run, each with a seed of its own
LONG, SHORT = 25, 5  # runs, each from another picture
MORE = 0.2  # by which a rate is over its baseline at least
SLACK = {LONG: 0.06, SHORT: 0.3}  # between the level of 50 pictures and what is asserted of 50, and of 10
SLACK_DB = {LONG: 0.3, SHORT: 1.0}
STEPS = {LONG: {}, SHORT: {"Stage C.steps": 10, "Stage B.steps": 5}}  # else the workflow's 20 and 10
LEVELS = {
    "image_variation": 0.74,
    "image_mixing, something of each": 0.62,
    "image_mixing at 0.7, more of the first": 0.94,
    "image_to_image at 0.3, place": 1.0,
    "image_to_image at 0.7, place": 0.92,
    "image_to_image at 0.7, colour": 0.96,
    "inpainting": 0.8,
    "outpainting": 1.0,
    "canny": 0.86,
    "super_resolution": 0.86,
    "super_resolution, gain in dB": 1.1,
    "face_identity": 0.54,
    "reconstruction": 0.98,
    "reconstruction, dB": 26.1,
}

Figures = dict[str, float]
Measure = Callable[[Path, int], Figures]


@pytest.fixture
def folder(new_program: Path) -> Path:
    """The input folder, in a program that is new."""
    (new_program / "input").mkdir()
    host.configure(input=new_program / "input", output=new_program / "output")
    return new_program / "input"


def share(verdicts: list[bool]) -> float:
    return float(np.mean(verdicts))


def psnr(found: np.ndarray, expected: np.ndarray) -> float:
    """Decibels, of uint8 pictures."""
    return float(-10 * np.log10(np.square((found.astype(float) - expected) / 255).mean()))


def kinds(shapes: tuple[Shape, ...]) -> Counter[tuple[str, str]]:
    return Counter((shape.color, shape.shape) for shape in shapes)


def of_each(*names: str, count: int) -> list[Scene]:
    """`count` scenes of these kinds by turns."""
    return [scene for row in zip(*(scenes_of(name, count) for name in names), strict=True) for scene in row][:count]


def image_variation(folder: Path, runs: int) -> Figures:
    """The picture has as many objects as the one to vary, of the same colours and shapes; the prompt is empty."""
    runner = Runner("image_variation", folder, STEPS[runs])

    def rate(strength: float) -> float:
        kept: list[bool] = []
        for number, scene in enumerate(of_each("one", "relation", count=runs)):
            settings = {"Picture.image": runner.give(scene), "CascadeImageEncode.strength": strength}
            pictures = runner.run(settings | seeds(number))
            kept.extend(kinds(read(one).shapes) == kinds(scene.shapes) for one in pictures)
        return share(kept)

    return {"image_variation": rate(1), "image_variation, without the picture": rate(0)}


def image_mixing(folder: Path, runs: int) -> Figures:
    """Of two pictures that differ in everything, half and half show something of each; else the stronger decides."""
    runner = Runner("image_mixing", folder, STEPS[runs])
    candidates = zip(scenes_of("one", 6 * runs), scenes_of("count", 6 * runs), strict=True)
    pairs = [(one, other) for one, other in candidates if not features(one) & features(other)][:runs]
    assert len(pairs) == runs

    def rates(strength: float) -> tuple[float, float]:
        each, first = list[bool](), list[bool]()
        for number, (one, other) in enumerate(pairs):
            given = {"Picture.image": runner.give(one), "Second picture.image": runner.give(other)}
            strengths = {"Mix picture.strength": strength, "Mix second picture.strength": 1 - strength}
            for made in runner.run(given | strengths | seeds(number)):
                of_one, of_other = (len(features(read(made)) & features(scene)) for scene in (one, other))
                each.append(of_one > 0 and of_other > 0)
                first.append(of_one > of_other)
        return share(each), share(first)

    (half, _), (alone, _), (_, more), (_, less) = (rates(strength) for strength in (0.5, 1, 0.7, 0.3))
    return {
        "image_mixing, something of each": half,
        "image_mixing, something of each without the second": alone,
        "image_mixing at 0.7, more of the first": more,
        "image_mixing at 0.3, more of the first": less,
    }


def features(scene: Any) -> set[str]:
    """The colours and shapes in a picture, as drawn or as read, and its background."""
    return {f"{scene.background} background", *(name for shape in scene.shapes for name in (shape.color, shape.shape))}


def image_to_image(folder: Path, runs: int) -> Figures:
    """Where one object lies, of which the prompt says only shape, background, and another colour."""
    runner = Runner("image_to_image", folder, STEPS[runs])
    trials = [trial for trial in TRIALS["canny"](8 * runs) if trial.source.place not in (None, "center")][:runs]
    assert len(trials) == runs

    def rates(denoise: float) -> tuple[float, float]:
        kept, told = list[bool](), list[bool]()
        for number, trial in enumerate(trials):
            settings = {"Picture.image": runner.give(*[trial.source] * SEEDS), "Prompt.text": told_apart(trial.wanted)}
            settings |= {"Stage C.denoise": denoise, "Stage C.seed": number * SEEDS}
            for one in runner.run(settings):
                verdicts = matches(read(one), trial.wanted)
                kept.append(verdicts["place"])
                told.append(verdicts["color"] and verdicts["shape"])
        return share(kept), share(told)

    (low, _), (middle, told), (high, _) = (rates(denoise) for denoise in (0.3, 0.7, 1.0))
    return {
        "image_to_image at 0.3, place": low,
        "image_to_image at 0.7, place": middle,
        "image_to_image at 0.7, colour": told,
        "image_to_image at 1.0, place": high,
    }


def seeds(number: int) -> dict[str, Any]:
    """For a workflow that starts from an empty latent: the seeds of run `number` are its own."""
    return {"Size.batch_size": SEEDS, "Stage C.seed": number * SEEDS}


def steered(
    folder: Path, name: str, mode: str, runs: int, right: Callable[[Trial, np.ndarray], bool]
) -> tuple[float, float]:
    """The share of pictures that are right, with the ControlNet and at strength 0, over the judge's trials."""
    runner = Runner(name, folder, STEPS[runs])

    def rate(strength: float) -> float:
        verdicts: list[bool] = []
        for number, trial in enumerate(TRIALS[mode](runs)):
            side = control_judge.SMALL_SIDE if mode == "super_resolution" else 256
            given = runner.give(trial.source, side=side, hole=trial.mask)
            settings = {"Picture.image": given, "Prompt.text": trial.prompt, **seeds(number)}
            pictures = runner.run(settings | {"CascadeControlNetApply.strength": strength})
            verdicts.extend(right(trial, one) for one in pictures)
        return share(verdicts)

    return rate(1), rate(0)


def all_right(mode: str) -> Callable[[Trial, np.ndarray], bool]:
    """What the judge of the ControlNet counts, all of it."""

    def right(trial: Trial, one: np.ndarray) -> bool:
        verdicts = matches(read(one), trial.wanted)
        return all(verdicts[name] for name in RIGHT[mode] if name in verdicts)

    return right


def inpainting(folder: Path, runs: int) -> Figures:
    """In place of a hidden object there is what the prompt says; outside the mask not one pixel differs."""
    filled = all_right("inpainting")

    def right(trial: Trial, one: np.ndarray) -> bool:
        assert trial.mask is not None
        assert np.array_equal(one[~trial.mask], picture(trial.source)[~trial.mask])
        return filled(trial, one)

    rate, baseline = steered(folder, "inpainting", "inpainting", runs, right)
    return {"inpainting": rate, "inpainting, without the ControlNet": baseline}


def canny(folder: Path, runs: int) -> Figures:
    """Number, shapes and places are those of the edges; the prompt gives other colours and does not say where."""
    edges = ("count", "shape", "place", "relation")

    def right(trial: Trial, one: np.ndarray) -> bool:
        verdicts = matches(read(one), trial.wanted)
        return all(verdicts[name] for name in edges if name in verdicts)

    rate, baseline = steered(folder, "canny", "canny", runs, right)
    return {"canny": rate, "canny, without the ControlNet": baseline}


def face_identity(folder: Path, runs: int) -> Figures:
    """Skin, hair, its length, glasses and mouth are the given face's, the background is the prompt's: all of it."""
    rate, baseline = steered(folder, "face_identity", "identity", runs, all_right("identity"))
    return {"face_identity": rate, "face_identity, without the ControlNet": baseline}


def super_resolution(folder: Path, runs: int) -> Figures:
    """Of 16 x 16 pixels 256 x 256 are made that are closer to the large original than bicubic ones."""
    gains: list[float] = []

    def right(trial: Trial, one: np.ndarray) -> bool:
        small = Image.fromarray(picture(trial.source)).resize((control_judge.SMALL_SIDE,) * 2, Image.Resampling.BOX)
        bicubic = np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC))
        gains.append(psnr(one, picture(trial.source)) - psnr(bicubic, picture(trial.source)))
        return gains[-1] > 0

    rate, baseline = steered(folder, "super_resolution", "super_resolution", runs, right)
    gain = float(np.mean(gains[: runs * SEEDS]))
    return {"super_resolution": rate, "super_resolution, gain in dB": gain, "super_resolution, without": baseline}


def outpainting(folder: Path, runs: int) -> Figures:
    """Nine tenths of what is new, or more, have the picture's background colour; the prompt is empty."""
    runner = Runner("outpainting", folder, STEPS[runs])
    margin = 48
    scenes = [scene for scene in scenes_of("one", 12 * runs) if scene.place == "center"][:runs]
    assert len(scenes) == runs

    def rate(strength: float) -> float:
        verdicts: list[bool] = []
        for number, scene in enumerate(scenes):
            settings = {"Picture.image": runner.give(scene, margin=margin), **seeds(number)}
            for one in runner.run(settings | {"CascadeControlNetApply.strength": strength}):
                new = np.ones(one.shape[:2], bool)
                new[margin:-margin, margin:-margin] = False
                away = np.linalg.norm(one[new].astype(float) - scene.background_rgb, axis=-1)
                verdicts.append(share(list(away < 30)) > 0.9)
        return share(verdicts)

    return {"outpainting": rate(1), "outpainting, without the ControlNet": rate(0)}


def reconstruction(folder: Path, runs: int) -> Figures:
    """Pictures of every kind come back as what they were."""
    runner = Runner("reconstruction", folder)
    scenes = of_each("one", "relation", "count", "face", count=runs * SEEDS)
    pictures = runner.run({"Picture.image": runner.give(*scenes)})
    decibels = [psnr(one, picture(scene)) for one, scene in zip(pictures, scenes, strict=True)]
    right = [is_right(one, scene) for one, scene in zip(pictures, scenes, strict=True)]
    return {"reconstruction": share(right), "reconstruction, dB": float(np.mean(decibels))}


CASES: dict[str, Measure] = {
    measure.__name__: measure
    for measure in (
        image_variation,
        image_mixing,
        image_to_image,
        inpainting,
        outpainting,
        canny,
        super_resolution,
        face_identity,
        reconstruction,
    )
}
BASELINES = {
    "image_mixing, something of each": "image_mixing, something of each without the second",
    "image_mixing at 0.7, more of the first": "image_mixing at 0.3, more of the first",
    "image_variation": "image_variation, without the picture",
    "image_to_image at 0.3, place": "image_to_image at 1.0, place",
    "image_to_image at 0.7, place": "image_to_image at 1.0, place",
    "inpainting": "inpainting, without the ControlNet",
    "outpainting": "outpainting, without the ControlNet",
    "canny": "canny, without the ControlNet",
    "super_resolution": "super_resolution, without",
    "face_identity": "face_identity, without the ControlNet",
}


def test_every_workflow_has_its_use_case() -> None:
    elsewhere = {"text_to_image", "published_models", "lora", "lora_training"}  # the last two: test_lora_workflows.py
    elsewhere |= {"economical", "few_steps"}  # test_picking.py, builtin/test_few_steps.py
    assert set(shipped.names()) == {*CASES, *elsewhere}


@pytest.mark.parametrize("runs", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
def test_pictures_mean_what_the_use_case_promises(folder: Path, case: str, runs: int) -> None:
    figures = CASES[case](folder, runs)
    print({name: round(value, 3) for name, value in figures.items()})
    for name, value in figures.items():
        if name in LEVELS:
            slack = SLACK_DB if name.endswith("dB") else SLACK
            assert value >= LEVELS[name] - slack[runs], (name, figures)
        if name in BASELINES:
            assert value >= figures[BASELINES[name]] + MORE, (name, figures)


@pytest.mark.parametrize("case", CASES)
def test_the_command_runs_it_as_it_is(folder: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(FOLDER / f"{case}.json"), "--output", str(folder.parent / "output"), "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    (file,) = answer["files"]
    with Image.open(file) as made:
        assert made.size == (256, 256)
        assert json.loads(made.text["workflow"])["nodes"]  # type: ignore[attr-defined]
        assert np.asarray(made).std() > 10


def test_reconstruction_tells_its_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(FOLDER / "reconstruction.json"), "--output", str(folder.parent / "output")]) == 0
    told = capsys.readouterr().err
    found = re.search(r"^Compare Pictures: PSNR ([\d.]+) dB; latent 6 x 6 x 16, 42\.7 times smaller", told, re.M)
    assert found and float(found[1]) > 20
