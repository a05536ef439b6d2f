"""The half of a tab that shows what its button makes: how a run goes, its pictures, and what to know of them."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from . import assets, wording
from .gallery import QUIET, Gallery
from .handlers import View
from .runs import Runner
from .tabs import Tab

UNLIMITED: dict[str, Any] = {**QUIET, "concurrency_limit": None}  # runs have a queue of their own


class Results:
    """`updates` fills `outputs`: with `make` and `cancel`, of which each can be pressed when there is something to."""

    def __init__(self, tabs: Sequence[Tab], runner: Runner, key: str, make: Any, cancel: Any) -> None:
        self.key, self.make, self.cancel = key, make, cancel
        self.status = gr.HTML(wording.idle("The picture comes here."), elem_id=f"status-{key}", padding=False)
        self.gallery = Gallery(tabs, runner, "Result", columns=2)
        self.outputs = [self.status, self.gallery.notices, make, cancel, *self.gallery.outputs]
        cancel.click(lambda: self._stop(runner), None, cancel, **UNLIMITED)

    def show_when(self, button: Any, handler: Any, inputs: Any, further: Sequence[Any] = ()) -> None:
        """A press of the button shows what the handler yields: a View, and updates of further components."""
        button.click(None, js=assets.SHOW_STATUS.format(f"status-{self.key}"))
        button.click(handler, inputs, [*self.outputs, *further], **UNLIMITED)

    def updates(self, view: View) -> list[Any]:
        same = [gr.skip()] * len(self.gallery.outputs)
        return [
            view.status,
            gr.skip() if view.notices is None else view.notices,
            gr.skip() if view.running is None else gr.Button(interactive=not view.running),
            gr.skip() if view.running is None else gr.Button(interactive=view.running),
            *(same if view.found is None else self.gallery.updates(view.found)),
        ]

    def problem(self, messages: Sequence[str]) -> list[Any]:
        """Updates that say why nothing runs."""
        return self.updates(View(wording.problem(messages)))

    def _stop(self, runner: Runner) -> Any:
        runner.cancel(self.key)
        return gr.Button(interactive=False)  # once is enough; the next run gives it back
