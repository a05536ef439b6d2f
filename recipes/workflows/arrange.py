"""A page of a workflow: columns of groups of nodes, and the boxes that follow from them, in graph units.

Nodes lie under each other at the greater of their two heights (heights.py), so that they are apart in both renderings
of the editor. A node that is given a height takes it; one that is given FILL takes what is left of the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .heights import TITLE, heights_of

GAP = 16  # between nodes: the canvas draws the pack's badge there, above a node
BESIDE, BETWEEN = 22, 10  # between columns; between those within a group
PAD, HEAD = 8, 56  # of a group: around its nodes, and above them, for its name and the first badge
APART = PAD + 6 + HEAD  # between the nodes of two groups
FILL = -1
LOADERS = "the loaders"  # all of a workflow, in the file's order
ABOUT, PUBLISHED = "About this workflow", "Published models"  # the titles of notes

Sized = tuple[str, int]


@dataclass(frozen=True)
class Beside:
    """Columns within a group; each is a width and its nodes. With `fills` they take what is left of the page."""

    columns: tuple[tuple[int, tuple[str | Sized, ...]], ...]
    fills: bool = False


@dataclass(frozen=True)
class Group:
    title: str
    colour: str
    items: tuple[str | Sized | Beside, ...]
    gap: int = GAP


@dataclass(frozen=True)
class Column:
    """Groups under each other; nodes (notes, say) may stand among them."""

    width: int
    items: tuple[Group | str | Sized, ...]


@dataclass(frozen=True)
class Page:
    height: int
    columns: tuple[Column, ...]


def arrange(document: dict[str, Any], page: Page) -> None:
    """Write positions and sizes of the nodes into a workflow, and its groups. KeyError for a node that is not there."""
    _Arrangement(document, page).carry_out()


class _Arrangement:
    def __init__(self, document: dict[str, Any], page: Page) -> None:
        self.document, self.page = document, page
        self.nodes: dict[str, dict[str, Any]] = {name_of(node): node for node in document["nodes"]}
        self.loaders = [name for name, node in self.nodes.items() if node["type"].endswith("Loader")]
        self.placed: set[str] = set()

    def carry_out(self) -> None:
        groups: list[dict[str, Any]] = []
        left = 0
        for column in self.page.columns:
            for group, box in self._place_column(column, left):
                entry = {"id": len(groups) + 1, "title": group.title, "bounding": box, "color": group.colour}
                groups.append({**entry, "font_size": 24, "flags": {}})
            left += column.width + BESIDE
        if missing := self.nodes.keys() - self.placed:
            raise KeyError(f"on no place of the page: {', '.join(sorted(missing))}")
        self.document["groups"] = groups

    def _place_column(self, column: Column, left: int) -> Iterator[tuple[Group, list[int]]]:
        spare = self.page.height - self._height(column.items)
        top = 0
        for item, after in zip(column.items, [*column.items[1:], None], strict=True):
            if isinstance(item, Group):
                bottom = self._place(item.items, left, top, column.width, spare, item.gap)
                yield (
                    item,
                    [
                        left - PAD,
                        top - HEAD,
                        column.width + 2 * PAD,
                        bottom - top + HEAD + PAD + max(item.gap - GAP, 0),
                    ],
                )
            else:
                bottom = self._place((item,), left, top, column.width, spare)
            top = bottom + _gap(item, after, GAP)

    def _place(
        self, items: tuple[str | Sized | Beside, ...], left: int, top: int, width: int, spare: int, gap: int = GAP
    ) -> int:
        """The bottom of what is placed."""
        bottom = top
        for item in self._flat(items):
            if isinstance(item, Beside):
                inner, lowest = left, top
                height = self._height((item,)) + (spare if item.fills else 0)
                for share, nodes in item.columns:
                    lowest = max(lowest, self._place(nodes, inner, top, share, height - self._height(nodes)))
                    inner += share + BETWEEN
                bottom = lowest
            else:
                name, asked = item if isinstance(item, tuple) else (item, 0)
                node = self.nodes[name]
                height = self._height((item,)) + (spare if asked == FILL else 0)
                box = height if asked else heights_of(node).canvas
                node["pos"], node["size"] = [left, top + TITLE], [width, box - TITLE]
                self.placed.add(name)
                bottom = top + height
            top = bottom + gap
        return bottom

    def _flat(self, items: tuple[Any, ...]) -> Iterator[Any]:
        for item in items:
            if item == LOADERS:
                yield from self.loaders
            else:
                yield item

    def _height(self, items: tuple[Any, ...], gap: int = GAP) -> int:
        """The least height of items under each other, with the gaps between them."""
        total = 0
        items = tuple(self._flat(items))
        for item, after in zip(items, [*items[1:], None], strict=True):
            if isinstance(item, Group):
                total += self._height(item.items, item.gap)
            elif isinstance(item, Beside):
                total += max(self._height(nodes) for _, nodes in item.columns)
            else:
                name, asked = item if isinstance(item, tuple) else (item, 0)
                total += max(asked, heights_of(self.nodes[name]).most)
            if after is not None:
                total += _gap(item, after, gap)
        return total


def _gap(item: Any, after: Any, within: int) -> int:
    """What is left free between an item and the one after it."""
    if isinstance(after, Group):
        return APART if isinstance(item, Group) else HEAD + GAP
    return PAD + GAP if isinstance(item, Group) else within


def name_of(node: dict[str, Any]) -> str:
    """The title of a node, or of one that has none its class."""
    return node.get("title") or node["type"].removeprefix("Cascade")
