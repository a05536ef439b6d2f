"""One network of a file: what it is, and which of the file's tensors are its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from ..kinds import STAGE_A_SCALE
from ..models.handle import Target
from .diffusers_config import WUERSTCHEN_SCALE
from .header import Header
from .metadata import PUBLISHED_FAMILY
from .quantised import name_precision
from .tensor_info import BITS, PRECISIONS, TensorInfo


@dataclass(frozen=True)
class Part:
    """One network of a file. `names` are its tensors as the tables of its layout have them."""

    header: Header
    kind: str  # a key of KINDS
    preset: str  # a name of PRESETS[kind], or "custom"; for a ControlNet or LoRA the Stage C it was made for, or ""
    config: Any | None = None  # the kind's dataclass of models/config.py; None for a LoRA
    layout: str = "official"  # the names' origin: "official", "comfyui", "diffusers" or "openclip"
    prefix: str = ""  # text before each of its names in the file
    family: str = PUBLISHED_FAMILY
    target: Target = "epsilon"
    x0_clamp: float | None = None
    vocabulary: tuple[str, ...] | None = None  # a text encoder's own words
    mode: str | None = None  # a ControlNet's hint, a LoRA's dialect
    ignored: tuple[str, ...] = ()  # names that the layout carries and the module does not

    @cached_property
    def names(self) -> Mapping[str, TensorInfo]:
        """The part's own tensors: name without the prefix -> info."""
        ignored = set(self.ignored)
        found = behind(self.prefix, self.header.tensors)
        return {name: info for name, info in found.items() if name not in ignored}

    @cached_property
    def precision(self) -> str:
        """The type of most floating values: "float32", "bfloat16", "float8_e4m3fn", "int8", ..., or "unknown"."""
        quantised = name_precision(self.header, (self.prefix + name for name in self.names))
        if quantised is not None:
            return quantised
        elements: Counter[str] = Counter()
        for info in self.names.values():
            if info.dtype in PRECISIONS:
                elements[PRECISIONS[info.dtype]] += prod(info.shape)
        return elements.most_common(1)[0][0] if elements else "unknown"

    @property
    def remark(self) -> str:
        """What a person should know of how the file was read; empty where there is nothing."""
        config = self.header.config or {}
        if self.kind != "stage_a" or config.get("scale_factor") != WUERSTCHEN_SCALE:
            return ""
        return (
            f"{self.header.path.name}: its config.json says scale_factor {WUERSTCHEN_SCALE}, the default of the model"
            f" before Stable Cascade, and is read as {STAGE_A_SCALE}"
        )

    @property
    def bytes(self) -> int:
        """The size of its tensors as they lie in the file."""
        names = [self.prefix + name for name in self.names]
        layers = [self.header.quantised[name] for name in names if name in self.header.quantised]
        infos = [self.header.tensors[name] for name in names if name not in self.header.quantised]
        infos += [self.header.stored[name] for layer in layers for name in layer.names.values()]
        return sum(prod(info.shape) * BITS[info.dtype] // 8 for info in infos)


def behind(prefix: str, tensors: Mapping[str, TensorInfo]) -> Mapping[str, TensorInfo]:
    """The tensors whose names begin with the prefix, by their names without it."""
    if not prefix:
        return tensors
    return {name[len(prefix) :]: info for name, info in tensors.items() if name.startswith(prefix)}
