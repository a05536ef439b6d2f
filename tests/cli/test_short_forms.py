"""`--prompt`, `--size` and the like: `--set` of the titles that the workflows of this pack have."""

from collections.abc import Callable
from typing import Any

import pytest

from stable_cascade_nodes.cli.arguments import SHORT_FORMS
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import graph, node_classes, set_values, shipped, workflow_file

Cascade = Callable[..., Any]


def node(class_type: str, title: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title}}


WORKFLOW = {
    "1": node("Text", "Prompt", text="old"),
    "2": node("Text", "Negative prompt", text=""),
    "3": node("ShowText", "First", text=["1", 0]),
    "4": node("ShowText", "Second", text=["2", 0]),
}


def test_they_set_what_they_are_named_for_and_the_last_word_wins(
    cascade: Cascade, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    answer = cascade("run", WORKFLOW, "--prompt", "a=b.c", "--set", "Prompt.text=later", "--negative", "a, b")
    assert answer.code == 0, answer.err
    assert ("Text", {"text": "later"}) in calls
    assert ("Text", {"text": "a, b"}) in calls


@pytest.mark.parametrize("size", ["256", "256x", "x", "1x2x3", ""])
def test_a_size_has_two_sides(cascade: Cascade, size: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cascade("run", WORKFLOW, "--size", size)
    assert ended.value.code == 2


def test_a_workflow_without_the_title_says_so(cascade: Cascade) -> None:
    answer = cascade("run", WORKFLOW, "--seed", "7")
    assert answer.code == 2
    assert "--set Stage C.seed=7: expected" in answer.err


@pytest.mark.parametrize("name", ["text_to_image", "published_models", "lora"])
def test_the_shipped_workflows_of_a_prompt_take_them_all(name: str) -> None:
    nodes = node_classes.load()
    definitions = graph.definitions(nodes.classes)
    workflow = graph.convert(workflow_file.read(shipped.path_of(name)), definitions, nodes.names)
    values = {"text": "a", "seed": "3", "width": "320", "height": "192", "steps": "5", "batch_size": "2"}
    targets = [target for _, _, each in SHORT_FORMS for target in each]
    set_values.apply(workflow, [f"{target}={values[target.split('.')[1]]}" for target in targets], definitions)
    titles = {graph.title_of(node): node["inputs"] for node in workflow.prompt.values()}
    assert (titles["Size"]["width"], titles["Size"]["height"], titles["Size"]["batch_size"]) == (320, 192, 2)
    assert (titles["Stage C"]["seed"], titles["Stage B"]["seed"], titles["Stage C"]["steps"]) == (3, 3, 5)


PICTURES = [name for name in shipped.names() if "CascadePicture" in shipped.path_of(name).read_text(encoding="utf-8")]


def short(option: str, value: str, *targets: str) -> set_values.ShortForm:
    parts = value.split("x") if "x" in value else [value] * len(targets)
    return set_values.ShortForm(
        f"{option} {value}", [f"{target}={part}" for target, part in zip(targets, parts, strict=True)]
    )


@pytest.mark.parametrize("name", PICTURES)
def test_a_size_is_set_where_a_workflow_of_a_picture_has_it(name: str) -> None:
    """A picture and its latents change together, and everything still fits together."""
    nodes = node_classes.load()
    definitions = nodes.definitions()
    workflow = graph.convert(workflow_file.read(shipped.path_of(name)), definitions, nodes.names)
    forms = {option: targets for option, _, targets in SHORT_FORMS}
    typed = [short("--size", "320x256", *forms["--size"]), short("--steps", "3", *forms["--steps"])]
    typed.append(short("--seed", "9", *forms["--seed"]))
    set_values.apply(workflow, typed, definitions)
    prompt = workflow.prompt
    sides = {
        graph.title_of(node): (node["inputs"].get("width"), node["inputs"].get("height")) for node in prompt.values()
    }
    sized = [title for title, size in sides.items() if size == (320, 256)]
    assert sized == [{"outpainting": "Fit padded", "super_resolution": "Enlarge"}.get(name, "Fit")]
    samplers = [node["inputs"] for node in prompt.values() if "steps" in node["inputs"]]
    assert {each["seed"] for each in samplers} == {9} and samplers[0]["steps"] == 3
    problems = graph.rehearse(graph.Plan(prompt, nodes.classes))
    if name == "super_resolution":  # the small picture is what it is
        assert "the picture to be made is 320 x 256 pixels: their aspects differ" in str(problems[0])
    else:
        assert problems == []


@pytest.mark.parametrize("name", ["image_to_image", "reconstruction"])
def test_as_many_pictures_as_there_are_is_one_sentence(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", name, "-n", "2"]) == 2
    assert 'expected a node with the title "Size" and the input "batch_size", which' in capsys.readouterr().err


def test_nothing_takes_the_link_of_an_optional_input_away() -> None:
    """From the prompt and from the editor's form, which then converts to the same prompt."""
    nodes = node_classes.load()
    definitions = graph.definitions(nodes.classes)
    workflow = graph.convert(workflow_file.read(shipped.path_of("text_to_image")), definitions, nodes.names)
    assert "previewer" in workflow.prompt["9"]["inputs"]
    set_values.apply(workflow, ["Stage C.previewer="], definitions)
    assert "previewer" not in workflow.prompt["9"]["inputs"]
    again = graph.convert(workflow.editor, definitions, nodes.names)
    assert again.prompt == workflow.prompt
    with pytest.raises(graph.WorkflowError, match=r"expected a link to CASCADE_STAGE_C, which cannot be typed"):
        set_values.apply(workflow, ["Stage C.stage_c="], definitions)
