"""Pixels to latent sizes: the one rounding rule. Latent sizes are (height, width), as tensors have them."""

from ..errors import CascadeError

SMALLEST, LARGEST = 16, 8192  # pixels per side


def stage_c_size(width: int, height: int) -> tuple[int, int]:
    """Stage C's latent (h, w) for a picture of these pixels: ceil(px / 42.67) per side."""
    _check(width, height)
    return _ceil(height * 100, 4267), _ceil(width * 100, 4267)


def stage_b_size(width: int, height: int) -> tuple[int, int]:
    """Stage B's latent (h, w): ceil(px / 4) per side. Its sampler pads odd sides, the decoder crops to the pixels."""
    _check(width, height)
    return _ceil(height, 4), _ceil(width, 4)


def encode_size(width: int, height: int) -> tuple[int, int]:
    """Pixels (h, w) to resize a picture to before the effnet, so that its latent has `stage_c_size`."""
    h, w = stage_c_size(width, height)
    return 32 * h, 32 * w


def decoded_size(latent: tuple[int, int], wanted: tuple[int, int] | None = None) -> tuple[int, int]:
    """Pixels (h, w) of the picture that Stage A makes of a latent: those `wanted` where it is their latent."""
    h, w = latent
    return wanted if wanted is not None and stage_b_size(wanted[1], wanted[0]) == (h, w) else (4 * h, 4 * w)


def _ceil(n: int, divisor: int) -> int:
    return -(-n // divisor)


def _check(width: int, height: int) -> None:
    for name, pixels in (("width", width), ("height", height)):
        if not SMALLEST <= pixels <= LARGEST:
            raise CascadeError(
                f"{name}: expected {SMALLEST} to {LARGEST} pixels, found {pixels}: choose a size within that range"
            )
