"""Dynamic prompts: `a {red|blue} star // note` becomes one plain text when a workflow is queued.

The editor does this to every text input that declares `dynamicPrompts`; a prompt in API form has been
through it already. The editor chooses anew each time; here the choice depends on the text alone, so
that a run can be repeated.
"""

import random
import re
from typing import Any

from .shapes import is_list

_COMMENT_START = re.compile(r"/\*|//[^\r\n\u2028\u2029]*")
_TOKEN = re.compile(r"\\.|[{}|]|[^\\{}|]+|\\", re.DOTALL)
_ESCAPED = re.compile(r"\\([{}|])")

MAX_DEPTH = 1000  # choices inside each other; a brace beyond is a brace

_Option = list[Any]  # texts, and chosen options in it


def expand(text: str) -> str:
    """Drop comments, choose in every `{a|b}` (they may be nested), and unescape `\\{`, `\\|` and `\\}`."""
    chance = random.Random(text)
    open_choices: list[list[_Option]] = [[[]]]  # options of every brace that is open; the first is the text itself
    for token in _TOKEN.findall(_drop_comments(text)):
        inside = len(open_choices) > 1
        if token == "{" and len(open_choices) <= MAX_DEPTH:
            open_choices.append([[]])
        elif inside and token == "|":
            open_choices[-1].append([])
        elif inside and token == "}":
            _close(open_choices, chance)
        else:
            open_choices[-1][-1].append(token)
    while len(open_choices) > 1:  # a brace that nobody closed reaches to the end
        _close(open_choices, chance)
    return _ESCAPED.sub(r"\1", _join(open_choices[0][0]))


def _drop_comments(text: str) -> str:
    """Without `/* */` and `//`; what opens a comment that nobody closes stays."""
    kept: list[str] = []
    position = 0
    last_end = text.rfind("*/")
    for start in _COMMENT_START.finditer(text):
        if start.start() < position:
            continue  # within a comment
        end = start.end() if start[0] != "/*" else text.find("*/", start.end()) + 2
        if start[0] == "/*" and last_end < start.end():
            continue
        kept.append(text[position : start.start()])
        position = end
    return "".join([*kept, text[position:]])


def _close(open_choices: list[list[_Option]], chance: random.Random) -> None:
    chosen = chance.choice(open_choices.pop())
    open_choices[-1][-1].append(chosen)


def _join(option: _Option) -> str:
    """The texts of an option in their order, however deep it is nested."""
    texts: list[str] = []
    waiting: list[Any] = [option]
    while waiting:
        part = waiting.pop()
        if is_list(part):
            waiting.extend(reversed(part))
        else:
            texts.append(part)
    return "".join(texts)
