"""The pages of the shipped workflows.

They are read from left to right: models, what goes in, Stage C, then a wide column with Stage B, Stage A and the
result. When editors fit them to 1366 x 768, those of at most 1688 x 885 show text in the oldest that we promise, and
those of 1720 x 935 in newer ones, which leave the canvas more room.
"""

from __future__ import annotations

from .arrange import ABOUT, FILL, LOADERS, PUBLISHED, Beside, Column, Group, Page

BLUE, GREEN, GOLD, MAUVE, PINK, RUST = "#3f789e", "#8A8", "#b58b2a", "#88A", "#a1309b", "#b06634"

# The canvas draws a loader lower than Nodes 2.0, which leaves room for the badge of the next.
_MODELS = Group("Models", BLUE, (LOADERS,), gap=4)
_WHAT = Group("What to make", GREEN, (("Prompt", FILL), "Negative prompt", "Size"))
_STAGE_C = Column(260, (Group("Stage C", BLUE, (("Stage C", FILL),)),))
_CONTROLLED = Column(290, (Group("Stage C", BLUE, ("ControlNetApply", ("Stage C", FILL))),))


def _picture(
    *right: str | tuple[str, int], out: tuple[str | tuple[str, int] | Beside, ...] = (), stage_b: int = 237
) -> Column:
    """The last column: Stage B, and beside it Stage A with what else there is; under them the result."""
    row = Beside(((stage_b, ("Stage B",)), (280, ("StageADecode", *right))))
    return Column(
        stage_b + 290, (Group("Stage B, Stage A, picture", MAUVE, (row, *(out or (("Picture out", FILL),)))),)
    )


def _text_to_image(height: int, note: int, models: Group = _MODELS, *more: str) -> Page:
    return Page(
        height,
        (
            Column(300, (models,)),
            Column(270, (_WHAT,)),
            _STAGE_C,
            Column(284, (Group("Stage B, Stage A", BLUE, ("Stage B", "StageADecode")), *more)),
            Column(484, (Group("Picture", MAUVE, (("Picture out", FILL),)), (ABOUT, note))),
        ),
    )


def _controlled(given: str, hint: str, seen: str, last: Column, widths: tuple[int, int] = (270, 245)) -> Page:
    """A picture steers Stage C through a ControlNet."""
    return Page(
        935,
        (
            Column(300, (_MODELS, PUBLISHED)),
            Column(widths[0], (Group(given, GOLD, ("Picture", "Fit", hint)),)),
            Column(widths[1], (_WHAT, Group("The hint", GOLD, (seen,)))),
            _CONTROLLED,
            last,
        ),
    )


PAGES = {
    "text_to_image": _text_to_image(750, 290),
    "economical": Page(
        885,
        (
            Column(298, (_MODELS,)),
            Column(250, (_WHAT,)),
            Column(250, (Group("Stage C: eight drafts", BLUE, (("Stage C", FILL),)),)),
            Column(286, (Group("Pick", GOLD, (("Pick", FILL),)), (ABOUT, 330))),
            _picture(stage_b=225),
        ),
    ),
    # Wider gaps: Nodes 2.0 puts a line under each loader whose file is missing.
    "published_models": _text_to_image(830, 430, Group("Models", BLUE, (LOADERS,), gap=40), "Less memory"),
    "lora": Page(
        775,
        (
            Column(298, (_MODELS,)),
            Column(260, (Group("LoRA", PINK, ("LoRA",)), (ABOUT, FILL))),
            Column(260, (_WHAT,)),
            _STAGE_C,
            _picture(("LoRA of your own", FILL), stage_b=228),
        ),
    ),
    "few_steps": Page(
        885,
        (
            Column(298, (_MODELS,)),
            Column(260, (Group("Few steps", PINK, ("LoRA of Stage C", "LoRA of Stage B")), (ABOUT, FILL))),
            Column(260, (_WHAT,)),
            _STAGE_C,
            _picture((PUBLISHED, FILL), stage_b=228),
        ),
    ),
    "canny": _controlled("Picture and its edges", "CannyHint", "What the network sees", _picture((ABOUT, FILL))),
    "face_identity": _controlled(
        "Picture of the face",
        "FaceIdentityHint",
        "Faces that were found",
        _picture((ABOUT, FILL), stage_b=228),
        (292, 232),
    ),
    "inpainting": _controlled(
        "Picture with a hole",
        "InpaintHint",
        "What the network sees",
        _picture("PasteBack", out=(Beside(((292, (("Picture out", FILL),)), (225, ((ABOUT, FILL),))), fills=True),)),
    ),
    "image_to_image": Page(
        885,
        (
            Column(298, (_MODELS,)),
            # The canvas draws these lower than Nodes 2.0, which leaves room for the badge of the next.
            Column(268, (Group("Picture to start from", GOLD, ("Picture", "Fit", "EncodeImage"), gap=8),)),
            Column(256, (Group("What to make", GREEN, ("Prompt", "Negative prompt")), (ABOUT, FILL))),
            _STAGE_C,
            _picture((PUBLISHED, FILL), stage_b=228),
        ),
    ),
    "image_variation": Page(
        885,
        (
            Column(310, (_MODELS,)),
            Column(247, (Group("Picture to vary", GOLD, ("Picture", "Fit")), PUBLISHED)),
            Column(268, (_WHAT, Group("What the picture shows", GOLD, ("ImageEncode",)))),
            _STAGE_C,
            _picture((ABOUT, FILL), stage_b=225),
        ),
    ),
    "image_mixing": Page(
        860,
        (
            Column(310, (_MODELS,)),
            Column(260, (Group("Pictures to mix", GOLD, ("Picture", "Second picture")),)),
            Column(260, (Group("What to make", GREEN, (("Prompt", FILL), "Negative prompt", "Fit", "Size")),)),
            Column(260, (Group("How to mix", GOLD, ("Mix picture", "Mix second picture")), (ABOUT, FILL))),
            _STAGE_C,
            _picture((PUBLISHED, FILL)),
        ),
    ),
    "outpainting": Page(
        1000,
        (
            Column(300, (_MODELS,)),
            Column(260, (Group("Picture to continue", GOLD, ("Picture", "Fit")), (ABOUT, FILL))),
            Column(
                312, (Group("Room around it", GOLD, ("OutpaintPad", "Fit padded", "InpaintHint")), (PUBLISHED, FILL))
            ),
            Column(260, (_WHAT, Group("The hint", GOLD, ("What the network sees",)))),
            _CONTROLLED,
            _picture("PasteBack"),
        ),
    ),
    "super_resolution": Page(
        1000,
        (
            Column(300, (_MODELS,)),
            Column(320, (Group("Small picture", GOLD, ("Picture", "Fit", "SuperResolutionHint")),)),
            Column(260, (Group("What to make", GREEN, (("Prompt", FILL), "Negative prompt", "Enlarge", "Size")),)),
            Column(260, (Group("The hint", GOLD, ("What the network sees",)), (ABOUT, FILL), (PUBLISHED, 250))),
            _CONTROLLED,
            _picture(("Bicubic, to compare", FILL)),
        ),
    ),
    "reconstruction": Page(
        860,
        (
            Column(300, (_MODELS, (ABOUT, FILL))),
            Column(
                256,
                (
                    Group(
                        "Picture to encode",
                        GOLD,
                        (
                            "Picture",
                            "Fit",
                        ),
                    ),
                ),
            ),
            Column(
                272,
                (Group("To latents", GOLD, ("EncodeImage",)), Group("Caption", GREEN, ("Prompt", "Negative prompt"))),
            ),
            Column(284, (Group("Stage B, Stage A", BLUE, ("Stage B", "StageADecode")),)),
            Column(
                484,
                (
                    Group(
                        "Picture",
                        MAUVE,
                        (
                            ("Original and result", FILL),
                            Beside(((249, (("Picture out", 380),)), (225, ("Comparison",)))),
                        ),
                    ),
                ),
            ),
        ),
    ),
    "lora_training": Page(
        1088,
        (
            Column(300, (_MODELS,)),
            Column(270, (Group("What to learn from", GREEN, ("Dataset",)), (ABOUT, FILL))),
            Column(300, (Group("Training", RUST, (("Train LoRA", FILL),)),)),
            Column(260, (Group("With the LoRA", PINK, ("LoRA",)), _WHAT)),
            _STAGE_C,
            _picture(("Pictures of your own", FILL)),
        ),
    ),
}
