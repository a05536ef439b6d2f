"""What a person should know of a training before it begins, such as settings that do nothing; nothing is refused."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..lora.tokens import END
from .data.dataset import Dataset
from .data.held_out import is_held_out
from .lora_settings import LoraSettings
from .models import StageCModels
from .samples import sample_side

BRACKETED = re.compile(r"\[[^\[\]\s]+\]")  # a word that is meant as a new one
MOST_WORDS = 3  # of those in captions that are told


def remarks(models: Any, dataset: Any, settings: Any) -> list[str]:
    """A sentence for each."""
    found = _of_samples(models, settings)
    if settings.patience and not settings.held_out:
        found.append("patience: nothing is held out, so that no validation ends this training: give `held_out`, too")
    if isinstance(dataset, Dataset):
        left = sum(each.repeats for each in dataset.examples if not is_held_out(each.name, settings.held_out))
        if settings.batch_size > left:
            batch = f"batch_size: a batch has {settings.batch_size} pictures"
            found.append(f"{batch}, but {left} are learned from: some come more than once in each")
    if isinstance(settings, LoraSettings) and isinstance(dataset, Dataset):
        captions = [caption.lower() for example in dataset.examples for caption in example.captions]
        found += _of_words(models.text_encoder.module.tokenizer.vocabulary, settings.tokens, captions)
    return found


def _of_words(
    vocabulary: Mapping[str, int], tokens: Iterable[tuple[str, str]], captions: Sequence[str]
) -> Iterable[str]:
    """What is odd of new words, pairs of a text and its regex. captions: in lower case."""
    starts = {text.lower(): start for text, start in tokens}
    said = Counter(word for caption in captions for word in {*BRACKETED.findall(caption)})
    odd = [f"{text} is in no caption" for text in starts if not any(text in caption for caption in captions)]
    missed = [(word, count) for word, count in said.most_common() if word not in starts and word not in vocabulary]
    for word, count in missed[:MOST_WORDS]:
        odd.append(f"{word} is in {count} caption{'s' * (count > 1)} and no word of the text encoder")
    if odd:
        yield f"tokens: {'; '.join(odd)}"
    for text, start in starts.items():
        if text in vocabulary or text + END in vocabulary:
            yield f"tokens: {text} is a word of the text encoder, which means the new one wherever the LoRA is applied"
        if not start:
            yield f"tokens: {text} starts from no word, and learns slowly: give it one, as in {text}=REGEX"


def _of_samples(models: Any, settings: Any) -> list[str]:
    is_asked = bool(settings.prompts and settings.sample_every)
    if is_asked and isinstance(models, StageCModels) and sample_side(models, settings.size) is None:
        return ["prompts: no samples are made, since they need `previewer`, or `stage_b` and `stage_a`"]
    return []
