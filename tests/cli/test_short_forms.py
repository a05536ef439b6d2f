"""`--prompt`, `--size` and the like: `--set` of the titles that the workflows of this pack have."""

from collections.abc import Callable
from typing import Any

import pytest

from stable_cascade_nodes.cli.arguments import SHORT_FORMS
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
