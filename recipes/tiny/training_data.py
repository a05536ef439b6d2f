"""The training pictures with all that is made of them, on the device that trains.

Scene i is row i of every table. What a part needs it asks for before it begins, and gets as a function of indices (B,)
on the device, in which the host does nothing while a GPU trains.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...cascade_core.builtin import weights_path
from ...cascade_core.builtin.draw import draw
from ...cascade_core.builtin.faces import EMBEDDED_SIZE, face_box, on_plain
from ...cascade_core.builtin.pixels import to_pixels
from ...cascade_core.hints import FoundFace, canny_edges, enlarged, import_opencv, paint_faces
from ...cascade_core.models.blocks import Block
from ...cascade_core.models.effnet import Effnet
from ...cascade_core.models.stage_a import StageA
from ...cascade_core.models.text import TextEmbedding, TextEncoder
from ...cascade_core.models.vision import ImageEncoder
from .attributes import FACE_START, attributes
from .caches import Tables
from .caption_kinds import KINDS, TOKENIZER, VARIANTS, token_row, token_rows, wider_token_rows
from .data import CELLS, ENCODED_SIZE, encoder_picture, picture, training_scene
from .masks import sample_mask
from .networks import Network, shipped
from .training_part import CPU, autocast
from .wider import wider_scene

SMALL_SIDES = (12, 16, 16, 16, 20, 24, 32, 64)  # sides of the pictures that super-resolution enlarges
OUTLINE_REACH = 0.06  # a change of colour that is an outline

Rows = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Amounts:
    """How many scenes are used for what."""

    pictures: int = 24576  # kept with their Stage A latents
    latents: int = 65536  # kept as Stage C latents, for Stage C
    wider: int = 16384  # kept as Stage C latents of scenes in other colours
    large: int = 8192  # kept as Stage C latents of pictures of twice the side
    estimates: int = 1024  # kept as Stage B leaves them, for Stage A's decoder
    small: int = 8192  # kept as the latents of small pictures, for super-resolution


@lru_cache(maxsize=8)
def full_row(index: int) -> np.ndarray:
    return picture(training_scene(index))


def encoded_row(index: int) -> np.ndarray:
    return encoder_picture(full_row(index))


def wider_row(index: int) -> np.ndarray:
    return encoder_picture(picture(wider_scene(index)))


def large_row(index: int) -> np.ndarray:
    return encoder_picture(picture(training_scene(index), 2))


def seen_row(index: int) -> np.ndarray:
    return np.asarray(draw(training_scene(index), EMBEDDED_SIZE))


def face_row(index: int) -> np.ndarray:
    """The scene as the detector of faces embeds it; nothing where it has none."""
    scene = training_scene(index)
    if scene.face is None:
        return np.zeros((EMBEDDED_SIZE, EMBEDDED_SIZE, 3), np.uint8)
    return np.asarray(draw(on_plain(scene), EMBEDDED_SIZE))


def head_row(index: int) -> np.ndarray:
    """1 for the cells that an identity hint paints with the scene's face, 0 for others."""
    face = training_scene(index).face
    if face is None:
        return np.zeros((CELLS, CELLS), np.uint8)
    found = FoundFace(face_box(face, ENCODED_SIZE), torch.ones(1))
    return paint_faces([found], ENCODED_SIZE, ENCODED_SIZE)[0].byte().numpy()


def label_row(index: int) -> np.ndarray:
    return attributes(training_scene(index)).astype(np.uint8)


def edge_row(index: int) -> np.ndarray:
    edges = F.interpolate(canny_edges(to_pixels(full_row(index)[None])), (ENCODED_SIZE, ENCODED_SIZE), mode="bilinear")
    return (edges[0, 0] * 255).round().byte().numpy()


def mask_row(index: int) -> np.ndarray:
    return sample_mask(training_scene(index), ENCODED_SIZE, np.random.default_rng((4, index))).astype(np.uint8)


DRAWN: dict[str, Callable[[int], np.ndarray]] = {
    "full": full_row,
    "encoded": encoded_row,
    "seen": seen_row,
    "faces": face_row,
    "heads": head_row,
    "labels": label_row,
    "edges": edge_row,
    "masks": mask_row,
    **{f"tokens_{kind}": partial(token_rows, kind) for kind in KINDS},
}
"""Tables that need no network, by name: of the training scenes."""
WIDER: dict[str, Callable[[int], np.ndarray]] = {"wider": wider_row, "tokens_wider": wider_token_rows}
LARGE: dict[str, Callable[[int], np.ndarray]] = {"large": large_row}
MAKERS = DRAWN | WIDER | LARGE


def float_pixels(pictures: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) -> float (B, 3, H, W) in 0..1, where it lies."""
    return pictures.permute(0, 3, 1, 2).float() / 255


def near_outlines(pixels: Tensor) -> Tensor:
    """1 within four pixels of a change of colour, 0 elsewhere: (B, 3, H, W) -> (B, 1, H, W)."""
    spread = F.max_pool2d(pixels, 9, 1, 4) + F.max_pool2d(-pixels, 9, 1, 4)
    return (spread.amax(1, keepdim=True) > OUTLINE_REACH).float()


def shrunk(pixels: Tensor, side: int) -> Tensor:
    """Pictures (B, 3, H, W) at a few pixels a side, as a file of them would hold."""
    small = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
    return (small.clamp(0, 1) * 255).round() / 255


def until_end(ids: Tensor) -> Tensor:
    """Bool (B, L), true up to the first end token, which also pads."""
    ends = ids == TOKENIZER.end
    return ends.cumsum(1) <= ends.long()


def is_end(ids: Tensor) -> Tensor:
    """Bool (B, L), true at the first end token."""
    return until_end(ids) & (ids == TOKENIZER.end)


def weights_mark(*kinds: str) -> str:
    """A mark of the shipped weights, so that nothing is read that others made."""
    return f"{zlib.crc32(b''.join(weights_path(kind).read_bytes() for kind in kinds)):08x}"


class Data:
    """What parts learn from; every table is made when it is first asked for."""

    def __init__(self, work: Path, device: torch.device = CPU, amounts: Amounts | None = None, factor: int = 1) -> None:
        """factor: how many times larger than the recipe's a batch is."""
        self.device, self.factor = device, factor
        self.amounts = amounts or Amounts()
        self.compiled = False  # are the blocks of networks compiled?
        self.tables = Tables(work, device)

    def batch(self, usual: int) -> int:
        """A batch's rows; few sizes on a GPU, where every size is compiled anew."""
        return usual if self.factor == 1 else max(256, 1 << (usual * self.factor - 1).bit_length())

    def ready(self, module: Network) -> Network:
        """The module on the device, its blocks compiled, of each kind once."""
        module.to(self.device)
        for block in module.modules():
            if self.compiled and isinstance(block, Block):
                block.compile()
        return module

    def draw_ahead(self) -> None:
        """Draw at once, by all cores, what needs no network; as many pictures as latents."""
        most = max(self.amounts.pictures, self.amounts.latents)
        self.amounts = replace(self.amounts, pictures=most, latents=most)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # threads do not live on in forked processes, which would wait for them
        import_opencv().setNumThreads(0)
        for makers, rows in ((DRAWN, most), (WIDER, self.amounts.wider), (LARGE, self.amounts.large)):
            self.tables.draw(makers, rows)
        torch.set_num_threads(threads)

    def _drawn(self, name: str, rows: int) -> Tensor:
        return self.tables.drawn(name, rows, MAKERS[name])

    def some(self, rows: int | Tensor, batch: int) -> Tensor:
        """Random indices (B,), of the first `rows` or of these."""
        chosen = torch.randint(rows if isinstance(rows, int) else len(rows), (batch,), device=self.device)
        return chosen if isinstance(rows, int) else rows[chosen]

    def happens(self, share: float, batch: int, *ones: int) -> Tensor:
        """Bool (B, *ones), true in a share of the rows."""
        return torch.rand(batch, *ones, device=self.device) < share

    def encoded(self) -> Rows:
        """Pixels (B, 3, 192, 192) as the encoder sees them."""
        table = self._drawn("encoded", self.amounts.pictures)

        def rows(indices: Tensor) -> Tensor:
            if self.device.type == "cpu" and int(indices.max()) >= len(table):  # those for latents only have no file
                return to_pixels(np.stack([encoded_row(int(i)) for i in indices]))
            return float_pixels(table[indices])

        return rows

    def full(self) -> Rows:
        """Pictures uint8 (B, 256, 256, 3)."""
        return self._pictures("full", self.amounts.pictures)

    def _pictures(self, name: str, rows: int) -> Rows:
        """Pictures uint8 (B, H, W, 3) of a table; a CPU draws them each time, as a file of them would be large."""
        if self.device.type == "cpu":
            return lambda indices: torch.as_tensor(np.stack([MAKERS[name](int(index)) for index in indices]))
        table = self._drawn(name, rows)
        return lambda indices: table[indices]

    def labels(self) -> Rows:
        """The scenes' attributes, int64 (B, 33)."""
        table = self._drawn("labels", self.amounts.latents)
        return lambda indices: table[indices].long()

    def edges(self) -> Rows:
        """Canny's edges (B, 1, 192, 192) in 0..1."""
        table = self._drawn("edges", self.amounts.pictures)
        return lambda indices: table[indices, None].float() / 255

    def masks(self) -> Rows:
        """Masks (B, 1, 192, 192) of 0 and 1 to train inpainting with."""
        table = self._drawn("masks", self.amounts.pictures)
        return lambda indices: table[indices, None].float()

    def tokens(self, kind: str) -> Rows:
        """Token ids (B, L) of one of each scene's captions of a kind, or of each wider scene's."""
        table = self._drawn(f"tokens_{kind}", self.amounts.wider if kind == "wider" else self.amounts.latents)
        return lambda indices: table[indices, torch.randint(VARIANTS, indices.shape, device=self.device)].long()

    def texts(self, kind: str, drop: float = 0.0, whole: float = 1.0) -> Callable[[Tensor], TextEmbedding]:
        """One of each scene's captions of a kind through the text encoder, the empty one with probability `drop`.

        whole: how often there is what knows the whole caption, the pooled vector and the end's row; zeros otherwise.
        """
        tokens, module = self.tokens(kind), self.ready(shipped(TextEncoder))
        empty = torch.as_tensor(token_row("")).to(self.device)

        @torch.no_grad()
        def rows(indices: Tensor) -> TextEmbedding:
            ids = torch.where(self.happens(drop, len(indices), 1), empty, tokens(indices)).long()
            sequence, pooled = module(ids, until_end(ids).long())
            if whole < 1:
                knows = self.happens(whole, len(ids), 1)
                sequence, pooled = sequence * (knows | ~is_end(ids))[..., None], pooled * knows
            return TextEmbedding(sequence, pooled)

        return rows

    def latents_a(self) -> Rows:
        """Stage A latents (B, 4, 64, 64)."""
        full, module = self.full(), self.ready(shipped(StageA))

        def make(indices: Tensor) -> Tensor:
            with autocast(self.device):
                return module.encode(float_pixels(full(indices)))

        return self._computed("latents_a", ("stage_a",), self.amounts.pictures, make)

    def latents_c(self) -> Rows:
        """Stage C latents (B, 16, 6, 6)."""
        encoded, module = self.encoded(), self.ready(shipped(Effnet))
        return self._computed("latents_c", ("effnet",), self.amounts.latents, lambda some: module(encoded(some)))

    def wider_latents(self) -> Rows:
        """Stage C latents (B, 16, 6, 6) of the wider scenes."""
        return self._encoded("wider", self.amounts.wider)

    def large_latents(self) -> Rows:
        """Stage C latents (B, 16, 12, 12) of pictures of twice the side."""
        return self._encoded("large", self.amounts.large)

    def _encoded(self, name: str, rows: int) -> Rows:
        """Stage C latents of a table of pictures."""
        pictures, module = self._pictures(name, rows), self.ready(shipped(Effnet))
        return self._computed(f"{name}_latents", ("effnet",), rows, lambda some: module(float_pixels(pictures(some))))

    def small_latents(self) -> Rows:
        """Stage C latents of pictures that were shrunk to a few pixels, as the super-resolution hint has them."""
        full, module = self.full(), self.ready(shipped(Effnet))
        sides = torch.tensor(SMALL_SIDES, device=self.device)

        def make(indices: Tensor) -> Tensor:
            pixels = float_pixels(full(indices))
            latents = [(module(enlarged(shrunk(pixels, side))), side) for side in sorted(set(SMALL_SIDES))]
            own = sides[indices % len(sides)].view(-1, 1, 1, 1)
            return torch.stack([latent * (own == side) for latent, side in latents]).sum(0)

        return self._computed("small_latents", ("effnet",), self.amounts.small, make)

    def outlines(self) -> Rows:
        """1 for the cells (B, 1, 64, 64) of Stage A's latent near an outline, 0 for others."""
        encoded = self.encoded()

        def make(indices: Tensor) -> Tensor:
            return F.adaptive_max_pool2d(near_outlines(encoded(indices)), (64, 64))

        return self._computed("outlines", (), self.amounts.pictures, make, torch.uint8)

    def images(self) -> Rows:
        """The pictures' own CLIP vectors (B, D)."""
        seen, module = self._drawn("seen", self.amounts.latents), self.ready(shipped(ImageEncoder))

        def make(indices: Tensor) -> Tensor:
            return module(float_pixels(seen[indices]))

        return self._computed("images", ("image_encoder",), self.amounts.latents, make)

    @torch.no_grad()
    def faces(self) -> tuple[Tensor, Tensor, Tensor]:
        """Indices (F,) of the scenes with a face, the detector's embeddings (F, D), and bool (F, 6, 6) over heads."""
        rows = (self._drawn("labels", self.amounts.latents)[:, FACE_START] > 0).nonzero().flatten()
        drawn, heads = (self._drawn(name, self.amounts.latents)[rows] for name in ("faces", "heads"))
        module = self.ready(shipped(ImageEncoder))
        embeddings = [F.normalize(module(float_pixels(part)), dim=-1) for part in torch.split(drawn, 256)]
        return rows, torch.cat(embeddings), heads > 0

    def _computed(
        self, name: str, kinds: tuple[str, ...], rows: int, make: Rows, kept: torch.dtype = torch.float16
    ) -> Rows:
        table = self.tables.computed(name, weights_mark(*kinds), rows, make, kept)
        return lambda indices: table[indices].float()
