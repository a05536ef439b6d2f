"""What the command answers with: its exit codes, and its complaints on stderr."""

import sys

OK, FAILED, REFUSED, STOPPED = 0, 1, 2, 130


def complain(*messages: str) -> None:
    """Each message on a line of its own, under the command's name."""
    for message in messages:
        print(f"cascade: {''.join(map(_printable, message))}", file=sys.stderr)


def _printable(character: str) -> str:
    """What a file says may hold anything, and a terminal obeys some of it."""
    return character if character.isprintable() or character == "\n" else ascii(character)[1:-1]
