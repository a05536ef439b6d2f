"""Completion in shells, by argcomplete (extra `completion`): `eval "$(register-python-argcomplete cascade)"`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, cast

from ..headless import node_classes, shipped


def complete(parser: argparse.ArgumentParser, command: argparse.ArgumentParser) -> None:
    """Answer the shell that asks what may follow, and end; nothing where argcomplete is not installed."""
    try:
        import argcomplete
        from argcomplete.completers import FilesCompleter
    except ModuleNotFoundError:
        return
    files = cast(Callable[..., list[str]], FilesCompleter(("json", "png"), directories=True))
    offered: dict[str, Callable[..., Any]] = {
        "workflow": lambda **asked: [*shipped.names(), *files(**asked)],
        "name": lambda **_: sorted(node_classes.load().classes),
    }
    for action in command._actions:  # argparse has no public list of them
        if action.dest in offered and not action.option_strings:
            cast(Any, action).completer = offered[action.dest]
    argcomplete.autocomplete(parser)
