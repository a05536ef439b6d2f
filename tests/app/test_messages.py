"""What the page says in place of what the command says. Run: pytest tests/app/test_messages.py"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stable_cascade_nodes.app import messages, models, tabs, values
from stable_cascade_nodes.app.handlers import Given, Handlers
from stable_cascade_nodes.app.runs import Runner
from stable_cascade_nodes.cascade_core.builtin.words import summary
from stable_cascade_nodes.cascade_core.builtin.world import BACKGROUNDS, COLORS, PLURALS
from stable_cascade_nodes.headless import graph, node_classes

from .conftest import SHIPPED


@pytest.fixture
def runner(place: Path, nodes: node_classes.Nodes) -> Runner:
    return Runner(nodes)


def told(runner: Runner, name: str, painted: bool = False, **changes: object) -> str:
    """What the page shows at the end of a press of Make, with other values by the fields' labels."""
    tab = tabs.read(SHIPPED / f"{name}.json", runner.nodes)
    sent = [changes.get(tab.label(field).lower().replace(" ", "_"), field.value) for field in tab.fields]
    return list(Handlers(tab, runner).run(Given(sent, {}, 1, False)))[-1].status


def test_nothing_painted_is_said_as_the_page_does_it(runner: Runner, place: Path) -> None:
    from PIL import Image

    Image.new("RGB", (256, 256), "red").save(place / "input" / "plain.png")
    found = told(runner, "inpainting", picture="plain.png")
    assert messages.NOTHING_PAINTED in found and "--set" not in found and "node " not in found


def test_a_value_out_of_range_is_told_by_the_words_of_its_field(runner: Runner) -> None:
    found = told(runner, "text_to_image", width=5)
    assert "Width (Size): expected" in found and "CascadeEmptyLatents" not in found and "node 8" not in found


def test_no_message_speaks_the_command_line() -> None:
    where = graph.where("9", {"class_type": "CascadeStageCSampler", "_meta": {"title": "Stage C"}}, "steps")
    assert messages.for_page(f"{where}: expected 1 to 9") == "Steps (Stage C): expected 1 to 9"
    where = graph.where("3", {"class_type": "CascadeStageCLoader", "_meta": {"title": "Load Stage C"}}, "model_name")
    assert messages.for_page(f"{where}: there is none") == "Stage C: there is none"
    assert messages.for_page("choose a smaller size, batch or dtype, or another --device").endswith("batch or dtype")
    assert "this command" not in messages.for_page("take one as ComfyUI or this command saved it")
    started = f"{sys.executable} {SHIPPED.parent} run"
    assert messages.for_page("`cascade run --server URL` has it") == f"`{started} --server URL` has it"


def test_unknown_words_have_all_known_ones_behind_a_click() -> None:
    known = summary([*COLORS, *BACKGROUNDS, *PLURALS])
    first, _, more = messages.for_page(f"tiny does not know and skips: castle. It knows: {known}").partition(". ")
    assert first == "tiny does not know and skips: castle"
    assert all(word in more for word in (*COLORS, *BACKGROUNDS, *PLURALS, "blonde")) and "cascade nodes" not in more


def test_a_tab_without_its_models_says_nothing_of_the_editor(nodes: node_classes.Nodes, place: Path) -> None:
    tab = tabs.read(SHIPPED / "published_models.json", nodes)
    assert "11.8 GB" in tab.purpose and "editor" not in tab.purpose
    wanting = models.find_wanting(tab, values.workflow(tab, [], nodes), nodes)
    assert "editor" not in wanting.words and wanting.command


def test_the_bar_is_of_the_whole_run(runner: Runner, nodes: node_classes.Nodes) -> None:
    tab = tabs.read(SHIPPED / "text_to_image.json", nodes)
    sent = [2 if field.name == "steps" else field.value for field in tab.fields]
    shares = []
    for view in Handlers(tab, runner).run(Given(sent, {}, 2, False)):
        found = view.status.partition('style="width:')[2].partition("%")[0]
        shares += [float(found)] if found else []
    assert shares == sorted(shares) and len(shares) > 1
