"""What the pack adds to ComfyUI's server, on a server of the same library. Run: pytest tests/runtime/test_editor.py

tests/host/test_pictures_shown.py and test_installed.py see the same in ComfyUI's own.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from stable_cascade_nodes.runtime import comfyui, editor

PICTURE = {"filename": "circle (built-in)", "type": "input", "subfolder": ""}


@pytest.fixture
def comfyui_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Like ComfyUI's, before it begins; /view answers with what it was asked for."""

    async def view(request: web.Request) -> web.Response:
        return web.json_response(dict(request.rel_url.query))

    server = SimpleNamespace(app=web.Application(), routes=web.RouteTableDef())
    server.routes.get("/view")(view)
    module = SimpleNamespace(PromptServer=SimpleNamespace(instance=server))
    folders = SimpleNamespace(get_temp_directory=lambda: str(tmp_path))
    for name, value in {"server": module, "folder_paths": folders, "comfy.model_management": SimpleNamespace()}.items():
        monkeypatch.setitem(sys.modules, name, value)
    return server


def ask(server: Any, path: str, **query: str) -> tuple[int, Any]:
    """Status and content of a GET once all routes are there."""

    async def get() -> tuple[int, Any]:
        server.app.add_routes(server.routes)
        async with TestClient(TestServer(server.app)) as client:
            reply = await client.get(path, params=query)
            return reply.status, await (reply.json() if reply.content_type == "application/json" else reply.text())

    return asyncio.run(get())


def test_a_built_in_picture_becomes_a_file_of_the_previews(comfyui_server: Any, tmp_path: Path) -> None:
    editor.serve()
    status, asked = ask(comfyui_server, "/view", **PICTURE, channel="a", rand="0.5")
    assert status == 200
    assert asked.items() >= {"type": "temp", "channel": "a", "rand": "0.5"}.items()
    assert (tmp_path / asked["subfolder"] / asked["filename"]).is_file()


@pytest.mark.parametrize("other", [{"type": "output"}, {"filename": "circle.png"}, {"filename": ""}])
def test_what_is_none_goes_by_untouched(comfyui_server: Any, tmp_path: Path, other: dict[str, str]) -> None:
    editor.serve()
    assert ask(comfyui_server, "/view", **PICTURE | other) == (200, PICTURE | other)
    assert list(tmp_path.iterdir()) == []


def test_a_second_copy_of_the_pack_changes_nothing(comfyui_server: Any) -> None:
    editor.serve()
    comfyui_server.app.middlewares.append(web.middleware(editor.show_picture))
    assert ask(comfyui_server, "/view", **PICTURE)[1]["type"] == "temp"


# Folders that people give the pack, as what a route would take for a variable, a mistake, a code, or would encode.
@pytest.mark.parametrize("folder", ["pack", "{pack}", "pack}{", "100%25 [new] + ü"])
def test_a_help_page_is_there_in_every_language(
    comfyui_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str
) -> None:
    pack = tmp_path / folder
    pages = pack / "web" / "docs"
    (pages / "CascadePicture").mkdir(parents=True)
    (pages / "CascadePicture.md").write_text("English", encoding="utf-8")
    (pages / "CascadePicture" / "de.md").write_text("Deutsch", encoding="utf-8")
    monkeypatch.setattr(editor, "PACK", pack)
    editor.serve()
    comfyui_server.app.add_routes(comfyui_server.routes)

    async def get() -> list[tuple[int, str]]:
        async with TestClient(TestServer(comfyui_server.app)) as client:
            base = f"/extensions/{quote(folder)}/docs"
            asked = ("CascadePicture/en", "CascadePicture/de", "CascadePicture/zh-TW", "KSampler/en", "..%2F..%2Fa/en")
            replies = [await client.get(URL(f"{base}/{each}.md", encoded=True)) for each in asked]
            return [(reply.status, await reply.text() if reply.ok else "") for reply in replies]

    assert asyncio.run(get()) == [(200, "English"), (200, "Deutsch"), (200, "English"), (404, ""), (404, "")]


def test_nothing_is_done_where_no_server_is_to_begin(comfyui_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert comfyui.server() is comfyui_server
    comfyui_server.app.freeze()
    assert comfyui.server() is None
    editor.serve()
    monkeypatch.setitem(sys.modules, "server", SimpleNamespace())  # somebody else's
    assert comfyui.server() is None
    monkeypatch.delitem(sys.modules, "comfy.model_management")
    assert comfyui.server() is None
