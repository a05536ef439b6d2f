"""The page as an application that a web server can run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import gradio as gr
from fastapi import FastAPI
from gradio.routes import file_upload_statuses
from gradio.state_holder import SessionState

from ..headless import node_classes
from ..runtime import host
from . import assets, blobs, guard, page, pictures, sessions, tabs, theme
from .runs import Runner

OPEN_EVENTS = 32  # events of all pages that may be worked on at once; what runs has a queue of its own
LARGEST_CACHE, MOST_CACHED = 512 * 2**20, 4000  # bytes and files of what was brought and is shown, the oldest first
MOST_TRACKED = 256  # uploads whose progress Gradio knows


class Page(NamedTuple):
    """The application, and why files of the workflows folder have no tab. `close` ends what runs."""

    application: Any
    problems: list[str]
    close: Callable[[], None]


def serve(workflows: Path, nodes: node_classes.Nodes, address: str, password: str | None = None) -> Page:
    """The page for a server at this address. password: what a browser must know; None: nothing."""
    found, problems = tabs.read_all(workflows, nodes)
    cache, output = host.current().temporary_directory(), host.current().output_directory()
    runner = Runner(nodes, after=lambda: sessions.trim(cache, LARGEST_CACHE, MOST_CACHED))
    blocks = _build(found, problems, runner)
    blocks.queue(default_concurrency_limit=OPEN_EVENTS, max_size=2 * OPEN_EVENTS)
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
    return Page(_guarded(application, blocks, address, [cache, output], password), problems, runner.close)


def _build(found: Sequence[tabs.Tab], problems: list[str], runner: Runner) -> gr.Blocks:
    """The page; a tab that cannot be drawn is left out, and a sentence more in `problems`."""
    try:
        return page.build(found, problems, runner)
    except Exception:  # a file may have anything in it
        fine = [tab for tab in found if _can_be_drawn(tab, runner, problems)]
        if len(fine) == len(found):
            raise
        return page.build(fine, problems, runner)


def _can_be_drawn(tab: tabs.Tab, runner: Runner, problems: list[str]) -> bool:
    try:
        page.build([tab], [], runner)
    except Exception as error:
        problems.append(tabs.no_tab(tab.path, f"it cannot be drawn: {str(error) or type(error).__name__}"))
        return False
    return True


def _guarded(
    application: Any, blocks: gr.Blocks, address: str, folders: Sequence[Path], password: str | None
) -> guard.Guard:
    """The application behind its guard, which knows by Gradio's own books what a session has."""
    queue, states = blocks._queue, blocks.state_holder
    states.capacity = sessions.MOST
    editors = {id: block for id, block in blocks.blocks.items() if isinstance(block, gr.ImageEditor)}
    painted = blobs.Blobs(editors)

    # By itself Gradio describes all components for each session, a second of work, for links that the guard refuses.
    undescribed: Any = SimpleNamespace(default_config=blocks.default_config, blocks=())

    def begin(session: str) -> None:
        states.session_data.setdefault(session, SessionState(undescribed))

    def forget(session: str) -> None:
        states.session_data.pop(session, None)
        states.time_last_used.pop(session, None)
        queue.pending_messages_per_session.pop(session, None)
        queue.pending_event_ids_session.pop(session, None)
        painted.forget(session)

    def uploaded() -> None:
        sessions.trim(folders[0], LARGEST_CACHE, MOST_CACHED)
        blocks.upload_file_set.clear()  # Gradio's list of what it may remove one day
        for known in (file_upload_statuses._statuses, file_upload_statuses._signals):
            for upload in list(known)[:-MOST_TRACKED]:
                del known[upload]

    return guard.Guard(
        application,
        address,
        folders,
        frozenset(blocks.fns),
        password=password,
        painted=painted,
        begin=begin,
        forget=forget,
        open_events=lambda session: len(queue.pending_event_ids_session.get(session, ())),
        uploaded=uploaded,
    )
