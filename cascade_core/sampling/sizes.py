"""Pixels and latent cells: the one rounding rule. Sizes are (height, width), as tensors have them."""

from math import ceil

from ..errors import CascadeError

SMALLEST, LARGEST = 16, 8192  # pixels per side
PIXELS_PER_CELL = 42.67  # side of a cell of Stage C's latent, in pixels of the picture
CELL = 32  # the same in pixels of the smaller picture that the effnet sees
CELL_B = 4  # side of a cell of Stage B's latent, in pixels of the picture

TRAINED = {"tiny": 256, "stable-cascade": 1536}  # side of the largest squares that a family's Stage C learned from
LEAST = {"tiny": 256}  # the same of the smallest, where it is known what becomes of much smaller ones
LONGEST = {"tiny": 1.5}  # the longer side in shorter ones, where it is known what becomes of longer ones
FAR = 2  # times as many pixels, or as few


def stage_c_size(width: int, height: int) -> tuple[int, int]:
    """Stage C's latent (h, w) for a picture of these pixels, rounded up."""
    _check(width, height)
    return ceil(height / PIXELS_PER_CELL), ceil(width / PIXELS_PER_CELL)


def stage_b_size(width: int, height: int) -> tuple[int, int]:
    """Stage B's latent (h, w), rounded up. Its sampler pads odd sides, the decoder crops to the pixels."""
    _check(width, height)
    return ceil(height / CELL_B), ceil(width / CELL_B)


def stage_b_size_of(stage_c: tuple[int, int]) -> tuple[int, int]:
    """Stage B's latent (h, w) for Stage C's, of a picture whose pixels nobody said."""
    h, w = (round(cells * PIXELS_PER_CELL / CELL_B) for cells in stage_c)
    return h, w


def encode_size(width: int, height: int) -> tuple[int, int]:
    """Pixels (h, w) to resize a picture to before the effnet, so that its latent has `stage_c_size`."""
    h, w = stage_c_size(width, height)
    return CELL * h, CELL * w


def decoded_size(latent: tuple[int, int], wanted: tuple[int, int] | None = None) -> tuple[int, int]:
    """Pixels (h, w) of the picture that Stage A makes of a latent: those `wanted` where it is their latent."""
    h, w = latent
    return wanted if wanted is not None and stage_b_size(wanted[1], wanted[0]) == (h, w) else (CELL_B * h, CELL_B * w)


def odd_size(family: str, size: tuple[int, int]) -> str:
    """A sentence for pixels (H, W) far from those that a family's Stage C was trained on; empty for others.

    They may be too many, too few, or too long a picture.
    """
    pixels, most, least = size[0] * size[1], TRAINED.get(family), LEAST.get(family)
    if most is not None and pixels > FAR * most**2:
        side, amount, effect = most, "more", "things may come twice or fall apart; choose a smaller size"
    elif least is not None and pixels * FAR < least**2:
        side, amount, effect = least, "fewer", "things may be missing; choose a larger size"
    elif family in LONGEST and max(size) > LONGEST[family] * min(size):
        return (
            f"{size[1]} x {size[0]} pixels are far from a square, and these models were trained on squares: things may"
            " grow together or be missing; choose sides that are nearer to each other"
        )
    else:
        return ""
    return (
        f"{size[1]} x {size[0]} pixels are far {amount} than the {side} x {side} that these models were trained on:"
        f" {effect}"
    )


def _check(width: int, height: int) -> None:
    for name, pixels in (("width", width), ("height", height)):
        if not SMALLEST <= pixels <= LARGEST:
            raise CascadeError(
                f"{name}: expected {SMALLEST} to {LARGEST} pixels, found {pixels}: choose a size within that range"
            )
