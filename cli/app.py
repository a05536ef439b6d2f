"""`cascade app`: the page for people without a graph, on this computer alone unless told otherwise."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import socket
import sys
from contextlib import suppress
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

from ..headless import node_classes, shipped
from ..headless.graph import WorkflowError
from ..headless.run import configure
from . import arguments, parts
from .output import OK, STOPPED, complain

DESCRIPTION = """\
Open a page in the browser on which every workflow file is a tab: its settings, a preview while it runs, and the
pictures with how each was made. What runs is what `cascade run` runs.
The page is for this computer alone; --host 0.0.0.0 lets every computer of the network use it that knows the password.
Pictures that are uploaded go into the sub-folder `app` of the input folder (4 GiB at most, the oldest go), results into
the output folder."""

HOST, PORT = "127.0.0.1", 7860
ANYWHERE = "0.0.0.0"
DRAWN = ""  # in place of a password that is not given


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.add_argument("--host", metavar="NAME", default=HOST, help="the address to listen at (%(default)s)")
    parser.add_argument("--port", metavar="N", type=int, default=PORT, help="the port; 0: a free one (%(default)s)")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument(
        "--password",
        metavar="WORD",
        nargs="?",
        const=DRAWN,
        help="what a browser is asked for, under any name (without WORD one is drawn, and told)",
    )
    asked.add_argument("--no-password", action="store_true", help="nobody is asked for one, whatever --host is")
    arguments.add(parser, "--models", "--input", "--output", "--device")
    parser.add_argument(
        "--workflows",
        metavar="DIR",
        type=Path,
        default=shipped.FOLDER,
        help="the workflow files (those that are shipped)",
    )
    parser.set_defaults(command=app)


def app(options: argparse.Namespace) -> int:
    from ..runtime import environment

    parts.expect("app", "app: the page")
    if missing := [name for name in environment.EXTRAS["app"] if find_spec(name) is None]:
        command = environment.how_to_install_extra("app")
        raise WorkflowError(f"app: {missing[0]} is missing in {sys.executable}: {command}")
    if not options.workflows.is_dir():
        raise WorkflowError(f"--workflows: expected a folder, found {str(options.workflows)!r}")
    if not 0 <= options.port <= 65535:
        raise WorkflowError(f"--port: expected a number from 0 to 65535, found {options.port}")
    if options.password == DRAWN:
        options.password = secrets.token_urlsafe(9)
        complain(f"the password is {options.password}")
    if options.password is None and not options.no_password and not _is_this_computer(options.host):
        raise WorkflowError(
            f"--host {options.host}: other computers could use the page: add --password WORD, or say --no-password"
        )
    local = configure(options)
    local.device()  # refuses a device that is not there, before anything is drawn
    listener = _listen(options.host, options.port)
    # Gradio reads these when it is imported.
    os.environ["GRADIO_TEMP_DIR"] = str(local.temporary_directory() / "page")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, which cleans up
    import uvicorn

    from ..app.connections import Connection
    from ..app.server import serve

    page = serve(options.workflows, node_classes.load(), options.host, options.password)
    complain(*page.problems)
    address, port = listener.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    print(f"http://{shown}:{port}", flush=True)
    print("Ctrl-C ends the app", file=sys.stderr)
    config = uvicorn.Config(
        page.application, http=Connection, ws="none", log_level="warning", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)

    def end(sig: int, frame: FrameType | None) -> None:
        """Without an error, and where it stood, for each stream that an open page still listens to."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        uvicorn.Server.handle_exit(server, sig, frame)

    server.handle_exit = end
    try:
        server.run(sockets=[listener])
        page.close()
    except KeyboardInterrupt:
        with suppress(KeyboardInterrupt):  # a second Ctrl-C does not wait for the step that runs
            page.close()
        complain("ended")
        return STOPPED
    return OK


def _is_this_computer(host: str) -> bool:
    """Whether nobody else can reach that address."""
    try:
        found = socket.getaddrinfo(host or ANYWHERE, None, type=socket.SOCK_STREAM)
    except OSError:  # listening says so
        return True
    return all(ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)


def _listen(host: str, port: int) -> socket.socket:
    """The port, taken before the page is drawn, which takes seconds: one that is in use is told at once."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        raise WorkflowError(
            f"--host, --port: cannot listen at {host}:{port} ({error.strerror or error}): choose another --port"
        ) from None
    return listener
