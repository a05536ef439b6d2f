"""Workflow files as tabs, and their fields, by the nodes' own INPUT_TYPES. Knows no Gradio."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..headless import graph, node_classes, shipped, workflow_file

Place = Literal["open", "models", "more"]
FIRST = "text_to_image"  # the tab that the app opens with, where there is such a file
EXACT = 2**53  # up to here a browser's numbers are whole
NOTES = ("MarkdownNote", "Note")


@dataclass(frozen=True)
class Field:
    """One widget of one node; `value` is what the file says."""

    node: str
    title: str
    entry: graph.Input
    value: Any
    place: Place
    takes_picture: bool
    mask: bool  # whether the node's mask goes somewhere, so that drawing one makes sense

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def is_seed(self) -> bool:
        return self.entry.type == "INT" and bool(self.entry.options.get("control_after_generate"))

    @property
    def is_long(self) -> bool:
        """Whether a number may be longer than a browser can count."""
        limits = [self.entry.options.get(limit) for limit in ("min", "max")]
        return self.entry.type == "INT" and any(limit is None or abs(limit) > EXACT for limit in limits)


@dataclass(frozen=True)
class Tab:
    """A workflow file; `document` is what it holds and never changes."""

    path: Path
    document: dict[str, Any]
    fields: Sequence[Field]
    shape: frozenset[tuple[str, str]]  # (node id, class) of all nodes, by which a picture finds its tab,
    titles: frozenset[tuple[str, str]]  # and (node id, title), where several tabs have the same nodes
    note: str

    @property
    def key(self) -> str:
        return self.path.stem

    @property
    def title(self) -> str:
        words = self.key.replace("_", " ").replace("-", " ").strip()
        return words[:1].upper() + words[1:]


def read_all(folder: Path, nodes: node_classes.Nodes) -> tuple[list[Tab], list[str]]:
    """The workflows of a folder, and a sentence for each file that is none."""
    tabs: list[Tab] = []
    problems: list[str] = []
    for path in sorted(shipped.files(folder), key=lambda path: (path.stem != FIRST, path.name.casefold())):
        try:
            tabs.append(read(path, nodes))
        except graph.WorkflowError as error:
            problems += error.messages
    return tabs, problems


def read(path: Path, nodes: node_classes.Nodes) -> Tab:
    """Raises WorkflowError for a file that is no workflow."""
    document = workflow_file.read(path)
    prompt = graph.convert(document, graph.definitions(nodes.classes), nodes.names).prompt
    fields = list(_fields(prompt, nodes))
    return Tab(path, document, fields, *_features(prompt), _note(document))


def find(tabs: Sequence[Tab], prompt: graph.Prompt) -> Tab | None:
    """The tab whose workflow has these nodes; of several the one that calls most of them the same."""
    shape, titles = _features(prompt)
    return max((tab for tab in tabs if tab.shape == shape), key=lambda tab: len(tab.titles & titles), default=None)


def values_of(tab: Tab, prompt: graph.Prompt) -> list[Any]:
    """The value of each field in a prompt with the tab's nodes."""
    inputs = {
        node_id: node["inputs"] if graph.is_object(node.get("inputs")) else {} for node_id, node in prompt.items()
    }
    return [inputs[field.node].get(field.name, field.value) for field in tab.fields]


def _features(prompt: graph.Prompt) -> tuple[frozenset[tuple[str, str]], frozenset[tuple[str, str]]]:
    nodes = [(node_id, node) for node_id, node in prompt.items() if graph.is_object(node)]
    shape = frozenset((node_id, str(node.get("class_type"))) for node_id, node in nodes)
    return shape, frozenset((node_id, graph.title_of(node)) for node_id, node in nodes)


def _fields(prompt: graph.Prompt, nodes: node_classes.Nodes) -> Iterator[Field]:
    definitions = graph.definitions(nodes.classes)
    masked = {source for source, kind in _links(prompt, definitions) if kind == "MASK"}
    for node_id, node in prompt.items():
        definition = definitions.get(node["class_type"]) if graph.is_object(node) else None
        if definition is None:
            continue
        for entry in definition.inputs.values():
            value = node["inputs"].get(entry.name, entry.default)
            if not entry.has_widget or not entry.takes_constant or isinstance(value, list):
                continue
            # The file of a mask that goes nowhere needs no button that brings one.
            takes_picture = entry.takes_files and (entry.required or node_id in masked)
            mask = takes_picture and entry.required and node_id in masked
            place = _place(node, entry, definition.node_class, nodes.names)
            title = graph.title_of(node).removeprefix("Stable Cascade: ")
            yield Field(node_id, title, entry, value, place, takes_picture, mask)


def _links(prompt: graph.Prompt, definitions: Mapping[str, graph.Definition]) -> Iterator[tuple[str, Any]]:
    """The source of each link, and the type that comes from there."""
    for node in prompt.values():
        for value in node["inputs"].values() if graph.is_object(node) else ():
            match value:
                case [str(source), int(slot)] if source in prompt:
                    definition = definitions.get(prompt[source].get("class_type", ""))
                    outputs = definition.outputs if definition is not None else ()
                    yield source, outputs[slot] if 0 <= slot < len(outputs) else None
                case _:
                    pass


def _place(node: Mapping[str, Any], entry: graph.Input, node_class: type[Any], names: Mapping[str, str]) -> Place:
    """Loaders choose models; what a person gave a title is for people, as far as the node cannot do without it."""
    if hasattr(node_class, "FILE_INPUT") and entry.name in (node_class.FILE_INPUT, "dtype"):
        return "models"
    class_type = str(node["class_type"])
    titled = graph.title_of(node) != names.get(class_type, class_type)
    return "open" if titled and entry.required and entry.name != "filename_prefix" else "more"


def _note(document: Mapping[str, Any]) -> str:
    """The text of the workflow's notes; an API prompt has none."""
    drawn = document.get("nodes")
    texts: list[str] = []
    for node in drawn if isinstance(drawn, list) else ():
        if graph.is_object(node) and node.get("type") in NOTES:
            values = node.get("widgets_values")
            texts += [text for text in values if isinstance(text, str)] if isinstance(values, list) else []
    return "\n\n".join(texts)
