"""Values that came out of JSON: what they are, and how messages show them.

Messages hold short values, and of many choices those nearest to what was meant.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any, TypeGuard

_LONGEST_VALUE = 80  # characters of a value in a message
_LONGEST_WORD = 300  # characters of a word that is compared with choices
_FEW_CHOICES, _MOST_CHOICES = 10, 6  # choices in a message: all where they are few, else so many
_MOST_COMPARED = 1000  # choices that are compared with what was meant; the rest are only counted


class WorkflowError(ValueError):
    """A workflow, or an argument about it, that cannot be used; `messages` has one sentence per problem."""

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.messages = messages


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def is_tuple(value: Any) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(value, tuple)


def show(value: Any) -> str:
    """A value as JSON writes it, cut where it is long; what cannot be printed is escaped."""
    try:
        text = json.dumps(value, ensure_ascii=False)
        text = text if text.isprintable() else json.dumps(value)
    except (TypeError, ValueError):
        text = ascii(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 12]}... ({len(text):,} characters)"


def list_choices(choices: Collection[Any], wanted: Any = None, most: int | None = None) -> str:
    """The choices, nearest to `wanted` first: `"ddpm", "ddim", "euler" and 14 more`; few are shown whole."""
    most = most or (_FEW_CHOICES if len(choices) <= _FEW_CHOICES else _MOST_CHOICES)
    names = list(islice(choices, _MOST_COMPARED))
    near = get_close_matches(str(wanted), [str(name) for name in names], n=most, cutoff=0.5)
    names.sort(key=lambda name: near.index(str(name)) if str(name) in near else len(near))
    shown = ", ".join(show(name) for name in names[:most])
    rest = len(choices) - most
    return (shown or "nothing") + (f" and {rest} more" if rest > 0 else "")


def nearest(wanted: str, choices: Iterable[str], closeness: float = 0.6) -> str | None:
    """The choice that was probably meant by a word that is none of them; None where nothing is near. Case is no matter.

    closeness: from 0 to 1, the least that is near: difflib's ratio.
    """
    if len(wanted) > _LONGEST_WORD:
        return None
    by_word = {choice.casefold(): choice for choice in islice(choices, _MOST_COMPARED)}
    found = get_close_matches(wanted.casefold(), by_word, n=1, cutoff=closeness)
    return by_word[found[0]] if found else None


def title_of(node: Mapping[str, Any]) -> str:
    """The title that a person gave the node, or its class."""
    meta: Any = node.get("_meta")
    title: Any = meta.get("title") if is_object(meta) else None
    return str(title or node.get("class_type", "?"))


def names_of(nodes: Mapping[str, Any]) -> dict[str, str]:
    """The titles of nodes by their ids; one that several have, with the id behind it."""
    titles = {node_id: title_of(node) for node_id, node in nodes.items()}
    counts = Counter(titles.values())
    return {node_id: title if counts[title] == 1 else f"{title} (node {node_id})" for node_id, title in titles.items()}


def where(node_id: str, node: Mapping[str, Any], name: str | None = None) -> str:
    """`node 7 "Stage C" (CascadeStageCSampler), input "steps"`."""
    text = f"node {_word(node_id)} {show(title_of(node))} ({_word(node.get('class_type', '?'))})"
    return text if name is None else f"{text}, input {show(name)}"


def _word(text: Any) -> str:
    """An id as it is, where that can be printed in a line."""
    word = str(text)
    return word if word.isprintable() and len(word) <= _LONGEST_VALUE else show(word)
