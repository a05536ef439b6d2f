"""A prompt, which is what runs: nodes by id, as ComfyUI's API has them, and the links between them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from .wording import is_list, is_object, title_of, where

MAX_NEEDED = 1_000_000  # nodes; those of the largest templates are some hundred, of as many outputs

Prompt = dict[str, dict[str, Any]]  # id -> {"class_type", "inputs"}


@dataclass(frozen=True)
class Problem:
    """One reason why a prompt cannot run; `kind` is ComfyUI's name for it, or `not_supported`."""

    kind: str
    expected: str
    found: str
    node: str | None = None
    title: str | None = None
    class_type: str | None = None
    input: str | None = None
    place: str = "workflow"
    detail: str = ""  # the node's own words, which replace expected and found

    @property
    def message(self) -> str:
        return f"{self.place}: " + (self.detail or f"expected {self.expected}, found {self.found}")


def link_of(value: Any) -> tuple[str, int] | None:
    """The source id and slot of a well-formed link; None for a constant (and for a malformed link)."""
    match value:
        case [str(source), int(slot)] if is_list(value) and not isinstance(slot, bool):
            return source, slot
        case _:
            return None


def constant_of(value: Any) -> Any:
    """A constant without its wrapping: a list travels in one, for it would look like a link."""
    return value["__value__"] if is_object(value) and "__value__" in value else value


def links_of(node: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Node and output slot of every link that ends in a node."""
    return [link for value in node["inputs"].values() if (link := link_of(value))]


def sources_of(node: Mapping[str, Any]) -> set[str]:
    """Ids of the nodes that a node is linked to."""
    return {source for source, _ in links_of(node)}


def reachable(starts: Iterable[str], sources: Mapping[str, set[str]]) -> frozenset[str]:
    """The nodes that `starts` need, themselves included."""
    found: set[str] = set()
    waiting = list(starts)
    while waiting:
        node_id = waiting.pop()
        if node_id not in found:
            found.add(node_id)
            waiting.extend(sources[node_id])
    return frozenset(found)


def needs_of(outputs: Iterable[str], sources: Mapping[str, set[str]]) -> dict[str, frozenset[str]] | None:
    """The nodes that each output needs; None where they are more than MAX_NEEDED, each counted for every output."""
    needs: dict[str, frozenset[str]] = {}
    left = MAX_NEEDED
    for output in outputs:
        needs[output] = reachable([output], sources)
        left -= len(needs[output])
        if left < 0:
            return None
    return needs


def cycles(sources: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Each circle of links once, in the direction of the data; the first node stands at the end again."""
    edges = {node_id: set(before) for node_id, before in sources.items()}
    while True:
        try:
            TopologicalSorter(edges).prepare()
        except CycleError as error:
            cycle: list[str] = error.args[1]
            yield cycle
            edges[cycle[1]].discard(cycle[0])
        else:
            return


def locate(prompt: Prompt, node_id: str, name: str | None = None) -> dict[str, Any]:
    """The fields of a Problem that say where it is."""
    node = prompt[node_id]
    return {
        "node": node_id,
        "title": title_of(node),
        "class_type": node["class_type"],
        "input": name,
        "place": where(node_id, node, name),
    }
