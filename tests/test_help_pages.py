"""web/docs: a help page for each node, which says of its inputs and outputs what the node declares.

Run: pytest tests/test_help_pages.py. The inputs of the training pages are written by: python tests/test_help_pages.py
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import stable_cascade_nodes
from stable_cascade_nodes import NODE_CLASS_MAPPINGS
from stable_cascade_nodes.headless import graph

PAGES = Path(stable_cascade_nodes.__file__).parent / "web" / "docs"
NATIVE = {
    ("Save Image", "images"): "IMAGE",
    ("Preview Image", "images"): "IMAGE",
}  # inputs of ComfyUI's own nodes that wirings lead to
SLOT = re.compile(r"- \*\*(`\w+`)\*\* \((.*?)\): (.+)")  # an input or output: name, values or type, meaning
WRITTEN = ("CascadeControlNetTrain", "CascadeLoRATrain")  # pages whose inputs this file writes
each_node = pytest.mark.parametrize("name", NODE_CLASS_MAPPINGS)


def section(name: str, title: str) -> str:
    """What stands under the heading `title` of a node's page; empty if there is no such heading."""
    found = re.search(
        rf"^## {title}\n(.*?)(?=^## |\Z)", (PAGES / f"{name}.md").read_text(encoding="utf-8"), re.M | re.S
    )
    return found[1] if found else ""


def slots(name: str, title: str) -> list[tuple[str, str, str]]:
    """Name, values and meaning of each input or output that a section lists."""
    found = [SLOT.fullmatch(line) for line in section(name, title).splitlines() if line]
    assert None not in found, section(name, title)
    return [(match[1], match[2], match[3]) for match in found if match]


def inputs_of(name: str) -> dict[str, graph.Input]:
    return dict(graph.define(NODE_CLASS_MAPPINGS[name]).inputs)


def number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_there_is_a_page_for_each_node_and_no_other() -> None:
    assert {page.stem for page in PAGES.iterdir()} == NODE_CLASS_MAPPINGS.keys()


@each_node
def test_a_page_names_every_input_and_output_in_order(name: str) -> None:
    assert [slot for slot, _, _ in slots(name, "Inputs")] == [f"`{key}`" for key in inputs_of(name)]
    outputs = [(slot, kind) for slot, kind, _ in slots(name, "Outputs")]
    node: Any = NODE_CLASS_MAPPINGS[name]
    assert outputs == [
        (f"`{key}`", f"`{kind}`") for key, kind in zip(node.RETURN_NAMES, node.RETURN_TYPES, strict=True)
    ]


def values_of(entry: graph.Input) -> str:
    """What an input takes, for people; of a list of files only what it begins with."""
    if entry.type in ("INT", "FLOAT"):
        lowest, highest, default = (number(entry.options[option]) for option in ("min", "max", "default"))
        return f"{lowest} to {highest}, default {default}"
    if entry.type == "COMBO":
        return ", ".join(f"`{choice}`" + " (default)" * (choice == entry.default) for choice in entry.choices or ())
    if entry.type == "BOOLEAN":
        return f"on or off, {'on' if entry.default else 'off'} by default"
    if entry.type == "STRING":
        return f"text, `{entry.default}` by default" if entry.default else "text, empty by default"
    return f"`{entry.type}`"


def line_of(name: str, entry: graph.Input) -> str:
    """The line of an input whose meaning is its tooltip."""
    optional = "" if entry.required or entry.has_widget else "Optional. "
    return f"- **`{name}`** ({values_of(entry)}): {optional}{entry.options['tooltip']}"


@each_node
def test_values_are_those_that_the_node_takes(name: str) -> None:
    for (key, entry), (_, values, meaning) in zip(inputs_of(name).items(), slots(name, "Inputs"), strict=True):
        assert len(meaning) > 8, key
        if entry.type == "COMBO" and key in ("model_name", "lora_name", "image", "mask"):  # the rest are files
            assert values.startswith(f"`{entry.default}` (default), ") and values.endswith(" a file name"), key
        else:
            assert values == values_of(entry), key
        assert meaning.startswith("Optional.") == (not entry.required and not entry.has_widget), key


@pytest.mark.parametrize("name", WRITTEN)
def test_a_training_page_says_what_its_settings_say(name: str) -> None:
    assert section(name, "Inputs").strip().splitlines() == [line_of(*each) for each in inputs_of(name).items()]


@each_node
def test_a_page_says_what_for_and_what_may_go_wrong(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert "\n\n**When to use it.** " in text
    assert section(name, "Tips").count("\n- ") >= 1
    assert section(name, "Messages").count("\n- ") >= 1
    assert "](" not in text  # a page names no address that may go stale, and needs no picture


@each_node
def test_wirings_can_be_wired(name: str) -> None:
    by_title: dict[str, Any] = {node.DISPLAY_NAME: node for node in NODE_CLASS_MAPPINGS.values()}
    lines = [line for line in section(name, "Wiring").splitlines() if "->" in line]
    assert lines
    for line in lines:
        wiring = re.fullmatch(r"(.+) \. (\w+) -> (.+) \. (\w+)", line)
        assert wiring, line
        source, output, target, given = wiring.groups()
        assert NODE_CLASS_MAPPINGS[name].DISPLAY_NAME in (source, target)
        node = by_title[source]
        kind = node.RETURN_TYPES[node.RETURN_NAMES.index(output)]
        taken = NATIVE.get((target, given)) or graph.define(by_title[target]).inputs[given].type
        assert taken == kind, line


def write_inputs(name: str) -> None:
    """Write the inputs of a page anew."""
    page = PAGES / f"{name}.md"
    lines = "\n".join(line_of(*each) for each in inputs_of(name).items())
    page.write_text(page.read_text(encoding="utf-8").replace(section(name, "Inputs").strip(), lines), encoding="utf-8")


if __name__ == "__main__":
    for each in WRITTEN:
        write_inputs(each)
