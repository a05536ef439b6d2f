"""The editor's treatment of texts when it queues a workflow: dynamic prompts, and patterns in the names of files.

A prompt in API form has been through both.
"""

import random
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from .wording import is_list, is_object

FindValue = Callable[[str, str], tuple[Any] | None]  # (node, widget) -> the widget's value, boxed, or None

MAX_CHOICE_DEPTH = 1000  # choices inside each other; a brace beyond is a brace

_COMMENT_START = re.compile(r"/\*|//[^\r\n\u2028\u2029]*")
_TOKEN = re.compile(r"\\.|[{}|]|[^\\{}|]+|\\", re.DOTALL)
_ESCAPED = re.compile(r"\\([{}|])")
_PATTERN = re.compile(r"%([^%]+)%")
_DATE_PART = re.compile(r"dd?|MM?|hh?|mm?|ss?|yyy?y?")
_UNFIT_FOR_FILES = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')

_Option = list[Any]  # texts and chosen options, in their order


def expand_choices(text: str) -> str:
    """A dynamic prompt as one plain text: `a {red|blue} star // note` becomes `a red star`.

    Comments go, one option is chosen in every `{a|b}` (they may be nested), and `\\{`, `\\|` and `\\}` lose their
    backslash. The editor chooses anew each time; here the choice depends on the text alone, so that a run can be
    repeated.
    """
    chance = random.Random(text.encode(errors="surrogatepass"))  # a half of a character is refused elsewhere
    open_choices: list[list[_Option]] = [[[]]]  # options of every brace that is open; the first is the text itself
    for token in _TOKEN.findall(_drop_comments(text)):
        inside = len(open_choices) > 1
        if token == "{" and len(open_choices) <= MAX_CHOICE_DEPTH:
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


def replace_patterns(text: str, find: FindValue, now: datetime) -> str:
    """The text with dates and widget values for `%date:yyyy-MM-dd%` and `%Node.widget%`.

    A pattern that means nothing stays as it is.
    """

    def replacement(match: re.Match[str]) -> str:
        pattern = match[1]
        parts = pattern.split(".")
        if len(parts) == 2:
            value = find(parts[0], parts[1])
            return match[0] if value is None else _UNFIT_FOR_FILES.sub("_", write_text(value[0]))
        if parts[0].startswith("date:"):
            return _format_date(parts[0][len("date:") :], now)
        return match[0]

    return _PATTERN.sub(replacement, text)


def write_text(value: Any) -> str:
    """A value as JavaScript writes it into a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    if is_list(value):
        return ",".join(write_text(part) for part in value)
    return "[object Object]" if is_object(value) else str(value)


def _drop_comments(text: str) -> str:
    """The text without `/* */` and `//`; what opens a comment that nobody closes stays."""
    left: list[str] = []
    position = 0
    last_end = text.rfind("*/")
    for start in _COMMENT_START.finditer(text):
        if start.start() < position:
            continue  # within a comment
        end = start.end() if start[0] != "/*" else text.find("*/", start.end()) + 2
        if start[0] == "/*" and last_end < start.end():
            continue
        left.append(text[position : start.start()])
        position = end
    return "".join([*left, text[position:]])


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


def _format_date(form: str, now: datetime) -> str:
    numbers = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}

    def replacement(match: re.Match[str]) -> str:
        part = match[0]
        if part in ("yy", "yyyy"):
            return str(now.year)[-len(part) :]
        return str(numbers[part[0]]).zfill(len(part)) if part[0] in numbers else part

    return _DATE_PART.sub(replacement, form)
