"""What a tab offers of a workflow file. Run: pytest tests/app/test_tabs.py"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from stable_cascade_nodes.app import components, labels, output_pictures, tabs, values
from stable_cascade_nodes.headless import graph, node_classes, shipped, workflow_file
from stable_cascade_nodes.headless.set_values import apply

from .conftest import SHIPPED, two_prompts

NOWHERE = {"class_type": "OfNoPack", "inputs": {}}


def test_every_shipped_workflow_has_a_tab_with_all_of_its_widgets(nodes: node_classes.Nodes) -> None:
    found, problems = tabs.read_all(SHIPPED, nodes)
    assert problems == []
    assert {tab.path for tab in found} == set(shipped.files())
    assert found[0].key == "text_to_image"
    definitions = graph.definitions(nodes.classes)
    for tab in found:
        prompt = graph.convert(tab.document, definitions, nodes.names).prompt
        widgets = {
            (node_id, entry.name)
            for node_id, node in prompt.items()
            for entry in definitions[node["class_type"]].inputs.values()
            if entry.has_widget and not isinstance(node["inputs"].get(entry.name), list)
        }
        assert {(field.node, field.name) for field in tab.fields} == widgets
        assert tab.note.startswith("## ")


def test_tabs_stand_in_the_order_of_use_and_peoples_own_come_last(tmp_path: Path, nodes: node_classes.Nodes) -> None:
    for name in ("canny", "few_steps", "text_to_image", "inpainting"):
        (tmp_path / f"{name}.json").write_bytes((SHIPPED / f"{name}.json").read_bytes())
    (tmp_path / "a_file.json").write_text(json.dumps(two_prompts()), "utf-8")
    titles = [tab.title for tab in tabs.read_all(tmp_path, nodes)[0]]
    assert titles == ["Text to image", "Inpainting", "Outlines (Canny)", "Few steps", "A file"]


def test_at_first_people_see_what_they_need_and_the_rest_has_headings(nodes: node_classes.Nodes) -> None:
    tab = tabs.read(SHIPPED / "inpainting.json", nodes)
    places = {(field.title, field.name): field.place for field in tab.fields}
    seen = [("Picture", "image"), ("Prompt", "text"), ("Fit", "budget"), ("Stage C", "seed")]
    assert {place for place, where in places.items() if where == "open"} == set(seen)
    assert ("Size", "width") not in places  # a link has no field
    assert places["Negative prompt", "text"] == "Prompt"
    assert places["Fit", "multiple"] == places["Size", "batch_size"] == "Picture and size"
    assert places["Load Stage C", "model_name"] == places["Load Stage C", "dtype"] == "Models"
    assert places["Stage C", "cfg_rescale"] == places["Stage B", "cfg"] == "Guidance"
    assert places["Stage B", "seed"] == "Seeds"
    assert places["Picture out", "filename_prefix"] == "Files"
    assert [field.title for field in tab.fields if field.mask] == ["Picture"]


def test_every_field_of_every_shipped_workflow_has_a_heading(nodes: node_classes.Nodes) -> None:
    found, _ = tabs.read_all(SHIPPED, nodes)
    for tab in found:
        assert tab.purpose.endswith(".")
        assert labels.OTHERS not in {field.place for field in tab.fields}, tab.title
        shown = [(tab.label(field), field.place) for field in tab.fields]
        assert len(set(shown)) == len(shown), f"{tab.title}: two fields of a heading are called alike"


def test_a_training_begins_with_its_pictures(nodes: node_classes.Nodes) -> None:
    tab = tabs.read(SHIPPED / "lora_training.json", nodes)
    seen = sorted((field for field in tab.fields if field.is_open), key=lambda field: tabs.ORDER.index(field.name))
    assert tab.trains and tab.title == "LoRA training"
    assert [field.name for field in seen] == ["folder", "name", "tokens", "steps", "text"]


def test_a_lora_that_came_is_listed_when_the_file_is_read_again(place: Path, nodes: node_classes.Nodes) -> None:
    def listed() -> bool:
        fields = tabs.read(SHIPPED / "lora.json", nodes).fields
        (field,) = [field for field in fields if field.name == "lora_name"]
        return "mine.safetensors" in [value for _, value in components.choices(field)] and field.is_open

    assert not listed()
    (place / "models" / "loras").mkdir(parents=True)
    (place / "models" / "loras" / "mine.safetensors").write_bytes(b"")
    assert listed()


def test_one_seed_drives_both_stages_unless_they_are_parted(nodes: node_classes.Nodes) -> None:
    tab = tabs.read(SHIPPED / "text_to_image.json", nodes)
    sent = given(tab, Stage_C__seed="7", Stage_B__seed="9")
    places = [(tab.fields[index].title, tab.fields[index].name) for index in tab.seeds]
    assert places == [("Stage C", "seed"), ("Stage B", "seed")]
    assert [values.with_one_seed(tab, sent, False)[index] for index in tab.seeds] == ["7", "7"]
    assert values.with_one_seed(tab, sent, True) == sent
    for odd in (None, "true", 1, [True]):
        assert [values.with_one_seed(tab, sent, odd)[index] for index in tab.seeds] == ["7", "7"]


@pytest.mark.parametrize("odd", [None, "4", True, 0, 13, 1.5, float("nan"), [1], 10**30])
def test_a_number_of_pictures_that_is_none_is_refused(odd: Any) -> None:
    with pytest.raises(graph.WorkflowError, match="Number of pictures: expected a whole number from 1 to 12, found"):
        values.number(odd, 12)
    assert values.number(4.0, 12) == 4


def test_only_a_picture_whose_mask_is_used_can_be_painted_on(nodes: node_classes.Nodes) -> None:
    tab = tabs.read(SHIPPED / "canny.json", nodes)
    assert [field.mask for field in tab.fields if field.takes_picture] == [False]


def test_a_workflow_with_titles_of_its_own_needs_no_code(tmp_path: Path, nodes: node_classes.Nodes) -> None:
    (tmp_path / "my_own-way.json").write_text(json.dumps(two_prompts()), "utf-8")
    (tmp_path / "broken.json").write_text("{", "utf-8")
    (found,), problems = tabs.read_all(tmp_path, nodes)
    assert found.title == "My own way"
    assert [c.title for c in found.fields if c.name == "text"] == ["What is seen", "What is not seen"]
    assert len(problems) == 1 and "broken.json" in problems[0]


def test_an_api_prompt_is_a_tab_too(tmp_path: Path, nodes: node_classes.Nodes) -> None:
    prompt = graph.convert(workflow_file.read(SHIPPED / "text_to_image.json"), graph.definitions(nodes.classes)).prompt
    (tmp_path / "api.json").write_text(json.dumps(prompt), "utf-8")
    tab = tabs.read(tmp_path / "api.json", nodes)
    assert len(tab.fields) == len(tabs.read(SHIPPED / "text_to_image.json", nodes).fields)
    made = values.workflow(tab, [], nodes)
    assert made.editor is None and made.prompt["9"]["inputs"]["steps"] == 20


def test_whatever_is_in_a_file_the_others_have_their_tabs(
    tmp_path: Path, nodes: node_classes.Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One with a node of no class here too; not one with a node that is none, or over which reading stumbles."""
    sound = graph.convert(workflow_file.read(SHIPPED / "text_to_image.json"), graph.definitions(nodes.classes)).prompt
    odd = {"a_null": None, "b_number": {"class_type": "SaveImage", "inputs": 5}, "c_absent": NOWHERE, "d_stumbles": {}}
    for name, node in odd.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({**sound, "77": node} if node != {} else sound), "utf-8")
    purpose = tabs._purpose

    def stumble(document: Any, path: Path) -> str:
        return purpose(document, path) if path.stem != "d_stumbles" else str(1 / 0)

    monkeypatch.setattr(tabs, "_purpose", stumble)
    found, problems = tabs.read_all(tmp_path, nodes)
    assert [tab.key for tab in found] == ["c_absent"]
    assert [Path(line.partition(":")[0]).stem for line in problems] == ["a_null", "b_number", "d_stumbles"]
    assert all("has no tab" in line for line in problems) and "division by zero" in problems[2]


def given(tab: tabs.Tab, **settings: Any) -> list[Any]:
    """The tab's values with others by `Title__input`."""
    wanted = {tuple(key.replace("_C", " C").split("__")): value for key, value in settings.items()}
    return [wanted.get((c.title, c.name), c.value) for c in tab.fields]


def test_values_become_what_set_makes_of_them(nodes: node_classes.Nodes) -> None:
    tab = tabs.read(SHIPPED / "text_to_image.json", nodes)
    changed = values.changes(
        tab,
        given(
            tab, Prompt__text="a 'blue' star", Stage_C__seed="18446744073709551615", Stage_C__cfg=2, Size__width=300.0
        ),
    )
    made = values.workflow(tab, changed, nodes)
    assert [value for _, value in changed] == ["a 'blue' star", 300, 18446744073709551615, 2.0]
    definitions = graph.definitions(nodes.classes)
    expected = graph.convert(workflow_file.read(tab.path), definitions, nodes.names)
    settings = ["Prompt.text=a 'blue' star", "Size.width=300", "Stage C.seed=18446744073709551615", "Stage C.cfg=2"]
    apply(expected, settings, definitions)
    assert json.dumps(made.prompt) == json.dumps(expected.prompt)
    assert json.dumps(made.editor) == json.dumps(expected.editor)
    assert workflow_file.read(tab.path) == tab.document  # which no run changes


def test_the_command_says_the_same_in_any_folder(
    place: Path, nodes: node_classes.Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(SHIPPED)  # as `--workflows .` there
    tab = tabs.read(Path("text_to_image.json"), nodes)
    told = values.command(tab, values.changes(tab, given(tab, Prompt__text="a 'blue' star", Stage_C__steps=3)))
    start = [sys.executable, str(SHIPPED.parent), "run"]
    shipped_file = str(SHIPPED / "text_to_image.json")
    assert shlex.split(told) == [*start, shipped_file, "--set", "Prompt.text=a 'blue' star", "--set", "Stage C.steps=3"]
    monkeypatch.setattr(sys, "argv", ["bin/cascade", "app"])
    assert shlex.split(values.command(tab, [])) == [str(SHIPPED / "bin" / "cascade"), "run", shipped_file]
    tab = tabs.read(Path("inpainting.json"), nodes)
    told = values.command(tab, values.changes(tab, given(tab, Picture__image="app/photo.png")))
    assert shlex.split(told)[-2:] == ["--input", str(place / "input")]


@pytest.mark.parametrize(
    ("title", "name", "value", "expected"),
    [
        ("Prompt", "text", "a" * 1_000_000, "at most 10,000 characters"),
        ("Prompt", "text", ["a"], "a text"),
        ("Prompt", "text", None, "a text, found nothing"),
        ("Size", "width", "wide", "a whole number"),
        ("Size", "width", 1.5, "a whole number"),
        ("Size", "width", None, "a whole number, found nothing"),
        ("Size", "width", True, "a whole number"),
        ("Size", "width", float("inf"), "a whole number"),
        ("Stage C", "cfg", {"a": 1}, "a number"),
        ("Stage C", "seed", "1" * 5000, "a whole number"),
        ("Stage C", "sampler", ["ddpm"], "one of its choices"),
        ("Picture out", "filename_prefix", "/etc/passwd", "inside the app's own folders"),
        ("Picture out", "filename_prefix", "a/../../b", "inside the app's own folders"),
        ("Picture out", "filename_prefix", "..\\b", "inside the app's own folders"),
        ("Picture out", "filename_prefix", "C:\\b", "inside the app's own folders"),
        ("Picture out", "filename_prefix", "~/b", "inside the app's own folders"),
        ("Picture out", "filename_prefix", "a\0b", "inside the app's own folders"),
    ],
)
def test_what_no_input_takes_is_refused(
    nodes: node_classes.Nodes, title: str, name: str, value: Any, expected: str
) -> None:
    tab = tabs.read(SHIPPED / "text_to_image.json", nodes)
    sent = [value if (c.title, c.name) == (title, name) else c.value for c in tab.fields]
    with pytest.raises(graph.WorkflowError) as raised:
        values.changes(tab, sent)
    assert expected in str(raised.value)
    assert str(raised.value).startswith(f"{labels.called(name, title)}: expected")
    assert len(str(raised.value)) < 300


def test_four_pictures_have_the_seeds_of_a_batch_of_four(nodes: node_classes.Nodes) -> None:
    tab = tabs.read(SHIPPED / "text_to_image.json", nodes)
    changed = values.changes(tab, given(tab, Stage_C__seed="18446744073709551615", Prompt__text="a blue star"))
    third = values.workflow(tab, values.with_seeds(tab, changed, 2), nodes).prompt
    assert third["9"]["inputs"]["seed"] == 1 and third["10"]["inputs"]["seed"] == 3
    assert third["6"]["inputs"]["text"] == "a blue star"
    same = values.workflow(tab, values.with_seeds(tab, changed, 0), nodes)
    assert json.dumps(same.editor) == json.dumps(values.workflow(tab, changed, nodes).editor)


def test_a_workflow_finds_its_tab_by_its_nodes_and_then_by_their_titles(
    tmp_path: Path, nodes: node_classes.Nodes
) -> None:
    (tmp_path / "own.json").write_text(json.dumps(two_prompts()), "utf-8")
    paths = [SHIPPED / "canny.json", SHIPPED / "text_to_image.json", tmp_path / "own.json"]
    canny, text, own = found = [tabs.read(path, nodes) for path in paths]
    sent = given(text, Prompt__text="a blue star", Stage_C__steps=7)
    made = values.workflow(text, values.changes(text, sent), nodes)
    assert tabs.find(found, made.prompt) is text and tabs.values_of(text, made.prompt) == sent
    assert tabs.find(found, values.workflow(own, [], nodes).prompt) is own
    assert tabs.find([canny, own], made.prompt) is own
    assert tabs.find([canny], made.prompt) is None


@pytest.mark.parametrize("value", [["1", 0], {"a": 1}, None, "a" * 20_000])
def test_a_picture_with_values_that_no_tab_can_show_is_told(
    tmp_path: Path, nodes: node_classes.Nodes, value: Any
) -> None:
    tab = tabs.read(SHIPPED / "text_to_image.json", nodes)
    prompt = values.workflow(tab, [], nodes).prompt
    prompt["6"]["inputs"]["text"] = value
    (tmp_path / "x.json").write_text(json.dumps(prompt), "utf-8")
    with pytest.raises(graph.WorkflowError, match="Prompt: expected"):
        output_pictures.origin(tmp_path / "x.json", [tab], nodes)
