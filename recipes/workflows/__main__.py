"""python -m stable_cascade_nodes.recipes.workflows: pages, app forms and blueprints, written anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .arrange import arrange
from .blueprints import BLUEPRINTS, blueprint
from .forms import WITHOUT, form
from .pages import PAGES

ROOT = Path(__file__).parents[2]
WORKFLOWS, SUBGRAPHS = ROOT / "workflows", ROOT / "subgraphs"


def made() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every file that follows from the workflows, and from their pages, with what it holds."""
    for name, page in PAGES.items():
        workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
        arrange(workflow, page)
        yield WORKFLOWS / f"{name}.json", workflow
        if name not in WITHOUT:
            yield WORKFLOWS / f"{name}.app.json", form(name, workflow)
        if name in BLUEPRINTS:
            yield SUBGRAPHS / f"{BLUEPRINTS[name].name}.json", blueprint(name, workflow)


def text_of(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    SUBGRAPHS.mkdir(exist_ok=True)
    for path, document in made():
        path.write_text(text_of(document), encoding="utf-8")
        if path.name.endswith(".app.json"):  # the editor's list of templates wants a picture beside each
            name = path.name.removesuffix(".app.json")
            shutil.copy(WORKFLOWS / f"{name}.jpg", WORKFLOWS / f"{name}.app.jpg")


if __name__ == "__main__":
    main()
