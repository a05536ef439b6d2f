"""`cascade doctor`: the kind of model files and whether they can be used, or the needs of a workflow."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..cascade_core.wording import all_of, size_in_words
from ..headless import graph, missing_models, node_classes, other_families, requirements, shipped, workflow_file
from ..headless.run import configure
from . import arguments
from .output import OK, REFUSED, note, say

if TYPE_CHECKING:
    from ..headless.requirements import File, NodeClass
    from ..runtime.inventory import Entry
    from ..runtime.local import LocalHost

DESCRIPTION = """\
Say what model files are, told from their headers alone: kind and size, layout, precision, the folder where they
belong, whether they lie there, and why one cannot be used. PATH is a file or a folder; without it all model folders
are looked through, and what helps in a bug report is told of this machine.
Of a workflow, as JSON or as a picture with it: which nodes and files are there, where each was looked for, and how to
get what is missing.
Exit code: 0 all is well, 2 something is missing, misplaced or cannot be used."""

COLUMNS = ("what it is", "layout", "size", "precision", "belongs in", "there")
INDENT = "    "
LONGEST_WORD = 300  # characters; no path is cut that people have
THERE = {True: "yes", False: "no", None: "-"}
WORKFLOWS = (".json", ".png", ".webp", ".jpg", ".jpeg", ".avif", ".gif")  # suffixes of files that may hold one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        type=lambda text: Path(text) if Path(text).is_dir() else shipped.find(Path(text)),
        help="a model file, a folder, a workflow, or the name of one that comes with the pack (the model folders)",
    )
    arguments.add(parser, "--models", "--json")
    parser.set_defaults(command=doctor)


def doctor(options: argparse.Namespace) -> int:
    path: Path | None = options.path
    if path is not None and not path.exists():
        raise graph.WorkflowError(
            f"doctor: expected a file or a folder, but {str(path)!r} does not exist{shipped.instead_of(path)}"
        )
    if path is not None and path.suffix.lower() in WORKFLOWS and not path.name.endswith(".index.json"):  # of shards
        return _examine_workflow(path, options)
    return _examine_files(path, options.json, configure(options))


def _examine_files(path: Path | None, as_json: bool, local: LocalHost) -> int:
    from ..runtime import environment, inventory

    facts = environment.describe(local) if path is None else {}
    if path is not None and not path.is_dir():
        entries, root = [inventory.look_at(path)], path.parent
    else:
        root = path or local.models_directory()
        entries = [entry for folder in _roots(path, local) for entry in inventory.walk(folder)]
    named_alone = path is not None and len(entries) == 1
    wrong = [entry for entry in entries if entry.unusable or entry.misplaced or (entry.foreign and named_alone)]
    if as_json:
        files = [asdict(entry) | {"path": str(entry.path), "files": sorted(map(str, entry.files))} for entry in entries]
        print(json.dumps({"surroundings": facts, "files": files, "fine": not wrong}, indent=2))
    else:
        for name, fact in facts.items():
            say(_wrapped(f"{name + ':':16}{fact}", " " * 16))
        say("\n".join([""] * bool(facts) + list(_table(entries, root))))
    return REFUSED if wrong else OK


def _roots(path: Path | None, local: LocalHost) -> Sequence[Path]:
    """The folders to look through: the named one, else the models folder and what extra_model_paths.yaml adds."""
    from ..cascade_core.kinds import KINDS

    if path is not None:
        return [path]
    models = local.models_directory()
    keys = dict.fromkeys(key for kind in KINDS.values() for key in kind.folders)
    others = dict.fromkeys(folder for key in keys for folder in local.model_folders(key))
    return [models, *(folder for folder in others if not folder.is_relative_to(models))]


def _table(entries: Sequence[Entry], root: Path) -> Iterator[str]:
    """A line for each file, and under it one for each part, in columns; or the reason why there is none."""

    if not entries:
        yield f"no model files in {root}: the built-in models need none, `cascade download` gets the published ones"
        return
    cells = [
        [
            (row.name, row.layout, size_in_words(row.bytes), row.precision, row.belongs_in, THERE[row.right_place])
            for row in e.rows
        ]
        for e in entries
    ]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *(row for rows in cells for row in rows), strict=True)]
    yield "file"
    yield _line(COLUMNS, widths)
    for entry, rows in zip(entries, cells, strict=True):
        name = entry.path.relative_to(root).as_posix() if entry.path.is_relative_to(root) else str(entry.path)
        yield _cut(name + "/" * entry.path.is_dir(), _width())
        yield from (_line(row, widths) for row in rows)
        if entry.problem is not None:
            yield _wrapped(f"{INDENT}{entry.problem}", INDENT)
    yield ""
    yield _summary(entries)


def _summary(entries: Sequence[Entry]) -> str:
    counts = {
        "usable": sum(not entry.problem and not entry.misplaced for entry in entries),
        "in another folder than loaders look in": sum(entry.misplaced for entry in entries),
        "not usable": sum(entry.unusable for entry in entries),
        "of other models": sum(entry.foreign for entry in entries),
    }
    return ", ".join(f"{count} {words}" for words, count in counts.items() if count)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return (INDENT + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))).rstrip()


def _cut(text: str, width: int) -> str:
    """A long name without its middle: where it lies and how it ends tells most."""
    if len(text) <= width:
        return text
    kept = width - 3
    return f"{text[: kept // 3]}...{text[-(kept - kept // 3) :]}"


def _wrapped(text: str, indent: str) -> str:
    text = re.sub(rf"\S{{{LONGEST_WORD},}}", lambda word: _cut(word[0], LONGEST_WORD), text)
    return textwrap.fill(text, _width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _width() -> int:
    return max(60, shutil.get_terminal_size((100, 24)).columns)


def _examine_workflow(path: Path, options: argparse.Namespace) -> int:
    named = path.stem if path.parent == shipped.FOLDER else path  # as a person names it
    document = workflow_file.read(path)
    configure(options)
    nodes = node_classes.load()
    workflow = graph.convert(document, nodes.definitions(), nodes.all_names())
    note(workflow)
    if other := other_families.complaint(workflow.prompt):
        raise graph.WorkflowError(other)
    prompt = {node_id: node for node_id, node in workflow.prompt.items() if _is_node(node)}
    classes = requirements.classes_of(prompt, document, nodes)
    files = requirements.files_of(prompt, document, nodes)
    problems = requirements.other_problems(graph.validate(prompt, nodes.classes), nodes)
    fine = not problems and all(entry.present for entry in classes) and all(file.is_fine for file in files)
    if options.json:
        listed = [
            {name: value for name, value in asdict(file).items() if name != "published"}
            | {"looked_in": [str(folder) for folder in file.looked_in], "command": file.command}
            for file in files
        ]
        answer = {"workflow": str(path), "nodes": [asdict(entry) for entry in classes], "files": listed}
        answer |= {"problems": [problem.message for problem in problems], "fine": fine}
        print(json.dumps(answer, indent=2))
    else:
        say("\n".join([*_tell_classes(classes), *_tell_files(files)]))
        if problems:
            say("\n".join(["inputs:", *(_wrapped(f"{INDENT}{problem.message}", INDENT * 2) for problem in problems)]))
        if sum(map(missing_models.can_be_had, files)) > 1:
            say(_wrapped(missing_models.in_one(files), INDENT))
        if any(file.node and not file.is_fine for file in files):
            say(_wrapped(f"to try it at once, small, with built-in models: cascade run {named} --built-in", INDENT))
    return OK if fine else REFUSED


def _is_node(node: object) -> bool:
    return graph.is_object(node) and isinstance(node.get("class_type"), str) and graph.is_object(node.get("inputs"))


def _tell_classes(classes: Sequence[NodeClass]) -> Iterator[str]:
    missing = [entry for entry in classes if not entry.present]
    yield f"nodes: {len(classes) - len(missing)} of {len(classes)} kinds are here"
    for entry in missing:
        whose = requirements.in_words(entry.pack)
        said = f"{entry.name} is missing{f': {whose}' if whose else ''}"
        yield _wrapped(f"{INDENT}{said}; `cascade run --server URL` has a ComfyUI run it", INDENT * 2)


def _tell_files(files: Sequence[File]) -> Iterator[str]:
    yield f"files: {sum(file.is_fine for file in files)} of {len(files)} are here and of the right kind"
    for file in files:
        kinds = f", {all_of(file.kinds)}" if file.kinds else ""
        asked = f' (node {file.node} "{file.title}"{kinds})' if file.node else ""
        state = "here" if file.is_fine else "cannot be used" if file.present else "missing"
        yield _wrapped(f"{INDENT}{file.name}{asked}: {state}", INDENT * 2)
        if file.problem is not None:
            yield _wrapped(f"{INDENT * 2}{file.problem}", INDENT * 2)
        if file.is_fine:
            continue
        yield _wrapped(f"{INDENT * 2}looked in {', '.join(map(str, file.looked_in))}", INDENT * 3)
        if file.command is not None:
            yield f"{INDENT * 2}get it with: {file.command}"
        if file.address is not None:
            yield f"{INDENT * 2}it lies at {file.address}"
