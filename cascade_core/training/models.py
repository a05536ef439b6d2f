"""The models that a training takes, all of one family. What is not given is done without."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..files.quantised import PEOPLES
from ..models.family import check_family
from ..models.handle import Handle
from ..models.linear import Held
from .data.cache import fingerprint


class _Models:
    """The shared part: models by name, all of the family of the first, and their fingerprints."""

    def __post_init__(self) -> None:
        for name, handle in self.named().items():
            check_family(self.stage, name, handle.family)

    @property
    def stage(self) -> Handle:
        """The stage that is trained, or beside which something is."""
        return next(iter(self.named().values()))

    def named(self) -> dict[str, Handle]:
        return {name: handle for name, handle in vars(self).items() if handle is not None}

    def fingerprints(self, *names: str) -> dict[str, str]:
        return {name: fingerprint(handle.module) for name, handle in self.named().items() if name in names}

    def dtypes(self, *names: str) -> dict[str, str]:
        """The types of these models' weights, in people's words."""
        return {name: dtype_of(handle) for name, handle in self.named().items() if name in names}


def dtype_of(handle: Handle) -> str:
    """The type of a model's weights, that of most where some have fewer bits."""
    held = Counter(child.kind.FORMAT for child in handle.module.modules() if isinstance(child, Held))
    return PEOPLES[held.most_common(1)[0][0]] if held else str(handle.dtype).removeprefix("torch.")


@dataclass(frozen=True)
class StageCModels(_Models):
    """The models of a training beside or of Stage C that learns from latents, or of what a teacher draws."""

    stage_c: Handle
    text_encoder: Handle
    image_encoder: Handle | None = None  # pictures' embeddings are shown to Stage C now and then
    previewer: Handle | None = None  # shows samples
    stage_b: Handle | None = None  # with Stage A: shows them in full
    stage_a: Handle | None = None


@dataclass(frozen=True)
class TrainingModels(StageCModels):
    """The models of one that learns from pictures."""

    effnet: Handle = field(kw_only=True)


@dataclass(frozen=True)
class StageBModels(_Models):
    """The models of a training of Stage B."""

    stage_b: Handle
    stage_a: Handle
    text_encoder: Handle
    effnet: Handle
    image_encoder: None = None
