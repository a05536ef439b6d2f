"""What ComfyUI's editor asks its server for, and would not find without us: pictures that are drawn, pages of help.

Editors change every week, but what they ask for stays: so it is answered here, and not by scripts in each of them.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from . import comfyui

if TYPE_CHECKING:
    from aiohttp.web import Request, StreamResponse

PACK = Path(__file__).parents[1]
PICTURES = "stable_cascade_pictures"  # in the folder of previews, which ComfyUI empties


def serve() -> None:
    """Answer in ComfyUI's own server, where there is one that has not begun."""
    server = comfyui.server()
    if server is None:
        return
    from aiohttp import web

    server.app.middlewares.extend(web.middleware(answer) for answer in (show_picture, show_page))


async def show_picture(request: Request, handler: Callable[[Request], Awaitable[StreamResponse]]) -> StreamResponse:
    """A built-in picture that is asked for as if it were a file of the input folder, from a file of the previews.

    What else is asked of it, such as one channel for the mask editor, is then ComfyUI's own answer.
    """
    asked = request.query
    if request.path in ("/view", "/api/view") and asked.get("type") == "input":
        from ..cascade_core.builtin.pictures import BUILT_IN_PICTURES

        if picture := BUILT_IN_PICTURES.get(asked.get("filename", "")):
            file = Path(comfyui.ComfyUIHost().temporary_directory(), PICTURES, f"{asked['filename']}.png")
            if not file.is_file():
                file.parent.mkdir(parents=True, exist_ok=True)
                picture.draw().save(file)
            there = {"filename": file.name, "subfolder": PICTURES, "type": "temp"}
            request = request.clone(rel_url=request.rel_url.update_query(there))
    return await handler(request)


async def show_page(request: Request, handler: Callable[[Request], Awaitable[StreamResponse]]) -> StreamResponse:
    """A node's page of help in the language that is asked for, else the one that is there for all.

    The editor asks for a language first, and where that is not there its console shows an error. This is no route: in
    one, the name of the pack's folder would have to be spelt as a pattern, which each aiohttp does in its own way.
    """
    folder = re.escape(f"/extensions/{PACK.name}/docs/")
    if asked := re.fullmatch(rf"{folder}([^/]+)/([^/]+)\.md", request.path):
        from aiohttp import web

        node, language = asked.groups()
        pages = PACK / "web" / "docs"
        known = {page.relative_to(pages).as_posix(): page for page in pages.glob("**/*.md")}
        if page := known.get(f"{node}/{language}.md") or known.get(f"{node}.md"):
            return web.FileResponse(page)
    return await handler(request)
