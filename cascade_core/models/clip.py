"""The transformers of CLIP's text and image encoder (Radford et al. 2021), under the names of their checkpoints.

Knows no prompts, no pooling of text and no preprocessing. Written out instead of taken from transformers, which imports
torchaudio and torchvision on the way to its models: beside a torch of another build these fail, and a ComfyUI lives
with that.

Letters: B batch, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CascadeError
from .clip_config import TextConfig, VisionConfig
from .linear import Linear

EMBEDDING_STD = 0.02


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "quick_gelu": _quick_gelu}


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = Linear(width, width)
        self.k_proj = Linear(width, width)
        self.v_proj = Linear(width, width)
        self.out_proj = Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (B, L, D); mask (B, 1, L, L), True where a token sees another."""
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, L, D / heads)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(seen.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class Layer(nn.Module):
    def __init__(self, config: TextConfig | VisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.layer_norm1 = nn.LayerNorm(width)
        self.self_attn = Attention(width, config.heads)
        self.layer_norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, config.intermediate_size, config.hidden_act)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    def __init__(self, config: TextConfig | VisionConfig) -> None:
        super().__init__()
        if config.hidden_act not in ACTIVATIONS:
            raise CascadeError(f"hidden_act: expected {' or '.join(ACTIVATIONS)}, found {config.hidden_act}")
        if config.hidden_size % config.heads:
            raise CascadeError(f"heads: {config.heads} do not divide the width {config.hidden_size}: change one")
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self._initialize(config.hidden_size, config.layers)

    def _initialize(self, width: int, layers: int) -> None:
        """For training from scratch, as CLIP's: what the layers add to the stream keeps its size, however many."""
        added = (2 * layers * width) ** -0.5
        stds = {"q_proj": added, "k_proj": added, "v_proj": added, "fc2": added}
        stds |= {"out_proj": width**-0.5, "fc1": (2 * width) ** -0.5}
        for name, parameter in self.named_parameters():
            *_, module, kind = name.split(".")
            if module in stds:
                nn.init.normal_(parameter, std=stds[module] if kind == "weight" else 0.0)

    def forward(self, x: Tensor, mask: Tensor | None = None, part: slice = slice(None)) -> Tensor:
        for layer in self.layers[part]:
            x = layer(x, mask)
        return x


class TextEmbeddings(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_positions, config.hidden_size)
        for embedding in (self.token_embedding, self.position_embedding):
            nn.init.normal_(embedding.weight, std=EMBEDDING_STD)

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class TextTower(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size)  # the caller's: the sequence is taken before it

    def forward(self, ids: Tensor, mask: Tensor, layer: int = -1) -> tuple[Tensor, Tensor]:
        """Token ids (B, L) and mask (B, L), 0 for tokens that none sees -> what a layer makes of them, and the last.

        Both (B, L, D), before `final_layer_norm`. layer: counted from the end, -1 the last.
        """
        length = ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        x, seen = self.embeddings(ids), causal & mask[:, None, None].bool()
        split = len(self.encoder.layers) + 1 + layer
        chosen = self.encoder(x, seen, slice(split))
        return chosen, self.encoder(chosen, seen, slice(split, None))


class VisionEmbeddings(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.position_embedding = nn.Embedding((config.image_size // patch) ** 2 + 1, width)
        nn.init.normal_(self.class_embedding, std=width**-0.5)
        for module in (self.patch_embedding, self.position_embedding):
            nn.init.normal_(module.weight, std=EMBEDDING_STD)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).mT  # (B, L - 1, D)
        first = self.class_embedding.expand(len(pixels), 1, -1)
        return torch.cat([first, patches], dim=1) + self.position_embedding.weight


class VisionTower(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = VisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size)  # the checkpoints' spelling
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, image_size, image_size) -> the class token (B, D)."""
        h = self.encoder(self.pre_layrnorm(self.embeddings(pixels)))
        return self.post_layernorm(h[:, 0])
