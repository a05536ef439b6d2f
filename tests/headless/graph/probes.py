"""Small workflows in the editor's form, one for each rule of its conversion.

What the editor (1.27.10) makes of them stands in probes.json; tests/host/test_export.py asks it again. A wire is
`"source.slot > target.input: TYPE"`, with `*` before the input where it is drawn on a widget. In a subgraph `in` and
`out` are its own inputs and outputs, as source and target.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
_WIRE = re.compile(r"(?P<source>\w+)\.(?P<slot>\d+) > (?P<target>\w+)\.(?P<widget>\*?)(?P<input>.*): (?P<type>\S+)")
_MUTED, _BYPASSED = 2, 4


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


PROBES: dict[str, Callable[[], Json]] = {}


def probe(make: Callable[[], Json]) -> Callable[[], Json]:
    PROBES[make.__name__] = make
    return make


SAMPLER = [5, "fixed", 20, 8, "euler", "normal", 1]
SCALE_BY = "image: IMAGE, *upscale_method: COMBO, *scale_by: FLOAT"
KSAMPLER = "model: MODEL, positive: CONDITIONING, negative: CONDITIONING, latent_image: LATENT, *seed: INT, *steps: INT"
SAVE = "1.0 > 9.images: IMAGE"


@probe
def widgets_in_order() -> Json:
    """Controls, upload buttons, missing tails and extra tails; numbers as they are written."""
    return document(
        [
            node(1, "KSampler", [2**60 + 1, "randomize", 20.0, 8.5, "sample_euler", "normal", 1]),
            node(2, "KSampler", [7, True, 3]),
            node(3, "KSampler", [7, "fixed", 3, 4, "euler", "normal", 0.5, "extra", "tail"]),
            node(4, "LoadImage", ["example.png", "image"], title="A picture"),
            node(5, "CLIPTextEncode", ["one\r\ntwo"]),
            node(6, "EmptyLatentImage"),
            node(7, "PrimitiveInt", [3, "increment"]),
            node(8, "CLIPTextEncode", [None]),
            node(9, "PrimitiveString", [None]),
        ],
        [],
    )


@probe
def control_is_always_there() -> Json:
    """A seed without its control value shifts everything behind it."""
    return document([node(1, "KSampler", [7, 20, 8, "euler", "normal", 1])], [])


@probe
def modes() -> Json:
    """Muted and bypassed nodes are left out; a muted source takes the input away, with its widget's value."""
    return document(
        [
            node(1, "PrimitiveInt", [64, "fixed"], mode=_MUTED),
            node(2, "EmptyLatentImage", [512, 512, 1]),
            node(3, "PrimitiveInt", [32, "fixed"], mode=3),
            node(4, "EmptyLatentImage", [512, 512, 1]),
            node(5, "EmptyLatentImage", [512, 512, 1], mode=_BYPASSED),
        ],
        ["1.0 > 2.*width: INT", "3.0 > 4.*width: INT"],
    )


@probe
def reroutes() -> Json:
    """Chains of them, muted ones, and one that comes from nowhere."""
    return document(
        [
            node(1, "EmptyImage", [64, 64, 1, 0]),
            node(2, "Reroute"),
            node(3, "Reroute", mode=_MUTED),
            node(9, "SaveImage", ["x"]),
            node(4, "Reroute"),
            node(5, "EmptyLatentImage", [8, 16, 1]),
            node(6, "Reroute", mode=_BYPASSED),
            node(7, "SaveImage", ["y"]),
        ],
        [
            "1.0 > 2.: *",
            "2.0 > 3.: IMAGE",
            "3.0 > 9.images: IMAGE",
            "4.0 > 5.*width: INT",
            "1.0 > 6.: *",
            "6.0 > 7.images: IMAGE",
        ],
    )


@probe
def bypass() -> Json:
    """The slot beside, the first of the type, and none that fits."""
    return document(
        [
            node(1, "CheckpointLoaderSimple", ["x.safetensors"]),
            node(2, "LoraLoader", ["y.safetensors", 1, 1], mode=_BYPASSED),
            node(3, "CLIPTextEncode", ["a"]),
            node(4, "KSampler", SAMPLER),
            node(5, "VAEDecode", mode=_BYPASSED),
            node(6, "ImageScaleBy", ["nearest-exact", 2]),
            node(7, "ConditioningCombine", mode=_BYPASSED),
        ],
        [
            "1.0 > 2.model: MODEL",
            "1.1 > 2.clip: CLIP",
            "2.1 > 3.clip: CLIP",
            "2.0 > 4.model: MODEL",
            "4.0 > 5.samples: LATENT",
            "1.2 > 5.vae: VAE",
            "5.0 > 6.image: IMAGE",
            "3.0 > 7.conditioning_2: CONDITIONING",
            "7.0 > 4.positive: CONDITIONING",
            "3.0 > 4.negative: CONDITIONING",
        ],
    )


@probe
def bypass_goes_by_the_class() -> Json:
    """Which slot is beside depends on the class, not on the order in the file."""
    return document(
        [
            node(1, "EmptyImage", [64, 64, 1, 0]),
            node(2, "EmptyImage", [32, 32, 1, 0]),
            node(3, "ImageBatch", mode=_BYPASSED),
            node(9, "SaveImage", ["x"]),
            node(4, "PrimitiveInt", [5, "fixed"], mode=_BYPASSED),
            node(5, "EmptyLatentImage", [8, 16, 1]),
            node(6, "PrimitiveInt", [6, "fixed"]),
            node(7, "EmptyImage", [64, 64, 1, 0], mode=_BYPASSED),
            node(8, "EmptyLatentImage", [8, 16, 1]),
        ],
        [
            "2.0 > 3.image2: IMAGE",
            "1.0 > 3.image1: IMAGE",
            "3.0 > 9.images: IMAGE",
            "4.0 > 5.*width: INT",
            "6.0 > 7.*height: INT",
            "7.0 > 8.*width: INT",
        ],
    )


@probe
def bypass_any_type() -> Json:
    """An input of any type takes what stands beside, and the first else."""
    return document(
        [
            node(1, "CheckpointLoaderSimple", ["x.safetensors"]),
            node(2, "VAEEncode", mode=_BYPASSED),
            node(3, "PreviewAny"),
            node(4, "LoraLoader", ["y.safetensors", 1, 1], mode=_BYPASSED),
            node(5, "PreviewAny"),
        ],
        [
            "1.2 > 2.vae: VAE",
            "2.0 > 3.source: *",
            "1.1 > 4.clip: CLIP",
            "4.1 > 5.source: *",
        ],
    )


@probe
def primitives() -> Json:
    """The value goes into every widget that it is linked to, and is rounded there; not through a reroute."""
    output = {"name": "INT", "type": "INT", "widget": {"name": "width"}, "links": []}
    real = {"name": "FLOAT", "type": "FLOAT", "widget": {"name": "cfg"}, "links": []}
    return document(
        [
            node(1, "PrimitiveNode", [70, "fixed"], outputs=[output]),
            node(2, "EmptyLatentImage", [512, 512, 1]),
            node(3, "EmptyLatentImage", [512, 512, 1]),
            node(4, "PrimitiveNode", [3, "fixed"], outputs=[output | {"links": []}]),
            node(5, "Reroute"),
            node(6, "EmptyLatentImage", [512, 256, 1]),
            node(7, "PrimitiveNode", [4.567, "fixed"], outputs=[real]),
            node(8, "KSampler", SAMPLER),
            node(10, "PrimitiveNode", [9, "fixed"], outputs=[output | {"links": []}], mode=_MUTED),
            node(11, "EmptyLatentImage", [512, 128, 1]),
        ],
        [
            "1.0 > 2.*width: INT",
            "1.0 > 3.*height: INT",
            "4.0 > 5.: INT",
            "5.0 > 6.*width: INT",
            "7.0 > 8.*cfg: FLOAT",
            "10.0 > 11.*width: INT",
        ],
    )


@probe
def texts() -> Json:
    """Comments, escapes and choices in prompts; dates and other nodes' values in the names of files."""
    return document(
        [
            node(1, "CLIPTextEncode", ["a {red|red} star // note\n/* two\nlines */ \\{b\\|c\\} http://x"]),
            node(2, "CLIPTextEncode", ["{{a|a}|a} } | /* open \\d \\\\ {x"]),
            node(3, "EmptyLatentImage", [8, 16, 1], title="My size"),
            node(4, "KSampler", SAMPLER, properties={"Node name for S&R": "Sam"}),
            node(9, "SaveImage", ["%My size.width%/%Sam.steps%_%Sam.sampler_name%_%width%_%Sam.nothing%_%no.no%_50%"]),
            node(10, "SaveLatent", ["%date:%_%Sam.control_after_generate%"]),
            node(11, "SaveAnimatedPNG", ["%Prompt.text%"]),
            node(12, "CLIPTextEncode", ["a/b:c\n*?"], title="Prompt"),
            node(13, "SaveSVGNode", ["%My size.width%"]),
        ],
        [],
    )


@probe
def sockets_and_lists() -> Json:
    """Inputs that are forced to be sockets had values in old files; a list is wrapped."""
    return document(
        [
            node(1, "StringConcatenate", ["a", "b", ["c", 1]]),
            node(2, "ConditioningSetTimestepRange", [0.25, 0.5]),
            node(3, "NotThere", ["x"], title="Unknown"),
            node(4, "EmptyLatentImage", [8, 16, 1]),
            node(5, "MarkdownNote", ["hello"]),
            node(6, "Note", ["hello"]),
            node(7, "EmptyLatentImage", [8, 16, 1], inputs=[{"name": "gone", "type": "INT", "link": 99, "widget": {}}]),
        ],
        ["3.0 > 4.*width: INT"],
    )


@probe
def old_ids() -> Json:
    return document([node(1, "T2IAdapterLoader", ["a.pth"]), node(2, "ConditioningAverage ", [0.5])], [])


@probe
def version_one() -> Json:
    """Links as objects, and reroutes that only draw."""
    nodes = [node(1, "EmptyImage", [64, 64, 1, 0]), node(9, "SaveImage", ["x"])]
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    links = [dict(zip(keys, link, strict=True)) | {"parentId": 3} for link in wire(nodes, [SAVE])]
    state = {"lastGroupId": 0, "lastNodeId": 9, "lastLinkId": 1, "lastRerouteId": 3}
    reroutes = [{"id": 3, "pos": [100, 10], "linkIds": [1]}]
    return {"version": 1, "state": state, "nodes": nodes, "links": links, "reroutes": reroutes, "config": {}}


@probe
def floating_reroutes() -> Json:
    """In 0.4 the same lies in `extra`."""
    extra = {"linkExtensions": [{"id": 1, "parentId": 3}], "reroutes": [{"id": 3, "pos": [100, 10], "linkIds": [1]}]}
    return document([node(1, "EmptyImage", [64, 64, 1, 0]), node(9, "SaveImage", ["x"])], [SAVE], extra=extra)


def _scaler(letter: str = "a", **fields: Any) -> Json:
    return subgraph(
        letter,
        "image: IMAGE, factor: FLOAT",
        "IMAGE: IMAGE",
        [node(3, "ImageScaleBy", ["area", 1.5], title="Scale", inputs=slots(SCALE_BY), **fields)],
        ["in.0 > 3.image: IMAGE", "in.1 > 3.*scale_by: FLOAT", "3.0 > out.0: IMAGE"],
    )


@probe
def subgraph_twice() -> Json:
    """Two nodes of one subgraph, each with its own value of the widget that they show."""
    return document(
        [
            node(1, "EmptyImage", [64, 64, 1, 0]),
            node(4, kind("a"), [2.5]),
            node(5, kind("a"), [0.5]),
            node(9, "SaveImage", ["x"]),
        ],
        ["1.0 > 4.image: IMAGE", "4.0 > 5.image: IMAGE", "5.0 > 9.images: IMAGE"],
        _scaler(),
    )


@probe
def subgraph_without_values() -> Json:
    """What the file does not say is what the inner widget holds; nothing arrives at its picture."""
    return document([node(4, kind("a")), node(9, "SaveImage", ["x"])], ["4.0 > 9.images: IMAGE"], _scaler())


@probe
def subgraph_linked_widget() -> Json:
    return document(
        [
            node(1, "EmptyImage", [64, 64, 1, 0]),
            node(2, "PrimitiveFloat", [3.25]),
            node(4, kind("a"), [2.5]),
            node(9, "SaveImage", ["%Scale.scale_by%"]),
        ],
        ["1.0 > 4.image: IMAGE", "2.0 > 4.*factor: FLOAT", "4.0 > 9.images: IMAGE"],
        _scaler(),
    )


@probe
def subgraph_primitive_outside() -> Json:
    """A primitive on a shown widget reaches the widget inside."""
    return document(
        [
            node(1, "EmptyImage", [64, 64, 1, 0]),
            node(2, "PrimitiveNode", [3.25, "fixed"], outputs=[{"name": "FLOAT", "type": "FLOAT", "links": []}]),
            node(4, kind("a"), [2.5]),
            node(9, "SaveImage", ["x"]),
        ],
        ["1.0 > 4.image: IMAGE", "2.0 > 4.*factor: FLOAT", "4.0 > 9.images: IMAGE"],
        _scaler(),
    )


@probe
def subgraph_reroute_from_nowhere() -> Json:
    return document(
        [
            node(1, "EmptyImage", [64, 64, 1, 0]),
            node(2, "Reroute"),
            node(4, kind("a"), [2.5]),
            node(9, "SaveImage", ["x"]),
        ],
        ["1.0 > 4.image: IMAGE", "2.0 > 4.*factor: FLOAT", "4.0 > 9.images: IMAGE"],
        _scaler(),
    )


@probe
def subgraph_muted_source() -> Json:
    return document(
        [
            node(1, "EmptyImage", [64, 64, 1, 0]),
            node(2, "PrimitiveFloat", [3.25], mode=_MUTED),
            node(4, kind("a"), [2.5]),
            node(9, "SaveImage", ["x"]),
        ],
        ["1.0 > 4.image: IMAGE", "2.0 > 4.*factor: FLOAT", "4.0 > 9.images: IMAGE"],
        _scaler(),
    )


@probe
def subgraph_muted() -> Json:
    return document(
        [node(1, "EmptyImage", [64, 64, 1, 0]), node(4, kind("a"), [2.5], mode=_MUTED), node(9, "SaveImage", ["x"])],
        ["1.0 > 4.image: IMAGE", "4.0 > 9.images: IMAGE"],
        _scaler(),
    )


@probe
def subgraph_bypassed() -> Json:
    return document(
        [node(1, "EmptyImage", [64, 64, 1, 0]), node(4, kind("a"), [2.5], mode=_BYPASSED), node(9, "SaveImage", ["x"])],
        ["1.0 > 4.image: IMAGE", "4.0 > 9.images: IMAGE"],
        _scaler(),
    )


@probe
def subgraph_with_muted_inside() -> Json:
    return document(
        [node(1, "EmptyImage", [64, 64, 1, 0]), node(4, kind("a"), [2.5]), node(9, "SaveImage", ["x"])],
        ["1.0 > 4.image: IMAGE", "4.0 > 9.images: IMAGE"],
        _scaler(mode=_MUTED),
    )


def _nested(inner_first: bool, **fields: Any) -> Json:
    outer = subgraph(
        "b",
        "picture: IMAGE, amount: FLOAT",
        "IMAGE: IMAGE, SECOND: IMAGE",
        [
            node(5, kind("a"), [7.5], **fields),
            node(6, "Reroute"),
            node(7, "ImageScaleBy", ["area", 4]),
        ],
        [
            "in.0 > 6.: IMAGE",
            "6.0 > 5.image: IMAGE",
            "in.1 > 5.*factor: FLOAT",
            "5.0 > out.0: IMAGE",
            "5.0 > 7.image: IMAGE",
            "7.0 > out.1: IMAGE",
        ],
    )
    return document(
        [
            node(1, "EmptyImage", [64, 64, 1, 0]),
            node(4, kind("b"), [2.5]),
            node(9, "SaveImage", ["x"]),
            node(10, "SaveImage", ["y"]),
        ],
        ["1.0 > 4.picture: IMAGE", "4.0 > 9.images: IMAGE", "4.1 > 10.images: IMAGE"],
        *([_scaler(), outer] if inner_first else [outer, _scaler()]),
    )


@probe
def nested() -> Json:
    return _nested(inner_first=True)


@probe
def nested_outer_first() -> Json:
    return _nested(inner_first=False)


@probe
def nested_bypassed() -> Json:
    return _nested(inner_first=True, mode=_BYPASSED)


@probe
def nested_muted() -> Json:
    return _nested(inner_first=True, mode=_MUTED)


@probe
def subgraph_shown_order() -> Json:
    """Values go by the inputs of the subgraph, whatever the node lists; one input may feed two widgets."""
    inner = subgraph(
        "c",
        "steps: INT, size: INT, note: STRING",
        "LATENT: LATENT",
        [
            node(2, "EmptyLatentImage", [8, 16, 1]),
            node(3, "KSampler", SAMPLER, inputs=slots(KSAMPLER)),
            node(6, "CLIPTextEncode", ["inner"], inputs=slots("clip: CLIP, *text: STRING")),
        ],
        [
            "in.1 > 2.*width: INT",
            "in.1 > 2.*height: INT",
            "in.0 > 3.*steps: INT",
            "2.0 > 3.latent_image: LATENT",
            "3.0 > out.0: LATENT",
            "in.2 > 6.*text: STRING",
        ],
    )
    return document([node(4, kind("c"), [33, 256, "{a|a} // b"]), node(5, kind("c"), [34])], [], inner)


@probe
def subgraph_save() -> Json:
    """The name of a file is gone through where its node holds it, not where the node of the subgraph shows it."""
    inner = subgraph(
        "d",
        "image: IMAGE, prefix: STRING",
        "",
        [
            node(2, "SaveImage", ["inner"], title="Size"),
            node(3, "SaveImage", ["%Small.width%_%Size.filename_prefix%"]),
            node(5, "EmptyLatentImage", [8, 16, 1], title="Small"),
        ],
        ["in.0 > 2.images: IMAGE", "in.0 > 3.images: IMAGE", "in.1 > 2.*filename_prefix: STRING"],
    )
    return document(
        [node(1, "EmptyImage", [64, 64, 1, 0]), node(4, kind("d"), ["%Small.width%"])],
        ["1.0 > 4.image: IMAGE"],
        inner,
    )


@probe
def subgraph_proxies() -> Json:
    """Newer editors show inner widgets by `proxyWidgets`; the values stay with the inner nodes."""
    return document(
        [
            node(1, "EmptyImage", [64, 64, 1, 0]),
            node(4, kind("a"), [2.5], properties={"proxyWidgets": [["3", "upscale_method"]]}),
            node(9, "SaveImage", ["x"]),
        ],
        ["1.0 > 4.image: IMAGE", "4.0 > 9.images: IMAGE"],
        _scaler(),
    )


def _group(nodes: list[Json], links: list[list[Any]], external: list[list[Any]], **fields: Any) -> Json:
    """What an old editor keeps of a group node: nodes without ids, and links by position."""
    inside = [
        {key: value for key, value in entry.items() if key != "id"} | {"index": i} for i, entry in enumerate(nodes)
    ]
    return {"nodes": inside, "links": links, "external": external} | fields


_MASKING = _group(
    [
        node(1, "EmptyImage", [512, 256, 1, 7], outputs=[{"name": "IMAGE", "type": "IMAGE", "links": []}]),
        node(
            2,
            "ImageScaleBy",
            ["area", 1.5],
            inputs=slots("image: IMAGE"),
            outputs=[{"name": "IMAGE", "type": "IMAGE", "links": []}],
            title="Scale",
        ),
        node(3, "Reroute", inputs=slots(": *"), outputs=[{"name": "", "type": "*", "links": []}]),
        node(
            4,
            "ImageBatch",
            inputs=slots("image1: IMAGE, image2: IMAGE"),
            outputs=[{"name": "IMAGE", "type": "IMAGE", "links": []}],
        ),
        node(5, "SaveImage", ["inner"], inputs=slots("images: IMAGE"), outputs=[]),
    ],
    [
        [None, 0, 2, 0, 1, "IMAGE"],
        [0, 0, 1, 0, 1, "IMAGE"],
        [1, 0, 3, 0, 2, "IMAGE"],
        [2, 0, 3, 1, 3, "IMAGE"],
        [3, 0, 4, 0, 4, "IMAGE"],
    ],
    [[1, 0, "IMAGE"], [3, 0, "IMAGE"]],
    config={"0": {"input": {"width": {"visible": False}}}, "2": {"input": {"IMAGE": {"name": "picture"}}}},
)


@probe
def group_node() -> Json:
    """Values of all widgets one node after another, an input through a reroute, outputs that are used inside too."""
    return document(
        [
            node(1, "EmptyImage", [64, 64, 1, 0]),
            node(4, "workflow>Masking", [32, 16, 2, 9, "nearest-exact", 2.5, "named"]),
            node(9, "SaveImage", ["x"]),
            node(10, "SaveImage", ["y"]),
        ],
        ["1.0 > 4.picture: IMAGE", "4.0 > 9.images: IMAGE", "4.1 > 10.images: IMAGE"],
        extra={"groupNodes": {"Masking": _MASKING}},
    )


@probe
def group_node_of_the_first_form() -> Json:
    """The older prefix; fewer values than widgets; and a second node of the same group."""
    return document(
        [
            node(1, "EmptyImage", [64, 64, 1, 0]),
            node(4, "workflow/Masking", [32, 16]),
            node(5, "workflow/Masking", [48, 24, 1, 3, "bilinear", 0.5, "last"]),
            node(9, "SaveImage", ["x"]),
        ],
        ["1.0 > 4.picture: IMAGE", "4.1 > 5.picture: IMAGE", "5.0 > 9.images: IMAGE"],
        extra={"groupNodes": {"Masking": _MASKING}},
    )


@probe
def group_node_with_seeds() -> Json:
    """Controls have places; an input of a name that is taken has another; a widget made a socket is the last input."""
    sampler = "model: MODEL, positive: CONDITIONING, negative: CONDITIONING, latent_image: LATENT"
    latent = [{"name": "LATENT", "type": "LATENT", "links": []}]
    group = _group(
        [
            node(1, "EmptyLatentImage", [64, 64, 1], outputs=latent, inputs=slots("*width: INT")),
            node(2, "KSampler", SAMPLER, outputs=latent, inputs=slots(sampler)),
            node(3, "KSampler", SAMPLER, outputs=latent, inputs=slots(sampler), title="Second"),
        ],
        [[0, 0, 1, 3, 1, "LATENT"], [1, 0, 2, 3, 2, "LATENT"]],
        [],
    )
    values = [16, 2, *[11, "fixed", 4, 5, "heun", "simple", 0.5], *[12, "randomize", 6, 7, "euler", "karras", 0.25]]
    return document(
        [
            node(1, "CheckpointLoaderSimple", ["x.safetensors"]),
            node(2, "PrimitiveInt", [40, "fixed"]),
            node(4, "workflow>Two", values),
            node(5, "LatentUpscale", ["area", 1, 2, "disabled"], mode=_MUTED),
            node(9, "SaveLatent", ["x"]),
        ],
        [
            "1.0 > 4.model: MODEL",
            "1.0 > 4.Second model: MODEL",
            "2.0 > 4.*width: INT",
            "4.0 > 9.samples: LATENT",
        ],
        extra={"groupNodes": {"Two": group}},
    )


# Where we know better than this editor: probe -> node -> input -> our value, and why.
OURS: dict[str, dict[str, Json]] = {
    # It fills subgraphs in the order of the file, so an outer one that comes first loses what the inner one shows.
    "nested_outer_first": {"4:5:3": {"scale_by": 2.5}},
    # Its text boxes of several lines are one and the same for all nodes of a subgraph.
    "subgraph_shown_order": {"5:6": {"text": "inner"}},
    # It loses what comes through a reroute inside a group, and what is linked to a widget inside; the editors that made
    # such files sent both.
    "group_node": {"4:3": {"image2": ["1", 0]}},
    "group_node_of_the_first_form": {"4:3": {"image2": ["1", 0]}, "5:3": {"image2": ["4:3", 0]}},
    "group_node_with_seeds": {"4:0": {"width": ["2", 0]}},
}


def plain(prompt: Json) -> Json:
    """A prompt in the form of probes.json; the editor does not say the class of a node that it does not know."""
    return {
        key: {"class_type": entry["class_type"], "title": entry["_meta"]["title"], "inputs": entry["inputs"]}
        for key, entry in prompt.items()
        if "class_type" in entry
    }
