"""The hub, as far as `cascade download` needs it: what a file is there, and its bytes from where a part leaves off.

huggingface_hub knows the hub's addresses, tokens, proxies and environment variables. Its `hf_hub_download` is not used:
it throws away what a broken download has brought (since 1.18). `http_get`, on which it stands, goes on from any byte.
"""

from __future__ import annotations

import errno
import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from ..cascade_core.files.published import Published

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
CHUNK = 1 << 20
NOT_THAT_FAR = 416  # HTTP's answer where a file ends before the first wanted byte


class HubError(Exception):
    """Why a file cannot be had: one sentence for people. `status` is HTTP's, where a server answered."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Remote:
    """What the hub says of a file."""

    url: str  # of this very version
    size: int
    tag: str  # changes with the content; its SHA-256 where the file is large


def ask(file: Published) -> Remote:
    """What the hub has under that name now; raises HubError."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(file.repository, file.path)
    with _explained(file, url):
        found = get_hf_file_metadata(url)
    if found.commit_hash is None or found.etag is None or found.size is None:
        host = urlsplit(url).netloc
        raise HubError(f"{_name(file)}: {host} does not answer as a hub does: look at HF_ENDPOINT and your proxy")
    return Remote(hf_hub_url(file.repository, file.path, revision=found.commit_hash), found.size, found.etag)


def fetch(file: Published, remote: Remote, part: Path) -> None:
    """Write to `part` what it lacks, with a bar on stderr; raises HubError. What came stays there, to go on from."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    start = size_of(part)
    if start == remote.size:
        return
    try:
        with _explained(file, remote.url), part.open("r+b" if start else "wb") as target:
            target.seek(start)
            headers = build_hf_headers()
            http_get(
                remote.url,
                target,
                resume_size=start,
                headers=headers,
                expected_size=remote.size,
                displayed_filename=file.name,
            )
    except HubError as error:
        if error.status == NOT_THAT_FAR or size_of(part) > remote.size:
            part.unlink()
            raise HubError(
                f"{_name(file)}: expected {remote.size:,} bytes, as the hub announces, but it sends another number."
                " What came is removed: try again later"
            ) from error
        raise


def is_intact(file: Published, remote: Remote, path: Path) -> bool:
    """Whether a file has the size and the content that the hub tells of; its tag may be no checksum known here."""
    from tqdm import tqdm

    if size_of(path) != remote.size:
        return False
    if len(remote.tag) == 2 * hashlib.sha256().digest_size:
        checksum = hashlib.sha256()
    elif len(remote.tag) == 2 * hashlib.sha1().digest_size:  # git's, which small files are kept by
        checksum = hashlib.sha1(f"blob {remote.size}\0".encode(), usedforsecurity=False)
    else:
        return True
    shown: dict[str, Any] = {"unit": "B", "unit_scale": True, "file": sys.stderr, "disable": None, "leave": False}
    with path.open("rb") as source, tqdm(total=remote.size, desc=f"check {file.name}", **shown) as bar:
        while chunk := source.read(CHUNK):
            checksum.update(chunk)
            bar.update(len(chunk))
    return checksum.hexdigest() == remote.tag.lower()


def size_of(path: Path) -> int:
    """In bytes; 0 where there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def _explained(file: Published, url: str) -> Iterator[None]:
    """What goes wrong in here becomes a HubError."""
    from huggingface_hub.utils import HfHubHTTPError, logging

    logging.set_verbosity_error()  # it warns of each try that fails; here only the last one counts
    # Its HTTP client differs by version, and so do the errors; all are OSErrors or share a base with this one.
    errors = cast(tuple[type[Exception], ...], (OSError, *HfHubHTTPError.__bases__))
    try:
        yield
    except errors as error:
        status: int | None = getattr(getattr(error, "response", None), "status_code", None)
        raise HubError(f"{_name(file)}: {_reason(error, status, file, urlsplit(url).netloc)}", status) from error


def _reason(error: Exception, status: int | None, file: Published, host: str) -> str:
    from huggingface_hub.utils import GatedRepoError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return "the hub is not asked while HF_HUB_OFFLINE is set: unset it"
    if isinstance(error, GatedRepoError) or status == 403:
        return (
            f"{host} does not give it to you. Accept the terms at https://{host}/{file.repository}, then set HF_TOKEN"
            " to a token of your account, or run `hf auth login`"
        )
    if status == 401:
        return f"{host} does not know who you are: set HF_TOKEN to a token of your account, or run `hf auth login`"
    if status == 404:
        return f"there is no such file at {host}"
    if status == 429:
        return f"{host} has had too many requests from here: try again in a few minutes"
    if status is not None:
        return f"{host} answers with the error {status}: try again later"
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return f"it cannot be written: {error.strerror}"
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    return f"the connection to {host} failed or broke off ({first_line}): look at your network and try again"


def _name(file: Published) -> str:
    return f"{file.repository}/{file.path}"
