"""`cascade batch --report DIR`: what became of a batch, as text, JSON or a page."""

from __future__ import annotations

import json
from pathlib import Path

from ..cascade_core.files import atomic
from ..headless.batch import report, report_page
from ..headless.graph import WorkflowError
from .output import FAILED, OK, say


def tell(folder: Path, page: Path | None, as_json: bool) -> int:
    """The exit code says whether every row is finished."""
    try:
        summary = report.summarise(folder, report_page.SHOWN if page is not None else 0)
    except FileNotFoundError as error:
        raise WorkflowError(
            f"--report: expected a folder that `cascade batch` wrote, with {report.manifest.NAME}; {folder} is none"
        ) from error
    if page is not None:
        with atomic.whole(page) as temporary:
            temporary.write_text(report_page.page(summary, folder, page), encoding="utf-8", errors="backslashreplace")
    if as_json:
        print(json.dumps(summary.to_json()), flush=True)
    else:
        say("\n".join(report.lines(summary, folder)))
    return FAILED if summary.kinds else OK
