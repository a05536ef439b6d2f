"""Runs, pictures and errors in words, as HTML; everything that comes from elsewhere is escaped."""

import base64
import time
from collections.abc import Sequence
from html import escape

from ..cascade_core.wording import duration, enough_of
from ..runtime import environment
from . import values
from .messages import for_page
from .output_pictures import Origin
from .runs import Run, Runner


def status(runs: Sequence[Run], runner: Runner, curves: Sequence[bytes] = ()) -> str:
    """The runs that one press of a button made: what is going on, or how they ended; `curves` are PNG files."""
    over = [run for run in runs if run.is_over]
    if len(over) == len(runs):
        return _ended(runs, curves)
    run = next(run for run in runs if not run.is_over)
    which = f"Picture {runs.index(run) + 1} of {len(runs)}: " if len(runs) > 1 else ""
    if run.is_stopping:
        now = "Cancelling: it stops after this step"
    elif run.state == "waiting" and (ahead := runner.ahead_of(run)):
        now = f"{which}waiting behind {ahead} other run{'s' * (ahead != 1)}"
    elif run.steps:
        now = f"{which}{_shorter(run.node)}, step {run.step} of {run.steps}{_left(runs)}"
    else:
        now = f"{which}{_shorter(run.node) or 'starting'}"
    share = (len(over) + run.share) / len(runs)
    lines = [f'<div class="bar"><div style="width:{share:.1%}"></div></div>', f'<p class="now">{escape(now)}</p>']
    if run.preview is not None:
        lines.append(_image("Preview", "jpeg", run.preview))
    lines += [_image("Curve of the loss", "png", curve) for curve in curves]
    return _box("running", lines)


def notices(runs: Sequence[Run]) -> str:
    """What there is to know of the runs, for below their pictures: a line each, and what is longer behind a click."""
    warnings = list(dict.fromkeys(warning for run in runs for warning in run.warnings))
    texts = dict.fromkeys(text for run in runs for text in run.texts if text not in warnings)
    lines = [*(_notice("warning", text) for text in warnings), *(_notice("text", text) for text in texts)]
    return f'<div class="notices" role="note">{"".join(lines)}</div>' if lines else ""


def _notice(kind: str, text: str) -> str:
    """The first sentence; the others behind a click."""
    text = for_page(text)
    first, _, more = text.partition(". ")
    if not more:
        return f'<p class="{kind}">{escape(text)}</p>'
    return f'<details class="{kind}"><summary>{escape(first)}.</summary><p>{escape(more)}</p></details>'


def idle(text: str) -> str:
    """Where pictures come, before there are any."""
    return _box("idle", [f"<p>{escape(text)}</p>"])


def problem(messages: Sequence[str]) -> str:
    return _box("failed", _list("message", enough_of([for_page(message) for message in messages])))


def error(found: Exception) -> str:
    """All sentences of a WorkflowError, or the one of another error."""
    return problem(getattr(found, "messages", [str(found)]))


def notice(text: str) -> str:
    return _box("done", [f"<p>{escape(text)}</p>"])


def details(name: str, made: Origin | None) -> str:
    """The settings that made a picture, and the command that makes it again."""
    if made is None:
        return f'<p class="details"><b>{escape(name)}</b>: no workflow in it</p>'
    if made.tab is None or made.values is None:
        return f'<p class="details"><b>{escape(name)}</b>: made by a workflow that none of the tabs has</p>'
    rows = [
        f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>" for label, text in values.settings(made.tab, made.values)
    ]
    command = values.command(made.tab, values.changes(made.tab, made.values))
    return (
        f'<div class="details"><p><b>{escape(name)}</b>, made by {escape(made.tab.title)}</p><dl>{"".join(rows)}</dl>'
        f"<p>The same by the command:</p><pre>{escape(command)}</pre></div>"
    )


def tried(name: str, told: Sequence[str]) -> str:
    """What a shared file was changed into, a line for each sort of change, and the command that does the same."""
    lines = "".join(f"<p>{escape(line)}</p>" for line in told)
    command = environment.from_anywhere(["run", name, "--built-in"])
    return (
        f'<div class="details"><p><b>{escape(name)}</b></p>{lines}'
        f"<p>The same by the command, in the folder of the file:</p><pre>{escape(command)}</pre></div>"
    )


def _ended(runs: Sequence[Run], curves: Sequence[bytes]) -> str:
    failed = [run for run in runs if run.state == "failed"]
    stopped = any(run.state == "stopped" for run in runs)
    said = dict.fromkeys(for_page(message, run.paints) for run in runs for message in run.messages)
    lines = _list("message", list(said))
    seconds = duration(sum(run.seconds for run in runs))
    if failed:
        head = "This did not work." if len(runs) == 1 else f"{len(failed)} of {len(runs)} did not work."
    elif stopped:
        head = "Cancelled."
    elif all(run.is_old for run in runs):
        head = "Nothing has changed since this was made: change the seed, or anything else, for another one."
    else:
        head = f"Done in {seconds}."
    lines += [_image("Curve of the loss", "png", curve) for curve in curves]
    return _box("failed" if failed else "stopped" if stopped else "done", [f"<p>{escape(head)}</p>", *lines])


def _left(runs: Sequence[Run]) -> str:
    """The time until the last of the runs is over; those that wait take as long as the one that runs."""
    running = next(run for run in runs if not run.is_over)
    left = running.seconds_left()
    if left is None:
        return ""
    waiting = sum(run.state == "waiting" for run in runs)
    in_all = left + waiting * (time.monotonic() - running.began + left)
    return f", about {duration(in_all)} left{' in all' if waiting else ''}"


def _shorter(title: str) -> str:
    return title.removeprefix("Stable Cascade: ")


def _image(what: str, kind: str, data: bytes) -> str:
    coded = base64.b64encode(data).decode()
    return (
        f'<img class="{"preview" if kind == "jpeg" else "curve"}" alt="{what}" src="data:image/{kind};base64,{coded}">'
    )


def _list(kind: str, texts: Sequence[str]) -> list[str]:
    return [f'<p class="{kind}">{escape(text)}</p>' for text in texts]


def _box(state: str, lines: Sequence[str]) -> str:
    return f'<div class="status {state}" role="status">{"".join(lines)}</div>'
