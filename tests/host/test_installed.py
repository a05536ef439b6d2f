"""The pack as the page of the editor finds it: help without an error, and two copies of it side by side."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import stable_cascade_nodes

from .browser import Editor
from .conftest import Start
from .server import PACK, ComfyUI, Refused

ROOT = Path(stable_cascade_nodes.__file__).parent
PAGES = sorted((ROOT / "web" / "docs").glob("*.md"))


def test_help_is_there_by_every_name_by_which_editors_ask(comfyui: ComfyUI) -> None:
    folder = f"/extensions/{PACK}/docs"
    for page in PAGES:
        for name in (f"{page.stem}/en", f"{page.stem}/zh-TW", page.stem):
            assert comfyui.fetch(f"{folder}/{name}.md") == page.read_bytes(), name
    for missing in ("KSampler/en", "KSampler", "..%2f..%2fREADME/en", "..%2f..%2f..%2fREADME"):
        with pytest.raises(Refused):
            comfyui.fetch(f"{folder}/{missing}.md")


def test_help_opens_without_an_error(clean: Editor) -> None:
    clean.open_file(ROOT / "workflows" / "text_to_image.json")
    clean.click_node("Stage C")
    clean.click('[data-testid="info-button"]')
    page = (ROOT / "web" / "docs" / "CascadeStageCSampler.md").read_text(encoding="utf-8")
    words = page.split("**When to use it.** ")[1].splitlines()[0]
    clean.wait("our page", lambda: words in clean.script("return document.body.textContent"))
    assert [line for line in clean.console() if "Failed to load" in line] == [] and clean.messages() == []


def test_two_copies_give_no_errors(
    editor: Editor, start_comfyui: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "custom_nodes").mkdir()
    (tmp_path / "custom_nodes" / "again").symlink_to(ROOT, target_is_directory=True)
    server = start_comfyui(folder=tmp_path)
    assert "IMPORT FAILED" not in server.log() and "Traceback" not in server.log()
    monkeypatch.setattr(editor, "url", server.url)
    editor.forget()
    editor.open()
    time.sleep(5)  # newer editors look late for the models of the graph with which they open
    before = words(editor)
    editor.open_file(ROOT / "workflows" / "inpainting.json")
    names = editor.script("return app.extensions.map(one => one.name).filter(name => name.startsWith('StableCascade'))")
    assert names and len(set(names)) == len(names)
    ours = ("StableCascade", "already registered", PACK, "/again/")
    assert [line for line in editor.console() if any(name in line for name in ours)] == []
    assert words(editor) <= before


def words(editor: Editor) -> set[str]:
    """What is shown in messages, without the blanks, which differ between those that are seen and those that were."""
    return {"".join(message.text.split()) for message in editor.messages()}
