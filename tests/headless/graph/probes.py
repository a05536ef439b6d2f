"""Small workflows in the editor's form, one for each rule of its conversion.

What the editor (1.27.10) makes of them stands in probes.json; tests/host/test_export.py asks it again. Those of
subgraphs and of group nodes are made in files of their own and stand in PROBES too.
"""

from __future__ import annotations

from .drawing import BYPASSED, MUTED, SAMPLER, Json, Probes, collect, document, node, wire
from .group_probes import GROUPS
from .subgraph_probes import SUBGRAPHS

PROBES: Probes = {}
probe = collect(PROBES)
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
            node(1, "PrimitiveInt", [64, "fixed"], mode=MUTED),
            node(2, "EmptyLatentImage", [512, 512, 1]),
            node(3, "PrimitiveInt", [32, "fixed"], mode=3),
            node(4, "EmptyLatentImage", [512, 512, 1]),
            node(5, "EmptyLatentImage", [512, 512, 1], mode=BYPASSED),
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
            node(3, "Reroute", mode=MUTED),
            node(9, "SaveImage", ["x"]),
            node(4, "Reroute"),
            node(5, "EmptyLatentImage", [8, 16, 1]),
            node(6, "Reroute", mode=BYPASSED),
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
            node(2, "LoraLoader", ["y.safetensors", 1, 1], mode=BYPASSED),
            node(3, "CLIPTextEncode", ["a"]),
            node(4, "KSampler", SAMPLER),
            node(5, "VAEDecode", mode=BYPASSED),
            node(6, "ImageScaleBy", ["nearest-exact", 2]),
            node(7, "ConditioningCombine", mode=BYPASSED),
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
            node(3, "ImageBatch", mode=BYPASSED),
            node(9, "SaveImage", ["x"]),
            node(4, "PrimitiveInt", [5, "fixed"], mode=BYPASSED),
            node(5, "EmptyLatentImage", [8, 16, 1]),
            node(6, "PrimitiveInt", [6, "fixed"]),
            node(7, "EmptyImage", [64, 64, 1, 0], mode=BYPASSED),
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
            node(2, "VAEEncode", mode=BYPASSED),
            node(3, "PreviewAny"),
            node(4, "LoraLoader", ["y.safetensors", 1, 1], mode=BYPASSED),
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
            node(10, "PrimitiveNode", [9, "fixed"], outputs=[output | {"links": []}], mode=MUTED),
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


PROBES |= SUBGRAPHS | GROUPS

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
