"""The pictures of the page and of the graph in docs/, taken anew.

python -m tests.screenshots           # docs/page.jpg: needs chromium and chromedriver
python -m tests.screenshots graph     # docs/graph.jpg: needs COMFYUI_PATH and COMFYUI_PYTHON too, of one ComfyUI
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

import stable_cascade_nodes
from stable_cascade_nodes.headless import shipped

from .app.browser import Page, browser_paths
from .app.conftest import running
from .host.browser import Browser, Editor
from .host.server import ComfyUI

ROOT = Path(stable_cascade_nodes.__file__).parent
DOCS = ROOT / "docs"
WIDTH = 1000  # pixels, as a README shows them
PROMPT = "a face with brown skin, long black hair, glasses and a smile on a sky background"


def write(name: str, png: bytes) -> None:
    with Image.open(io.BytesIO(png)) as taken:
        picture = taken.convert("RGB")
    picture.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    picture.save(DOCS / name, quality=82, optimize=True)


def take_page(paths: tuple[str, str], place: Path) -> None:
    """The page with its first picture."""
    for name in ("input", "output"):
        (place / name).mkdir()
    with running(place) as server, Page(server.url, *paths, (1280, 800)) as page:
        page.fill(".input-text", PROMPT)
        assert page.make() == "done"
        page.wait("the picture", lambda: page.find_all(".pictures .thumbnail-item img"))
        page.driver.execute_script(
            "document.querySelector('.details').style.visibility = 'hidden'"
        )  # has a path of ours
        page.driver.execute_script("window.scrollTo(0, 0)")
        write("page.jpg", page.driver.get_screenshot_as_png())


def take_graph(paths: tuple[str, str], place: Path) -> None:
    """Text to image in ComfyUI's editor, with its picture."""
    comfyui, python = (Path(os.environ[name]) for name in ("COMFYUI_PATH", "COMFYUI_PYTHON"))
    with ComfyUI(python, comfyui, place, ROOT) as server, Browser(*paths) as browser, browser.tab() as driver:
        editor = Editor(server.url, driver)
        editor.open_file(shipped.path_of("text_to_image"))
        editor.press_run()
        editor.wait("the picture", lambda: editor.script("return Object.keys(app.nodeOutputs).length > 0"))
        time.sleep(2)  # it is drawn
        write("graph.jpg", driver.get_screenshot_as_png())


def main() -> None:
    paths = browser_paths()
    if paths is None:
        sys.exit("chromium and chromedriver are needed on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        take = take_graph if sys.argv[1:] == ["graph"] else take_page
        take(paths, Path(folder))


if __name__ == "__main__":
    main()
