"""Workflow files as tabs, and their fields, by the nodes' own INPUT_TYPES. Knows no Gradio."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..headless import graph, node_classes, shipped, workflow_file
from ..nodes.training import Trainer
from . import labels

FIRST = "text_to_image"  # the tab that the app opens with, where there is such a file
OPEN = "open"  # the place of what a person sees at first; all else stands under a heading of Advanced
TRAINING_OPEN = ("name", "tokens", "steps")  # what is open of a node that trains
ORDER = (  # of what is open
    *("folder", "image", *TRAINING_OPEN, "text", "picks", "denoise", "lora_name", "strength"),
    *("left", "right", "top", "bottom"),
    *("width", "height", "budget", "batch_size", "seed"),
)
EXACT = 2**53  # up to here a browser's numbers are whole
OF_THE_EDITOR = ", which ComfyUI's editor offers to download"  # at the end of a purpose: not so on the page
NOTES = ("MarkdownNote", "Note")


@dataclass(frozen=True)
class Field:
    """One widget of one node; `value` is what the file says, `place` OPEN or a heading of `labels.HEADINGS`."""

    node: str
    title: str
    entry: graph.Input
    value: Any
    place: str
    takes_picture: bool
    mask: bool  # whether the node's mask goes somewhere, so that drawing one makes sense

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def is_seed(self) -> bool:
        return self.entry.type == "INT" and bool(self.entry.options.get("control_after_generate"))

    @property
    def is_open(self) -> bool:
        return self.place == OPEN

    @property
    def is_prompt(self) -> bool:
        """Whether it is the text of a prompt that a picture follows."""
        return self.is_open and self.name == "text"

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
    purpose: str  # one sentence
    trains: bool
    text_encoders: Sequence[int]  # the fields that choose one

    @property
    def key(self) -> str:
        return self.path.stem

    @property
    def title(self) -> str:
        return labels.TITLES.get(self.key) or labels.sentence(self.key)

    def label(self, field: Field) -> str:
        """What a person calls a field: with its node's title where another of the same place has that name too."""
        if field.name in ("text", "image"):
            return field.title
        if field.is_open and field.name == "batch_size":
            return "Number of drafts"
        name = labels.label_of(field.name, field.title)
        others = (f for f in self.fields if f.place == field.place and f.node != field.node)
        shared = (field.is_seed and not field.is_open) or any(
            labels.label_of(other.name, other.title) == name for other in others
        )
        return f"{name} ({field.title.removeprefix('Load ')})" if shared else name

    @property
    def seeds(self) -> list[int]:
        """The fields of the samplers' seeds: the first is the one that people see, the others follow it."""
        return [index for index, field in enumerate(self.fields) if field.is_seed and field.place in (OPEN, "Seeds")]

    @property
    def has_drafts(self) -> bool:
        """Whether a batch is made to pick from, so that there is no other number of pictures."""
        return any(field.name == "picks" for field in self.fields)


def read_all(folder: Path, nodes: node_classes.Nodes) -> tuple[list[Tab], list[str]]:
    """The workflows of a folder, and a sentence for each file that has no tab, whatever is in it."""
    tabs: list[Tab] = []
    problems: list[str] = []
    for path in sorted(shipped.files(folder), key=lambda path: shipped.by_use(path.stem)):
        try:
            tabs.append(read(path, nodes))
        except graph.WorkflowError as error:
            problems += error.messages
        except Exception as error:  # a file may have anything in it
            problems.append(no_tab(path, error))
    return tabs, problems


def no_tab(path: Path, why: object) -> str:
    """A sentence on a file that has no tab. why: an error or a text."""
    return f"{path}: this workflow has no tab: {str(why) or type(why).__name__:.300}"


def read(path: Path, nodes: node_classes.Nodes) -> Tab:
    """Raises WorkflowError for a file that is no workflow."""
    document = workflow_file.read(path)
    prompt = graph.convert(document, graph.definitions(nodes.classes), nodes.names).prompt
    if problems := graph.malformed(prompt):
        raise graph.WorkflowError(no_tab(path, problems[0].message))
    trains = any(_is_trainer(node, nodes) for node in prompt.values())
    fields = _placed(list(_fields(prompt, nodes)), prompt, nodes, trains)
    encoders = [
        index
        for index, field in enumerate(fields)
        if field.name == "model_name" and _class_of(prompt[field.node], nodes).KIND.id == "text_encoder"
    ]
    return Tab(path, document, fields, *_features(prompt), _note(document), _purpose(document, path), trains, encoders)


def find(tabs: Sequence[Tab], prompt: graph.Prompt) -> Tab | None:
    """The tab whose workflow has these nodes; of several the one that calls most of them the same."""
    shape, titles = _features(prompt)
    return max((tab for tab in tabs if tab.shape == shape), key=lambda tab: len(tab.titles & titles), default=None)


def values_of(tab: Tab, prompt: graph.Prompt) -> list[Any]:
    """The value of each field in a prompt with the tab's nodes."""
    inputs = {
        node_id: node["inputs"] if graph.is_object(node.get("inputs")) else {}
        for node_id, node in prompt.items()
        if graph.is_object(node)  # the tab's nodes all are; a file may have anything beside them
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
        definition = definitions.get(node["class_type"])
        if definition is None:
            continue
        for entry in definition.inputs.values():
            value = node["inputs"].get(entry.name, entry.default)
            if not entry.has_widget or not entry.takes_constant or isinstance(value, list):
                continue
            # The file of a mask that goes nowhere needs no button that brings one.
            takes_picture = entry.takes_files and (entry.required or node_id in masked)
            mask = takes_picture and entry.required and node_id in masked
            title = graph.title_of(node).removeprefix("Stable Cascade: ")
            yield Field(node_id, title, entry, value, "", takes_picture, mask)


def _links(prompt: graph.Prompt, definitions: Mapping[str, graph.Definition]) -> Iterator[tuple[str, Any]]:
    """The source of each link, and the type that comes from there."""
    for node in prompt.values():
        for value in node["inputs"].values():
            match value:
                case [str(source), int(slot)] if source in prompt:
                    definition = definitions.get(prompt[source]["class_type"])
                    outputs = definition.outputs if definition is not None else ()
                    yield source, outputs[slot] if 0 <= slot < len(outputs) else None
                case _:
                    pass


def _placed(fields: Sequence[Field], prompt: graph.Prompt, nodes: node_classes.Nodes, trains: bool) -> Sequence[Field]:
    """The fields with their places, in the file's order."""
    avoided = _avoided(prompt)
    trainers = {field.node for field in fields if _is_trainer(prompt[field.node], nodes)}
    titled = {field.node for field in fields if _is_titled(prompt[field.node], nodes.names)}
    seed = next((field for field in fields if field.is_seed and field.node not in trainers), None)
    budget = max((field.value for field in fields if field.name == "budget"), default=None)
    drafts = any(field.name == "picks" for field in fields)

    def is_open(field: Field) -> bool:
        if trains and field.node not in trainers:  # what is learned, and then what to draw with it
            return field.name == "folder" or (field.name == "text" and field.node not in avoided)
        if field.node in trainers:
            return field.name in TRAINING_OPEN
        match field.name:
            case "seed":
                return field is seed
            case "text":
                return field.node not in avoided and bool(field.entry.options.get("multiline"))
            case "image":
                return field.takes_picture
            case "denoise":
                return field.value != 1
            case "strength" | "lora_name":
                return field.node in titled
            case "width" | "height":
                return field.value != 0
            case "budget":
                return field.value == budget
            case "batch_size":
                return drafts
        return field.name in ("folder", "picks", "left", "right", "top", "bottom") and field.entry.required

    def place(field: Field) -> str:
        if is_open(field):
            return OPEN
        return "Training" if field.node in trainers else labels.heading_of(field.name)

    return [replace(field, place=place(field)) for field in fields]


def _is_trainer(node: Mapping[str, Any], nodes: node_classes.Nodes) -> bool:
    return issubclass(_class_of(node, nodes), Trainer)


def _class_of(node: Mapping[str, Any], nodes: node_classes.Nodes) -> Any:
    return nodes.classes.get(node["class_type"], object)


def _is_titled(node: Mapping[str, Any], names: Mapping[str, str]) -> bool:
    """Whether a person gave the node its title."""
    class_type = str(node["class_type"])
    return graph.title_of(node) != names.get(class_type, class_type)


def _avoided(prompt: graph.Prompt) -> set[str]:
    """The nodes of which all that comes ends in inputs called `negative`: what a picture shall not show."""
    readers: dict[str, list[tuple[str, str]]] = {}
    for node_id, node in prompt.items():
        for name, value in node["inputs"].items():
            if link := graph.link_of(value):
                readers.setdefault(link[0], []).append((node_id, name))

    def ends(node_id: str) -> set[str]:
        found: set[str] = set()
        seen, waiting = {node_id}, [node_id]
        while waiting:
            for reader, name in readers.get(waiting.pop(), []):
                if name in ("positive", "negative"):
                    found.add(name)
                elif reader not in seen:
                    seen.add(reader)
                    waiting.append(reader)
        return found

    return {node_id for node_id in prompt if ends(node_id) == {"negative"}}


def _purpose(document: Mapping[str, Any], path: Path) -> str:
    """What the file says that it is for, where the editor keeps that; else which file it is."""
    extra = document.get("extra")
    text = extra.get("BlueprintDescription") if isinstance(extra, dict) else None
    if isinstance(text, str):
        text = text.removesuffix(OF_THE_EDITOR)
    return f"{text[:1].upper()}{text[1:]}." if isinstance(text, str) and text else f"The workflow of {path.name}."


def _note(document: Mapping[str, Any]) -> str:
    """The text of the workflow's notes; an API prompt has none."""
    drawn = document.get("nodes")
    texts: list[str] = []
    for node in drawn if isinstance(drawn, list) else ():
        if graph.is_object(node) and node.get("type") in NOTES:
            values = node.get("widgets_values")
            texts += [text for text in values if isinstance(text, str)] if isinstance(values, list) else []
    return "\n\n".join(texts)
