"""A configuration never makes a network without end: it has no more blocks than its file has tensors."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.identify import identify

from .damage import write

ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
ENDLESS: dict[str, tuple[str, dict[str, Any]]] = {
    "blocks": ("stage_c", {"blocks": [[1_000_000_000, 1], [1, 1]]}),
    "blocks below a million": ("stage_b", {"blocks": [[60_000, 1, 1, 1], [1, 1, 1, 1]]}),
    "blocks of nothing": ("stage_c", {"blocks": [[10**12, 1], [1, 1]], "level_config": ["", ""]}),
    "blocks and fewer than none": ("stage_c", {"blocks": [[10**12, -(10**12)], [1, 1]]}),
    "repeats": ("stage_b", {"block_repeat": [[10**9, 1, 1, 1], [1, 1, 1, 1]]}),
    "levels": ("stage_a", {"levels": 10**9}),
    "a bottleneck": ("stage_a", {"bottleneck_blocks": 10**9}),
    "layers": ("text_encoder", dict.fromkeys(("vocab_size", "hidden_size", "intermediate_size"), 8)
    | {"layers": 10**9, "heads": 1, "max_positions": 8, "projection_dim": 8}),
    "stages": ("effnet", {"stages": [[True, 1, 1, 8, 10**9]]}),
    "widths": ("previewer", {"widths": [2] * 20_000}),
    "blocks of a ControlNet": ("controlnet", {"bottleneck": "large", "blocks": 10**9}),
}  # fmt: skip


@pytest.mark.usefixtures("own_garbage")
@pytest.mark.parametrize("name", ENDLESS)
def test_refused_before_anything_is_built(tmp_path: Path, name: str) -> None:
    kind, config = ENDLESS[name]
    told = {"cascade": json.dumps({"kind": kind, "config": config})}
    path = write(tmp_path / "x.safetensors", {"__metadata__": told, "a": ENTRY}, 4)
    started = time.process_time()
    with pytest.raises(CascadeError, match=r"cannot be built: it has more blocks than the file has tensors, 1$"):
        identify(path)
    assert time.process_time() - started < 1


def test_a_config_beside_the_weights_is_held_to_the_same(tmp_path: Path) -> None:
    config = {"architectures": ["CLIPTextModelWithProjection"], "num_hidden_layers": 10**9}
    (tmp_path / "config.json").write_text(json.dumps(config))
    names = ("text_model.embeddings.token_embedding.weight", "text_projection.weight")
    places = {name: {**ENTRY, "data_offsets": [4 * i, 4 * i + 4]} for i, name in enumerate(names)}
    write(tmp_path / "model.safetensors", places, 8)
    with pytest.raises(CascadeError, match=r"more blocks than the file has tensors, 2$"):
        identify(tmp_path)
