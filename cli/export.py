"""`cascade export --api`: a workflow as the prompt that servers take."""

import argparse
import asyncio
import json
from collections import ChainMap
from pathlib import Path
from typing import Any

from ..cascade_core.files import atomic
from ..headless import graph, node_classes, prepare, workflow_file
from ..headless.remote import server
from .output import OK, REFUSED, complain

_HINT = "; --object-info tells of the nodes of other packs"


def export(options: argparse.Namespace) -> int:
    document = workflow_file.read(options.workflow)
    try:
        info = {} if options.object_info is None else _read_info(options.object_info)
    except server.ServerError as error:
        complain(f"--object-info: {error}")
        return REFUSED
    theirs, their_names = graph.read_object_info(info)
    prepare.configure(options)
    nodes = node_classes.load()
    definitions = ChainMap(dict(theirs), graph.definitions(nodes.classes))
    workflow = prepare.prepare(document, options.set, definitions, {**nodes.names, **their_names}, _refuse_outside)
    owner = "this pack" if options.object_info is None else options.object_info
    prepare.check_form(workflow.prompt, definitions, owner, _HINT if options.object_info is None else "")
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


def _read_info(source: str) -> dict[str, Any]:
    """What a server's nodes declare: from the server itself, or from a file with its answer."""
    if "://" in source:
        return asyncio.run(_ask(source.rstrip("/").removesuffix("/object_info")))
    try:
        info = json.loads(Path(source).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise graph.WorkflowError(
            f"--object-info: expected a server's /object_info as JSON in {source}: {error}"
        ) from None
    if not graph.is_object(info):
        raise graph.WorkflowError(f"--object-info: expected an object of nodes in {source}, found {graph.show(info)}")
    return info


async def _ask(address: str) -> dict[str, Any]:
    async with server.connect(address) as there:
        return await there.object_info()


def _refuse_outside(path: Path) -> str:
    raise graph.WorkflowError(f"expected a file of the input folder, which a server can have too, found {str(path)!r}")


def _write(path: Path, text: str) -> None:
    try:
        with atomic.unfinished(path.parent) as temporary:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
    except OSError as error:
        raise graph.WorkflowError(f"--output: {path} cannot be written: {error.strerror or error}") from None
