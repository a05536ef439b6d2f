"""Words that a text encoder learned later: their embeddings beside its own, which stay as they are.

Ids of added words are those above the vocabulary, where encoders that pool at the greatest id pool at them, as
officially; or negative, which no encoder pools at.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AddedRows(nn.Module):
    """Embeddings `starts` + `rows` (n, D) of the ids `indices` (n,); to known ids' own embeddings they are added."""

    indices: Tensor

    def __init__(self, indices: Tensor, starts: Tensor, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("indices", indices, persistent=False)
        self.starts = nn.Parameter(starts, requires_grad=False)
        self.rows = rows if isinstance(rows, nn.Parameter) else nn.Parameter(rows, requires_grad=False)

    def forward(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """What is added for ids (B, L): (B, L, D)."""
        said = (ids[..., None] == self.indices).to(self.rows.dtype)
        return (said @ (self.starts.to(self.rows.dtype) + self.rows)).to(dtype)


class GrownEmbedding(nn.Embedding):
    """An embedding that answers for added ids, too."""

    groups: nn.ModuleList

    def forward(self, input: Tensor) -> Tensor:
        known = (input >= 0) & (input < self.num_embeddings)
        found = F.embedding(input.where(known, 0), self.weight) * known[..., None]
        for group in self.groups:
            found = found + group(input, found.dtype)
        return found

    def taken(self) -> Tensor:
        """The ids that have rows already."""
        return torch.cat([cast(AddedRows, group).indices for group in self.groups])
