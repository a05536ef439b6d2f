r"""Emphasis in a prompt, as ComfyUI reads it: `(word)` is 1.1, `(word:1.3)` is 1.3, `\(` and `\)` are brackets to keep.

Knows text only: no tokens, no network. A bracket without a number multiplies what surrounds it by 1.1, so `((word))`
is 1.21; a number is the weight itself, whatever surrounds it: in `((word:1.3))` the weight is 1.3.
A bracket without a partner is a character like any other. (ComfyUI lets it change what later brackets mean.)
"""

import re

EMPHASIS = 1.1
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)\s*")


def parse_weights(text: str) -> list[tuple[str, float]]:
    """Split `text` into pieces (piece, weight), in order, with the emphasis brackets and escapes removed."""
    partner = _match_brackets(text)
    pieces: list[tuple[str, float]] = []
    piece: list[str] = []
    weight = 1.0
    # (where the bracket's text ends, where reading goes on behind it, the weight to return to)
    open_brackets: list[tuple[int, int, float]] = []

    def finish_piece() -> None:
        if piece:
            pieces.append(("".join(piece), weight))
            piece.clear()

    at = 0
    while at < len(text):
        if open_brackets and at == open_brackets[-1][0]:
            finish_piece()
            _, at, weight = open_brackets.pop()
        elif _is_escape(text, at):
            piece.append(text[at + 1])
            at += 2
        elif at in partner:
            finish_piece()
            close = partner[at]
            end, number = _split_number(text, at + 1, close)
            open_brackets.append((end, close + 1, weight))
            weight = weight * EMPHASIS if number is None else number
            at += 1
        else:
            piece.append(text[at])
            at += 1
    finish_piece()
    return pieces


def _is_escape(text: str, at: int) -> bool:
    return text[at] == "\\" and text[at + 1 : at + 2] in ("(", ")")


def _match_brackets(text: str) -> dict[int, int]:
    """Index of every opening bracket that has a partner -> the partner's index."""
    partner: dict[int, int] = {}
    waiting: list[int] = []
    at = 0
    while at < len(text):
        if _is_escape(text, at):
            at += 1
        elif text[at] == "(":
            waiting.append(at)
        elif text[at] == ")" and waiting:
            partner[waiting.pop()] = at
        at += 1
    return partner


def _split_number(text: str, start: int, close: int) -> tuple[int, float | None]:
    """Where the bracket's own text ends, and the number behind its last colon if there is one (and text before it)."""
    colon = text.rfind(":", start, close)
    if colon > start and _NUMBER.fullmatch(text, colon + 1, close):
        return colon, float(text[colon + 1 : close])
    return close, None
