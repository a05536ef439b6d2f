"""The two sentences about a file that is of no use: it holds no weights, or it is damaged."""

EXPECTED = "expected a .safetensors file, or a .pt, .ckpt or .bin of tensors"


def no_weights(file: str, what: str, advice: str) -> str:
    """The sentence about a file that holds no weights: what it is instead, and what to do."""
    return f"{file} is {what}, not model weights ({EXPECTED}): {advice}"


def damaged(file: str, reason: str) -> str:
    """The sentence about a file of weights that is not whole."""
    return f"{file} is damaged or its download is not complete ({reason}): download it again"
