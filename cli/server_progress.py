"""What a server tells of a run, shown as a run here shows it: a line for each finished node, a bar for its steps."""

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..headless import graph
from .report import Report

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress:
    def __init__(self, prompt: graph.Prompt, report: Report) -> None:
        self.begun = False
        self._prompt = prompt
        self._report = report
        self._node: str | None = None  # which runs, since:
        self._since = time.perf_counter()
        self._bar: tqdm[Any] | None = None
        self._ahead = 0

    def wait(self, ahead: int) -> None:
        """Tell how many prompts go before this one; said again when it changes."""
        if ahead > 0 and ahead != self._ahead:
            print(f"waiting in the server's queue behind {ahead}", file=sys.stderr)
        self._ahead = ahead

    def hear(self, kind: str, data: Mapping[str, Any]) -> None:
        """One event about the prompt."""
        self.begun = True
        if kind == "execution_cached":
            for node in data.get("nodes") or []:
                self._tell(node, 0.0, cached=True)
        elif kind == "executing":
            self._start(data.get("display_node") or data.get("node"))
        elif kind == "progress":
            self._advance(data.get("value"), data.get("max"))
        elif kind == "execution_success":
            self._start(None)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _start(self, node: Any) -> None:
        """The next node; what expands into others stays the same one for people."""
        if node == self._node:
            return
        self.close()
        now = time.perf_counter()
        if self._node is not None:
            self._tell(self._node, now - self._since, cached=False)
        self._node, self._since = node, now

    def _advance(self, value: Any, maximum: Any) -> None:
        if not isinstance(value, int | float) or not isinstance(maximum, int | float):
            return
        if self._bar is None or self._bar.total != maximum:
            from tqdm import tqdm

            self.close()
            title = graph.title_of(self._prompt.get(str(self._node), {}))
            self._bar = tqdm(total=maximum, desc=title, file=sys.stderr, disable=None, leave=False)
        self._bar.update(value - self._bar.n)

    def _tell(self, node: Any, seconds: float, cached: bool) -> None:
        if node in self._prompt:
            entry = self._prompt[node]
            self._report.add(graph.Done(node, graph.title_of(entry), entry["class_type"], seconds, cached, {}))
