"""Nodes that encode a prompt as CONDITIONING, and add pictures to vary and ControlNets to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..cascade_core.wording import nearest_file, printable
from ..runtime import host, model_folders
from . import inputs, sockets

if TYPE_CHECKING:
    from torch import Tensor

    from ..cascade_core.hints import Hint
    from ..cascade_core.models.handle import Handle

CATEGORY = "Stable Cascade/conditioning"


def embedding_files(text: str) -> dict[str, Path]:
    """The file of each embedding:NAME in a prompt, by name; CascadeError where one is not there."""
    if "embedding:" not in text.casefold():  # nearly always, and then nothing heavy is imported
        return {}
    from ..cascade_core.lora.embeddings import named_embeddings

    here = host.current()
    known = here.model_files(("embeddings",))
    files: dict[str, Path] = {}
    for name in named_embeddings(text):
        path = model_folders.find_file(known, name)
        if path is None:
            near = nearest_file(name, (known_name.rpartition(".")[0] for known_name in known))
            raise CascadeError(
                f"The prompt asks for embedding:{printable(name)}, but there is none of this name in the model folder"
                f" embeddings{near}: put its file into {here.model_folder('embeddings')}, or take it out of the prompt"
            )
        files[name] = path
    return files


class CascadeTextEncode:
    DISPLAY_NAME = "Text Encode"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Encodes a prompt for Stage C and Stage B. (word:1.3) weighs a word; a long prompt is encoded in pieces."
        " Words that the built-in encoder does not know are named. It knows circle, square, triangle, star, diamond,"
        " heart and cross, one or two, three or four of them, small or large, in red, green, blue, yellow, orange,"
        " purple, pink or black; at the top left, top right, bottom left, bottom right or center; left of, right of,"
        " above or below another; on a white, gray, cream, sky, mint or rose background; and a face with pale, tan,"
        " brown or dark skin, short or long hair in black, brown, blonde, red or white, glasses or no glasses, a smile,"
        " a frown or an open mouth."
    )
    SEARCH_ALIASES = ("stable cascade", "prompt", "clip text encode", "positive", "negative")
    FUNCTION, REHEARSE = "encode", "rehearse"
    RETURN_TYPES, RETURN_NAMES = ("CONDITIONING",), ("conditioning",)
    OUTPUT_TOOLTIPS = ("The encoded prompt, for `positive` or `negative` of both samplers.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "text_encoder": inputs.wire(
                    sockets.TEXT_ENCODER, "The text encoder, of the same family as the stages."
                ),
                "text": inputs.text(
                    "",
                    "What the picture shows, or, as a negative prompt, what it avoids; it may be empty.",
                    several_lines=True,
                    dynamicPrompts=True,
                ),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, text: str | None = None) -> bool | str:
        """True, or which embedding is not there; `text` is None where it is linked."""
        try:
            embedding_files(str(text))
        except CascadeError as error:
            return str(error)
        return True

    def encode(self, text_encoder: Handle | None, text: str) -> Any:
        from ..cascade_core.builtin import words
        from ..cascade_core.pipeline import encode_text

        text_encoder = self._with_embeddings(text_encoder, text)
        conditioning = sockets.to_conditioning(encode_text(text_encoder, text))
        encoder: Any = text_encoder.module
        messages = [f"{text_encoder.name}: {unseen}" for unseen in words.unseen_colours(text) if encoder.known_words]
        if unknown := encoder.unknown_words(text):
            known = words.summary(encoder.known_words)
            messages.append(f"{text_encoder.name} does not know and skips: {', '.join(unknown)}. It knows: {known}")
        if not messages:
            return (conditioning,)
        for message in messages:
            host.current().warn(self.DISPLAY_NAME, message)
        return {"ui": {"text": messages}, "result": (conditioning,)}

    def _with_embeddings(self, text_encoder: Handle | None, text: str) -> Handle:
        """The encoder with the vectors of each embedding:NAME in the prompt, a file of the model folder embeddings."""
        if text_encoder is None:
            raise CascadeError(
                "`text_encoder` is empty: the Apply LoRA before it has none connected. Connect its `text_encoder`, or"
                " take the text encoder from its loader"
            )
        files = embedding_files(text)
        if not files:
            return text_encoder
        from ..cascade_core.lora.embeddings import with_embeddings
        from ..cascade_core.lora.read import read_embedding

        return with_embeddings(text_encoder, {name: read_embedding(path) for name, path in files.items()})

    def rehearse(self, text_encoder: Handle | None, text: str) -> tuple[sockets.Conditioning]:
        """The placeholder of a prompt of one piece, whatever the text: no check asks for the number of tokens."""
        import torch

        from ..cascade_core.sampling.condition import Condition

        text_encoder = self._with_embeddings(text_encoder, text)
        config = text_encoder.config
        sequence = torch.empty(1, config.max_positions, config.hidden_size, device="meta")
        pooled = torch.empty(1, config.projection_dim, device="meta")
        return (sockets.to_conditioning(Condition(sequence, pooled, family=text_encoder.family)),)


class CascadeImageEncode:
    DISPLAY_NAME = "Image Encode"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Adds a picture to the prompt, for variations of it: Stage C sees what it shows, not where. Several pictures,"
        " as a batch or by several of these nodes, are mixed."
    )
    SEARCH_ALIASES = ("stable cascade", "image variation", "clip vision encode", "unclip", "reference")
    FUNCTION, REHEARSE = "encode", "rehearse"
    RETURN_TYPES, RETURN_NAMES = ("CONDITIONING",), ("conditioning",)
    OUTPUT_TOOLTIPS = ("The prompt with the picture, for `positive` of the Stage C sampler.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "conditioning": inputs.wire("CONDITIONING", "The prompt, which may be empty."),
                "image_encoder": inputs.wire(
                    sockets.IMAGE_ENCODER, "The image encoder, of the same family as the text encoder."
                ),
                "image": inputs.wire(
                    "IMAGE", "The picture to vary, its middle square. A batch is several references for one."
                ),
                "strength": inputs.decimal(1.0, 0.0, 10.0, "How much the picture counts: 1 officially.", step=0.05),
            },
            "optional": {
                "mix": inputs.choice(
                    ("beside", "blend"),
                    "beside",
                    "With the pictures of nodes before this one: beside them, as the network sees several; or blended"
                    " with them into one, each as much as its strength says.",
                )
            },
        }

    def encode(
        self,
        conditioning: sockets.Conditioning,
        image_encoder: Handle,
        image: Tensor,
        strength: float,
        mix: str = "beside",
    ) -> tuple[sockets.Conditioning]:
        from ..cascade_core.images import embed_pixels

        _check_family(image_encoder, conditioning)
        embeddings = embed_pixels(image_encoder, sockets.to_pixels(image))
        return (self._add(conditioning, embeddings, strength, mix),)

    def rehearse(
        self,
        conditioning: sockets.Conditioning,
        image_encoder: Handle,
        image: Tensor,
        strength: float,
        mix: str = "beside",
    ) -> tuple[sockets.Conditioning]:
        import torch

        _check_family(image_encoder, conditioning)
        count, _, _ = sockets.image_size("image", image)
        embeddings = torch.empty(count, image_encoder.config.projection_dim, device="meta")
        return (self._add(conditioning, embeddings, strength, mix),)

    @staticmethod
    def _add(conditioning: sockets.Conditioning, embeddings: Tensor, strength: float, mix: str) -> sockets.Conditioning:
        add = sockets.with_blended_images if mix == "blend" else sockets.with_images
        return add(conditioning, embeddings, strength)


class CascadeControlNetApply:
    DISPLAY_NAME = "Apply ControlNet"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Steers Stage C by a hint. On `positive` it acts on the unconditional pass too, as officially. Several of these"
        " nodes in a row add up. The hint covers the whole picture."
    )
    SEARCH_ALIASES = ("stable cascade", "controlnet", "control", "canny", "inpainting", "identity")
    FUNCTION = REHEARSE = "apply"
    RETURN_TYPES, RETURN_NAMES = ("CONDITIONING",), ("conditioning",)
    OUTPUT_TOOLTIPS = ("The prompt with the hint, for `positive` of the Stage C sampler.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "conditioning": inputs.wire("CONDITIONING", "The prompt."),
                "controlnet": inputs.wire(sockets.CONTROLNET, "The ControlNet for this kind of hint."),
                "hint": inputs.wire(sockets.HINT, "What the ControlNet is shown, from one of the hint nodes."),
                "strength": inputs.decimal(
                    1.0, 0.0, 10.0, "How strongly the hint steers: 1 officially, 0 not at all.", step=0.05
                ),
                "start_percent": inputs.decimal(0.0, 0.0, 1.0, "The hint begins to steer this far into the run."),
                "end_percent": inputs.decimal(1.0, 0.0, 1.0, "The hint steers up to this far into the run."),
            }
        }

    def apply(
        self,
        conditioning: sockets.Conditioning,
        controlnet: Handle,
        hint: Hint,
        strength: float,
        start_percent: float,
        end_percent: float,
    ) -> tuple[sockets.Conditioning]:
        from ..cascade_core.hints import apply_control

        conditions = sockets.to_conditions("conditioning", conditioning)
        _check_family(controlnet, conditioning)
        if not conditions:
            return (conditioning,)
        steered = apply_control(conditions[0], controlnet, hint, strength, start_percent, end_percent)
        control = steered.controls[-1]  # shared by all entries, so that it is computed once
        return (sockets.with_control(conditioning, control),)


def _check_family(model: Handle, conditioning: sockets.Conditioning) -> None:
    """CascadeError where an entry is of another family than the model."""
    from ..cascade_core.models.family import check_family

    for _, options in conditioning:
        check_family(model, "conditioning", options.get(sockets.FAMILY))


NODES = (CascadeTextEncode, CascadeImageEncode, CascadeControlNetApply)
