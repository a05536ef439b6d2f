"""The app in a real headless Chromium, used by hand: what do people see? Run: pytest -m browser tests/app

APP_SCREENSHOTS names a folder for pictures of the page.
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stable_cascade_nodes.headless import workflow_file
from stable_cascade_nodes.recipes.tiny import reader

from .browser import NARROW, WIDE, Page
from .conftest import Server

pytestmark = pytest.mark.browser

# A file, in base64 and with its name, let fall on the middle of the page.
DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), letter => letter.charCodeAt(0));
const dataTransfer = new DataTransfer();
dataTransfer.items.add(new File([bytes], arguments[1], {type: 'image/png'}));
for (const type of ['dragenter', 'dragover', 'drop'])
  document.querySelector('.head').dispatchEvent(new DragEvent(type, {bubbles: true, cancelable: true, dataTransfer}));
"""
PREVIEW = "return [...document.querySelectorAll('.status .preview')].map(picture => picture.src)[0] || ''"


@pytest.fixture
def page(server: Server, browser: tuple[str, str], tmp_path: Path) -> Iterator[Page]:
    with Page(server.url, *browser, downloads=tmp_path) as opened:
        yield opened
        assert opened.console() == []
        assert opened.outside() == []


def shot(page: Page, name: str) -> None:
    folder = os.environ.get("APP_SCREENSHOTS")
    if folder:
        page.screenshot(Path(folder) / f"{name}.png")


def newest(server: Server, before: set[Path]) -> Path:
    (made,) = set(server.output.rglob("cascade_*.png")) - before
    return made


def pictures(server: Server) -> set[Path]:
    return set(server.output.rglob("cascade_*.png"))


def test_a_prompt_becomes_a_picture_that_shows_it(server: Server, page: Page) -> None:
    before = pictures(server)
    page.fill(".node-6", "a large blue circle at the center on a cream background")
    page.click("button.random")
    page.wait("another seed", lambda: page.value(".node-9.input-seed") != "1")
    assert page.make() == "done"
    shown = reader.read(Image.open(newest(server, before)).convert("RGB"))
    assert [(shape.color, shape.shape) for shape in shown.shapes] == [("blue", "circle")]
    assert shown.background == "cream"
    page.wait("the picture", lambda: page.find_all(".pictures .thumbnail-item img"))
    details = page.find(".details").text
    assert "a large blue circle at the center on a cream background" in details
    assert page.value(".node-9.input-seed") in details and " run /" in details
    shot(page, "text_to_image-1280")


def test_the_preview_changes_while_it_runs_and_time_left_is_told(page: Page) -> None:
    page.fill(".node-9.input-steps", "60")
    page.fill(".node-9.input-seed", str(time.time_ns() % 10**6))
    page.start()
    seen: set[str] = set()
    told: set[str] = set()
    while page.state() == "running":
        seen.add(str(page.driver.execute_script(PREVIEW)))
        told.add(page.status())
        if len(seen) == 4:
            shot(page, "running-1280")
    assert page.state() == "done"
    assert len(seen - {""}) >= 3
    seconds = [found[1] for text in told if (found := re.search(r"Stage C, step \d+ of 60, about (\d+) s left", text))]
    assert seconds, told


def test_cancel_works_within_a_step_and_the_next_run_starts_clean(server: Server, page: Page) -> None:
    before = pictures(server)
    page.fill(".node-9.input-steps", "1000")
    page.start()
    page.wait("a few steps", lambda: re.search(r"step \d\d? of 1000", page.status()), 30)
    pressed = time.monotonic()
    step = int(str(re.findall(r"step (\d+) of", page.status())[0]))
    page.click("button.cancel")
    page.wait("the end", lambda: page.state() == "stopped", 10)
    assert time.monotonic() - pressed < 3 and step < 500
    assert "Cancelled." in page.status() and pictures(server) == before
    page.fill(".node-9.input-steps", "3")
    page.fill(".node-9.input-seed", str(time.time_ns() % 10**6))
    assert page.make() == "done"
    assert len(pictures(server) - before) == 1


def test_a_page_that_is_opened_anew_can_cancel_what_still_runs(server: Server, page: Page) -> None:
    prompt, seed = "three green squares on a gray background", str(time.time_ns() % 10**6)
    page.fill(".node-6", prompt)
    page.fill(".node-9.input-steps", "1000")
    page.fill(".node-9.input-seed", seed)
    page.start()
    page.open()
    page.wait("its settings", lambda: page.value(".node-6") == prompt, 20)
    assert (page.value(".node-9.input-steps"), page.value(".node-9.input-seed")) == ("1000", seed)
    page.console()  # the old page's streams end with an error, which nobody sees any more
    page.wait("the run", lambda: re.search(r"step \d+ of 1000, about", page.status()), 20)
    page.click("button.cancel")
    page.wait("the end", lambda: page.state() == "stopped", 10)
    page.fill(".node-9.input-steps", "2")
    assert page.make() == "done"


def test_a_mask_drawn_by_the_mouse_changes_only_what_it_covers(server: Server, page: Page) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    before = pictures(server)
    page.tab("Inpainting")
    canvas = page.wait("the canvas", lambda: page.find_all(".mask canvas"))[0]
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    time.sleep(2)
    pen = ActionChains(page.driver, duration=50)
    pen.move_to_element_with_offset(canvas, -20, 10).click_and_hold()
    for x, y in ((0, 10), (20, 20), (20, 40), (0, 40), (-20, 30)):
        pen.move_to_element_with_offset(canvas, x, y)
    pen.release().perform()
    time.sleep(1.5)
    shot(page, "inpainting-painted-1280")
    assert page.make() == "done", page.status()
    made = newest(server, before)
    inputs = [
        node["widgets_values"][0] for node in workflow_file.read(made)["nodes"] if node["type"] == "CascadePicture"
    ]
    masked = np.asarray(Image.open(server.input / str(inputs[0])))
    result = np.asarray(Image.open(made).convert("RGB"))
    assert masked.shape == (256, 256, 4)
    inside = masked[..., 3] == 0
    assert 200 < inside.sum() < 256 * 256 / 2
    assert (result[~inside] != masked[..., :3][~inside]).sum() == 0
    assert (result[inside] != masked[..., :3][inside]).any()
    shot(page, "inpainting-1280")


def test_a_dropped_picture_restores_its_settings(server: Server, page: Page, tmp_path: Path) -> None:
    before = pictures(server)
    page.fill(".node-6", "three green squares on a gray background")
    page.fill(".node-9.input-seed", "4321")
    page.fill(".node-9.input-steps", "5")
    assert page.make() == "done"
    made = newest(server, before)
    page.open()
    assert page.value(".node-9.input-steps") == "20"
    page.tab("Outlines (Canny)")
    page.driver.execute_script(DROP, base64.b64encode(made.read_bytes()).decode(), made.name)
    page.wait("the settings", lambda: "has the settings of" in page.status(), 20)
    page.wait("the tab", lambda: page.find_all(".node-6"))
    time.sleep(1)
    assert page.value(".node-6") == "three green squares on a gray background"
    assert (page.value(".node-9.input-seed"), page.value(".node-9.input-steps")) == ("4321", "5")
    page.click("button.save")
    saved = page.wait("the file", lambda: [*tmp_path.glob("text_to_image*.json")], 10)[0]
    assert json.loads(saved.read_text("utf-8"))["nodes"] == workflow_file.read(made)["nodes"]


def test_the_training_tab_learns_and_shows_a_sample(server: Server, page: Page) -> None:
    page.tab("Quick training")
    assert page.find("button.make").text == "Train" and not page.find_all(".input-number")
    page.fill(".node-6.input-name", "browser")
    page.start()
    assert page.finish(120) == "done", page.status()
    page.wait("the curve", lambda: page.find_all(".status .curve"))
    page.wait("the sample", lambda: page.find_all(".pictures .thumbnail-item img"))
    assert [*(server.output / "training" / "browser" / "samples").glob("000004-*.png")]
    assert (server.place / "models" / "loras" / "browser.safetensors").is_file()
    shot(page, "training-1280")


def test_the_gallery_gives_a_picture_back_to_its_tab(server: Server, page: Page) -> None:
    page.fill(".node-9.input-steps", "2")
    page.fill(".node-6", "a yellow cross")
    page.make()
    page.open()
    page.tab("Gallery")
    page.wait("pictures", lambda: page.find_all(".pictures .thumbnail-item img"))
    time.sleep(1)
    shot(page, "gallery-1280")
    assert "a yellow cross" in page.find(".details").text
    page.click("button.restore")
    page.wait("the tab", lambda: page.find_all(".node-6"))
    time.sleep(1)
    assert page.value(".node-6") == "a yellow cross" and page.value(".node-9.input-steps") == "2"


def test_a_workflow_with_titles_of_its_own_is_usable(server: Server, page: Page) -> None:
    before = pictures(server)
    page.tab("My own way")
    page.unfold()
    labels = [label.text for label in page.find_all("label")]
    assert any("What is seen" in text for text in labels) and any("What is not seen" in text for text in labels)
    page.fill(".node-6", "a large green star on a sky background")
    page.fill(".node-7", "red")
    assert page.make() == "done"
    assert newest(server, before).is_file()


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_every_tab_fits_the_window(server: Server, browser: tuple[str, str], size: tuple[int, int]) -> None:
    with Page(server.url, *browser, size) as page:
        titles = [part["props"]["label"] for part in server.config["components"] if part["type"] == "tabitem"]
        for title in titles:
            page.tab(title)
            across = page.driver.execute_script("return document.documentElement.scrollWidth")
            assert across <= size[0], title
            page.unfold()
            across = page.driver.execute_script("return document.documentElement.scrollWidth")
            assert across <= size[0], f"{title}, opened"
            shot(page, f"{title.lower().replace(' ', '_')}-opened-{size[0]}")
        assert page.console() == []
        assert page.outside() == []
