"""What a server wrote into its output folder, brought into the one here under the same sub-folders."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from ...cascade_core.files import atomic
from ...runtime import host, paths
from .. import graph
from .server import Server, ServerError


async def fetch(there: Server, account: Mapping[str, Any]) -> AsyncIterator[Path]:
    """Bring each file of the server's account of a prompt; previews stay there, as they would be gone here."""
    root = host.current().output_directory()
    outputs: Any = account.get("outputs")
    for ui in outputs.values() if graph.is_object(outputs) else ():
        for shown in ui.values() if graph.is_object(ui) else ():
            for entry in shown if isinstance(shown, list) else ():
                if graph.is_object(entry) and entry.get("type") == "output" and "filename" in entry:
                    yield await _bring(there, entry, root)


async def _bring(there: Server, entry: Mapping[str, Any], root: Path) -> Path:
    folder, name = _target(there, entry, root)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.unfinished(folder) as temporary:
        await there.download(entry, temporary)
        return next(folder / free for free in _names(name) if atomic.claim(temporary, folder / free))


def _target(there: Server, entry: Mapping[str, Any], root: Path) -> tuple[Path, str]:
    """The folder and the name of a result, which a server must not choose outside the output folder."""
    subfolder, name = str(entry.get("subfolder") or ""), str(entry["filename"])
    folder = root / subfolder.replace("\\", "/")
    plain = not set(name) & {"/", "\\", "\0"} and "\0" not in subfolder and (folder / name).parent == folder
    if name in ("", ".", "..") or not plain or not paths.is_inside(root, folder):
        found = graph.show(f"{subfolder}/{name}")
        raise ServerError(f"{there.name}: expected results inside its output folder, found {found}")
    return folder, name


def _names(name: str) -> Iterator[str]:
    """The name itself, and what to try where it is taken: the next numbers, as pictures are counted."""
    yield name
    counted = re.fullmatch(r"(.*_)(\d{1,9})(_\.\w+)", name)
    path = Path(name)
    for step in count(1):
        yield (
            f"{counted[1]}{int(counted[2]) + step:05}{counted[3]}" if counted else f"{path.stem} ({step}){path.suffix}"
        )
