"""locales/: made from the tables, which have a translation for each text of the nodes and for no other.

Run: pytest tests/recipes/test_languages.py. After a change: python -m stable_cascade_nodes.recipes.languages
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stable_cascade_nodes import NODE_CLASS_MAPPINGS, nodes
from stable_cascade_nodes.cascade_core.sampling.samplers import SAMPLERS
from stable_cascade_nodes.cascade_core.sampling.schedules import SCHEDULES
from stable_cascade_nodes.headless import graph
from stable_cascade_nodes.recipes import languages

TRANSLATED = [language for language in languages.LANGUAGES if language != languages.ENGLISH]
each_language = pytest.mark.parametrize("language", languages.LANGUAGES)
each_translation = pytest.mark.parametrize("language", TRANSLATED)

# What a person types or reads elsewhere, and so stays: numbers, files, prompts, choices, names of models and projects.
STAYS = re.compile(
    r"\d[\d.]*(?<!\.)|\[\w+\]|\^\w+(?:\$|</w>)|\w+\.(?:json|txt)|\.attn|float\d+|Stage [ABC]|tiny(?: zig)? \(built-in\)"
    r"|LoRA|ControlNet|ComfyUI|CLIP|EfficientNet|OneTrainer|kohya|PEFT|PSNR|GPU|insightface|adafactor|bitsandbytes"
)
INPUTS = {name for node in NODE_CLASS_MAPPINGS.values() for name in graph.define(node).inputs}


def test_the_languages_are_those_that_were_promised() -> None:
    assert set(languages.LANGUAGES) == {"en", "zh", "ja", "de", "fr", "es"}


@each_translation
def test_every_text_has_its_translation_and_none_is_left_over(language: str) -> None:
    assert languages.problems(language) == []


@each_language
def test_the_files_are_what_the_tables_make(language: str) -> None:
    folder = languages.LOCALES / language
    assert {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()} == languages.files(language)
    assert {folder.name for folder in languages.LOCALES.iterdir()} == set(languages.LANGUAGES)


@each_language
def test_every_node_input_and_output_is_named(language: str) -> None:
    said = json.loads(languages.files(language)["nodeDefs.json"])
    assert list(said) == list(NODE_CLASS_MAPPINGS)
    for id, node in NODE_CLASS_MAPPINGS.items():
        entry = said[id]
        assert entry["display_name"].startswith("Stable Cascade: ") and entry["description"], id
        assert list(entry["inputs"]) == list(graph.define(node).inputs), id
        assert list(entry["outputs"]) == [str(place) for place in range(len(node.RETURN_TYPES))], id
        for slot in [*entry["inputs"].values(), *entry["outputs"].values()]:
            assert slot["name"], id
            assert "tooltip" in slot or language == languages.ENGLISH, id


def test_english_is_what_the_classes_say() -> None:
    """But for what an editor would take for a template: there it is the class that speaks."""
    said = json.loads(languages.files("en")["nodeDefs.json"])
    for id, node in NODE_CLASS_MAPPINGS.items():
        assert said[id]["display_name"] == nodes.NODE_DISPLAY_NAME_MAPPINGS[id]
        assert said[id]["description"] == node.DESCRIPTION
        for name, entry in graph.define(node).inputs.items():
            tooltip = entry.options["tooltip"]
            expected = {"name": name} if re.search("[{}|@]", tooltip) else {"name": name, "tooltip": tooltip}
            assert said[id]["inputs"][name] == expected


@each_language
def test_no_message_is_a_template(language: str) -> None:
    """Braces, bars and at signs: 0.3.64's editor reads every message as one, 0.33.0's shows tooltips as they are."""
    assert re.findall(r'.*: ".*[{}|@].*', languages.files(language)["nodeDefs.json"]) == []


@each_translation
def test_what_is_typed_or_chosen_stays_as_it_is(language: str) -> None:
    for text, translation in languages.table(language).items():
        kept = STAYS.findall(translation.replace("Stage-", "Stage "))  # German compounds
        assert set(STAYS.findall(text)) <= set(kept), (text, translation)


@each_translation
def test_samplers_and_schedules_keep_their_names(language: str) -> None:
    for text, translation in languages.table(language).items():
        for names in (SAMPLERS, SCHEDULES):
            if all(f"{name}: " in text for name in names):
                assert [name for name in names if not re.search(rf"\b{name} ?[:\uff1a]", translation)] == []


@each_translation
def test_a_text_names_an_input_as_the_node_shows_it(language: str) -> None:
    """An input's English name, in code marks or of several words, is the translated one in a translation."""
    table = languages.table(language)
    for text, translation in table.items():
        named = {name for name in re.findall(r"`(\w+)`|\b([a-z]+_[a-z_]+)\b", text) for name in name} & INPUTS
        for name in named - {text}:
            assert table[name] in translation, (name, translation)


@each_translation
def test_names_on_a_node_are_told_apart(language: str) -> None:
    said: dict[str, Any] = json.loads(languages.files(language)["nodeDefs.json"])
    titles = [entry["display_name"] for entry in said.values()]
    assert len(set(titles)) == len(titles)
    for id, entry in said.items():
        names = [slot["name"] for slot in entry["inputs"].values()]
        assert len(set(names)) == len(names), id


def test_a_changed_text_is_missed_and_its_old_translation_told(monkeypatch: pytest.MonkeyPatch) -> None:
    node = NODE_CLASS_MAPPINGS["CascadeEmptyLatents"]
    before = node.DESCRIPTION
    monkeypatch.setattr(node, "DESCRIPTION", "Other words.")
    assert languages.problems("de") == [
        "de.json: no translation of 'Other words.'",
        f"de.json: no node says {before!r} any more",
    ]


def test_the_command_writes_nothing_where_a_translation_is_missing(tmp_path: Path) -> None:
    script = (
        "import sys, runpy\n"
        "from pathlib import Path\n"
        "from stable_cascade_nodes.recipes import languages\n"
        "languages.LOCALES = Path(sys.argv[1])\n"
        "languages.NODE_CLASS_MAPPINGS['CascadePicture'].DISPLAY_NAME += sys.argv[2]\n"
        "runpy.run_module('stable_cascade_nodes.recipes.languages', run_name='__main__')\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    runs = [subprocess.run([*command, added], capture_output=True, text=True, check=False) for added in (" of us", "")]
    assert runs[0].returncode == 1 and "de.json: no translation of 'Picture of us'" in runs[0].stderr
    assert runs[1].returncode == 0, runs[1].stderr
    assert {folder.name for folder in tmp_path.iterdir()} == set(languages.LANGUAGES)
