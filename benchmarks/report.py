"""Lines of JSON, each written when its figure is known, so that a run that is cut short has said what it had."""

from __future__ import annotations

import gc
import json
import sys
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..cascade_core.errors import CascadeError


class Report:
    """Lines of a section: kept, shown, and added to a file."""

    def __init__(self, section: str, file: Path | None = None, show: Callable[[dict[str, Any]], None] | None = None):
        """show: what is done with a line at once; if None it is printed as JSON, and tracebacks on stderr."""
        self.section, self.file, self.show = section, file, show
        self.started = time.monotonic()
        self.lines: list[dict[str, Any]] = []
        self.failures: list[Exception] = []

    def say(self, what: str, **values: Any) -> None:
        line = {"section": self.section, "what": what, "at": round(time.monotonic() - self.started, 1)}
        line |= {name: _short(value) for name, value in values.items()}
        self.lines.append(line)
        text = json.dumps(line)
        if self.show is None:
            print(text, flush=True)
        else:
            self.show(line)
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(text + "\n")

    @contextmanager
    def attempt(self, what: str) -> Generator[None]:
        """A failure in here is said in a sentence, and the section goes on."""
        try:
            yield
        except Exception as error:
            if self.show is None:
                traceback.print_exc(limit=-4, file=sys.stderr)
            traceback.clear_frames(error.__traceback__)  # networks lie in them
            self.failures.append(error)
            said = (str(error).strip() or "without a word").splitlines()[0][:300]
            self.say(what, error=said if isinstance(error, CascadeError) else f"{type(error).__name__}: {said}")
        finally:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _short(each) for name, each in value.items()}
    return value
