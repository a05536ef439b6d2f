"""Families: which models' latents and conditions fit together.

The tiny and the published parts have latents of equal shape, so that a mix would compute and give silent nonsense.
"""

from ..errors import CascadeError
from ..kinds import KINDS
from .handle import Handle


def describe(handle: Handle) -> str:
    """The beginning of a message about a model: "Stage C is tiny (built-in)"."""
    kind = KINDS[handle.kind].name
    return f"{kind[0].upper()}{kind[1:]} is {handle.name}"


def check_family(handle: Handle, name: str, family: str | None) -> None:
    """Refuse the input `name` if it was made by another family than the model's; None, unknown, passes."""
    if family is None or family == handle.family:
        return
    raise CascadeError(
        f"{describe(handle)}, but `{name}` comes from {_any_of(family)}: "
        f"choose {_any_of(handle.family)} in its loader, or {_one_of(family, KINDS[handle.kind].name)}"
    )


def check_kind(handle: Handle, kind: str) -> None:
    """Refuse a model of another kind."""
    if handle.kind != kind:
        raise CascadeError(
            f"Expected a {KINDS[kind].name}, but {handle.name} is a {KINDS[handle.kind].name}: choose another model"
        )


def _any_of(family: str) -> str:
    return "tiny (built-in)" if family == "tiny" else _one_of(family, "model")


def _one_of(family: str, kind: str) -> str:
    known = {"tiny": f"the tiny (built-in) {kind}", "stable-cascade": f"a published {kind}"}
    return known.get(family, f"a {kind} of the family {family}")
