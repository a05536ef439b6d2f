"""Our sockets in the editor, each in its own colour, and the words of our notes: in dark and light palettes."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageColor

import stable_cascade_nodes
from stable_cascade_nodes.headless import shipped

from .browser import SETTLE, Editor

SCRIPT = (Path(stable_cascade_nodes.__file__).parent / "web" / "colours.js").read_text(encoding="utf-8")
COLOURS = dict(re.findall(r"(CASCADE_\w+): \"(#\w{6})\"", SCRIPT))
PALETTES = ("dark", "light", "nord", "dark")

# Nodes side by side that give out each of the types once, on an empty canvas.
GIVERS = """
app.graph.clear();
const canvas = app.canvas, places = {};
for (const [id, made] of Object.entries(LiteGraph.registered_node_types)) {
  if (!id.startsWith('Cascade') || Object.keys(places).length === arguments[0].length) continue;
  const node = LiteGraph.createNode(id), type = node.outputs.map(slot => slot.type).find(type =>
    arguments[0].includes(type) && !(type in places));
  if (!type) continue;
  const column = Object.keys(places).length;
  app.graph.add(node);
  node.setSize([340, 100]);
  node.pos = [(column % 6) * 390, Math.floor(column / 6) * 600];
  places[type] = [node, node.outputs.findIndex(slot => slot.type === type)];
}
window.__givers = places;
canvas.ds.scale = 0.75;
canvas.ds.offset = [130, 150];
canvas.setDirty(true, true);
return Object.keys(places);
"""
# Where each type's socket is on the screen.
SOCKETS = """
const {left, top} = app.canvas.canvas.getBoundingClientRect(), sockets = {};
for (const [type, [node, slot]] of Object.entries(window.__givers)) {
  const dot = document.querySelector(`[data-slot-key='${node.id}-out-${slot}']`);
  if (LiteGraph.vueNodesMode && dot) {
    const box = dot.getBoundingClientRect();
    sockets[type] = [box.left + box.width / 2, box.top + box.height / 2];
  } else if (!LiteGraph.vueNodesMode) {
    const [x, y] = app.canvas.ds.convertOffsetToCanvas([...node.getConnectionPos(false, slot)]);
    sockets[type] = [left + x, top + y];
  }
}
return sockets;
"""
# Of the words of notes their colour, and that of the first ground below them that is not transparent.
WORDS = """
const found = [];
for (const note of document.querySelectorAll('.comfy-markdown-content, .comfy-markdown'))
  for (const element of note.querySelectorAll('h2, p, li, strong, em, code')) {
    let below = element;
    while (getComputedStyle(below).backgroundColor === 'rgba(0, 0, 0, 0)') below = below.parentElement;
    found.push([element.tagName, getComputedStyle(element).color, getComputedStyle(below).backgroundColor]);
  }
return found;
"""
SWITCH = "await app.extensionManager.setting.set('Comfy.ColorPalette', arguments[0])"


@pytest.fixture
def switched(clean: Editor) -> Iterator[Editor]:
    yield clean
    clean.script(SWITCH, "dark")


def colours_on_screen(editor: Editor) -> dict[str, tuple[int, ...]]:
    sockets = editor.script(SOCKETS)
    with Image.open(io.BytesIO(editor.driver.get_screenshot_as_png())) as screen:
        rgb = screen.convert("RGB")
        return {type: rgb.getpixel((round(x - 0.5), round(y - 0.5))) for type, (x, y) in sockets.items()}


def test_each_of_our_sockets_has_its_colour_in_every_palette(switched: Editor, shots: Path) -> None:
    expected = {type: ImageColor.getrgb(colour) for type, colour in COLOURS.items()}
    assert len(set(expected.values())) == 11
    assert set(switched.script(GIVERS, list(COLOURS))) == set(COLOURS)
    for number, palette in enumerate(PALETTES):
        switched.script(SWITCH, palette)
        time.sleep(2 * SETTLE)
        switched.screenshot(shots / f"colours_{number}_{palette}.png")
        assert colours_on_screen(switched) == expected, palette
    assert switched.console() == []


def test_notes_stand_out_from_their_ground(switched: Editor, shots: Path) -> None:
    """By 4.5 to 1, which is asked of text on the web."""
    for palette in ("light", "dark"):
        switched.script(SWITCH, palette)
        switched.open_file(shipped.path_of("published_models"))
        switched.forget()
        switched.screenshot(shots / f"notes_{palette}_{switched.rendering}.png")
        words = {tuple(each) for each in switched.script(WORDS)}
        assert {tag for tag, *_ in words} >= {"H2", "P", "LI", "STRONG", "EM"}
        assert [each for each in words if contrast(*each[1:]) < 4.5] == [], palette


def contrast(first: str, second: str) -> float:
    """Of two colours, as WCAG 2 defines it."""
    darker, lighter = sorted(luminance(ImageColor.getrgb(colour)) for colour in (first, second))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(rgb: tuple[int, ...]) -> float:
    linear = [(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for c in (part / 255 for part in rgb[:3])]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
