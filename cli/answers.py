"""What the command answers with: its exit codes, and its complaints on stderr."""

import sys

OK, FAILED, REFUSED, STOPPED = 0, 1, 2, 130


def complain(*messages: str) -> None:
    """Each message on a line of its own, under the command's name."""
    for message in messages:
        print(f"cascade: {message}", file=sys.stderr)
