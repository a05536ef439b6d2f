"""How large the editor draws the nodes of the shipped workflows, at the least, in graph units: heights with titles.

Measured in ComfyUI's editors, by opening each workflow with nodes of height 40 and running it: the canvas of 1.27.10
and 1.58.1, where heights are equal, and Nodes 2.0 of 1.58.1, where a node has a row for its pack's badge as well.
`tests/host/test_layouts.py` measures again.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Heights(NamedTuple):
    canvas: int
    nodes2: int

    @property
    def most(self) -> int:
        return max(self)


NARROWEST = 225  # width of a node in Nodes 2.0
TITLE = 30  # of which the title bar, above a node's `pos`
OF_LOADER = Heights(88, 116)
WITH_PICTURE = {  # where a picture is shown in the node once it has run
    "CascadePicture": Heights(374, 416),
    "CascadeStageCSampler": Heights(668, 608),
    "CascadePickLatents": Heights(330, 330),
    "CascadeCompare": Heights(154, 128),  # a line of text
    "PreviewImage": Heights(276, 296),
    "SaveImage": Heights(300, 332),
}
HEIGHTS = {
    **WITH_PICTURE,
    "CascadeCannyHint": Heights(132, 164),
    "CascadeControlNetApply": Heights(176, 212),
    "CascadeDataset": Heights(142, 192),
    "CascadeEmptyLatents": Heights(156, 192),
    "CascadeEncodeImage": Heights(108, 136),
    "CascadeFaceIdentityHint": Heights(132, 164),
    "CascadeFitPicture": Heights(268, 316),
    "CascadeImageEncode": Heights(152, 184),
    "CascadeInpaintHint": Heights(108, 136),
    "CascadeLoRAApply": Heights(278, 344),
    "CascadeLoRAApplyStageB": Heights(156, 192),
    "CascadeLoRATrain": Heights(1086, 1086),
    "CascadeOutpaintPad": Heights(204, 248),
    "CascadePasteBack": Heights(128, 156),
    "CascadeStageADecode": Heights(76, 108),
    "CascadeStageALoader": Heights(112, 144),  # it asks for a dtype as well
    "CascadeStageBLoader": Heights(136, 168),  # and this one how to compile
    "CascadeStageBSampler": Heights(432, 432),
    "CascadeStageCLoader": Heights(136, 168),
    "CascadeSuperResolutionHint": Heights(76, 108),
    "CascadeTextEncode": Heights(118, 156),
    "CascadeTextEncoderLoader": Heights(112, 140),
    "MarkdownNote": Heights(118, 118),
}


def heights_of(node: dict[str, Any]) -> Heights:
    """Those of a node of a workflow file; one that is folded up is its title."""
    if node["flags"].get("collapsed"):
        return Heights(TITLE, TITLE + 10)
    return HEIGHTS.get(node["type"], OF_LOADER) if node["type"].endswith("Loader") else HEIGHTS[node["type"]]
