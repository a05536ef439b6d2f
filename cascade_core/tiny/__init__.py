"""The built-in tiny cascade: its weights, its picture world, the reader that judges its pictures, and the recipe."""

from pathlib import Path

FAMILY = "tiny"
NAME = "tiny (built-in)"
KINDS = ("stage_a", "stage_b", "stage_c", "effnet", "previewer", "text_encoder", "image_encoder")


def weights_path(kind: str) -> Path:
    """Where the built-in network of this kind lies."""
    return Path(__file__).parent / "weights" / f"{kind}.safetensors"


def built_in(kind: str) -> dict[str, Path]:
    """The built-in models of a kind by the name that a loader shows; empty where there are none."""
    return {NAME: weights_path(kind)} if kind in KINDS else {}
