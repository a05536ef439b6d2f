"""The requirements of a workflow: node classes and files, which of them are here, and how to get the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..cascade_core.errors import CascadeError
from ..cascade_core.files import published
from ..cascade_core.files.published import Published
from ..cascade_core.kinds import KINDS
from ..cascade_core.wording import all_of
from ..runtime import host, inventory, model_folders
from . import built_in, comfyui_nodes, graph, node_classes
from .graph.layout import BYPASSED, MUTED
from .native.model_files import ModelFile
from .uses import Uses

CORE = "comfy-core"  # how workflows name ComfyUI itself among the packs


@dataclass(frozen=True)
class NodeClass:
    """A class of nodes that the workflow uses; `pack` is the node pack that it comes from, where the file says so."""

    name: str
    present: bool
    pack: str | None


@dataclass(frozen=True)
class File:
    """A file that a node names; `node` is empty where only the workflow's own list of models names it.

    `problem` is why a file that is present cannot be used, `published` is what is published under its name, and
    `address` is where it can be had, as the workflow says.
    """

    node: str
    title: str
    name: str
    kinds: Sequence[str]  # what it is for, in words: "Stage C", "text encoder"; empty for pictures and where unknown
    present: bool
    problem: str | None
    looked_in: Sequence[Path]
    published: Published | None
    address: str | None

    @property
    def command(self) -> str | None:
        """The command that gets it."""
        return None if self.published is None else published.commands_for([self.published])[0]

    @property
    def is_fine(self) -> bool:
        return self.present and self.problem is None


def classes_of(prompt: graph.Prompt, document: Mapping[str, Any], nodes: node_classes.Nodes) -> list[NodeClass]:
    """The classes that a workflow uses, each once, in the order of the nodes."""
    pack_of = _packs(document)
    used = dict.fromkeys(str(node["class_type"]) for node in prompt.values())
    return [NodeClass(name, name in nodes.classes, pack_of(name)) for name in used]


def whose(document: Mapping[str, Any]) -> Callable[[str], str | None]:
    """The words for whose a class of nodes is, as far as the workflow or ComfyUI's own list says: "of the pack X"."""
    pack_of = _packs(document)

    def words(name: str) -> str | None:
        pack = pack_of(name)
        mistyped = pack == CORE and name not in comfyui_nodes.DEFINITIONS  # or newer than our list
        return None if mistyped else in_words(pack)

    return words


def in_words(pack: str | None) -> str | None:
    """Whose the nodes of a pack are."""
    return {None: None, CORE: "ComfyUI's own"}.get(pack, f"of the pack {pack}")


def _packs(document: Mapping[str, Any]) -> Callable[[str], str | None]:
    """The pack that a class comes from; None where neither the workflow nor ComfyUI's own list says it."""
    said = {str(node.get("type")): _text(_properties(node).get("cnr_id")) for node in _drawn(document)}
    return lambda name: said.get(name) or (CORE if name in comfyui_nodes.DEFINITIONS else None)


def files_of(
    prompt: graph.Prompt,
    document: Mapping[str, Any],
    nodes: node_classes.Nodes,
    only: Collection[str] | None = None,
) -> list[File]:
    """The files that loaders and pictures of the prompt name, then what only the workflow's lists of models name.

    only: the nodes that are asked; None for all.
    """
    addresses = {name: address for name, _, address in _listed(document)}
    definitions = graph.definitions(nodes.classes)
    uses = Uses(prompt, definitions)
    files: list[File] = []
    for node_id, node in prompt.items():
        node_class = nodes.classes.get(str(node["class_type"]))
        if node_class is None or (only is not None and node_id not in only):
            continue
        for entry in definitions[str(node["class_type"])].inputs.values():
            name = node["inputs"].get(entry.name)
            if not isinstance(name, str) or not name:
                continue
            if entry.name == getattr(node_class, "FILE_INPUT", None):
                address = addresses.get(model_folders.file_name(name))
                files.append(_model(node_id, graph.title_of(node), _wanted(node_id, node_class, uses), name, address))
            elif entry.names_file(name):
                files.append(_picture(node_id, graph.title_of(node), entry, name))
    named = {model_folders.file_name(file.name) for file in files}
    for name, key, address in _listed(document):
        if name not in named:
            here = model_folders.find(host.current().model_files((key,)), name) is not None
            files.append(
                File("", "", name, (), here, None, host.current().model_folders(key), published.find(name), address)
            )
    return files


def unusable(checked: graph.Validation, nodes: node_classes.Nodes) -> list[graph.Problem]:
    """The model files that are there, but cannot be used, as far as their headers tell; of the nodes that run only."""
    asked = checked.needed - {problem.node for problem in checked.problems}
    needed = {node_id: node for node_id, node in checked.prompt.items() if node_id in asked}
    names = {
        node_id: entry
        for node_id, node in needed.items()
        if (entry := getattr(nodes.classes[node["class_type"]], "FILE_INPUT", None)) in node["inputs"]
        and not built_in.is_built_in(node["inputs"][entry])  # and so the networks need not be imported
    }
    if not names:
        return []
    problems: list[graph.Problem] = []
    for file in files_of(needed, {}, nodes, only=names):
        if file.present and file.problem is not None:
            entry = names[file.node]
            expected, found = all_of(file.kinds), graph.show(file.name)
            place = graph.locate(needed, file.node, entry)
            problems.append(graph.Problem("custom_validation_failed", expected, found, detail=file.problem, **place))
    return problems


def other_problems(checked: graph.Validation, nodes: node_classes.Nodes) -> list[graph.Problem]:
    """The problems that are neither about a missing class nor about a file that an input names."""

    def is_of_file(node_class: Any, name: str | None) -> bool:
        entry = graph.define(node_class).inputs.get(name or "")
        return entry is not None and (entry.takes_files or entry.name == getattr(node_class, "FILE_INPUT", None))

    found: list[graph.Problem] = []
    for problem in checked.problems:
        node_class = nodes.classes.get(problem.class_type or "")
        absent = node_class is None and problem.class_type is not None
        if not absent and not (node_class is not None and is_of_file(node_class, problem.input)):
            found.append(problem)
    return found


@dataclass(frozen=True)
class _Wanted:
    """What a loader's file is for: `kinds` has, for each model that the workflow takes from it, the kinds that do."""

    loader: Any
    keys: Sequence[str]  # folder keys
    kinds: Sequence[Sequence[str]]


def _wanted(node_id: str, loader: Any, uses: Uses) -> _Wanted:
    if not issubclass(loader, ModelFile):
        return _Wanted(loader, loader.KIND.folders, ((loader.KIND.id,),))
    wired = uses.wired(node_id)
    kinds: list[Sequence[str]] = []
    for slot, (socket, possible) in enumerate(zip(loader.RETURN_TYPES, loader.KINDS, strict=True)):
        if slot in wired or not wired:
            told = {"MODEL": uses.stages, "VAE": uses.coders}.get(socket)
            kinds += [(kind,) for kind in sorted(told((node_id, slot)))] if told else []
            kinds += [possible] if not (told and told((node_id, slot))) else []
    return _Wanted(loader, (loader.FOLDER,), kinds)


def _model(node_id: str, title: str, wanted: _Wanted, name: str, address: str | None) -> File:
    loader = wanted.loader
    path: Path | None = loader.find(name)
    here = host.current()  # the folder where such a file belongs is the first
    folders = list(dict.fromkeys(f for key in wanted.keys for f in (here.model_folder(key), *here.model_folders(key))))
    file = model_folders.file_name(name)
    known = (published.find(file, kind) for kinds in wanted.kinds for kind in kinds)
    problems: list[str] = []
    if path is not None:
        paths = loader.files_of(name) if issubclass(loader, ModelFile) else [path]
        state = loader.IS_CHANGED(**{loader.FILE_INPUT: name})
        found = (_misfit(tuple(paths), tuple(kinds), name, state) for kinds in wanted.kinds)
        problems = list(dict.fromkeys(filter(None, found)))
    return File(
        node_id,
        title,
        name,
        [all_of([KINDS[kind].name for kind in kinds], "or") for kinds in wanted.kinds],
        path is not None,
        " ".join(problems) or None,
        folders,
        next(filter(None, known), None),
        address or published.ELSEWHERE.get(file),
    )


@lru_cache(maxsize=256)
def _misfit(paths: tuple[Path, ...], kinds: tuple[str, ...], name: str, _state: str) -> str | None:
    """The reason why files are no model of these kinds; found once for each state of a file that many may name."""
    from ..cascade_core.files.identify import find_part, identify

    try:
        parts = [part for path in paths for part in identify(path)]
        found = next((part for part in parts if part.kind in kinds), None)
        return inventory.misfit(found or find_part(parts, kinds[0], name), name)
    except CascadeError as error:
        return str(error)


def _picture(node_id: str, title: str, entry: graph.Input, name: str) -> File:
    """A picture, which lies in its folder or is one of those that the node itself draws."""
    present, problem = name in (entry.choices or ()), None
    if not present:
        try:
            present = host.current().picture_path(name).is_file()
        except CascadeError as error:
            problem = str(error)
    return File(node_id, title, name, (), present, problem, [host.current().input_directory()], None, None)


def _drawn(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The nodes that run, in the editor's form, those of subgraphs too; none in an API prompt."""
    inner = document.get("definitions")
    subgraphs = inner.get("subgraphs") if graph.is_object(inner) else None
    for part in [document, *(subgraphs if isinstance(subgraphs, list) else [])]:
        nodes = part.get("nodes") if graph.is_object(part) else None
        for node in nodes if isinstance(nodes, list) else []:
            if graph.is_object(node) and node.get("mode") not in (MUTED, BYPASSED):
                yield node


def _listed(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """(name, folder key, address) of the models that nodes carry for the editor's dialogue on missing ones."""
    for node in _drawn(document):
        models = _properties(node).get("models")
        for entry in models if isinstance(models, list) else []:
            name, key = (
                (_text(entry.get(field)) for field in ("name", "directory")) if graph.is_object(entry) else ("", "")
            )
            if name and key and Path(key).name == key:  # a key, not a way to some other folder
                yield name, key, _text(entry.get("url"))


def _properties(node: Mapping[str, Any]) -> Mapping[str, Any]:
    found = node.get("properties")
    return found if graph.is_object(found) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
