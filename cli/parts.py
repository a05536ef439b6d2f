"""Parts of the command that not every copy has: pip leaves out the recipes, the registry of ComfyUI also the page."""

from __future__ import annotations

from importlib.util import find_spec

from ..headless.graph import WorkflowError


def expect(part: str, what: str) -> None:
    """Refuse what needs a package of ours that is not in this copy; `part` is its name from the root."""
    if find_spec(f"..{part}", __package__) is None:
        raise WorkflowError(
            f"{what} is in the repository, and not in this copy of it: clone the repository and give the command there"
        )
