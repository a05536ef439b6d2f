"""`--set NODE.INPUT=VALUE`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ..headless.graph.fake_nodes import node

Cascade = Callable[..., Any]
PROMPT = {
    "1": node("Number", "Stage v1.5", value=3),
    "2": node("Text", "Prompt", text="old"),
    "3": node("Many", "All", colour="red", size="small", ratio=0.5, fast=False, name="x"),
    "4": node("Show", "Same", value=["1", 0]),
    "5": node("ShowText", "Same", text=["2", 0]),
    "6": node("ShowRatio", "Third", ratio=["3", 1]),
    "7": node("Add", "Sum", a=1, b=["1", 0]),
    "8": node("Show", "Eighth", value=["7", 0]),
    "9": node("Show", "Ninth", value=["10", 0]),
    "10": node("Either", "Tenth", value=1),
}


@pytest.mark.parametrize(
    ("assignment", "call"),
    [
        ("1.value=7", ("Number", {"value": 7})),
        ("Stage v1.5.value=7", ("Number", {"value": 7})),  # the last dot before the first =
        ("Prompt.text=a=b.c", ("Text", {"text": "a=b.c"})),
        ("Prompt.text=", ("Text", {"text": ""})),
        ("Prompt.text=a {red|blue} // star", ("Text", {"text": "a {red|blue} // star"})),
        ("Sum.b=9", ("Add", {"a": 1, "b": 9})),  # instead of the link
        ("Sum.c=9", ("Add", {"a": 1, "b": 3, "c": 9})),  # an optional input that the file does not name
        ("4.value=12", ("Show", {"value": 12})),
        ("10.value=2", ("Either", {"value": 2})),
        ("10.value=2.5", ("Either", {"value": 2.5})),
    ],
)
def test_values(cascade: Cascade, calls: list[Any], assignment: str, call: tuple[str, Any]) -> None:
    answer = cascade("run", PROMPT, "--set", assignment)
    assert answer.code == 0, answer.err
    assert call in calls


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("colour", "green", "green"),
        ("size", "large", "large"),
        ("ratio", "1", 1.0),
        ("ratio", "2.5e-1", 0.25),
        ("fast", "true", True),
        ("fast", "Off", False),
        ("name", "12", "12"),
    ],
)
def test_the_declared_type_reads_the_value(
    cascade: Cascade, calls: list[Any], name: str, text: str, value: Any
) -> None:
    answer = cascade("run", PROMPT, "--set", f"All.{name}={text}")
    assert answer.code == 0, answer.err
    found = next(given for kind, given in calls if kind == "Many")[name]
    assert (found, type(found)) == (value, type(value))


def test_the_last_of_several_wins(cascade: Cascade, calls: list[Any]) -> None:
    cascade("run", PROMPT, "--set", "1.value=7", "--set", "Prompt.text=new", "--set", "1.value=8")
    assert ("Number", {"value": 8}) in calls
    assert ("Text", {"text": "new"}) in calls


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("text", ["expected NODE.INPUT=VALUE", '"text"']),
        ("Prompt=text", ["expected NODE.INPUT=VALUE", 'the inputs of "Prompt" are "text"']),
        ("prompt=text", ["expected NODE.INPUT=VALUE", 'the inputs of "Prompt" are "text"']),
        (".text=x", ["expected NODE.INPUT=VALUE"]),
        ("Prompt.=x", ["expected NODE.INPUT=VALUE"]),
        ("Promt.text=x", ["by its title or its id", 'found "Promt"', 'did you mean "Prompt"?\n']),
        ("11.value=x", ["by its title", 'found "11"']),
        ("Same.value=1", ["expected one node, found 2", '"Same"', "4 (", ") or 5 ("]),
        ("Prompt.txt=x", ['an input of node 2 "Prompt" (Text)', '"text"', 'found "txt"']),
        ("1.value=many", ['node 1 "Stage v1.5" (Number), input "value"', "a whole number", '"many"']),
        ("1.value=1.5", ["a whole number", '"1.5"']),
        ("10.value=x", ['node 10 "Tenth" (Either), input "value"', "a number", '"x"']),
        ("All.ratio=half", ['input "ratio"', "a number", '"half"']),
        ("All.fast=maybe", ['input "fast"', "true or false", '"maybe"']),
        ("Third.ratio=1", ['node 6 "Third" (ShowRatio), input "ratio"', "a link to RATIO"]),
        ("1.value=101", ['node 1 "Stage v1.5" (Number), input "value"', "from 0 to 100", "101"]),
        ("All.ratio=nan", ['input "ratio"', "a number", "NaN"]),
        ("All.colour=blue", ['input "colour"', '"red", "green"', '"blue"']),
    ],
)
def test_refusals(cascade: Cascade, calls: list[Any], assignment: str, expected: list[str]) -> None:
    answer = cascade("run", PROMPT, "--set", assignment)
    assert (answer.code, answer.out, calls) == (2, "", [])
    assert answer.err.startswith("cascade: ")
    assert all(part in answer.err for part in expected), answer.err


def test_every_refusal_is_told(cascade: Cascade) -> None:
    answer = cascade("run", PROMPT, "--set", "x", "--set", "Nobody.y=1")
    assert len(answer.err.splitlines()) == 2


LOAD = {"1": node("LoadImage", "Picture", image="a.png"), "2": node("SaveImage", images=["1", 0], filename_prefix="b")}


@pytest.fixture
def pictures(folders: Path) -> Path:
    for place, colour in (("input/a.png", 10), ("input/deep/b.png", 20), ("outside/c.png", 30), ("d.png", 40)):
        (folders / place).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (colour, 0, 0)).save(folders / place)
    return folders


@pytest.mark.parametrize(
    ("typed", "colour"),
    [
        ("a.png", 10),
        ("deep/b.png", 20),
        ("{folder}/input/deep/b.png", 20),
        ("{folder}/outside/c.png", 30),
        ("outside/c.png", 30),
        ("outside/../d.png", 40),
        ("a.png [input]", 10),
    ],
)
def test_a_typed_path_may_lie_anywhere(cascade: Cascade, pictures: Path, typed: str, colour: int) -> None:
    answer = cascade("run", LOAD, "--set", f"Picture.image={typed.format(folder=pictures)}")
    assert answer.code == 0, answer.err
    with Image.open(answer.lines[0]) as picture:
        assert picture.getpixel((0, 0)) == (colour, 0, 0)


def test_two_typed_files_of_one_name(cascade: Cascade, pictures: Path) -> None:
    (pictures / "other").mkdir()
    Image.new("RGB", (4, 4), (50, 0, 0)).save(pictures / "other" / "c.png")
    again = {
        "3": node("LoadImage", "Second", image="a.png"),
        "4": node("SaveImage", images=["3", 0], filename_prefix="c"),
    }
    choices = ["--set", "Picture.image=outside/c.png", "--set", "Second.image=other/c.png"]
    answer = cascade("run", LOAD | again, *choices)
    colours: list[Any] = []
    for line in answer.lines:
        with Image.open(line) as picture:
            colours.append(picture.getpixel((0, 0)))
    assert colours == [(30, 0, 0), (50, 0, 0)]


def test_a_typed_path_that_is_not_there(cascade: Cascade, pictures: Path) -> None:
    answer = cascade("run", LOAD, "--set", "Picture.image=outside/missing.png")
    assert answer.code == 2
    assert 'node 1 "Picture" (LoadImage), input "image"' in answer.err
    assert "missing.png" in answer.err


def test_a_random_seed_is_told(cascade: Cascade) -> None:
    sampler = {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 2}}
    noise = {"class_type": "RandomNoise", "inputs": {"noise_seed": 1}}
    seen = set[int]()
    for _ in range(3):
        answer = cascade(
            "export",
            "--api",
            {"3": sampler, "4": noise},
            "--set",
            "KSampler.seed=random",
            "--set",
            "4.noise_seed=random",
        )
        assert answer.code == 0
        found = json.loads(answer.out)
        seed = found["3"]["inputs"]["seed"]
        assert 0 <= seed < 2**53
        assert f"repeat it with --set 3.seed={seed}" in answer.err
        assert f"repeat it with --set 4.noise_seed={found['4']['inputs']['noise_seed']}" in answer.err
        seen.add(seed)
    assert len(seen) == 3
    answer = cascade("export", "--api", {"3": sampler}, "--set", "KSampler.steps=random")
    assert answer.code == 2 and 'expected a whole number, found "random"' in answer.err
