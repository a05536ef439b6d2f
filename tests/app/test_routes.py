"""Everything that Gradio's server answers, and what of it the guard lets through. Run: pytest tests/app/test_routes.py

A new Gradio may have new routes: each is looked at, entered here, and only then allowed by the extra `app`.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.routing import Mount

from stable_cascade_nodes.app.guard import _READ, _WRITE

API = "/gradio_api"
OPEN = {
    "GET": {
        "/", "/{page}", "/{page}/", "/config", "/config/", "/theme.css", "/favicon.ico", "/manifest.json",
        "/robots.txt", "/assets/{path}", "/static/{path}", "/svelte/{path}", f"{API}/info", f"{API}/info/",
        f"{API}/theme.css", f"{API}/app_id", f"{API}/app_id/", f"{API}/startup-events", f"{API}/upload_progress",
        f"{API}/queue/data", f"{API}/heartbeat/{{session_hash}}", f"{API}/file={{path_or_url}}",
    },
    "HEAD": {"/", f"{API}/file={{path_or_url}}"},
    "POST": {
        f"{API}/queue/join", f"{API}/cancel", f"{API}/reset", f"{API}/reset/", f"{API}/upload",
        f"{API}/component_server", f"{API}/component_server/",
    },
}  # fmt: skip
CLOSED = {
    "GET": {
        "/openapi.json", "/gradio_api/deep_link", "/logout", "/monitoring", "/monitoring/summary", "/monitoring/{key}",
        "/pwa_icon", "/pwa_icon/{size}", *(f"{API}/{name}" for name in (
            "user", "user/", "login_check", "login_check/", "token", "token/", "dev/reload", "runs", "runs/",
            "run-history/buckets", "run-history/records", "openapi.json", "queue/status", "call/{api_name}/{event_id}",
            "call/v2/{api_name}/{event_id}", "custom_component/{id}/{environment}/{type}/{file_name}", "file/{path}",
            "proxy={url_path}", "stream/{session_hash}/{run}/{component_id}/playlist.m3u8", "vibe-code", "vibe-code/",
            "stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}", "profiling/traces", "profiling/summary",
            "stream/{session_hash}/{run}/{component_id}/playlist-file", "run-history/records/{endpoint}/{record_id}"
            "/assets/{asset_id}",
        )),
    },
    "HEAD": {"/openapi.json", f"{API}/proxy={{url_path}}"},
    "POST": {
        "/login", "/login/", *(f"{API}/{name}" for name in (
            "run-history/connect", "stream/{event_id}", "stream/{event_id}/close", "run/{api_name}", "run/{api_name}/",
            "api/{api_name}", "api/{api_name}/", "call/v2/{api_name}", "call/v2/{api_name}/", "call/{api_name}",
            "call/{api_name}/", "process_recording", "vibe-edit", "vibe-edit/", "undo-vibe-edit", "undo-vibe-edit/",
            "vibe-code", "vibe-code/", "vibe-starter-queries", "vibe-starter-queries/", "profiling/clear",
        )),
    },
}  # fmt: skip


def routes(app: Any) -> set[tuple[str, str]]:
    """Method and path of everything that is answered, what is mounted and included too."""
    found: set[tuple[str, str]] = set()
    waiting: list[Any] = [app]
    while waiting:
        router = waiting.pop()
        for route in router.routes:
            if inner := getattr(route, "app" if isinstance(route, Mount) else "original_router", None):
                waiting.append(inner)
            else:
                path = route.path.replace(":path}", "}")
                found |= {(method, path) for method in getattr(route, "methods", None) or ("another",)}
    return found


def test_the_guard_knows_each_route_of_gradio() -> None:
    with gr.Blocks() as page:
        gr.Textbox()
    app = gr.mount_gradio_app(FastAPI(openapi_url=None), page, "/", run_history=False, ssr_mode=False, pwa=False)
    found = routes(app)
    assert ("POST", f"{API}/queue/join") in found and ("GET", "/config") in found
    known = {(method, path) for table in (OPEN, CLOSED) for method, paths in table.items() for path in paths}
    unknown = found - known
    assert not unknown, f"new in this Gradio, neither open nor closed: {sorted(unknown)}"


def test_what_is_open_gets_through_and_nothing_else() -> None:
    for method in ("GET", "HEAD", "POST"):
        lets = _WRITE if method == "POST" else _READ
        passed = {path for path in OPEN[method] | CLOSED[method] if lets.fullmatch(path.replace("{page}", ""))}
        assert passed - {"//"} == OPEN[method] - {"/{page}/"}, method
