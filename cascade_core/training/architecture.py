"""The architecture of a new Stage C: a preset's name, or a short JSON file of widths, blocks and conditions.

Imports no torch: settings are read with it.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..errors import CascadeError
from ..files.fields import fit
from ..models.config import PRESETS, StageCConfig
from ..reading import read_json
from ..wording import first_of

OF_THE_ENCODERS = ("channels", "c_clip_text", "c_clip_text_pooled")
FIELDS = tuple(field.name for field in fields(StageCConfig) if field.name not in OF_THE_ENCODERS)
HEAD = 64  # width of a head, officially
NEEDED = ("c_hidden", "blocks")
EXAMPLE = '{"c_hidden": [384, 512], "blocks": [[2, 6], [6, 2]]}'


def read_architecture(text: str) -> StageCConfig | None:
    """The configuration that a preset's name or a JSON file's path stands for; None for an empty text.

    The file has fields of StageCConfig: `c_hidden`, the width of each level, and `blocks`, down and up (deepest level
    first), are needed; the others have defaults that follow from these. The widths of latents and text are not among
    them: they are the encoders'. Raises CascadeError.
    """
    if not text.strip():
        return None
    if text in PRESETS["stage_c"]:
        return PRESETS["stage_c"][text]
    path = Path(text).expanduser()
    try:
        values: Any = read_json(path)
        return _complete(fit(StageCConfig, _with_defaults(values), f"{path.name}: "))
    except FileNotFoundError as error:
        raise CascadeError(
            f"architecture: expected {', '.join(PRESETS['stage_c'])}, or the path of a JSON file such as {EXAMPLE},"
            f" found {text!r:.80}"
        ) from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CascadeError(f"architecture: {path} cannot be used: {why}. Expected such as {EXAMPLE}") from error


def _with_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """The file's values, and for what it leaves out what follows from the number and width of the levels."""
    odd = [name for name in values if name not in FIELDS]
    if odd:
        theirs = [name for name in odd if name in OF_THE_ENCODERS]
        raise ValueError(
            f"{first_of(theirs)} is the encoders', not the file's" if theirs else f"no field {first_of(odd)}"
        )
    missing = [name for name in NEEDED if name not in values]
    if missing:
        raise ValueError(f"{' and '.join(missing)} is missing")
    widths, levels = values["c_hidden"], len(values["c_hidden"])
    return {
        "nhead": [max(1, width // HEAD) for width in widths],
        "level_config": ["CTA"] * levels,
        "block_repeat": [[1] * levels] * 2,
        "switch_level": [False] * (levels - 1),
        "dropout": [0.0] * levels,
        "c_cond": widths[-1],
        "t_conds": [],
        **values,
    }


def _complete(config: StageCConfig) -> StageCConfig:
    """ValueError where the levels are not told of alike, or a width does not divide by its heads."""
    levels = len(config.c_hidden)
    told = {
        "nhead": config.nhead,
        "level_config": config.level_config,
        "dropout": config.dropout,
        **{f"blocks[{side}]": blocks for side, blocks in enumerate(config.blocks)},
        **{f"block_repeat[{side}]": repeats for side, repeats in enumerate(config.block_repeat)},
    }
    for name, values in told.items():
        if len(values) != levels:
            raise ValueError(
                f"{name} has {len(values)} values, expected one for each of the {levels} levels of c_hidden"
            )
    if len(config.blocks) != 2 or len(config.block_repeat) != 2:
        raise ValueError("blocks and block_repeat have two lists: down, and up from the deepest level")
    if len(config.switch_level) != levels - 1:
        raise ValueError(f"switch_level has {len(config.switch_level)} values, expected {levels - 1}")
    for width, heads, letters in zip(config.c_hidden, config.nhead, config.level_config, strict=True):
        if set(letters) - set("CTA") or not letters:
            raise ValueError(f"level_config: expected the letters C, T and A, found {letters!r}")
        if "A" in letters and (heads < 1 or width % heads):
            raise ValueError(f"c_hidden {width} is no multiple of nhead {heads}")
    numbers = (*config.c_hidden, *config.blocks[0], *config.blocks[1], *config.block_repeat[0], *config.block_repeat[1])
    if min(*numbers, config.c_cond, config.c_clip_seq, config.kernel_size) < 1:
        raise ValueError("widths and numbers of blocks are at least 1")
    return config


def beside_encoders(config: StageCConfig, text: Any, images: Any | None) -> StageCConfig:
    """The configuration with the widths of a text encoder's configuration, and of an image encoder's where there is."""
    config = replace(config, c_clip_text=text.hidden_size, c_clip_text_pooled=text.projection_dim)
    return config if images is None else replace(config, c_clip_img=images.projection_dim)
