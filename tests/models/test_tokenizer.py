"""Word, byte-pair and trained tokens; where the published tokenizer is looked for."""

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from transformers import CLIPTokenizer

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.files.save import save
from stable_cascade_nodes.cascade_core.models.clip_config import TINY_TEXT
from stable_cascade_nodes.cascade_core.models.text import TextEncoder
from stable_cascade_nodes.cascade_core.models.tokenizer import (
    AddedTokens,
    PublishedTokenizer,
    WordTokenizer,
    find_tokenizer,
    load_tokenizer,
    split_words,
)

WriteClipFiles = Callable[[Path], int]
WORDS = ("a", "red", "star", ",", "glasses", "and")


def test_split_words() -> None:
    assert split_words("A red Star,a face.Yes; no: ok!  (x) , b?") == [
        *("a", "red", "star", ",", "a", "face", "yes", "no", "ok", "(x)", ",", "b"),
    ]
    assert split_words(" \n") == []


def test_word_tokenizer() -> None:
    tokenizer = WordTokenizer(WORDS, 24)
    assert tokenizer.encode("A red star, glasses") == [0, 1, 2, 3, 4]
    assert tokenizer.encode("a purple\nstar") == [0, 2]
    assert tokenizer.unknown("a Purple zig star, zig") == ["purple", "zig", "zig"]
    assert (tokenizer.start, tokenizer.end, tokenizer.pad) == (6, 7, 7)
    with pytest.raises(CascadeError, match="twice: red"):
        WordTokenizer(["red", "a", "red"], 24)


def test_published_tokenizer(tmp_path: Path, write_clip_files: WriteClipFiles) -> None:
    end = write_clip_files(tmp_path)
    tokenizer = PublishedTokenizer(tmp_path)
    assert (tokenizer.start, tokenizer.end, tokenizer.pad, tokenizer.max_length) == (end - 1, end, end, 77)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    assert tokenizer.encode("A RED  star!") == [vocabulary[t] for t in ("a</w>", "red</w>", "star</w>", "!</w>")]
    assert tokenizer.encode("") == []
    assert tokenizer.unknown("blurb") == []


def test_published_tokenizer_from_one_file(tmp_path: Path, write_clip_files: WriteClipFiles) -> None:
    write_clip_files(tmp_path / "pair")
    pair = PublishedTokenizer(tmp_path / "pair")
    CLIPTokenizer.from_pretrained(str(tmp_path / "pair")).save_pretrained(str(tmp_path / "one"))
    assert not (tmp_path / "one" / "vocab.json").exists() and (tmp_path / "one" / "tokenizer.json").exists()
    one = PublishedTokenizer(tmp_path / "one")
    assert (one.start, one.end, one.pad) == (pair.start, pair.end, pair.pad)
    assert one.encode("a red star, red") == pair.encode("a red star, red")


@pytest.mark.parametrize(
    "text",
    [
        "A RED  star!",
        "red<|endoftext|> star",
        "< |startoftext|>",
        "STAR's \u00e9\u0301 e\u0301",
        "\u3000red\u00a0star\x07",
        "日本🌃 1234 ½",
    ],
)
def test_ids_are_those_of_transformers(tmp_path: Path, write_clip_files: WriteClipFiles, text: str) -> None:
    write_clip_files(tmp_path)
    theirs = CLIPTokenizer.from_pretrained(str(tmp_path))
    assert PublishedTokenizer(tmp_path).encode(text) == theirs(text, add_special_tokens=False)["input_ids"]


def test_padding_is_the_end_token_whatever_the_folder_says(tmp_path: Path, write_clip_files: WriteClipFiles) -> None:
    end = write_clip_files(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "!"}))
    assert PublishedTokenizer(tmp_path).pad == end


def test_long_prompts_and_loading_are_silent(
    tmp_path: Path,
    write_clip_files: WriteClipFiles,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_clip_files(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 77}))
    assert len(PublishedTokenizer(tmp_path).encode("red " * 200)) == 200
    assert "".join(capfd.readouterr()) == "" and caplog.text == ""


@pytest.mark.parametrize("place", ["text_encoder", "text_encoder/tokenizer", "tokenizer"])
def test_find_tokenizer(tmp_path: Path, write_clip_files: WriteClipFiles, place: str) -> None:
    weights = tmp_path / "text_encoder" / "model.safetensors"
    weights.parent.mkdir()
    assert find_tokenizer(weights) is None
    write_clip_files(tmp_path / place)
    assert find_tokenizer(weights) == tmp_path / place
    assert find_tokenizer(weights.parent) == tmp_path / place
    assert load_tokenizer(weights).max_length == 77


def test_missing_tokenizer_says_what_to_do_and_asks_no_network(
    tmp_path: Path, write_clip_files: WriteClipFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    weights = tmp_path / "encoders" / "clip_g.safetensors"
    with pytest.raises(
        CascadeError, match=r"clip_g.safetensors: no tokenizer.*merges\.txt.*--text-encoder.*copy the folder.*ComfyUI"
    ):
        load_tokenizer(weights)
    write_clip_files(tmp_path / "elsewhere")
    assert load_tokenizer(weights, others=[tmp_path / "none", tmp_path / "elsewhere"]).words == ()


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"vocab.json": "{", "merges.txt": "#version\n"},
        {"vocab.json": '{"a": 0}', "merges.txt": "#version\n"},
        {"tokenizer.json": '{"a": 1}'},
        {"tokenizer.json": '{"added_tokens": [], "model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 0}}'},
    ],
)
def test_damaged_or_foreign_files(tmp_path: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(CascadeError, match=tmp_path.name):
        PublishedTokenizer(tmp_path)


def test_added_tokens() -> None:
    tokenizer = AddedTokens(WordTokenizer(WORDS, 24), {"[zig]": [50], "[zig]zag": [51]})
    assert tokenizer.encode("a red [ZIG],[zig]zag star") == [0, 1, 50, 3, 51, 2]
    assert tokenizer.unknown("a [zig] blue star") == ["blue"]
    assert tokenizer.words == (*WORDS, "[zig]", "[zig]zag")
    assert (tokenizer.start, tokenizer.end, tokenizer.pad, tokenizer.max_length) == (6, 7, 7, 24)


def test_a_text_encoder_takes_the_first_of_the_other_folders_that_has_one(
    tmp_path: Path, write_clip_files: WriteClipFiles
) -> None:
    end = write_clip_files(tmp_path / "shared")
    config = replace(TINY_TEXT, vocab_size=end + 1)
    file = tmp_path / "models" / "clip.safetensors"
    file.parent.mkdir()
    save(file, TextEncoder(config, WordTokenizer(WORDS, config.max_positions)), "text_encoder")
    with pytest.raises(CascadeError, match=r"clip\.safetensors: no tokenizer beside it"):
        load("text_encoder", file, tokenizers=[tmp_path / "none"])
    handle = load("text_encoder", file, tokenizers=[tmp_path / "none", tmp_path / "shared"])
    assert cast(TextEncoder, handle.module).tokenizer.end == end
