"""Checks before anything is computed: inputs that do not fit raise CascadeError, which says what to change."""

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor

from ..errors import CascadeError
from ..models.config import ControlNetConfig, StageCConfig
from ..models.family import check_family, describe
from ..models.handle import Handle
from .condition import Condition, controls_of
from .control import Control
from .latent import Latent

ASPECT = 0.02  # how far a hint's picture may be off the wanted one
FIELDS = {"sequence": ("text tokens", 3), "pooled": ("pooled text vectors", 2), "images": ("image embeddings", 3)}


def check_latent(handle: Handle, name: str, latent: Latent, channels: int) -> None:
    """Family and shape of the latent input `name`."""
    check_family(handle, name, latent.family)
    samples = latent.samples
    if samples.ndim != 4 or samples.shape[1] != channels or 0 in samples.shape:
        raise CascadeError(
            f"`{name}`: expected a latent of shape (batch, {channels}, height, width), found {tuple(samples.shape)}: "
            f"connect one with {channels} channels"
        )


def check_conditions(
    handle: Handle,
    positive: Sequence[Condition],
    negative: Sequence[Condition],
    widths: Mapping[str, int],
    images: int,
) -> None:
    """Families, ranks, widths and batches. widths: of the fields of a Condition that the model reads."""
    for name, conditions in (("positive", positive), ("negative", negative)):
        for condition in conditions:
            check_family(handle, name, condition.family)
        for condition in conditions:
            if condition.strength < 0:
                raise CascadeError(f"`{name}`: expected a strength of at least 0, found {condition.strength}")
            for field, width in widths.items():
                _check_field(handle, name, field, getattr(condition, field), width, images)


def _check_field(handle: Handle, name: str, field: str, value: Tensor | None, width: int, images: int) -> None:
    if value is None:
        return
    shape = tuple(value.shape)
    words, rank = FIELDS[field]
    if len(shape) != rank:
        raise CascadeError(f"`{name}`: expected {words} with {rank} axes, found shape {shape}: encode it anew")
    if shape[-1] != width:
        raise CascadeError(
            f"{describe(handle)}, which takes {words} {width} wide, but those of `{name}` are {shape[-1]} wide: "
            "encode it with the encoder that belongs to this model"
        )
    if shape[0] not in (1, images):
        raise CascadeError(
            f"`{name}`: expected one entry or as many as there are images ({images}), found {shape[0]}: "
            "encode one prompt, or change the latent's batch size"
        )


def check_controls(stage_c: Handle, conditions: Sequence[Condition], latent: Latent) -> None:
    """ControlNets and hints that do not fit the Stage C, its latent or its batch."""
    for control in controls_of(conditions):
        _check_control(stage_c, control, latent)


def _check_control(stage_c: Handle, control: Control, latent: Latent) -> None:
    net = cast(ControlNetConfig, control.controlnet.config)
    config = cast(StageCConfig, stage_c.config)
    widths = sorted({*config.c_hidden})
    name = control.controlnet.name
    if widths != [net.c_proj]:
        raise CascadeError(
            f"ControlNet {name} of width {net.c_proj} does not fit Stage C {stage_c.name} of width"
            f" {', '.join(map(str, widths))}: choose a ControlNet made for this Stage C, or the Stage C it was made for"
        )
    if control.controlnet.family != stage_c.family:
        raise CascadeError(
            f"ControlNet {name} belongs to {control.controlnet.family} models, but Stage C {stage_c.name} to"
            f" {stage_c.family}: choose two that belong together"
        )
    if control.strength < 0:
        raise CascadeError(f"strength of ControlNet {name}: expected at least 0, found {control.strength}")
    images, cells, size = len(latent.samples), latent.cells, latent.size
    if len(control.hint) not in (1, images):
        raise CascadeError(
            f"ControlNet {name}: expected one hint or as many as there are images ({images}), found"
            f" {len(control.hint)}: give one picture, or change the latent's batch size"
        )
    if not control.crop and not _same_aspect(control.size, cells, size):
        found = " x ".join(map(str, reversed(control.size)))
        wanted = f"{cells[1]} x {cells[0]} latent cells" if size is None else f"{size[1]} x {size[0]} pixels"
        raise CascadeError(
            f"ControlNet {name}: the hint's picture is {found} pixels, but the picture to be made is {wanted}: their"
            " aspects differ by more than 2 %; crop the picture, or change the size to be made"
        )


def _same_aspect(hint: tuple[int, int], cells: tuple[int, int], size: tuple[int, int] | None) -> bool:
    """A latent alone may stand for any size that fills its last row and column in part."""
    lowest = (cells[1] - 1) / cells[0] if size is None else size[1] / size[0]
    highest = cells[1] / max(cells[0] - 1, 0.5) if size is None else size[1] / size[0]
    return lowest * (1 - ASPECT) <= hint[1] / hint[0] <= highest * (1 + ASPECT)
