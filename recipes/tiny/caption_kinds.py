"""The kinds of captions that parts learn with, and their words as token ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ...cascade_core.builtin.world import Scene
from ...cascade_core.models.clip_config import TINY_TEXT
from ...cascade_core.models.tokenizer import WordTokenizer
from .captions import VOCABULARY, bare_face_caption, leave_out_colors, sample_caption, sparse_caption
from .data import training_scene
from .wider import wider_scene

VARIANTS = 8  # captions of each kind that a scene has
FULL = 0.3  # share of the ControlNets' captions that tell all, where others leave out much
COLORS_LEFT_OUT = 0.35  # share of Stage C's captions without half of their colours
PARTS_LEFT_OUT, PART_LEFT_OUT = 0.15, 0.25  # share of them that lack parts, and how often each of their parts
TOKENIZER = WordTokenizer(VOCABULARY, TINY_TEXT.max_positions)

Sample = Callable[[Scene, np.random.Generator], str]


def composed_caption(scene: Scene, random: np.random.Generator) -> str:
    """Stage C's: what was held out has to be composed of words that never met, so each has to have its own meaning."""
    kind = float(random.random())
    if kind < PARTS_LEFT_OUT:
        return sparse_caption(scene, random, PART_LEFT_OUT)
    caption = sample_caption(scene, random)
    return leave_out_colors(caption, random, 0.5) if kind < PARTS_LEFT_OUT + COLORS_LEFT_OUT else caption


def hinted_caption(scene: Scene, random: np.random.Generator) -> str:
    """A caption that tells all, or leaves out much."""
    if random.random() < FULL:
        return sample_caption(scene, random)
    return sparse_caption(scene, random, float(random.random()))


def veiled_caption(scene: Scene, random: np.random.Generator) -> str:
    """A caption that tells little of a face."""
    return bare_face_caption(scene.background) if random.random() < 0.5 else hinted_caption(scene, random)


KINDS: Mapping[str, Sample] = {
    "plain": sample_caption,
    "composed": composed_caption,
    "hinted": hinted_caption,
    "veiled": veiled_caption,
}


def token_row(caption: str) -> np.ndarray:
    """A caption's token ids as the text encoder has them: start, words, end, and padding up to its length, uint8."""
    words = TOKENIZER.encode(caption)
    missing = TOKENIZER.max_length - 2 - len(words)
    if missing < 0:
        raise ValueError(f"caption: expected at most {TOKENIZER.max_length - 2} words, found {len(words)}: {caption}")
    return np.array([TOKENIZER.start, *words, TOKENIZER.end] + [TOKENIZER.pad] * missing, np.uint8)


def token_rows(kind: str, index: int) -> np.ndarray:
    """Token ids of a training scene's captions of a kind: uint8 (VARIANTS, L)."""
    return _rows(KINDS[kind], training_scene(index), np.random.default_rng((3, list(KINDS).index(kind), index)))


def wider_token_rows(index: int) -> np.ndarray:
    """Token ids of a wider scene's captions: uint8 (VARIANTS, L)."""
    return _rows(composed_caption, wider_scene(index), np.random.default_rng((8, index)))


def _rows(sample: Sample, scene: Scene, random: np.random.Generator) -> np.ndarray:
    return np.stack([token_row(sample(scene, random)) for _ in range(VARIANTS)])
