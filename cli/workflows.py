"""`cascade workflows`: the workflow files that come with the pack, and copies of them to change."""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path

from ..headless import shipped
from ..headless.graph import WorkflowError
from . import arguments
from .output import OK, say

DESCRIPTION = """List the workflow files that come with this pack, or copy one to change it.
`cascade run NAME` runs one where it lies: a name needs no folder and no ending.

  cascade workflows inpainting --to .      # ./inpainting.json, for the editor or for `cascade run`"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.add_argument("name", metavar="NAME", nargs="?", help="this one alone (all)")
    parser.add_argument(
        "--to",
        metavar="DIR",
        type=Path,
        help="copy it into this folder, which may be new; no file there is ever replaced",
    )
    arguments.add(parser, "--json")
    parser.set_defaults(command=workflows)


def workflows(options: argparse.Namespace) -> int:
    if options.to is not None:
        say(_copy(options.name, options.to))
        return OK
    wanted = shipped.names() if options.name is None else [options.name]
    found = {name: {"path": str(shipped.path_of(name)), "purpose": shipped.purpose(name)} for name in wanted}
    if options.json:
        print(json.dumps(found, indent=2))
        return OK
    for name, about in found.items():
        print(name)
        print(textwrap.indent(textwrap.fill(about["purpose"], 100), "    "))
    return OK


def _copy(name: str | None, folder: Path) -> Path:
    """Raises WorkflowError where nothing can be copied, or something of that name lies there."""
    if name is None:
        raise WorkflowError(f"workflows: expected the NAME of the one to copy: {', '.join(shipped.names())}")
    source = shipped.path_of(name)
    target = folder / source.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(source.read_bytes())
    except OSError as error:
        raise WorkflowError(f"workflows: {target} cannot be written: {error.strerror}") from None
    return target
