"""New ids for nodes of subgraphs whose id is taken, as the newest editor gives them when it opens a file.

There a number belongs to one node of the whole document. The editor of 1.27 leaves ids as they are.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from .wording import is_list, is_object

Numbers = Mapping[str, str]  # an id in the file -> the new one


def renumber(document: Mapping[str, Any], subgraphs: Mapping[str, Mapping[str, Any]]) -> dict[str, Numbers]:
    """The new ids by the subgraph that they lie in, by the subgraph's own id."""
    used = set(_ids(document))
    last = max([0, _last(document), *used])
    found: dict[str, Numbers] = {}
    for kind, subgraph in subgraphs.items():
        numbers: dict[str, str] = {}
        for node_id in _ids(subgraph):
            if node_id in used:
                last += 1
                while last in used:
                    last += 1
                numbers[str(node_id)] = str(last)
                used.add(last)
            else:
                used.add(node_id)
                last = max(last, node_id)
        found[kind] = numbers
    return found


def _ids(graph: Mapping[str, Any]) -> Iterable[int]:
    nodes: Any = graph.get("nodes")
    for node in nodes if is_list(nodes) else []:
        if is_object(node) and type(node.get("id")) is int:
            yield node["id"]


def _last(document: Mapping[str, Any]) -> int:
    """The last id that the document says it has given."""
    state: Any = document.get("state")
    last: Any = state.get("lastNodeId") if is_object(state) else document.get("last_node_id")
    return last if type(last) is int else 0
