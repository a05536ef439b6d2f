"""Prompts to begin with, for those who do not know yet what a model knows."""

from __future__ import annotations

from collections.abc import Sequence

# For the built-in models, by the name of the shipped workflow. Each is drawn as it says: the tests look.
_SHAPES = (
    "a large red circle at the top left on a white background",
    "a small blue star left of a large yellow heart on a mint background",
    "three green squares on a gray background",
    "a face with brown skin, long black hair, glasses and a smile on a sky background",
)
_BUILT_IN: dict[str, Sequence[str]] = {
    "text_to_image": _SHAPES,
    "economical": ("a face with glasses and a smile on a mint background", *_SHAPES[1:3]),
    "image_to_image": ("a large purple star on a mint background", "a large orange heart on a sky background"),
    "inpainting": ("a large green square", "a large yellow circle"),
    "canny": (
        "a green heart and a purple star on a cream background",
        "a blue heart and an orange star on a mint background",
    ),
    "face_identity": ("a face on a rose background", "a face on a sky background"),
    "lora": ("two [zig] on a mint background", "a large [zig] at the center on a white background"),
    "lora_training": ("two [zig] on a mint background",),
}
# For models that know the world.
_PUBLISHED = (
    "a lighthouse on a cliff above a stormy sea, oil painting, warm evening light",
    "photograph of a red fox in fresh snow, morning light, shallow depth of field",
    "a cosy reading corner by a rainy window, watercolour",
)


def prompts(workflow: str, built_in: bool, own: str) -> Sequence[str]:
    """Prompts that suit a workflow with such models; none where its own prompt is empty, for it wants none."""
    if not own:
        return ()
    return _BUILT_IN.get(workflow, _SHAPES) if built_in else _PUBLISHED
