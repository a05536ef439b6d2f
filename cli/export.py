"""`cascade export --api`: a workflow as the prompt that servers take."""

from __future__ import annotations

import argparse
import json
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..cascade_core.files import atomic
from ..cascade_core.reading import read_json
from ..headless import graph, node_classes, set_values, workflow_file
from ..headless.run import configure
from . import arguments, parts
from .output import OK, note

DESCRIPTION = """Print the prompt that the editor would send: what `POST /prompt` of a ComfyUI takes as "prompt".
The nodes of this pack are known, and ComfyUI's own; --object-info tells of other packs'."""
_HINT = "; --object-info tells of the nodes of other packs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    arguments.add_workflow(parser)
    parser.add_argument("--api", action="store_true", help="as the API takes it: the only form, and so the default")
    parser.add_argument(
        "--object-info",
        metavar="FILE|URL",
        help="what other nodes declare: a saved answer of a server's /object_info, or the server's address",
    )
    parser.add_argument(
        "-o", "--output", dest="target", metavar="FILE", type=Path, help="write it there instead of to stdout"
    )
    parser.set_defaults(command=export)


def export(options: argparse.Namespace) -> int:
    document = workflow_file.read(options.workflow)
    info = {} if options.object_info is None else _read_info(options.object_info)
    theirs, their_names = graph.read_object_info(info)
    configure(options)
    nodes = node_classes.load()
    definitions = ChainMap(dict(theirs), nodes.definitions())  # pyright: ignore[reportArgumentType]  (only read)
    workflow = graph.convert(document, definitions, ChainMap(dict(their_names), nodes.all_names()))  # pyright: ignore[reportArgumentType]
    note(workflow)
    set_values.apply(workflow, options.set, definitions, _refuse_outside)
    owner = "this pack or ComfyUI" if options.object_info is None else options.object_info
    graph.check_form(workflow.prompt, definitions, owner, _HINT if options.object_info is None else "")
    try:
        text = json.dumps(workflow.prompt, indent=2, allow_nan=False)
    except ValueError:
        raise graph.WorkflowError(
            f"{options.workflow}: expected numbers that JSON can write, found one that is none"
        ) from None
    if options.target is None:
        print(text)
    else:
        _write(options.target, text + "\n")
    return OK


def _read_info(source: str) -> Mapping[str, Any]:
    """The declarations of a server's nodes: from the server itself, or from a file with its answer."""
    if "://" in source:
        return _ask(source.rstrip("/").removesuffix("/object_info"))
    try:
        info = read_json(Path(source))
    except (OSError, ValueError) as error:
        raise graph.WorkflowError(
            f"--object-info: expected a server's /object_info as JSON in {source}: {error}"
        ) from None
    if not graph.is_object(info):
        raise graph.WorkflowError(f"--object-info: expected an object of nodes in {source}, found {graph.show(info)}")
    return info


def _ask(address: str) -> Mapping[str, Any]:
    parts.expect("headless.remote", "--object-info: what asks a server")
    import asyncio

    from ..headless.remote import server

    async def ask() -> Mapping[str, Any]:
        async with server.connect(address) as there:
            return await there.object_info()

    try:
        return asyncio.run(ask())
    except server.ServerError as error:
        raise graph.WorkflowError(f"--object-info: {error}") from None


def _refuse_outside(path: Path) -> str:
    raise graph.WorkflowError(f"expected a file of the input folder, which a server can have too, found {str(path)!r}")


def _write(path: Path, text: str) -> None:
    try:
        with atomic.unfinished(path.parent) as temporary:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
    except OSError as error:
        raise graph.WorkflowError(f"--output: {path} cannot be written: {error.strerror or error}") from None
