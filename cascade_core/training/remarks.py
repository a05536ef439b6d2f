"""What a person should know of a training before it begins, such as settings that do nothing; nothing is refused."""

from __future__ import annotations

from typing import Any

from .models import StageCModels
from .samples import sample_side


def remarks(models: Any, settings: Any) -> list[str]:
    """A sentence for each."""
    return [*_of_samples(models, settings)]


def _of_samples(models: Any, settings: Any) -> list[str]:
    is_asked = bool(settings.prompts and settings.sample_every)
    if is_asked and isinstance(models, StageCModels) and sample_side(models, settings.size) is None:
        return ["prompts: no samples are made, since they need `previewer`, or `stage_b` and `stage_a`"]
    return []
