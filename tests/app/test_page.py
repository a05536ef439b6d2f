"""What a person sees who opens the app, in a real headless Chromium. Run: pytest -m browser tests/app/test_page.py

APP_SCREENSHOTS names a folder for pictures of the page.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from .browser import Page
from .conftest import Server
from .test_browser import pictures, shot

pytestmark = pytest.mark.browser

WIDTHS = {390: 844, 768: 1024, 1280: 800, 1920: 1080}
# Every text that can be seen, with its contrast to what lies behind it, by WCAG's formula: those below 4.5.
FAINT = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgba = colour => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
};
const over = (front, back) => front.slice(0, 3).map((value, i) => value * front[3] + back[i] * (1 - front[3]));
const behind = element => {
  const layers = [];
  for (let at = element; at; at = at.parentElement) {
    const colour = rgba(getComputedStyle(at).backgroundColor);
    layers.push(colour);
    if (colour[3] === 1) break;
  }
  return layers.reverse().reduce((back, layer) => over(layer, back), [255, 255, 255]);
};
const light = colour => {
  const [r, g, b] = colour.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const found = [];
let count = 0;
const measure = (element, colour, text) => {
  const box = element.getBoundingClientRect();
  if (!text.trim() || box.width < 2 || box.height < 2 || !element.checkVisibility({visibilityProperty: true})) return;
  let opacity = 1;
  for (let at = element; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
  const back = behind(element), front = rgba(colour);
  front[3] *= opacity;
  const [a, b] = [light(over(front, back)), light(back)].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  count += 1;
  if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${text.trim().slice(0, 40)} (${colour} on ${back.map(Math.round)})`);
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!element.closest('script, style, noscript, svg'))
    measure(element, getComputedStyle(element).color, walker.currentNode.data);
}
for (const field of document.querySelectorAll('input:not([type=checkbox]), textarea')) {
  if (field.value) measure(field, getComputedStyle(field).color, field.value);
  else if (field.placeholder) measure(field, getComputedStyle(field, '::placeholder').color, field.placeholder);
}
for (const element of document.querySelectorAll('.block, .actions')) {
  const after = getComputedStyle(element, '::after');
  if (after.content.startsWith('"')) measure(element, after.color, after.content);
}
return [count, [...new Set(found)]];
"""
ACROSS = "return document.documentElement.scrollWidth"
CUT = """
return [...document.querySelectorAll('.info-text, .purpose, .status p, .notices, label > span')]
  .filter(element => element.checkVisibility() && element.scrollWidth > element.clientWidth + 1)
  .map(element => element.textContent.trim().slice(0, 60));
"""


@pytest.fixture(scope="module")
def window(server: Server, browser: tuple[str, str]) -> Iterator[Page]:
    with Page(server.url, *browser, (1280, 800)) as opened:
        yield opened
        assert opened.console() == []
        assert opened.outside() == []


@pytest.fixture
def page(window: Page) -> Page:
    """The first tab, at its top; one page for all tests, for it takes seconds to open."""
    window.tab("Text to image")
    window.driver.execute_script("window.scrollTo(0, 0)")
    return window


def titles(server: Server) -> list[str]:
    return [part["props"]["label"] for part in server.config["components"] if part["type"] == "tabitem"]


def is_in_sight(page: Page, selector: str) -> bool:
    """Whether all of it lies in the window, as it is scrolled now."""
    box = page.find(selector).rect
    top = page.driver.execute_script("return window.scrollY")
    height = page.driver.execute_script("return window.innerHeight")
    return bool(box["height"] > 0 and top <= box["y"] and box["y"] + box["height"] <= top + height)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_at_every_width(server: Server, browser: tuple[str, str], scheme: str) -> None:
    with Page(server.url, *browser, (1280, 800), scheme=scheme) as page:
        measured, wrong = 0, []
        for title in titles(server):
            page.resize(1280, 800)
            page.tab(title)
            for opened in (False, True):
                if opened:
                    page.unfold()
                for width, height in WIDTHS.items():
                    page.resize(width, height)
                    count, faint = page.driver.execute_script(FAINT)
                    across, cut = page.driver.execute_script(ACROSS), page.driver.execute_script(CUT)
                    measured += count
                    if faint or cut or across > width:
                        wrong.append((title, width, opened, across, faint, cut))
                    shot(page, f"{width}-{scheme}-{title.lower().replace(' ', '_')}{'-opened' * opened}")
        assert wrong == []
        assert measured > 5000
        assert page.console() == [] and page.outside() == []


def test_the_first_picture_takes_two_actions(server: Server, page: Page) -> None:
    before = pictures(server)
    assert is_in_sight(page, "button.make") and is_in_sight(page, ".purpose")
    page.click("button.example")
    page.click("button.make")
    page.wait("the picture", lambda: page.find_all(".pictures .thumbnail-item img"))
    assert len(pictures(server) - before) == 1
    shot(page, "first-picture")


def test_what_a_tab_is_for_is_in_sight(server: Server, page: Page) -> None:
    for title in titles(server):
        page.tab(title)
        if title != "Gallery":
            page.driver.execute_script("window.scrollTo(0, 0)")
            assert is_in_sight(page, ".purpose"), title


def test_the_page_keeps_its_width_and_what_a_run_says_stays_in_sight(page: Page) -> None:
    widths: set[float] = set()
    for title in ("Gallery", "Text to image", "Image variation", "Inpainting", "Outlines (Canny)"):
        page.tab(title)
        widths.add(page.find(".head").rect["width"])
        if title in ("Inpainting", "Image variation", "Outlines (Canny)"):
            page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", page.find("button.make"))
            time.sleep(0.3)
            assert is_in_sight(page, "button.make") and is_in_sight(page, ".status"), title
            shot(page, f"make-{title}")
    assert len(widths) == 1, widths


def test_the_list_of_loras_says_where_one_of_ones_own_belongs(server: Server, page: Page) -> None:
    page.tab("Style or word (LoRA)")
    assert str(server.place / "models" / "loras") in page.find(".own-lora").text
    assert page.find("button.look-for-loras").text == "Look again"


def test_a_prompt_outside_the_toy_world_shows_picture_and_notice_at_once(page: Page) -> None:
    page.fill(".input-text", "a photorealistic castle on a hill at sunset, 8k")
    page.fill(".input-seed", str(time.time_ns() % 10**6))
    page.driver.execute_script("window.scrollTo(0, 0)")
    assert page.make() == "done"
    page.wait("the picture", lambda: page.find_all(".pictures .thumbnail-item img"))
    time.sleep(0.5)
    shot(page, "castle")
    assert page.driver.execute_script("return window.scrollY") == 0
    assert is_in_sight(page, ".pictures .thumbnail-item img") and is_in_sight(page, ".notices")
    words = page.find(".notices").text
    assert "does not know and skips: photorealistic, castle" in words and "It knows" not in words
    assert words.count("castle") == 1
    picture, notice = page.find(".pictures .thumbnail-item img").rect, page.find(".notices").rect
    assert notice["y"] >= picture["y"] + picture["height"]
    assert notice["height"] <= 32, "one line"
    page.click(".notices summary")
    assert "circle" in page.find(".notices").text


def test_what_can_be_pressed(page: Page) -> None:
    def pressable() -> tuple[bool, bool]:
        return page.find("button.make").is_enabled(), page.find("button.cancel").is_enabled()

    assert pressable() == (True, False)
    page.fill(".node-9.input-steps", "1000")
    page.fill(".input-seed", str(time.time_ns() % 10**6))
    page.start()
    page.wait("the run", lambda: pressable() == (False, True), 20)
    page.click("button.cancel")
    page.wait("the end", lambda: pressable() == (True, False), 20)


def test_missing_models_are_said_when_the_tab_is_opened(page: Page) -> None:
    page.tab("Published models")
    box = page.find(".wanting-box")
    assert "5 model files are not here, 11.8 GB in all" in box.text and "stage_c_bf16" not in box.text
    assert " download essential big-big --text-encoder --models /" in page.value(".command")
    assert not page.find("button.make").is_enabled() and "cannot run yet" in page.find(".not-yet").text
    assert page.find("button.example").text.startswith("a lighthouse")
    assert is_in_sight(page, ".wanting-box")
    page.click("button.elsewhere")
    page.wait("the tab", lambda: page.find_all(".input-width") and not page.find_all(".not-yet"))
    assert not page.find_all(".wanting-box") and page.find("button.make").is_enabled()


def test_a_number_out_of_range_is_told_at_its_field(page: Page) -> None:
    def told() -> str:
        return str(page.driver.execute_script("return document.querySelector('[data-problem]')?.dataset.problem || ''"))

    page.fill(".input-width", "5")
    assert told() == "Expected a number from 16 to 8192"
    shot(page, "out-of-range")
    _, faint = page.driver.execute_script(FAINT)
    assert faint == []
    assert (
        page.driver.execute_script("return getComputedStyle(document.querySelector('button.make')).pointerEvents")
        == "none"
    )
    page.fill(".input-width", "256")
    assert told() == ""


def test_the_gallery_is_a_grid_with_a_large_view(page: Page) -> None:
    page.fill(".node-9.input-steps", "1")
    page.fill(".input-number", "4")
    page.fill(".input-seed", str(time.time_ns() % 10**6))
    assert page.make() == "done"
    page.tab("Gallery")
    page.wait("pictures", lambda: len(page.find_all(".pictures .thumbnail-item img")) >= 4)
    time.sleep(0.5)
    rows = [image.rect for image in page.find_all(".pictures .thumbnail-item")]
    assert rows[0]["y"] == rows[1]["y"] and rows[0]["x"] < rows[1]["x"]
    small = rows[0]["width"]
    shot(page, "gallery-grid")
    page.click(".pictures .thumbnail-item")
    large = page.wait("the large view", lambda: page.find_all(".pictures .preview img, .pictures .media-button img"))
    shot(page, "gallery-large")
    assert large[0].rect["width"] > 1.5 * small
