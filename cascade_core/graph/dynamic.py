"""Dynamic prompts: `a {red|blue} star // note` becomes one plain text when a workflow is queued.

The editor does this to every text input that declares `dynamicPrompts`; a prompt in API form has been
through it already. The editor chooses anew each time; here the choice depends on the text alone, so
that a run can be repeated.
"""

import random
import re

_COMMENT = re.compile(r"/\*.*?\*/|//[^\r\n]*", re.DOTALL)
_TOKEN = re.compile(r"\\.|[{}|]|[^\\{}|]+|\\", re.DOTALL)
_ESCAPED = re.compile(r"\\([{}|])")


def expand(text: str) -> str:
    """Drop comments, choose in every `{a|b}` (they may be nested), and unescape `\\{`, `\\|` and `\\}`."""
    chance = random.Random(text)
    open_choices = [[""]]  # one list of options per brace that is open; the first is the text itself
    for token in _TOKEN.findall(_COMMENT.sub("", text)):
        inside = len(open_choices) > 1
        if token == "{":
            open_choices.append([""])
        elif inside and token == "|":
            open_choices[-1].append("")
        elif inside and token == "}":
            _close(open_choices, chance)
        else:
            open_choices[-1][-1] += token
    while len(open_choices) > 1:  # a brace that nobody closed reaches to the end
        _close(open_choices, chance)
    return _ESCAPED.sub(r"\1", open_choices[0][0])


def _close(open_choices: list[list[str]], chance: random.Random) -> None:
    chosen = chance.choice(open_choices.pop())
    open_choices[-1][-1] += chosen
