"""`--built-in`: a workflow changed so that it runs at once, with the built-in models and with pictures that are here.

Every model file becomes the built-in model of its kind, told by the loader and, where a socket carries several kinds,
by what the links make of it. A LoRA is left out: none fits the built-in models but their own. Sizes over 512 pixels
become at most 256, for which the built-in models were made, and pictures that are not here the built-in ones. Only
values change, in the prompt and in the editor's form; what cannot be decided is refused with the choices.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..cascade_core.builtin import CONTROLS
from ..cascade_core.errors import CascadeError
from ..cascade_core.files.picture_files import opened
from ..runtime import host
from . import graph, set_values
from .uses import Uses, named

LARGE, SMALL = 512, 256  # pixels: longer sides over the first become the second
STEP = 8  # pixels: sides are multiples, so that Stage B's latent has whole patches
SIDES = ("width", "height")
LENGTHS = ("x", "y", "left", "top", "right", "bottom", "feather", "feathering", "expand", "grow_mask_by")
AREA, COMPRESSION, CELL = "megapixels", "compression", 42  # pixels of a cell of Stage C, as the models were made
ORIGINALS = ("stage_c", "stage_b")
SOCKETS = {"MODEL": ORIGINALS, "VAE": ("stage_a", "effnet", "previewer")}
PICTURES = (
    "heart and star (built-in)",
    "diamond above cross (built-in)",
    "three squares (built-in)",
    "circle at the top left (built-in)",
)  # in turn, for pictures that are not here
HOLED, TINY, FACE = "heart and a hole (built-in)", "small heart and star (built-in)", "face (built-in)"
ENLARGING = ("StableCascade_SuperResolutionControlnet", "CascadeSuperResolutionHint")

STRENGTHS = ("strength", "strength_model", "strength_clip", "text_strength")  # of a LoRA


def apply(
    workflow: graph.Workflow, definitions: graph.Definitions, typed: Collection[tuple[str, str]] = ()
) -> list[str]:
    """Change the workflow in place; returns a line for people about each sort of change.

    typed: (node id, input) of what a person has set, which stays; of their pictures only the size does not.
    Raises WorkflowError with a sentence for each model that cannot be decided, and then changes nothing.
    """
    # What is no node that is known here, the check of the workflow names.
    prompt = {node_id: node for node_id, node in workflow.prompt.items() if _is_known(node, definitions)}
    changes = _Changes(prompt, definitions, typed)
    for node_id, node in prompt.items():
        changes.of_models(node_id, node)
        changes.of_pictures(node_id, node)
        changes.of_sizes(node_id, node)
    changes.of_lengths()
    if changes.errors:
        raise graph.WorkflowError(*changes.errors)
    set_values.assign(workflow, definitions, changes.made)
    return list(changes.lines())


def _is_known(node: Any, definitions: graph.Definitions) -> bool:
    return (
        graph.is_object(node)
        and isinstance(node.get("class_type"), str)
        and node["class_type"] in definitions
        and graph.is_object(node.get("inputs"))
    )


class _Changes:
    def __init__(
        self, prompt: graph.Prompt, definitions: graph.Definitions, typed: Collection[tuple[str, str]]
    ) -> None:
        self.prompt = prompt
        self.definitions = definitions
        self.typed = typed
        self.uses = Uses(prompt, definitions)
        self.made: list[graph.Change] = []
        self.errors: list[str] = []
        self.told: dict[str, list[str]] = {}  # what people read, by the sort of change
        self.factor: float | None = None  # of the first size that became smaller

    def lines(self) -> Iterator[str]:
        for sort, changes in self.told.items():
            yield f"built-in {sort}: {', '.join(dict.fromkeys(changes))}"

    def of_models(self, node_id: str, node: Mapping[str, Any]) -> None:
        definition = self.definitions[node["class_type"]]
        entry = getattr(definition.node_class, "FILE_INPUT", None)
        name = node["inputs"].get(entry)
        if entry is None or entry not in definition.inputs or name is None:
            return
        offered = [str(choice) for choice in definition.inputs[entry].choices or () if is_built_in(choice)]
        if name in offered or (node_id, entry) in self.typed:
            return
        shown = name if isinstance(name, str) else "what is connected"
        if getattr(getattr(definition.node_class, "KIND", None), "id", None) == "lora":
            strengths = [(node_id, each, 0.0) for each in STRENGTHS if each in definition.inputs]
            self._add("left out", f"the LoRA {shown}", (node_id, entry, offered[0]), *strengths)
            return
        try:
            chosen = self._choose(node_id, definition, str(name), offered)
        except _Undecided as undecided:
            place = graph.where(node_id, node, entry)
            self.errors.append(
                f"{place}: --built-in cannot tell which model {shown} stands for ({undecided}): choose one by --set"
                f" {node_id}.{entry}=NAME, one of {graph.list_choices(offered)}"
            )
            return
        self._add("models", f"{shown} is now {chosen}", (node_id, entry, chosen))

    def _choose(self, node_id: str, definition: graph.Definition, name: str, offered: Sequence[str]) -> str:
        """The built-in model in place of a file; raises _Undecided."""
        if len(offered) == 1:
            return offered[0]
        sockets = [str(socket) for socket in definition.outputs]
        if any(mode in choice for choice in offered for mode in CONTROLS):
            return f"tiny {_only(named(name, CONTROLS) or self.uses.modes((node_id, 0)))} (built-in)"
        stages: set[str] = set()
        coders: set[str] = set()
        for slot, socket in enumerate(sockets):
            if socket == "MODEL":
                stages |= self.uses.stages((node_id, slot))
            elif socket == "VAE":
                coders |= self.uses.coders((node_id, slot))
        if "MODEL" in sockets:
            stages |= {"stage_b" if coder == "stage_a" else "stage_c" for coder in coders}
            if "CLIP_VISION" in sockets and sockets.index("CLIP_VISION") in self.uses.wired(node_id):
                stages.add("stage_c")
            stages = stages or named(name, ORIGINALS)
            if not stages and "CLIP" in sockets:  # nothing but its text encoder is used, which both have
                return f"tiny {ORIGINALS[0]} (built-in)"
            return f"tiny {_only(stages)} (built-in)"
        coders = coders or named(name, SOCKETS["VAE"])
        return f"tiny {_only({'stage_a' if coder == 'stage_a' else 'effnet' for coder in coders})} (built-in)"

    def of_pictures(self, node_id: str, node: Mapping[str, Any]) -> None:
        definition = self.definitions[node["class_type"]]
        for entry in definition.inputs.values():
            name = node["inputs"].get(entry.name)
            if not entry.names_file(name) or is_built_in(name):
                continue
            try:
                path = host.current().picture_path(name)
            except CascadeError:
                built_in = self._picture(node_id)
                value = built_in if built_in in (entry.choices or ()) else draw(built_in)
                self._add("pictures", f"{name} is not here, in its place {built_in}", (node_id, entry.name, value))
                continue
            if smaller := shrink(path):
                width, height = smaller.size
                self._add("pictures", f"{name} is now {width} x {height}", (node_id, entry.name, smaller.name))

    def _picture(self, node_id: str) -> str:
        """The built-in picture for a node's place: with a hole where its mask is used, small where it is enlarged."""
        if 1 in self.uses.wired(node_id):
            return HOLED
        if self.uses.feeds(node_id, *ENLARGING):
            return TINY
        if self.uses.feeds(node_id, "CascadeFaceIdentityHint"):
            return FACE
        used = sum(" (built-in)" in line for line in self.told.get("pictures", ()))
        return PICTURES[used % len(PICTURES)]

    def of_sizes(self, node_id: str, node: Mapping[str, Any]) -> None:
        """Width and height of a node, its area and compression; its own least size is kept, at the same aspect."""
        entries = self.definitions[node["class_type"]].inputs
        area = node["inputs"].get(AREA)
        if AREA in entries and isinstance(area, int | float) and area * 2**20 > LARGE**2:
            self._add("sizes", f"{area:g} megapixels are now {SMALL**2 / 2**20:g}", (node_id, AREA, SMALL**2 / 2**20))
        compression = node["inputs"].get(COMPRESSION)
        if COMPRESSION in entries and type(compression) is int and compression != CELL:
            self._add("sizes", f"compression {compression} is now {CELL}", (node_id, COMPRESSION, CELL))
        sizes = [node["inputs"].get(side) for side in SIDES]
        if not all(side in entries for side in SIDES) or not all(type(size) is int for size in sizes):
            return
        longest, least = max(sizes), max(entries[side].options.get("min") or 0 for side in SIDES)
        if longest <= LARGE:
            return
        factor = max(SMALL / longest, min(1.0, least / min(size for size in sizes if size)))
        self.factor = self.factor or factor
        smaller = [max(least, round(factor * size / STEP) * STEP) if size else 0 for size in sizes]
        told = f"{sizes[0]} x {sizes[1]} is now {smaller[0]} x {smaller[1]}"
        self._add("sizes", told, *((node_id, side, size) for side, size in zip(SIDES, smaller, strict=True)))

    def of_lengths(self) -> None:
        """Other lengths in pixels, by the factor of the sizes."""
        if self.factor is None:
            return
        for node_id, node in self.prompt.items():
            entries = self.definitions[node["class_type"]].inputs
            for name in LENGTHS:
                value = node["inputs"].get(name)
                if name in entries and type(value) is int and value and (node_id, name) not in self.typed:
                    self.made.append((node_id, name, round(self.factor * value)))

    def _add(self, sort: str, told: str, *changes: graph.Change) -> None:
        if sort != "pictures" and any((node_id, name) in self.typed for node_id, name, _ in changes):
            return
        self.told.setdefault(sort, []).append(told)
        self.made += changes


class _Undecided(Exception):
    """Not one choice; its message is why."""


def _only(kinds: Collection[str]) -> str:
    if len(kinds) != 1:
        found = " and as ".join(sorted(kinds))
        raise _Undecided(f"it is used as {found}" if kinds else "nothing tells what it is used for")
    (kind,) = kinds
    return kind


def is_built_in(name: object) -> bool:
    return isinstance(name, str) and name.endswith("(built-in)")


def draw(name: str) -> str:
    """A built-in picture as a file, by the name that the host's nodes know it by."""
    from ..cascade_core.builtin.pictures import BUILT_IN_PICTURES

    return _keep(BUILT_IN_PICTURES[name].draw(), f"{name.removesuffix(' (built-in)')}.png")


class Smaller(NamedTuple):
    """A picture made smaller: its name, and width and height."""

    name: str
    size: tuple[int, int]


def shrink(path: Path) -> Smaller | None:
    """A picture of at most SMALL pixels a side; None where it is not too large, or cannot be read."""
    from PIL import Image, ImageOps

    try:
        with opened(path, most=1) as file:
            if max(file.size) <= LARGE:
                return None
            picture = ImageOps.exif_transpose(file)
    except CascadeError:
        return None  # the node that reads it says why
    picture.thumbnail((SMALL, SMALL), Image.Resampling.BICUBIC)
    return Smaller(_keep(picture, f"{path.stem}.png"), picture.size)


def _keep(picture: Any, name: str) -> str:
    folder = host.current().temporary_directory() / "built_in"
    folder.mkdir(exist_ok=True)
    number = len(list(folder.iterdir()))
    picture.save(folder / f"{number} {name}")
    return f"built_in/{number} {name} [temp]"
