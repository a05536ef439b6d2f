"""`embedding:NAME` in prompts, as ComfyUI reads it: vectors of a file in the place of a word."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from ..models.handle import Handle
from ..models.text import TextEncoder
from .attach import beside
from .lora import NewToken
from .tokens import with_tokens

_SAID = re.compile(r"embedding:([^\s,:()\[\]]+)", re.IGNORECASE)


def named_embeddings(text: str) -> list[str]:
    """The names of the embeddings that a prompt asks for, each once, in order."""
    return list(dict.fromkeys(name.rstrip(".;!?") for name in _SAID.findall(text)))


def with_embeddings(text_encoder: Handle, vectors: Mapping[str, Tensor]) -> Handle:
    """The text encoder in which prompts may say `embedding:NAME` for these vectors, name -> (n, D).

    Raises CascadeError where they are of another width than its words.
    """
    text_encoder.read()
    longest_first = sorted(vectors, key=len, reverse=True)
    tokens = [NewToken(f"embedding:{name}", vectors[name], pooled=False) for name in longest_first]
    with torch.inference_mode(False), torch.no_grad():
        tokens = [replace(token, rows=token.rows.clone()) for token in tokens]
        module = with_tokens(cast(TextEncoder, text_encoder.module), tokens)
        return beside(text_encoder, module.eval())
