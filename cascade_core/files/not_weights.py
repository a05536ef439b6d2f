"""Files that are no model weights, told by their first bytes and named: most of them are downloads gone wrong."""

from __future__ import annotations

from .wording import damaged, no_weights

START = 512  # bytes that are enough to tell

AGAIN = "download the model again"
BROWSER = "the download was refused or wants a login: open the model's page in a browser, sign in and download it there"
UNPACK = "unpack it, and use the weights in it"
OTHER = "choose another file"
MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer", "it is a few lines of text in place of the file: " + AGAIN),
    (b"GGUF", "a GGUF file (quantised)", "use the model's .safetensors file"),
    (b"\x89PNG", "a PNG picture", OTHER),
    (b"\xff\xd8\xff", "a JPEG picture", OTHER),
    (b"GIF8", "a GIF picture", OTHER),
    (b"RIFF", "a picture, a sound or a film (RIFF)", OTHER),
    (b"%PDF", "a PDF document", OTHER),
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", UNPACK),
    (b"\xfd7zXZ", "an xz archive", UNPACK),
    (b"\x93NUMPY", "a NumPy array", OTHER),
    (b"\x89HDF", "an HDF5 file", "use the model's .safetensors file"),
    (b"SQLite format 3", "an SQLite database", OTHER),
    (b"MZ", "a Windows program", OTHER),
    (b"\x7fELF", "a Linux program", OTHER),
)
HTML = (b"<!doctype", b"<html", b"<head", b"<body", b"<script")


def explain_start(file: str, start: bytes, size: int) -> str:
    """The sentence about a file of `size` bytes that begins with `start`, its first START bytes.

    Not to be asked about what begins as safetensors or pickles do.
    """
    if size == 0:
        return no_weights(file, "empty (0 bytes)", f"its download did not begin, or the disk was full; {AGAIN}")
    if size <= 8:
        return damaged(file, f"it has only {size} bytes")
    for magic, what, advice in MAGIC:
        if start.startswith(magic):
            return no_weights(file, what, advice)
    if start[257:262] == b"ustar":
        return no_weights(file, "a tar archive", UNPACK)
    if not any(start):
        return no_weights(file, "filled with zeros", f"room was kept for a download that did not happen; {AGAIN}")
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(HTML):
        return no_weights(file, "a web page", BROWSER)
    if text.startswith(b"<"):
        return no_weights(file, "an XML or HTML text", BROWSER)
    if text.startswith((b'{"', b"{\n", b"{\r", b"{ ", b"{}", b"[")):
        advice = "choose the weights, not a description of them or a message of the server"
        return no_weights(file, "a JSON text", advice)
    if _is_text(start):
        beginning = " ".join(start.decode("utf-8", "ignore").split())[:60]
        return no_weights(file, f"a text that begins with {beginning!r}", AGAIN)
    if start[8:10] == b'{"':
        length = int.from_bytes(start[:8], "little")
        return damaged(file, f"its table of contents alone would take {length:,} bytes, and it has {size:,}")
    return no_weights(file, f"of no known format (it begins with {start[:8]!r})", OTHER)


def _is_text(start: bytes) -> bool:
    """Are these bytes, which may end within a character, lines of UTF-8?"""
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:
            return False
        text = start[: error.start].decode("utf-8")
    return all(character.isprintable() or character.isspace() for character in text)
