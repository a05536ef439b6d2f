"""LoRA on Stage C, with its words in the text encoder, and on Stage B: a new model over the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..cascade_core.errors import CascadeError
from ..cascade_core.kinds import KINDS
from ..cascade_core.wording import first_of
from ..runtime import host, model_folders
from . import inputs, sockets
from .loaders import Loader

if TYPE_CHECKING:
    from ..cascade_core.lora.fit import LoraReport
    from ..cascade_core.lora.lora import Lora
    from ..cascade_core.models.handle import Handle
    from ..cascade_core.models.text import TextEncoder

FUSE = inputs.switch(
    False,
    "Adds the LoRA into copies of the weights that it changes: faster steps, for more memory. Otherwise it is computed"
    " beside them.",
)
WIRED = inputs.wire(sockets.LORA, "A LoRA that was just trained, instead of the file `lora_name`.")
MODEL = "The model that the LoRA was trained on."
HOW_MUCH = "How much of the LoRA {stage} gets: 1 as trained, 0 none; negative is away."


def strength(tooltip: str) -> inputs.Entry:
    return inputs.decimal(1.0, -10.0, 10.0, tooltip, step=0.05)


class LoRAFiles(Loader):
    KIND = KINDS["lora"]


class LoRAApplier:
    """The shared part of nodes that put a LoRA on models: the choice of the file, and its checks."""

    FILE_INPUT, KIND = "lora_name", LoRAFiles.KIND
    CATEGORY = Loader.CATEGORY
    FUNCTION, REHEARSE = "apply", "rehearse"
    DISPLAY_NAME: str

    @classmethod
    def file_input(cls) -> tuple[Any, ...]:
        tooltip = (
            "The LoRA: a file in the model folder loras, as the official trainer, kohya's, OneTrainer, ComfyUI or PEFT"
            " write them, or the built-in one."
        )
        return model_folders.offered(LoRAFiles.choices()), {"tooltip": tooltip}

    @classmethod
    def VALIDATE_INPUTS(cls, lora_name: str | None = None) -> bool | str:
        return LoRAFiles.VALIDATE_INPUTS(lora_name)

    @classmethod
    def IS_CHANGED(cls, lora_name: str, **_: Any) -> str:
        return LoRAFiles.IS_CHANGED(lora_name)

    @classmethod
    def find(cls, lora_name: object) -> Path | None:
        return LoRAFiles.find(lora_name)

    def read(self, lora_name: str, lora: Lora | None, quiet: bool) -> Lora:
        from ..cascade_core.lora.read import read_lora

        if lora is not None:
            return lora
        path = LoRAFiles.path_of(lora_name)
        try:
            return read_lora(path, lora_name)
        except CascadeError as error:
            if quiet:  # a bad file does not make the workflow a bad one
                raise OSError(str(error)) from error
            raise

    def attach(
        self, lora: Lora, handles: dict[str, tuple[Handle | None, float]], fuse: bool, quiet: bool
    ) -> list[Handle | None]:
        """Each model with the LoRA at its strength, None where none is wired. Warns of what found no place."""
        from ..cascade_core.lora.attach import attach_lora, check_matched, fuse_lora

        results: list[Handle | None] = []
        reports: dict[str, LoraReport] = {}
        for kind, (handle, strength) in handles.items():
            if handle is None:
                results.append(None)
                continue
            attached, reports[kind] = attach_lora(handle, lora, strength)
            fused = fuse and attached is not handle and not quiet
            results.append(fuse_lora(attached) if fused else attached)
        check_matched(lora, reports)
        if not quiet:
            self._warn(lora, handles, reports)
        return results

    def _warn(
        self,
        lora: Lora,
        handles: dict[str, tuple[Handle | None, float]],
        reports: dict[str, LoraReport],
    ) -> None:
        placed = {name for report in reports.values() for name in report.matched}
        left = [
            name for report in reports.values() for name in (*report.unmatched, *report.unused) if name not in placed
        ]
        lines: list[str] = []
        if left:
            left = list(dict.fromkeys(left))
            lines.append(f"{len(left)} names of {lora.name} found no place in what is connected: {first_of(left)}")
        words = ", ".join(token.text for token in lora.tokens if token.text)
        if lora.tokens and "text_encoder" in handles and handles["text_encoder"][0] is None:
            lines.append(f"{lora.name} brings words ({words or 'without names'}): connect `text_encoder` to say them")
        for line in lines:
            host.current().warn(self.DISPLAY_NAME, line)


class CascadeLoRAApply(LoRAApplier):
    DISPLAY_NAME = "Apply LoRA"
    DESCRIPTION = (
        "Stage C with a LoRA, and the text encoder with the words that it brings, such as [zig]. The models before it"
        " stay as they are; several of these nodes add up."
    )
    SEARCH_ALIASES = ("stable cascade", "lora", "load lora", "lora loader", "textual inversion")
    RETURN_TYPES, RETURN_NAMES = (sockets.STAGE_C, sockets.TEXT_ENCODER), ("stage_c", "text_encoder")
    OUTPUT_TOOLTIPS = (
        "Stage C with the LoRA.",
        "The text encoder with the LoRA's words and changes; nothing where none is connected.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "stage_c": inputs.wire(sockets.STAGE_C, MODEL),
                "lora_name": cls.file_input(),
                "strength": strength(HOW_MUCH.format(stage="Stage C")),
            },
            "optional": {
                "text_encoder": inputs.wire(
                    sockets.TEXT_ENCODER, "The text encoder, if the LoRA changes it or brings words for prompts."
                ),
                "text_strength": strength("How much of it the text encoder gets: its changes, and its words' vectors."),
                "lora": WIRED,
                "tokens": inputs.text(
                    "",
                    "Only for files of the official trainer, which do not name their new words: a line for each, the"
                    " word and the regex that it was trained from, such as [fernando]=^dog</w>",
                    several_lines=True,
                ),
                "fuse": FUSE,
                "filters": inputs.text(
                    "",
                    "Only for files of the official trainer, which number their weights, where several sets of weights"
                    " fit: the `module_filters` of the training's configuration, with commas between, such as .attn",
                ),
            },
        }

    def apply(
        self,
        stage_c: Handle,
        lora_name: str,
        strength: float,
        text_encoder: Handle | None = None,
        text_strength: float = 1.0,
        lora: Lora | None = None,
        tokens: str = "",
        fuse: bool = False,
        filters: str = "",
        quiet: bool = False,
    ) -> tuple[Handle | None, ...]:
        from ..cascade_core.lora.lora import with_filters
        from ..cascade_core.lora.tokens import name_tokens

        handles: dict[str, tuple[Handle | None, float]] = {
            "stage_c": (stage_c, strength),
            "text_encoder": (text_encoder, text_strength),
        }
        chosen = with_filters(self.read(lora_name, lora, quiet), filters)
        if text_encoder is not None:
            chosen = name_tokens(chosen, tokens, cast("TextEncoder", text_encoder.module))
        return tuple(self.attach(chosen, handles, fuse, quiet))

    def rehearse(self, **given: Any) -> tuple[Handle | None, ...]:
        return self.apply(**given, quiet=True)


class CascadeLoRAApplyStageB(LoRAApplier):
    DISPLAY_NAME = "Apply LoRA to Stage B"
    DESCRIPTION = "Stage B with a LoRA. The model before it stays as it is; several of these nodes add up."
    SEARCH_ALIASES = ("stable cascade", "lora", "load lora", "lora loader", "decoder")
    RETURN_TYPES, RETURN_NAMES = (sockets.STAGE_B,), ("stage_b",)
    OUTPUT_TOOLTIPS = ("Stage B with the LoRA.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "stage_b": inputs.wire(sockets.STAGE_B, MODEL),
                "lora_name": cls.file_input(),
                "strength": strength(HOW_MUCH.format(stage="Stage B")),
            },
            "optional": {"lora": WIRED, "fuse": FUSE},
        }

    def apply(
        self,
        stage_b: Handle,
        lora_name: str,
        strength: float,
        lora: Lora | None = None,
        fuse: bool = False,
        quiet: bool = False,
    ) -> tuple[Handle | None, ...]:
        return tuple(self.attach(self.read(lora_name, lora, quiet), {"stage_b": (stage_b, strength)}, fuse, quiet))

    def rehearse(self, **given: Any) -> tuple[Handle | None, ...]:
        return self.apply(**given, quiet=True)


NODES = (CascadeLoRAApply, CascadeLoRAApplyStageB)
