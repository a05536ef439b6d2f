"""What the nodes and the command say, as the page says it: with its words for fields, and what to do on the page."""

import re

from ..nodes.conditioning import CascadeTextEncode
from ..runtime import environment
from . import labels

NOTHING_PAINTED = "Nothing is painted yet: paint over what is to be made anew, then press Make."

# node 7 "Stage C" (CascadeStageCSampler), input "steps", as headless/graph/wording.py writes it
_WHERE = re.compile(r'node \S+ "([^"]*)" \(\w+\)(?:, input "(\w+)")?')
_FOR_THE_COMMAND = re.compile(r" \(--set [^)]*\)|,? or another --device")
_EMPTY_MASK = re.compile(r".*Nothing of the mask is over .*", re.DOTALL)
_SOME_WORDS = re.compile(r"It knows: [^;]*; `cascade nodes CascadeTextEncode` .* list all words")
_COMMAND = "`cascade "


def for_page(text: str, paints: bool = False) -> str:
    """A message without nodes' numbers and without options of the command; commands are those that run anywhere.

    paints: whether the mask that it may speak of is one that is painted on the page.
    """
    if paints and _EMPTY_MASK.fullmatch(text):
        return NOTHING_PAINTED
    text = _WHERE.sub(lambda found: _called(found[1], found[2]), _FOR_THE_COMMAND.sub("", text))
    text = _SOME_WORDS.sub(lambda _: f"It knows {CascadeTextEncode.DESCRIPTION.partition(' It knows ')[2]}", text)
    text = text.replace("this command saved it", "this page saved it")
    return text.replace(_COMMAND, f"`{environment.from_anywhere([])} ") if _COMMAND in text else text


def _called(title: str, name: str | None) -> str:
    title = title.removeprefix("Stable Cascade: ")
    return title if name is None else labels.called(name, title)
