"""The text encoder: prompts to the token sequence and the pooled vector that Stages B and C are conditioned on.

What the official pipeline asks of CLIP stands here: padding with the end token, the attention mask, the sequence
before the last norm, and where to pool. Emphasis and prompts over the limit are ComfyUI's ideas: see `encode`.

Letters: B prompts, C chunks per prompt, L = tokenizer.max_length, T = C * L tokens, D width, P projected width.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import CascadeError
from .clip import TextTower
from .clip_config import AT_GREATEST_ID, TextConfig
from .prompt import parse_weights
from .tokenizer import Tokenizer

WHOLE_PIECE = 8  # tokens; ComfyUI does not part a piece of a prompt that has fewer

_Chunk = list[tuple[int, float]]  # (token id, weight), at most L - 2 of them, without start, end and padding


class TextEmbedding(NamedTuple):
    sequence: Tensor  # (B, T, D)
    pooled: Tensor  # (B, P)


class TextEncoder(nn.Module):
    """CLIP text encoder with projection, and its tokenizer."""

    def __init__(self, config: TextConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        if tokenizer.max_length > config.max_positions or tokenizer.end >= config.vocab_size:
            raise CascadeError(
                f"This tokenizer does not fit the text encoder: it has {tokenizer.end + 1} tokens and prompts of "
                f"{tokenizer.max_length}, the encoder {config.vocab_size} tokens and {config.max_positions} positions. "
                "Use the tokenizer that belongs to the encoder."
            )
        self.config = config
        self.layer = -1  # whose output the sequence is, counted from the end
        self.tokenizer = tokenizer
        self.text_model = TextTower(config)
        self.text_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)
        nn.init.normal_(self.text_projection.weight, std=config.hidden_size**-0.5)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids (B, L) and mask (B, L), 1 up to the first end token -> sequence (B, L, D), pooled (B, P)."""
        sequence, last = self.text_model(ids, mask, self.layer)
        eos = self.config.eos_token_id
        at_end = ids if eos == AT_GREATEST_ID else (ids == eos).int()
        end = last[torch.arange(len(ids), device=ids.device), at_end.argmax(dim=1)]  # (B, D), the first maximum
        return sequence, self.text_projection(self.text_model.final_layer_norm(end))

    def ending_at(self, layer: int) -> TextEncoder:
        """The same weights with the sequence of an earlier layer, counted from the end; pooled is the last's."""
        if len(self.text_model.encoder.layers) < -layer:
            raise CascadeError(
                f"This text encoder has {len(self.text_model.encoder.layers)} layers and cannot stop at {layer}: choose"
                " one of them, or -1, the last, as Stable Cascade was trained"
            )
        other = copy(self)
        other.layer = layer
        return other

    def encode(self, texts: Sequence[str], truncate: bool = False) -> TextEmbedding:
        """Encode prompts, each with emphasis `(word:1.3)` and of any length.

        A prompt of more than L - 2 tokens is cut into chunks of L - 2, each encoded alone with its own start and end;
        a short piece between two changes of weight is not parted, its chunk begins earlier. The sequences are joined
        along T, the pooled vector is the first chunk's. Prompts with fewer chunks than the longest of the batch are
        filled up with the empty prompt's sequence: encode them apart if that matters.
        A token of weight w gets the row z_empty + w (z - z_empty), z_empty being the same row of the empty prompt;
        the pooled vector is not weighted.
        `truncate`: as officially, i.e. one chunk, and brackets are text.
        """
        prompts = [self._split(text, truncate) for text in texts]
        chunks = max(len(prompt) for prompt in prompts)
        flat = [chunk for prompt in prompts for chunk in prompt + [[]] * (chunks - len(prompt))]  # B * C
        weights = self._weights(flat)
        if weights is not None:
            flat.append([])  # for z_empty

        sequence, pooled = self(*self._pad(flat))
        if weights is not None:
            empty = sequence[-1:].float()
            sequence = (empty + weights * (sequence[:-1].float() - empty)).to(sequence.dtype)
            pooled = pooled[:-1]
        sequence = sequence.reshape(len(prompts), -1, sequence.shape[-1])  # (B, C * L, D)
        return TextEmbedding(sequence, pooled[::chunks])

    @property
    def known_words(self) -> tuple[str, ...]:
        """The whole vocabulary; empty where the tokenizer can spell anything."""
        return self.tokenizer.words

    def unknown_words(self, text: str) -> list[str]:
        """Words of a prompt that this encoder does not know and skips, in order, each once."""
        unknown = [word for piece, _ in parse_weights(text) for word in self.tokenizer.unknown(piece)]
        return list(dict.fromkeys(unknown))

    def rows(self, text: str) -> int:
        """How many rows of tokens `encode` computes for a prompt: its chunks, and one more where words are weighted."""
        chunks = self._split(text, truncate=False)
        return len(chunks) + (self._weights(chunks) is not None)

    def _split(self, text: str, truncate: bool) -> list[_Chunk]:
        """The prompt's chunks, at least one."""
        size = self.tokenizer.max_length - 2
        chunks: list[_Chunk] = [[]]
        for piece, weight in [(text, 1.0)] if truncate else parse_weights(text):
            tokens = [(token, weight) for token in self.tokenizer.encode(piece)]
            if size - len(chunks[-1]) < len(tokens) < WHOLE_PIECE:
                chunks.append([])
            while tokens:
                room = size - len(chunks[-1])
                chunks[-1] += tokens[:room]
                tokens = tokens[room:]
                if tokens:
                    chunks.append([])
        return chunks[:1] if truncate else chunks

    def _pad(self, chunks: list[_Chunk]) -> tuple[Tensor, Tensor]:
        """Ids (n, L) with start, end and padding, and the mask (n, L), on the weights' device."""
        tokenizer = self.tokenizer
        ids: list[list[int]] = []
        mask: list[list[int]] = []
        for chunk in chunks:
            row = [tokenizer.start, *(token for token, _ in chunk), tokenizer.end]
            padding = tokenizer.max_length - len(row)
            ids.append(row + [tokenizer.pad] * padding)
            mask.append([1] * len(row) + [0] * padding)
        device = self.text_projection.weight.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _weights(self, chunks: list[_Chunk]) -> Tensor | None:
        """Weight of every row (n, L, 1), 1 at start, end and padding; None where all are 1."""
        if all(weight == 1.0 for chunk in chunks for _, weight in chunk):
            return None
        weights = torch.ones(len(chunks), self.tokenizer.max_length, 1)
        for row, chunk in zip(weights, chunks, strict=True):
            for position, (_, weight) in enumerate(chunk, start=1):
                row[position] = weight
        return weights.to(self.text_projection.weight.device)
