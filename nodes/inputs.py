"""Entries of INPUT_TYPES, which say how a widget or a socket looks, what it takes and what it is for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..cascade_core.kinds import KINDS

if TYPE_CHECKING:
    from ..cascade_core.training.kinds import Inputs
    from ..cascade_core.training.setting import Setting

Entry = tuple[Any, dict[str, Any]]


def wire(socket: str, tooltip: str) -> Entry:
    """A socket that something is connected to."""
    return socket, {"tooltip": tooltip}


def integer(default: int, least: int, most: int, tooltip: str, step: int = 1, **more: Any) -> Entry:
    return "INT", {"default": default, "min": least, "max": most, "step": step, **more, "tooltip": tooltip}


def seed(tooltip: str) -> Entry:
    """A seed, which the editor may change after each run."""
    options = {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF, "control_after_generate": True}
    return "INT", {**options, "tooltip": tooltip}


def decimal(default: float, least: float, most: float, tooltip: str, step: float = 0.01, round: float = 0.001) -> Entry:
    """A number with a fraction, which the widget moves by `step` and rounds to a multiple of `round`."""
    options = {"default": default, "min": least, "max": most, "step": step, "round": round}
    return "FLOAT", {**options, "tooltip": tooltip}


def choice(names: Iterable[str], default: str, tooltip: str) -> Entry:
    return list(names), {"default": default, "tooltip": tooltip}


def switch(default: bool, tooltip: str) -> Entry:
    return "BOOLEAN", {"default": default, "tooltip": tooltip}


def advanced(entries: dict[str, Entry]) -> dict[str, Entry]:
    """The entries, whose widgets few people touch: the editor shows them when it is asked for advanced inputs."""
    return {
        name: (kind, {**options, "advanced": True} if "default" in options else options)
        for name, (kind, options) in entries.items()
    }


def text(default: str, tooltip: str, several_lines: bool = False, **more: Any) -> Entry:
    lines = {"multiline": True} if several_lines else {}
    return "STRING", {"default": default, **lines, **more, "tooltip": tooltip}


def of_training(inputs: Inputs) -> dict[str, Entry]:
    """Models and settings of a training."""
    from ..cascade_core.training.setting import Setting

    return {
        name: of_setting(each) if isinstance(each, Setting) else wire(KINDS[name].socket, each.help)
        for name, each in inputs.items()
    }


def of_setting(setting: Setting) -> Entry:
    """The widget of a training's setting."""
    default: Any = setting.default
    least: Any = setting.least
    most: Any = setting.most
    if setting.choices:
        return choice(setting.choices, default, setting.help)
    if isinstance(default, bool):
        return switch(default, setting.help)
    if isinstance(default, int):
        more = {"control_after_generate": True} if setting.is_seed else {}
        return integer(default, least, most, setting.help, int(setting.step or 1), **more)
    if isinstance(default, float):
        assert setting.step is not None and setting.round is not None, f"{setting.name}: a fraction has both"
        return decimal(default, least, most, setting.help, setting.step, setting.round)
    return text(default, setting.help, setting.several_lines)
