"""Workflows in the editor's form, drawn from nodes and wires.

A wire is `"source.slot > target.input: TYPE"`, with `*` before the input where it is drawn on a widget. In a subgraph
`in` and `out` are its own inputs and outputs, as source and target.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
_WIRE = re.compile(r"(?P<source>\w+)\.(?P<slot>\d+) > (?P<target>\w+)\.(?P<widget>\*?)(?P<input>.*): (?P<type>\S+)")
Probes = dict[str, Callable[[], Json]]
MUTED, BYPASSED = 2, 4
SAMPLER = [5, "fixed", 20, 8, "euler", "normal", 1]
SCALE_BY = "image: IMAGE, *upscale_method: COMBO, *scale_by: FLOAT"
KSAMPLER = "model: MODEL, positive: CONDITIONING, negative: CONDITIONING, latent_image: LATENT, *seed: INT, *steps: INT"


def collect(probes: Probes) -> Callable[[Callable[[], Json]], Callable[[], Json]]:
    """A decorator: what makes a workflow is kept in `probes` under its name."""

    def keep(make: Callable[[], Json]) -> Callable[[], Json]:
        probes[make.__name__] = make
        return make

    return keep


def node(number: int, kind: str, values: Any = None, **fields: Any) -> Json:
    entry = {"id": number, "type": kind, "pos": [number * 40, 0], "size": [200, 100], "flags": {}, "order": number}
    entry |= {"mode": 0, "properties": {}, "inputs": [], "outputs": []} | fields
    return entry if values is None else entry | {"widgets_values": values}


def wire(nodes: list[Json], wires: list[str], ports: dict[str, list[Json]] | None = None) -> list[list[Any]]:
    """Draw wires on nodes, and on the ports of a subgraph; gives the links."""
    known = {str(entry["id"]): entry for entry in nodes}
    links: list[list[Any]] = []
    for number, text in enumerate(wires, 1):
        match = _WIRE.fullmatch(text)
        assert match, text
        source, slot, target, kind = match["source"], int(match["slot"]), match["target"], match["type"]
        if source == "in":
            assert ports is not None
            ports["in"][slot]["linkIds"].append(number)
            source = -10
        else:
            outputs = known[source]["outputs"]
            while len(outputs) <= slot:
                outputs.append({"name": f"out{len(outputs)}", "type": "*", "links": []})
            outputs[slot]["links"].append(number)
            outputs[slot]["type"] = kind
        if target == "out":
            assert ports is not None
            place = int(match["input"])
            ports["out"][place]["linkIds"].append(number)
            target = -20
        else:
            inputs = known[target]["inputs"]
            place = next((i for i, slot in enumerate(inputs) if slot["name"] == match["input"]), len(inputs))
            if place == len(inputs):
                inputs.append(slots(("*" if match["widget"] else "") + match["input"] + ": " + kind)[0])
            inputs[place]["link"] = number
        links.append([number, int(source), slot, int(target), place, kind])
    return links


def slots(text: str) -> list[Json]:
    """Inputs that nothing is linked to yet: `name: TYPE, *widget: TYPE, ...`."""
    pairs = [part.split(": ") for part in text.split(", ")]
    return [
        {"name": name.lstrip("*"), "type": kind, "link": None}
        | ({"widget": {"name": name.lstrip("*")}} if name.startswith("*") else {})
        for name, kind in pairs
    ]


def document(nodes: list[Json], wires: list[str], *subgraphs: Json, **fields: Any) -> Json:
    links = wire(nodes, wires)
    written = {"last_node_id": 99, "last_link_id": 99, "nodes": nodes, "links": links, "version": 0.4}
    return written | ({"definitions": {"subgraphs": list(subgraphs)}} if subgraphs else {}) | fields


def subgraph(letter: str, inputs: str, outputs: str, nodes: list[Json], wires: list[str]) -> Json:
    """`inputs` and `outputs` are `name: TYPE, ...`; the id has the form of an UUID, of one letter."""
    ports = {"in": _ports(letter + "1", inputs), "out": _ports(letter + "2", outputs)}
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    links = [dict(zip(keys, link, strict=True)) for link in wire(nodes, wires, ports)]
    return {
        "id": kind(letter),
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": 99, "lastLinkId": 99, "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": f"Subgraph {letter}",
        "inputNode": {"id": -10, "bounding": [0, 0, 100, 100]},
        "outputNode": {"id": -20, "bounding": [900, 0, 100, 100]},
        "inputs": ports["in"],
        "outputs": ports["out"],
        "widgets": [],
        "nodes": nodes,
        "groups": [],
        "links": links,
        "extra": {},
    }


def kind(letter: str) -> str:
    return f"{letter * 8}-{letter * 4}-4{letter * 3}-8{letter * 3}-{letter * 12}"


def _ports(prefix: str, text: str) -> list[Json]:
    pairs = [part.split(": ") for part in text.split(", ")] if text else []
    return [
        {"id": f"{prefix}00000{i}-0000-4000-8000-000000000000", "name": name, "type": kind, "linkIds": []}
        for i, (name, kind) in enumerate(pairs)
    ]
