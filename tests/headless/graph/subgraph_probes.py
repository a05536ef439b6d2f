"""Small workflows with subgraphs, one for each rule by which the editor takes them apart (probes.py)."""

from __future__ import annotations

from typing import Any

from .drawing import (
    BYPASSED,
    KSAMPLER,
    MUTED,
    SAMPLER,
    SCALE_BY,
    Json,
    Probes,
    collect,
    document,
    kind,
    node,
    slots,
    subgraph,
)

SUBGRAPHS: Probes = {}
probe = collect(SUBGRAPHS)


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
            node(2, "PrimitiveFloat", [3.25], mode=MUTED),
            node(4, kind("a"), [2.5]),
            node(9, "SaveImage", ["x"]),
        ],
        ["1.0 > 4.image: IMAGE", "2.0 > 4.*factor: FLOAT", "4.0 > 9.images: IMAGE"],
        _scaler(),
    )


@probe
def subgraph_muted() -> Json:
    return document(
        [node(1, "EmptyImage", [64, 64, 1, 0]), node(4, kind("a"), [2.5], mode=MUTED), node(9, "SaveImage", ["x"])],
        ["1.0 > 4.image: IMAGE", "4.0 > 9.images: IMAGE"],
        _scaler(),
    )


@probe
def subgraph_bypassed() -> Json:
    return document(
        [node(1, "EmptyImage", [64, 64, 1, 0]), node(4, kind("a"), [2.5], mode=BYPASSED), node(9, "SaveImage", ["x"])],
        ["1.0 > 4.image: IMAGE", "4.0 > 9.images: IMAGE"],
        _scaler(),
    )


@probe
def subgraph_with_muted_inside() -> Json:
    return document(
        [node(1, "EmptyImage", [64, 64, 1, 0]), node(4, kind("a"), [2.5]), node(9, "SaveImage", ["x"])],
        ["1.0 > 4.image: IMAGE", "4.0 > 9.images: IMAGE"],
        _scaler(mode=MUTED),
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
    return _nested(inner_first=True, mode=BYPASSED)


@probe
def nested_muted() -> Json:
    return _nested(inner_first=True, mode=MUTED)


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
