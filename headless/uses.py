"""What the models of a prompt are for, told from its links: which stage a MODEL samples, what a VAE does, and which
hint a ControlNet gets. The host's sockets carry models of all kinds, and names of files are no proof."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from . import graph

Output = tuple[str, int]  # a node and the slot of its output

STAGE_B_CONDITIONING = "StableCascade_StageB_Conditioning"
LATENTS = {
    "StableCascade_EmptyLatentImage": ("stage_c", "stage_b"),
    "StableCascade_StageC_VAEEncode": ("stage_c", "stage_b"),
    "StableCascade_SuperResolutionControlnet": ("", "stage_c", "stage_b"),
    "CascadeEmptyLatents": ("stage_c", "stage_b"),
    "CascadeEncodeImage": ("stage_c", "stage_b"),
    "CascadeStageCSampler": ("stage_c",),
    "CascadeStageBSampler": ("stage_b",),
}  # the stage of each output
ENCODERS = ("StableCascade_StageC_VAEEncode", "StableCascade_SuperResolutionControlnet")  # of pictures, by the effnet
HINTS = {
    "Canny": "canny",
    "CascadeCannyHint": "canny",
    "JoinImageWithAlpha": "inpainting",
    "CascadeInpaintHint": "inpainting",
    "StableCascade_SuperResolutionControlnet": "super_resolution",
    "CascadeSuperResolutionHint": "super_resolution",
    "CascadeFaceIdentityHint": "identity",
}  # what makes the hint of a ControlNet
PICTURES = ("IMAGE", "CASCADE_HINT")
NAMED = {
    "stage_b": r"stage[_ -]?b|decoder",
    "stage_c": r"stage[_ -]?c|prior",
    "stage_a": r"stage[_ -]?a|vqgan",
    "effnet": r"effnet|efficient",
    "previewer": r"preview",
    "canny": r"canny",
    "inpainting": r"in-?paint|out-?paint",
    "super_resolution": r"super|upscal|[_-]sr\b",
    "identity": r"identity|face",
}  # what a file's name says


class Uses:
    """The links of a prompt, whose classes all have `definitions`; nodes of other classes are passed over."""

    def __init__(self, prompt: graph.Prompt, definitions: graph.Definitions) -> None:
        self._prompt = prompt
        self._definitions = definitions
        self._readers: dict[Output, list[tuple[str, str]]] = {}  # (node, input) that an output goes to
        for node_id, node in prompt.items():
            for name, value in node["inputs"].items():
                if link := graph.link_of(value):
                    self._readers.setdefault(link, []).append((node_id, name))

    def wired(self, node_id: str) -> set[int]:
        """The slots of a node's outputs that something is connected to."""
        return {slot for node, slot in self._readers if node == node_id}

    def feeds(self, node_id: str, *class_types: str) -> bool:
        """Whether what a node gives goes into a node of these classes, perhaps through others."""
        return any(self._class(node) in class_types for node in self._behind(node_id))

    def stages(self, output: Output) -> set[str]:
        """The stages as which a MODEL is sampled: "stage_c", "stage_b"."""
        ends = {node for node, _ in self._ends(output, "MODEL")}
        return {self._stage_of_sampler(node) for node in ends if self._has(node, "CONDITIONING")}

    def coders(self, output: Output) -> set[str]:
        """What a VAE has to be: "stage_a", "effnet", "previewer"."""
        found: set[str] = set()
        for node, _ in self._readers.get(output, ()):
            if self._class(node) in ENCODERS:
                found.add("effnet")
            elif self._outputs(node) == ("IMAGE",):
                found |= {"stage_a" if stage == "stage_b" else "previewer" for stage in self._stages_of_inputs(node)}
            elif "LATENT" in self._outputs(node):
                latent = node, self._outputs(node).index("LATENT")
                samplers = {self._stage_of_sampler(end) for end, _ in self._ends(latent, "LATENT")}
                found |= {"stage_a" if stage == "stage_b" else "effnet" for stage in samplers}
        return found

    def modes(self, output: Output) -> set[str]:
        """The hints of a ControlNet: "canny", "inpainting", ..."""
        found: set[str] = set()
        for node, _ in self._readers.get(output, ()):
            for source, _ in self._links(node, PICTURES):
                makers = (HINTS.get(self._class(before)) for before in self._before(source, PICTURES))
                found |= {mode for mode in [next(filter(None, makers), None)] if mode}
        return found

    def _class(self, node_id: str) -> str:
        return str(self._prompt[node_id]["class_type"])

    def _outputs(self, node_id: str) -> tuple[object, ...]:
        definition = self._definitions.get(self._class(node_id))
        return () if definition is None else tuple(definition.outputs)

    def _links(self, node_id: str, types: Sequence[str]) -> Iterator[Output]:
        """Where the inputs of these types come from."""
        definition = self._definitions.get(self._class(node_id))
        for name, value in self._prompt[node_id]["inputs"].items():
            link, entry = graph.link_of(value), definition and definition.inputs.get(name)
            if link and entry and entry.type in types and link[0] in self._prompt:
                yield link

    def _has(self, node_id: str, socket: str) -> bool:
        return any(True for _ in self._links(node_id, (socket,)))

    def _before(self, node_id: str, types: Sequence[str]) -> Iterator[str]:
        """A node and all before it along links of these types, the nearest first, each once."""
        waiting, seen = [node_id], {node_id}
        while waiting:
            node = waiting.pop(0)
            yield node
            new = [source for source, _ in self._links(node, types) if source not in seen]
            waiting += new
            seen.update(new)

    def _behind(self, node_id: str) -> Iterator[str]:
        waiting, seen = [node_id], {node_id}
        while waiting:
            node = waiting.pop()
            for reader in {reader for slot in self.wired(node) for reader, _ in self._readers[node, slot]} - seen:
                yield reader
                waiting.append(reader)
                seen.add(reader)

    def _ends(self, output: Output, socket: str) -> Iterator[tuple[str, str]]:
        """The inputs at which what an output gives is used: through all nodes that hand on this type."""
        waiting, seen = [output], {output}
        while waiting:
            for node, name in self._readers.get(waiting.pop(), ()):
                handed_on = [(node, slot) for slot, kind in enumerate(self._outputs(node)) if kind == socket]
                if not handed_on or (self._has(node, "MODEL") and socket == "LATENT"):  # a sampler ends a latent's way
                    yield node, name
                    continue
                waiting += [new for new in handed_on if new not in seen]
                seen.update(handed_on)

    def _stage_of_sampler(self, node_id: str) -> str:
        """By its conditioning, or else by its latent: Stage B is the one that gets the latent of Stage C."""
        conditions = (
            self._class(node)
            for source, _ in self._links(node_id, ("CONDITIONING",))
            for node in self._before(source, ("CONDITIONING",))
        )
        if STAGE_B_CONDITIONING in conditions:
            return "stage_b"
        return "stage_b" if self._stages_of_inputs(node_id) == {"stage_b"} else "stage_c"

    def _stages_of_inputs(self, node_id: str) -> set[str]:
        """The stages of the latents that a node gets."""
        return {stage for link in self._links(node_id, ("LATENT",)) for stage in self._stages_of_latent(link, set())}

    def _stages_of_latent(self, output: Output, seen: set[Output]) -> set[str]:
        node, slot = output
        if output in seen:
            return set()
        seen.add(output)
        stages = LATENTS.get(self._class(node))
        if stages is not None:
            return {stage for stage in stages[slot : slot + 1] if stage}
        if self._has(node, "MODEL"):
            return {self._stage_of_sampler(node)}
        return {stage for link in self._links(node, ("LATENT",)) for stage in self._stages_of_latent(link, seen)}


def named(name: str, kinds: Sequence[str]) -> set[str]:
    """Those of the kinds or modes that a file's name speaks of."""
    return {kind for kind in kinds if re.search(NAMED[kind], name, re.IGNORECASE)}
