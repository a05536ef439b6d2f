"""The pack's words in the editor's languages: `locales/`, made from the node classes and one table for each language.

python -m stable_cascade_nodes.recipes.languages

A table, such as `de.json`, has each English text of the node classes as a key and its translation as the value, so that
a text that has changed lacks its translation until somebody gives one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

TABLES = Path(__file__).parent
LOCALES = TABLES.parents[1] / "locales"  # where ComfyUI looks for them
ENGLISH = "en"
LANGUAGES = (ENGLISH, "zh", "ja", "de", "fr", "es")

CATEGORIES = ("hints",)
"""Of the menu of nodes; ComfyUI translates the other ones, and a pack's word would replace its own."""

# Editors read messages as templates in which these mean something, but tooltips newer ones read as they are.
SYNTAX = frozenset("{}|@")

Say = Callable[[str], str | None]  # an English text in another language; None: the editor takes what the class says


def table(language: str) -> dict[str, str]:
    """Translations by their English texts."""
    return json.loads((TABLES / f"{language}.json").read_text(encoding="utf-8"))


def texts() -> list[str]:
    """Every English text that a table translates, once, in the nodes' order."""
    found: dict[str, str] = {}
    _main(lambda text: found.setdefault(text, text))
    _node_defs(lambda text: found.setdefault(text, text))
    return list(found)


def problems(language: str) -> list[str]:
    """What a table lacks, and what it has for no text of today, for people."""
    if language == ENGLISH:
        return []
    have, want = table(language), texts()
    missing = [f"{language}.json: no translation of {text!r}" for text in want if not have.get(text)]
    return missing + [f"{language}.json: no node says {text!r} any more" for text in have if text not in set(want)]


def files(language: str) -> dict[str, str]:
    """The files of `locales/<language>/`, by name."""
    say: Say = _plain if language == ENGLISH else table(language).get
    made = {"main.json": _main(say), "nodeDefs.json": _node_defs(say)}
    return {name: json.dumps(_given(tree), ensure_ascii=False, indent=2) + "\n" for name, tree in made.items()}


def _plain(text: str) -> str | None:
    return None if SYNTAX & set(text) else text


def _main(say: Say) -> dict[str, Any]:
    return {"nodeCategories": {name: say(name) for name in CATEGORIES}}


def _node_defs(say: Say) -> dict[str, Any]:
    return {id: _node_def(node, NODE_DISPLAY_NAME_MAPPINGS[id], say) for id, node in NODE_CLASS_MAPPINGS.items()}


def _node_def(node: type[Any], title: str, say: Say) -> dict[str, Any]:
    types = node.INPUT_TYPES()
    inputs = {**types["required"], **types.get("optional", {})}
    outputs = zip(node.RETURN_NAMES, node.OUTPUT_TOOLTIPS, strict=True)
    return {
        "display_name": title.replace(node.DISPLAY_NAME, say(node.DISPLAY_NAME) or node.DISPLAY_NAME),
        "description": say(node.DESCRIPTION),
        "inputs": {name: _slot(name, options["tooltip"], say) for name, (_, options) in inputs.items()},
        "outputs": {str(place): _slot(*output, say) for place, output in enumerate(outputs)},
    }


def _slot(name: str, tooltip: str, say: Say) -> dict[str, Any]:
    return {"name": say(name), "tooltip": say(tooltip)}


def _given(tree: Any) -> Any:
    """The tree without what nobody said."""
    if not isinstance(tree, dict):
        return tree
    return {key: _given(branch) for key, branch in tree.items() if branch is not None}
