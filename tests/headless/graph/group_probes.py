"""Small workflows with the group nodes of old editors, one for each rule of taking them apart (probes.py)."""

from __future__ import annotations

from typing import Any

from .drawing import MUTED, SAMPLER, Json, Probes, collect, document, node, slots

GROUPS: Probes = {}
probe = collect(GROUPS)


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
            node(5, "LatentUpscale", ["area", 1, 2, "disabled"], mode=MUTED),
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
