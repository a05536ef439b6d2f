"""Prompt text to token ids: whole words (the tiny cascade), CLIP's byte pairs (the published one), trained tokens.

Knows no network, no weights and no padding; nothing is ever fetched.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import CascadeError
from ..reading import read_json, read_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer as ByteTokenizer

_START, _END = "<|startoftext|>", "<|endoftext|>"  # CLIP's own names
_DROPPED = re.compile(r"[.;:!?]")
_WORD = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"  # contractions, letters, a digit, other signs


class Tokenizer(Protocol):
    """What a text encoder asks of its tokenizer. `max_length` counts the start and the end token."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def pad(self) -> int: ...
    @property
    def max_length(self) -> int: ...
    @property
    def words(self) -> tuple[str, ...]: ...  # all it knows; empty where any text can be said
    @property
    def vocabulary(self) -> Mapping[str, int]: ...  # its own strings -> ids, without tokens that were added
    def encode(self, text: str) -> list[int]: ...  # without start, end and padding
    def unknown(self, text: str) -> list[str]: ...  # words that `encode` skips, in order


def split_words(text: str) -> list[str]:
    """Lower-case words; a comma is a word of its own; the other marks `. ; : ! ?` only separate."""
    return _DROPPED.sub(" ", text.lower()).replace(",", " , ").split()


class WordTokenizer:
    """One id per word of a fixed vocabulary: words from 0, then start, then end (the greatest), which also pads."""

    def __init__(self, words: Sequence[str], max_length: int) -> None:
        self.words = tuple(words)
        self.max_length = max_length
        self.start = len(self.words)
        self.end = self.pad = len(self.words) + 1
        self.vocabulary = {word: index for index, word in enumerate(self.words)}
        if len(self.vocabulary) != len(self.words):
            twice = sorted({word for word in self.words if self.words.count(word) > 1})
            raise CascadeError(f"The vocabulary has words twice: {', '.join(twice)}. Each must stand once.")

    def encode(self, text: str) -> list[int]:
        return [self.vocabulary[word] for word in split_words(text) if word in self.vocabulary]

    def unknown(self, text: str) -> list[str]:
        return [word for word in split_words(text) if word not in self.vocabulary]


class PublishedTokenizer:
    """CLIP's byte-pair tokenizer, from a folder with vocab.json and merges.txt, or tokenizer.json.

    Padding is the end token, as in the official code, whatever the folder's own settings say.
    """

    words: tuple[str, ...] = ()

    def __init__(self, folder: Path, max_length: int = 77) -> None:
        if not _has_tokenizer(folder):
            raise CascadeError(f"{folder}: expected vocab.json and merges.txt, or tokenizer.json; found neither.")
        try:
            vocabulary, merges = _read_byte_pairs(folder)
            self._tokenizer = _make_tokenizer(vocabulary, merges)
        except Exception as error:  # the tokenizers library raises plain Exception for a damaged file
            raise CascadeError(
                f"{folder}: the tokenizer files cannot be read ({error}). Copy them again from the `tokenizer` folder "
                "of the published model."
            ) from error
        missing = [mark for mark in (_START, _END) if mark not in vocabulary]
        if missing:
            raise CascadeError(
                f"{folder}: expected CLIP's tokenizer; this one has no {' and no '.join(missing)}. Use the `tokenizer` "
                "folder of the published model."
            )
        self.vocabulary = vocabulary
        self.max_length = max_length
        self.start = vocabulary[_START]
        self.end = self.pad = vocabulary[_END]

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def unknown(self, text: str) -> list[str]:
        return []


class AddedTokens:
    """Another tokenizer plus trained tokens, e.g. {"[fernando]": [49408]}; found anywhere in the text, in any case."""

    def __init__(self, base: Tokenizer, ids: Mapping[str, Sequence[int]]) -> None:
        self._base = base
        self._ids = {token.lower(): tuple(of_token) for token, of_token in ids.items()}
        longest_first = sorted(self._ids, key=len, reverse=True)
        self._pattern = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")", re.IGNORECASE)
        self.start, self.end, self.pad, self.max_length = base.start, base.end, base.pad, base.max_length
        self.words = (*base.words, *self._ids) if base.words else ()
        self.vocabulary = base.vocabulary

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in self._pattern.split(text):
            added = self._ids.get(part.lower())
            ids += self._base.encode(part) if added is None else added
        return ids

    def unknown(self, text: str) -> list[str]:
        return self._base.unknown(self._pattern.sub(" ", text))


def find_tokenizer(weights_path: Path) -> Path | None:
    """The folder with CLIP's tokenizer files beside a text encoder's file (or folder), or None.

    Looked at: the same folder, its sub-folder `tokenizer`, its sibling folder `tokenizer` (a diffusers repository).
    """
    folder = weights_path if weights_path.is_dir() else weights_path.parent
    for candidate in (folder, folder / "tokenizer", folder.parent / "tokenizer"):
        if _has_tokenizer(candidate):
            return candidate
    return None


def load_tokenizer(weights_path: Path, max_length: int = 77, others: Sequence[Path] = ()) -> PublishedTokenizer:
    """The tokenizer beside `weights_path`, else the first of the folders `others` that has one; else CascadeError."""
    folder = find_tokenizer(weights_path) or next((other for other in others if _has_tokenizer(other)), None)
    if folder is None:
        beside = weights_path if weights_path.is_dir() else weights_path.parent
        also = f", in {' or '.join(map(str, others))}" if others else ""
        raise CascadeError(
            f"{weights_path.name}: no tokenizer beside it. Expected CLIP's vocab.json and merges.txt, or"
            f" tokenizer.json, in {beside}, in a folder `tokenizer` there or beside that folder{also}; found none. Run"
            " `cascade download --text-encoder`, copy the folder `tokenizer` of stabilityai/stable-cascade there, or"
            " use this pack inside ComfyUI, which has a copy of its own."
        )
    return PublishedTokenizer(folder, max_length)


def _has_tokenizer(folder: Path) -> bool:
    pair = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    return pair or (folder / "tokenizer.json").is_file()


def _read_byte_pairs(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token -> id, and the pairs in the order in which they are joined."""
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        vocabulary = read_json(folder / "vocab.json")
        lines: list[Any] = read_text(folder / "merges.txt").splitlines()
        merges = [line for line in lines if line and not line.startswith("#version")]
    else:
        model = read_json(folder / "tokenizer.json")["model"]
        vocabulary, merges = model["vocab"], model["merges"]
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    return vocabulary, [(left, right) for left, right in pairs]


def _make_tokenizer(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> "ByteTokenizer":
    """The steps of CLIP's tokenizer (Radford et al. 2021, section 2.4): lower case, words, byte pairs."""
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    tokenizer = Tokenizer(BPE(vocabulary, merges, unk_token=_END, end_of_word_suffix="</w>"))
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
    words = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    marks = [mark for mark in (_START, _END) if mark in vocabulary]
    tokenizer.add_special_tokens(marks)  # pyright: ignore[reportUnknownMemberType]
    return tokenizer
