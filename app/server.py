"""The page as an application that a web server can run."""

from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI

from ..headless import node_classes
from ..runtime import host
from . import assets, guard, page, pictures, tabs, theme
from .runs import Runner

OPEN_EVENTS = 32  # events of all pages that may be worked on at once; what runs has a queue of its own


def serve(workflows: Path, nodes: node_classes.Nodes, address: str) -> tuple[Any, list[str]]:
    """The application for a server at this address, and why files of the folder have no tab."""
    found, problems = tabs.read_all(workflows, nodes)
    blocks = page.build(found, problems, Runner(nodes))
    blocks.queue(default_concurrency_limit=OPEN_EVENTS, max_size=2 * OPEN_EVENTS)
    cache, output = host.current().temporary_directory(), host.current().output_directory()
    application = gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        blocks,
        "/",
        server_name=address,
        allowed_paths=[str(output), str(cache)],
        max_file_size=pictures.LARGEST_FILE,
        show_error=True,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme.make(),
        css=assets.CSS,
        js=assets.ON_LOAD,
    )
    return guard.Guard(application, address, [cache, output], frozenset(blocks.fns)), problems
