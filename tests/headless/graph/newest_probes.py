"""Small workflows for what the newest editor (1.58) does otherwise than that of probes.py, or what only it knows.

What it makes of them, and of those of probes.py, stands in newest_probes.json; the definitions are those of ComfyUI
0.33.
"""

from __future__ import annotations

from typing import Any

from .drawing import BYPASSED, SCALE_BY, Json, Probes, collect, document, kind, node, slots, subgraph

NEWEST: Probes = {}
probe = collect(NEWEST)


@probe
def dynamic_combos() -> Json:
    """A choice brings widgets right behind it, also choices again; what the file lacks is the default."""
    return document(
        [
            node(1, "SaveVideo", ["a", "mp4", "h264", "re-encode", 30, "sRGB", "auto"]),
            node(2, "SaveVideo", ["b", "auto", "av1", "auto", "auto"]),
            node(3, "SaveVideo", ["c"]),
            node(4, "ResizeImageMaskNode", ["scale by multiplier", 0.25, "lanczos"]),
            node(5, "ResizeImageMaskNode", ["scale dimensions", 640, 320, "disabled", "bilinear"]),
            node(6, "ResizeImageMaskNode"),
        ],
        [],
    )


@probe
def links_into_dynamic_combos() -> Json:
    """By the names that a choice gives; the values stay in their places."""
    return document(
        [
            node(1, "EmptyImage", [64, 64, 1, 0]),
            node(2, "PrimitiveInt", [77, "fixed"]),
            node(3, "ResizeImageMaskNode", ["scale dimensions", 640, 320, "disabled", "bilinear"]),
            node(4, "ResizeImageMaskNode", ["match size", "center", "area"]),
            node(9, "SaveImage", ["x"]),
        ],
        [
            "1.0 > 3.input: IMAGE",
            "2.0 > 3.*resize_type.width: INT",
            "3.0 > 4.input: IMAGE",
            "1.0 > 4.resize_type.match: IMAGE",
            "4.0 > 9.images: IMAGE",
        ],
    )


@probe
def growing_groups() -> Json:
    """By number, by letter, and inside a dynamic combo."""
    return document(
        [
            node(1, "EmptyImage", [64, 64, 1, 0]),
            node(2, "BatchImagesNode"),
            node(3, "StringFormat", ["{a} {b}"]),
            node(4, "PrimitiveString", ["word"]),
            node(5, "ComfyMathExpression", ["a * 2"]),
            node(6, "PrimitiveInt", [5, "fixed"]),
            node(7, "CreateList"),
            node(9, "SaveImage", ["x"]),
        ],
        [
            "1.0 > 2.images.image0: IMAGE",
            "1.0 > 2.images.image1: IMAGE",
            "1.0 > 2.images.image2: IMAGE",
            "4.0 > 3.values.a: STRING",
            "6.0 > 3.values.b: INT",
            "6.0 > 5.values.a: INT",
            "1.0 > 7.inputs.input0: IMAGE",
            "2.0 > 9.images: IMAGE",
        ],
    )


@probe
def what_matches_is_passed_on() -> Json:
    """A bypassed node whose output has the type of its input."""
    return document(
        [
            node(1, "EmptyImage", [64, 64, 1, 0]),
            node(2, "ResizeImageMaskNode", ["scale width", 32, "area"], mode=BYPASSED),
            node(3, "ComfySwitchNode", [True], mode=BYPASSED),
            node(9, "SaveImage", ["x"]),
            node(10, "SaveImage", ["y"]),
        ],
        ["1.0 > 2.input: IMAGE", "2.0 > 9.images: IMAGE", "1.0 > 3.on_true: IMAGE", "3.0 > 10.images: IMAGE"],
    )


@probe
def newer_widgets() -> Json:
    """Boxes, curves, colours and paintings have values, previews and players none; titles without display names."""
    return document(
        [
            node(1, "PreviewAny"),
            node(2, "SaveText", ["name", "txt"]),
            node(3, "ImageCompare"),
            node(4, "LoadAudio", ["a.mp3", None, None]),
            node(5, "SaveAudioMP3", ["b", "128k"]),
            node(6, "ImageCropV2", [{"x": 1, "y": 2, "width": 3, "height": 4}, 1, 2, 3, 4]),
            node(7, "ImageCropV2"),
            node(8, "CreateBoundingBoxes", [128, 64, [], []]),
            node(9, "CurveEditor", [{"points": [[0, 0], [0.5, 1], [1, 1]], "interpolation": "linear"}]),
            node(10, "Painter", ["p.png", 32, 16, "#ff0000"]),
            node(11, "TextOverlay", ["word", 7, "#00ff00", "bottom", "right", False]),
            node(12, "LTXVEmptyLatentAudio", [97, 24, 2]),
            node(13, "StableCascade_EmptyLatentImage", [512, 512, 42, 1]),
            node(14, "ClaudeNode"),
        ],
        [],
    )


@probe
def custom_combos() -> Json:
    """As many options as a person has typed, one more that is empty, and the place of the choice among them."""
    return document(
        [
            node(1, "CustomCombo", ["two", 1, "one", "two", "three", ""]),
            node(2, "CustomCombo", ["gone", 0, "one", ""]),
            node(3, "CustomCombo"),
        ],
        [],
    )


@probe
def taken_ids() -> Json:
    """A number belongs to one node of the whole document: those of subgraphs that are taken get new ones."""
    inner = subgraph(
        "a",
        "image: IMAGE",
        "IMAGE: IMAGE",
        [node(3, "ImageScaleBy", ["area", 1.5]), node(1, "ImageInvert")],
        ["in.0 > 3.image: IMAGE", "3.0 > 1.image: IMAGE", "1.0 > out.0: IMAGE"],
    )
    other = subgraph(
        "b",
        "image: IMAGE",
        "IMAGE: IMAGE",
        [node(3, "ImageScaleBy", ["area", 2.5])],
        ["in.0 > 3.image: IMAGE", "3.0 > out.0: IMAGE"],
    )
    return document(
        [
            node(1, "EmptyImage", [64, 64, 1, 0]),
            node(4, kind("a")),
            node(5, kind("b")),
            node(9, "SaveImage", ["x"]),
        ],
        ["1.0 > 4.image: IMAGE", "4.0 > 5.image: IMAGE", "5.0 > 9.images: IMAGE"],
        inner,
        other,
    )


@probe
def proxies_of_linked_widgets() -> Json:
    """The list says whose the values are, whatever the order of the inputs."""
    inner = subgraph(
        "a",
        "image: IMAGE, method: COMBO, factor: FLOAT",
        "IMAGE: IMAGE",
        [node(3, "ImageScaleBy", ["area", 1.5], title="Scale", inputs=slots(SCALE_BY))],
        ["in.0 > 3.image: IMAGE", "in.1 > 3.*upscale_method: COMBO", "in.2 > 3.*scale_by: FLOAT", "3.0 > out.0: IMAGE"],
    )
    properties = {"proxyWidgets": [["3", "scale_by"], ["3", "upscale_method"]]}
    return document(
        [
            node(1, "EmptyImage", [64, 64, 1, 0]),
            node(4, kind("a"), [0.25, "lanczos"], properties=properties),
            node(9, "SaveImage", ["x"]),
        ],
        ["1.0 > 4.image: IMAGE", "4.0 > 9.images: IMAGE"],
        inner,
    )


@probe
def proxies_without_values() -> Json:
    """A widget that is shown so is sent as it is: choices in a text are not made."""
    inner = subgraph(
        "a", "", "", [node(3, "CLIPTextEncode", ["a {b|b} // c"]), node(6, "CLIPTextEncode", ["{d|d}"])], []
    )
    return document([node(4, kind("a"), properties={"proxyWidgets": [["3", "text"], ["-1", "x"]]})], [], inner)


@probe
def two_links_to_one_output() -> Json:
    """The first in the list of all links, whatever the output itself says."""
    inner = subgraph(
        "a",
        "image: IMAGE",
        "IMAGE: IMAGE",
        [node(31, "ImageInvert"), node(32, "ImageScaleBy", ["area", 2])],
        ["in.0 > 31.image: IMAGE", "in.0 > 32.image: IMAGE", "32.0 > out.0: IMAGE", "31.0 > out.0: IMAGE"],
    )
    inner["outputs"][0]["linkIds"].reverse()
    return document(
        [node(1, "EmptyImage", [64, 64, 1, 0]), node(4, kind("a")), node(9, "SaveImage", ["x"])],
        ["1.0 > 4.image: IMAGE", "4.0 > 9.images: IMAGE"],
        inner,
    )


@probe
def an_unknown_choice_with_values_by_name() -> Json:
    """What a choice brings that the definitions do not have is told from the names in newest files."""
    named: dict[str, Any] = {"filename_prefix": "a", "format": "avi", "format.codec": "dv", "codec": "auto"}
    return document([node(1, "SaveVideo", ["a", "avi", "dv", "auto"], widgets_values_named=named)], [])


# Where we know better than the newest editor, or keep what that of 1.27 does: probe -> node -> input -> our value.
OURS_OF_NEWEST: dict[str, dict[str, Json]] = {
    # What a muted node would have given is missing, so that a server says so; this editor sends the widget's value.
    "modes": {"2": {"width": None}},
    "subgraph_muted_source": {"4:3": {"scale_by": None}},
    # It reads the values after an unknown choice from the wrong places.
    "an_unknown_choice_with_values_by_name": {"1": {"format.codec": "dv", "codec": "auto"}},
}
RENAMED = "old_ids"  # which this editor knows no more, and ours still does
