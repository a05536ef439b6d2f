"""Trained tokens in a text encoder: a second encoder over the same weights that knows more words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import cast

import torch
from torch import Tensor, nn

from ..errors import CascadeError
from ..models.adapters import share
from ..models.added_tokens import AddedRows, GrownEmbedding
from ..models.text import TextEncoder
from ..models.tokenizer import AddedTokens
from .lora import Lora, NewToken

END = "</w>"  # of a whole word in CLIP's vocabulary


def with_tokens(
    encoder: TextEncoder, tokens: Sequence[NewToken], rows: Tensor | None = None, strength: float = 1.0
) -> TextEncoder:
    """A second encoder over the same weights, in which prompts may say these tokens.

    rows: instead of the tokens' own, all of theirs one below the other (N, D), trainable if they are a Parameter.
    strength: of the rows. Raises CascadeError where a token does not fit.
    """
    embedding = encoder.text_model.embeddings.token_embedding
    own = torch.cat([token.rows for token in tokens])
    width = embedding.embedding_dim
    if own.shape[1] != width:
        raise CascadeError(
            f"The tokens {', '.join(token.text for token in tokens)} have {own.shape[1]} numbers each, but the text"
            f" encoder's words {width}: choose the text encoder that they were trained with"
        )
    ids, said = _number(embedding, tokens)
    starts = torch.cat([first_rows(encoder, token).expand(len(token.rows), -1) for token in tokens])
    device, dtype = embedding.weight.device, embedding.weight.dtype
    added = own.to(dtype) * strength if rows is None else rows
    group = AddedRows(torch.tensor(ids), starts, added).to(device)

    twin = cast(TextEncoder, share(encoder))
    grown = cast(GrownEmbedding, share(embedding, GrownEmbedding))
    grown.groups = nn.ModuleList([*(embedding.groups if isinstance(embedding, GrownEmbedding) else ()), group])
    twin.text_model.embeddings.token_embedding = grown
    if said:
        twin.tokenizer = AddedTokens(encoder.tokenizer, said)
    return twin


def name_tokens(lora: Lora, said: str, encoder: TextEncoder) -> Lora:
    """The LoRA with names for the new tokens that its file leaves unnamed; words that the encoder knows need none.

    said: lines `[fernando]=^dog</w>`, in the order of the file: the word, and the regex that it was trained from (it
    may be left out: then from zeros). Raises CascadeError where the number is another.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        return lora
    embedding = encoder.text_model.embeddings.token_embedding
    unnamed = [token for token in lora.tokens if not token.text and not _is_known(embedding, token)]
    if len(lines) != len(unnamed):
        raise CascadeError(
            f"`tokens`: LoRA {lora.name} leaves {len(unnamed)} new tokens unnamed, but {len(lines)} are named: write"
            " one line for each, such as [fernando]=^dog</w>"
        )
    names = dict(zip(map(id, unnamed), (line.partition("=") for line in lines), strict=True))
    tokens = [
        replace(token, text=names[id(token)][0].strip(), start=names[id(token)][2].strip(), known=None)
        if id(token) in names
        else token
        for token in lora.tokens
    ]
    return replace(lora, tokens=tuple(tokens))


def _number(embedding: nn.Embedding, tokens: Sequence[NewToken]) -> tuple[list[int], dict[str, tuple[int, ...]]]:
    """An id for every row, and the ids of each added word."""
    taken = cast(list[int], embedding.taken().tolist() if isinstance(embedding, GrownEmbedding) else [])  # pyright: ignore[reportUnknownMemberType]
    above, below = max([embedding.num_embeddings - 1, *taken]), min([0, *taken])
    ids: list[int] = []
    said: dict[str, tuple[int, ...]] = {}
    for token in tokens:
        if token.known is not None and _is_known(embedding, token):
            ids += [token.known] * len(token.rows)
            continue
        if not token.text:
            raise CascadeError(
                "This LoRA's new tokens have no names in its file, as the official trainer keeps them in its settings:"
                " write them into `tokens`, a line for each, such as [fernando]=^dog</w>"
            )
        own = [above + 1 + i if token.pooled else below - 1 - i for i in range(len(token.rows))]
        above, below = max(above, *own), min(below, *own)
        ids += own
        said[token.text] = tuple(own)
    return ids, said


def _is_known(embedding: nn.Embedding, token: NewToken) -> bool:
    return token.known is not None and token.known < embedding.num_embeddings


def first_rows(encoder: TextEncoder, token: NewToken) -> Tensor:
    """(1, D), to which a token's rows are added: the mean of the words that its regex finds, else zeros."""
    table = encoder.text_model.embeddings.token_embedding.weight
    if _is_known(encoder.text_model.embeddings.token_embedding, token):
        return table.new_zeros(1, table.shape[1])  # its own embedding is there already
    found = starting_words(encoder, token)
    return table[found].mean(0, keepdim=True) if found else table.new_zeros(1, table.shape[1])


def starting_words(encoder: TextEncoder, token: NewToken) -> list[int]:
    """Ids of the encoder's words that the token's regex finds; CascadeError where it finds none."""
    vocabulary = encoder.tokenizer.vocabulary
    try:
        found = [i for word, i in vocabulary.items() if token.start and re.search(token.start, word)]
    except re.error as error:
        example = _regex_like(token.start, vocabulary)
        raise CascadeError(
            f"Token {token.text}: expected a regular expression such as {example}, found {token.start!r} ({error})"
        ) from error
    if token.start and not found:
        raise CascadeError(
            f"Token {token.text}: no word of the text encoder matches {token.start!r}: name another, such as"
            f" {_regex_like(token.start, vocabulary)}"
        )
    return found


def _regex_like(wanted: str, vocabulary: Iterable[str]) -> str:
    """A regex that finds one of these words, one that is near where there is one; words may end in `</w>`."""
    plain = {word.removesuffix(END): word for word in sorted(vocabulary, key=lambda word: word.endswith(END))}
    words = [word for word in plain if word.isalpha() and len(word) > 2]
    letters = max(re.findall(r"[^\W\d_]+", wanted), key=len, default="")
    word = next(iter([*get_close_matches(letters, words, n=1), *words, *plain]))
    return f"^{plain[word]}" if plain[word].endswith(END) else f"^{word}$"
