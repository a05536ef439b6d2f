"""The settings of training a LoRA. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import CascadeError
from .plan import Plan
from .setting import COMMAND, REQUIRED, lines_of, parts_of, setting
from .settings import TrainingSettings


def read_tokens(lines: str) -> tuple[tuple[str, str], ...]:
    """Lines such as `[zig]=^star$` as pairs; the regex may be left out."""
    pairs = [line.partition("=")[::2] for line in map(str.strip, lines.splitlines()) if line]
    tokens = tuple((text.strip(), start.strip()) for text, start in pairs)
    if any(not text for text, _ in tokens):
        raise CascadeError(f"tokens: expected lines such as [zig]=^star$, found {lines!r}")
    return tokens


@dataclass(frozen=True)
class LoraSettings(TrainingSettings):
    """The settings of a LoRA. `filters` are parts of the paths of Stage C's modules; `tokens` are new words, each with
    the regex of the words that it starts from."""

    rank: int = setting(
        4, "How much the LoRA can hold: 4 officially; the file grows with it.", least=1, most=1024, place=REQUIRED
    )
    alpha: float = setting(
        1.0,
        "The LoRA counts alpha / rank: 1 officially.",
        least=0.0001,
        most=1024.0,
        step=0.5,
        round=0.0001,
        place=REQUIRED,
    )
    tokens: tuple[tuple[str, str], ...] = setting(
        (),
        "New words for prompts, one in a line, each with a regular expression of the words that it starts from:"
        " [zig]=^star$ (for the published encoder: ^star</w>). Captions say them.",
        text="",
        several_lines=True,
        read=read_tokens,
        place=REQUIRED,
    )
    filters: tuple[str, ...] = setting(
        (".attn",),
        "Which weights get branches: those in modules of Stage C whose name contains one of these, with commas between:"
        " .attn officially; empty: all.",
        text=".attn",
        read=parts_of,
    )
    init: str = setting(
        "official",
        "Which of a branch's two matrices is random at first: up, officially, or down, as other trainers have it, which"
        " learns more freely and wants ten times the learning rate.",
        choices=("official", "down"),
    )
    token_rate: float = setting(
        1.0,
        "How many times faster than the rest new words learn: 1 officially; 5 leads a word further away from those that"
        " it starts from.",
        least=0.01,
        most=100.0,
        step=0.5,
        round=0.001,
    )
    keep: tuple[str, ...] = setting(
        (),
        "Prompts for which nothing shall change, one in a line, with `keep_weight` over 0. Of {a|b} one is drawn each"
        " time.",
        text="",
        several_lines=True,
        read=lines_of,
    )
    keep_weight: float = setting(
        0.0,
        "How firmly Stage C is held to what it did before, where no new word is said; 0: not at all, and twice as fast."
        " 1 keeps a small training from spilling over.",
        least=0.0,
        most=100.0,
        step=0.1,
        round=0.001,
    )
    keep_count: int = setting(
        64, "How many latents Stage C draws of the prompts in `keep`, once, before it learns.", least=1, most=10000
    )
    keep_batch: int = setting(
        0, "How many of them are looked at beside each batch; 0: as many as the batch has.", least=0, most=256
    )
    dialect: str = setting(
        "comfyui",
        "Whose names the file has: ComfyUI's, the official code's (which has them for .attn alone), or kohya's.",
        choices=("comfyui", "official", "kohya"),
    )
    dora: bool = setting(
        False,
        "Learn the lengths of the weights' columns beside their directions (DoRA): more freely at the same rank, for a"
        " third more time. Other programs read the file, the official code does not.",
        place=COMMAND,
    )

    text_rank: int = setting(
        0,
        "How much the LoRA can hold for the text encoder, which learns too: the same alpha over it counts; 0: the text"
        " encoder stays as it is, as officially.",
        least=0,
        most=1024,
        place=COMMAND,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dora and self.dialect == "official":
            raise CascadeError("dora: the official dialect has no place for it: choose the dialect comfyui or kohya")
        if self.text_rank and self.dialect == "official":
            raise CascadeError(
                "text_rank: the official dialect has no place for the text encoder: choose the dialect comfyui or kohya"
            )
        if self.optimizer == "prodigy" and self.tokens and self.token_rate != 1:
            raise CascadeError(f"token_rate: prodigy has one rate for all: leave it at 1, found {self.token_rate:g}")

    def plan(self) -> Plan:
        return replace(super().plan(), faster={"rows": self.token_rate} if self.tokens else {})

    @property
    def learns_text(self) -> bool:
        """Whether what captions are encoded to changes as it learns."""
        return bool(self.tokens or self.text_rank)

    def of_text(self) -> LoraSettings:
        """Those by which branches of the text encoder are made: beside its attentions and its two-layer networks."""
        return replace(self, rank=self.text_rank, filters=(".self_attn", ".mlp"), tokens=())
