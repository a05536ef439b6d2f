"""The words for nodes whose classes are not here: what was probably meant, or where such a node runs.

Whose a class is, the caller knows; nothing here knows one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from .prompt import Problem, Prompt, locate
from .wording import list_choices, nearest, show

Whose = Callable[[str], str | None]  # class -> "ComfyUI's own", "of the pack X"; None where nobody knows

MANY = 4  # nodes that are told in one sentence, for of more nobody reads each
TYPO = 0.8  # how near a class must be to be the one that was meant
_KIND, _EXPECTED = "invalid_prompt", "a node class that exists here"
_UNKNOWN = "of another pack or a newer ComfyUI"
SERVER = "`cascade run --server URL` has a ComfyUI run"


def nobodys(name: str) -> str | None:
    """The `Whose` that knows of none."""
    return None


def tell_absent(prompt: Prompt, absent: Sequence[str], classes: Iterable[str], whose: Whose) -> Iterator[Problem]:
    """The problem of each of the nodes `absent`, or one for all of many. classes: those that are here."""
    known = sorted(classes)
    if len(absent) < MANY:
        for node_id in absent:
            name = prompt[node_id]["class_type"]
            detail = not_among(name, known, "here", whose)
            yield Problem(_KIND, _EXPECTED, show(name), detail=detail, **locate(prompt, node_id))
        return
    names = list(dict.fromkeys(str(prompt[node_id]["class_type"]) for node_id in absent))
    groups: dict[str, list[str]] = {}
    for name in names:
        meant = _meant(name, known, whose)
        groups.setdefault(f"perhaps {show(meant)}" if meant else whose(name) or _UNKNOWN, []).append(name)
    told = "; ".join(f"{group}: {list_choices(found)}" for group, found in groups.items())
    detail = f"{len(absent)} nodes are not here ({told}): {SERVER} them"
    yield Problem(_KIND, _EXPECTED, f"{len(absent)} others", class_type=names[0], detail=detail)


def not_among(name: str, known: Iterable[str], place: str, whose: Whose | None = None) -> str:
    """The words for a class that is not among the `known` ones of a place.

    Without `whose` a class that resembles none of them is told without advice.
    """
    absent = f"no node {show(name)} {place}"
    if meant := _meant(name, known, whose or nobodys):
        return f"{absent}; did you mean {show(meant)}?"
    return absent if whose is None else f"{absent}; it is {whose(name) or _UNKNOWN}: {SERVER} it"


def _meant(name: str, known: Iterable[str], whose: Whose) -> str | None:
    return nearest(name, known, TYPO) if whose(name) is None else None
