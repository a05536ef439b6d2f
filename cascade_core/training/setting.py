"""A training setting, described once: its check, the node's widget, the command's option and the help come from here.

A setting is a field of a dataclass that is made by `setting`. Another one is such a field, at the end of its class and
with `place=ADDED`, and the line that uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import CascadeError

REQUIRED, OPTIONAL, ADDED, COMMAND = range(4)
"""Places of a setting among a node's inputs. Workflow files list values by position, so later ones come last: ADDED.

COMMAND is for those that the command alone offers: a node that is much taller than a screen shows no text on it.
"""

DESCRIPTION = "setting"  # key of a field's metadata


@dataclass(frozen=True)
class Setting:
    """A setting for people. Numbers have a range, other settings choices, or they are on or off, or text."""

    name: str
    default: bool | int | float | str  # a text as a person writes it
    help: str
    built_in: int | float | None = None  # the command's default for the built-in models, where it is another
    least: float | None = None
    most: float | None = None
    step: float | None = None  # step of a number's widget
    round: float | None = None  # precision of a fraction's widget
    choices: tuple[str, ...] = ()
    several_lines: bool = False
    is_seed: bool = False
    may_change: bool = False  # when a training is resumed: nothing that was learned so far depends on it
    place: int = OPTIONAL
    read: Callable[[str], Any] | None = None  # a text as a person writes it -> the value

    def check(self, value: Any) -> None:
        """CascadeError for a value that is out of range, or none of the choices."""
        if self.choices and value not in self.choices:
            raise CascadeError(f"{self.name}: expected one of {', '.join(self.choices)}, found {value!r}")
        if self.least is not None and self.most is not None and not self.least <= value <= self.most:
            raise CascadeError(f"{self.name}: expected {self.least} to {self.most}, found {value}")


def setting(default: Any, help: str, *, text: str | None = None, **more: Any) -> Any:
    """A field of a settings class. text: the default of a setting that has `read`, as a person writes it."""
    shown = default if text is None else text
    return field(default=default, metadata={DESCRIPTION: {"default": shown, "help": help, **more}})


def share(default: float, help: str, **more: Any) -> Any:
    """A field of a settings class for a number from 0 to 1."""
    return setting(default, help, least=0.0, most=1.0, step=0.01, round=0.001, **more)


def again(settings: type[Any], name: str, default: Any, **more: Any) -> Any:
    """A field of a subclass for a setting that it inherits, with another default, or whatever else is other."""
    (old,) = (entry.metadata[DESCRIPTION] for entry in fields(settings) if entry.name == name)
    return setting(default, **{key: value for key, value in (old | more).items() if key != "default"})


def settings_of(settings: type[Any]) -> dict[str, Setting]:
    """The settings of a class by name, in the order of its fields."""
    return {entry.name: Setting(entry.name, **entry.metadata[DESCRIPTION]) for entry in fields(settings)}


def at_place(settings: Iterable[Setting], place: int) -> dict[str, Setting]:
    return {each.name: each for each in settings if each.place == place}


def lines_of(text: str) -> tuple[str, ...]:
    """The lines of a text that are not empty, without the blanks around them."""
    return tuple(filter(None, map(str.strip, text.splitlines())))


def parts_of(text: str) -> tuple[str, ...]:
    """The parts of a text between commas, without the blanks around them."""
    return tuple(part.strip() for part in text.split(","))
