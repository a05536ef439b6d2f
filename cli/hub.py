"""The hub, as far as `cascade download` needs it: what a file is there, and its bytes from where a part leaves off.

huggingface_hub knows the hub's addresses, tokens, proxies and environment variables. Its `hf_hub_download` is not used:
it throws away what a broken download has brought (since 1.18). The bytes come by a request of our own over its session,
which is one of requests, httpx or httpx2, by its version.
"""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..cascade_core.errors import is_out_of_memory
from ..cascade_core.files.published import Published

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
CHUNK = 1 << 20
RETRIES, PAUSE = 5, 1.0  # after a break: how often in a row without a new byte, and seconds before each
BAR: dict[str, Any] = {"unit": "B", "unit_scale": True, "disable": None, "leave": False}  # on stderr
NOT_THAT_FAR = 416  # HTTP's answer where a file ends before the first wanted byte


class HubError(Exception):
    """A file cannot be had: one sentence for people. `status` is HTTP's, where a server answered."""

    def __init__(self, message: str, status: int | None = None, is_broken: bool = False) -> None:
        """is_broken: the connection failed, which another try may mend."""
        super().__init__(message)
        self.status, self.is_broken = status, is_broken


@dataclass(frozen=True)
class Remote:
    """A file as the hub has it."""

    url: str  # of this very version
    size: int
    tag: str  # changes with the content; its SHA-256 where the file is large


def ask(file: Published) -> Remote:
    """The file that the hub has under that name now; raises HubError."""
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
    from tqdm import tqdm

    left = RETRIES
    with tqdm(total=remote.size, desc=file.name, initial=size_of(part), **BAR) as bar:
        while (start := size_of(part)) < remote.size:
            try:
                with _explained(file, remote.url):
                    _append(remote.url, part, start, bar)
                if size_of(part) <= start:  # it sends all of the file each time, and less than it announces
                    break
            except HubError as error:
                if error.status == NOT_THAT_FAR:
                    break
                left = RETRIES if size_of(part) > start else left - 1
                if not error.is_broken or left < 0:
                    raise
                time.sleep(PAUSE)
    size = size_of(part)
    if size != remote.size:
        part.unlink(missing_ok=True)
        raise HubError(
            f"{_name(file)}: expected {remote.size:,} bytes, as the hub announces, but it sends {size:,}."
            " What came is removed: try again later"
        )


def _append(url: str, part: Path, start: int, bar: Any) -> None:
    """Write what the hub sends from the byte `start` on, which is the size of `part`."""
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with _get(url, headers) as (response, chunks):
        hf_raise_for_status(response)
        is_rest = response.status_code == 206  # else it is all of the file, whatever was asked for
        with part.open("ab" if is_rest else "wb") as target:
            bar.update(target.tell() - bar.n)
            for chunk in chunks:
                target.write(chunk)
                bar.update(len(chunk))


@contextmanager
def _get(url: str, headers: dict[str, str]) -> Iterator[tuple[Any, Iterator[bytes]]]:
    """The response, and its bytes as they come; redirects are followed, and other hosts are not told the token."""
    from huggingface_hub.constants import HF_HUB_DOWNLOAD_TIMEOUT as timeout
    from huggingface_hub.utils import get_session

    session: Any = get_session()
    if not isinstance(session.stream, bool):  # httpx's; requests has a setting of that name
        with session.stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as response:
            if response.is_error:
                response.read()  # what it says of the error
            yield response, response.iter_bytes(CHUNK)
    else:
        with session.get(url, headers=headers, timeout=timeout, stream=True) as response:
            yield response, response.iter_content(CHUNK)


def is_intact(file: Published, remote: Remote, path: Path) -> bool:
    """Whether a file has the size and the content that the hub announces; its tag may be no checksum known here."""
    from tqdm import tqdm

    if size_of(path) != remote.size:
        return False
    if len(remote.tag) == 2 * hashlib.sha256().digest_size:
        checksum = hashlib.sha256()
    elif len(remote.tag) == 2 * hashlib.sha1().digest_size:  # git's, which small files are kept by
        checksum = hashlib.sha1(f"blob {remote.size}\0".encode(), usedforsecurity=False)
    else:
        return True
    with path.open("rb") as source, tqdm(total=remote.size, desc=f"check {file.name}", **BAR) as bar:
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
    """Any error in here becomes a HubError: the HTTP libraries under huggingface_hub share no other base.

    But for too little memory, of which the network knows nothing, and which another try does not mend.
    """
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # it warns of each try that fails; here only the last one counts
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        status: int | None = getattr(getattr(error, "response", None), "status_code", None)
        is_broken = status is None and getattr(error, "errno", None) not in DISK_ERRORS
        raise HubError(
            f"{_name(file)}: {_reason(error, status, file, urlsplit(url).netloc)}", status, is_broken
        ) from error


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
