"""Prompts -> CONDITIONING."""

from __future__ import annotations

from typing import Any

from .. import cascade_core as core
from . import host, sockets


class CascadeTextEncode:
    DISPLAY_NAME = "Text Encode"
    CATEGORY = "Stable Cascade/conditioning"
    DESCRIPTION = (
        "Encodes a prompt for Stage C and Stage B. (word:1.3) weighs a word; a long prompt is encoded in pieces."
        " Words that the built-in encoder does not know are named."
    )
    SEARCH_ALIASES = ("stable cascade", "prompt", "clip text encode", "positive", "negative")
    FUNCTION, REHEARSE = "encode", "rehearse"
    RETURN_TYPES, RETURN_NAMES = ("CONDITIONING",), ("conditioning",)
    OUTPUT_TOOLTIPS = ("The encoded prompt, for `positive` or `negative` of both samplers.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "text_encoder": (
                    sockets.TEXT_ENCODER,
                    {"tooltip": "The text encoder, of the same family as the stages."},
                ),
                "text": (
                    "STRING",
                    {
                        "default": "",
                        "multiline": True,
                        "dynamicPrompts": True,
                        "tooltip": "What the picture shows, or, as a negative prompt, what it avoids; it may be empty.",
                    },
                ),
            }
        }

    def encode(self, text_encoder: core.Handle, text: str) -> Any:
        conditioning = sockets.to_conditioning(core.encode_text(text_encoder, text))
        encoder: Any = text_encoder.module
        unknown = encoder.unknown_words(text)
        if not unknown:
            return (conditioning,)
        known = ", ".join(word for word in encoder.known_words if word.isalnum())  # a comma is a word there, too
        message = f"{text_encoder.name} does not know and skips: {', '.join(unknown)}. It knows: {known}"
        host.warn(self.DISPLAY_NAME, message)
        return {"ui": {"text": [message]}, "result": (conditioning,)}

    def rehearse(self, text_encoder: core.Handle, text: str) -> tuple[sockets.Conditioning]:
        """As for a prompt of one piece: no check asks for the number of tokens."""
        import torch

        config = text_encoder.config
        sequence = torch.empty(1, config.max_positions, config.hidden_size, device="meta")
        pooled = torch.empty(1, config.projection_dim, device="meta")
        return (sockets.to_conditioning(core.Condition(sequence, pooled, family=text_encoder.family)),)
