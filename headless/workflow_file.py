"""The workflow in a file that carries one: JSON, or a picture that was saved with it.

A picture's is found where the editor looks for it: in the text chunks of a PNG, and in the EXIF entries of other
formats. Where it has both forms, the editor's wins, as there, if it can be used.
"""

import json
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..cascade_core import reading
from ..cascade_core.files.picture_files import FORMATS
from . import graph, shipped

_FORMS = ("workflow", "prompt")  # keys of the editor's form and of the API's
_PNG = b"\x89PNG\r\n\x1a\n"
_PICTURES = (_PNG, b"RIFF", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")  # first bytes of pictures
_AVIF = b"ftyp"  # bytes 5 to 8 of an AVIF picture


def read(path: Path) -> dict[str, Any]:
    """The workflow in a file of either kind, which its first bytes tell apart; `-` is the standard input.

    Raises WorkflowError.
    """
    try:
        with reading.open_once(path) as file:
            start = file.read(16)
            file.seek(0)
            if not (start.startswith(_PICTURES) or start[4:8] == _AVIF):
                return _parse(file.read(reading.LARGEST_TEXT + 1), str(path))
            texts = _png_texts(path, file) if start.startswith(_PNG) else _exif_texts(path, file)
    except FileNotFoundError:
        raise graph.WorkflowError(
            f"{path}: expected a workflow file, but there is none{shipped.instead_of(path)}"
        ) from None
    except OSError as error:
        raise graph.WorkflowError(
            f"{path}: expected a workflow file, but it cannot be read: {error.strerror or error}"
        ) from None
    found: dict[str, dict[str, Any]] = {}
    errors: list[graph.WorkflowError] = []
    for form in _FORMS:
        if form in texts:
            try:
                found[form] = _parse(texts[form], f"{path} ({form})")
            except graph.WorkflowError as error:
                errors.append(error)
    if "prompt" in found and ("workflow" in found or errors):
        return graph.Picture(found.get("workflow", {}), found["prompt"], str(errors[0]) if errors else "")
    if found:
        return next(iter(found.values()))
    if errors:
        raise errors[0]
    raise graph.WorkflowError(
        f"{path}: expected a picture with a workflow in it, found none: take one as ComfyUI or this command saved it"
        " (other programs and many sites leave the workflow out), or the workflow's own file"
    )


def _parse(data: bytes, place: str) -> dict[str, Any]:
    """The workflow in these bytes of JSON; `place` is what messages call it."""
    if len(data) <= reading.LARGEST_TEXT and not data.strip():
        raise graph.WorkflowError(f"{place}: expected a workflow as JSON, found an empty file")
    try:
        document = reading.parse_json(data)
    except json.JSONDecodeError as error:
        raise graph.WorkflowError(
            f"{place}: expected a workflow as JSON, but line {error.lineno} is no JSON from column {error.colno} on"
        ) from None
    except ValueError as error:  # not UTF-8, a number of thousands of digits, too much
        raise graph.WorkflowError(
            f"{place}: expected a workflow as JSON, but this is not JSON that can be read: {error}"
        ) from None
    try:
        return graph.accept(document)
    except graph.WorkflowError as error:
        raise graph.WorkflowError(f"{place}: {error}") from None


def _png_texts(path: Path, file: BinaryIO) -> dict[str, bytes]:
    texts: dict[str, bytes] = {}
    file.seek(len(_PNG))
    for kind, data in _chunks(file):
        key, _, text = data.partition(b"\0")
        name = key.decode("latin-1")
        if name in _FORMS and name not in texts:
            texts[name] = _plain(kind, text, f"{path} ({name})")
    return texts


def _plain(kind: bytes, text: bytes, place: str) -> bytes:
    """The text of a chunk behind its key. Raises WorkflowError for a compressed one that is broken or too long."""
    packed = kind == b"zTXt"
    if packed:
        text = text[1:]  # behind the method, of which there is one
    elif kind == b"iTXt":  # whether it is compressed, the method, and two texts for people
        packed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
    if not packed:
        return text
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(text, reading.LARGEST_TEXT)
    except zlib.error as error:
        raise graph.WorkflowError(f"{place}: expected a compressed text, but it cannot be read: {error}") from None
    if unpacker.unconsumed_tail:
        most = reading.LARGEST_TEXT >> 20
        raise graph.WorkflowError(f"{place}: expected a text of at most {most} MiB, found a longer one")
    if not unpacker.eof:
        raise graph.WorkflowError(f"{place}: expected a whole compressed text, found its beginning: get the file again")
    return plain


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of the chunks with texts; `comf` is what ComfyUI writes into animations."""
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"comf") and length <= reading.LARGEST_TEXT:
            yield kind, file.read(length)
            length = 0
        file.seek(length + 4, 1)  # the chunk's checksum too


def _exif_texts(path: Path, file: BinaryIO) -> dict[str, bytes]:
    """Entries such as `workflow:{...}`, by what stands before the colon."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of many pixels, which nobody decodes here, and of odd entries
            with Image.open(file, formats=FORMATS) as picture:
                entries = list(picture.getexif().values())
    except Exception as error:  # Pillow raises whatever a damaged file makes it stumble over
        raise graph.WorkflowError(f"{path}: expected a picture, but it cannot be read: {error}") from None
    pairs = [entry.partition(":") for entry in entries if isinstance(entry, str)]
    return {key.lower(): text.rstrip("\0").encode("latin-1", "replace") for key, _, text in pairs}
