"""LoRA on Stage C, with its words in the text encoder, and on Stage B: a new model over the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..runtime import host, model_folders
from . import sockets
from .loaders import Loader

if TYPE_CHECKING:
    from ..cascade_core.lora.fit import LoraReport
    from ..cascade_core.lora.lora import Lora
    from ..cascade_core.models.handle import Handle

CATEGORY = "Stable Cascade/loaders"
STRENGTH = {"default": 1.0, "min": -10.0, "max": 10.0, "step": 0.05, "round": 0.001}
FUSE = (
    "BOOLEAN",
    {
        "default": False,
        "tooltip": "Adds the LoRA into copies of the weights that it changes: faster steps, for more memory. Otherwise"
        " it is computed beside them.",
    },
)
WIRED = (sockets.LORA, {"tooltip": "A LoRA that was just trained, instead of the file `lora_name`."})


class LoRAFiles(Loader):
    KIND, PART = "lora", "LoRA"
    FOLDERS = ("loras",)


class _LoRAApply:
    """What both nodes share: the choice of the file, and its checks."""

    FILE_INPUT, KIND, FOLDERS = "lora_name", LoRAFiles.KIND, LoRAFiles.FOLDERS
    CATEGORY = CATEGORY
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
            if quiet:  # a bad file, which is no bad workflow
                raise OSError(str(error)) from error
            raise

    def attach(
        self, lora: Lora, handles: dict[str, tuple[Handle | None, float]], fuse: bool, quiet: bool
    ) -> list[Handle | None]:
        """Each model with the LoRA at its strength, None where none is wired; says what found no place."""
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
            self._tell(lora, handles, reports)
        return results

    def _tell(
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
            shown = ", ".join(left[:3]) + (", ..." if len(left) > 3 else "")
            lines.append(f"{len(left)} names of {lora.name} found no place in what is connected: {shown}")
        words = ", ".join(token.text for token in lora.tokens if token.text)
        if lora.tokens and "text_encoder" in handles and handles["text_encoder"][0] is None:
            lines.append(f"{lora.name} brings words ({words or 'without names'}): connect `text_encoder` to say them")
        for line in lines:
            host.current().warn(self.DISPLAY_NAME, line)


class CascadeLoRAApply(_LoRAApply):
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
                "stage_c": (sockets.STAGE_C, {"tooltip": "The model that the LoRA was trained on."}),
                "lora_name": cls.file_input(),
                "strength": (
                    "FLOAT",
                    {
                        **STRENGTH,
                        "tooltip": "How much of the LoRA Stage C gets: 1 as trained, 0 none; negative is away.",
                    },
                ),
            },
            "optional": {
                "text_encoder": (
                    sockets.TEXT_ENCODER,
                    {"tooltip": "The text encoder, if the LoRA changes it or brings words for prompts."},
                ),
                "text_strength": (
                    "FLOAT",
                    {
                        **STRENGTH,
                        "tooltip": "How much of it the text encoder gets: its changes, and its words' vectors.",
                    },
                ),
                "lora": WIRED,
                "tokens": (
                    "STRING",
                    {
                        "default": "",
                        "multiline": True,
                        "tooltip": "Only for files of the official trainer, which do not name their new words: a line"
                        " for each, the word and the regex that it was trained from, such as [fernando]=^dog</w>",
                    },
                ),
                "fuse": FUSE,
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
        quiet: bool = False,
    ) -> tuple[Handle | None, ...]:
        from ..cascade_core.lora.tokens import name_tokens

        handles: dict[str, tuple[Handle | None, float]] = {
            "stage_c": (stage_c, strength),
            "text_encoder": (text_encoder, text_strength),
        }
        chosen = name_tokens(self.read(lora_name, lora, quiet), tokens)
        return tuple(self.attach(chosen, handles, fuse, quiet))

    def rehearse(self, **inputs: Any) -> tuple[Handle | None, ...]:
        return self.apply(**inputs, quiet=True)


class CascadeLoRAApplyStageB(_LoRAApply):
    DISPLAY_NAME = "Apply LoRA to Stage B"
    DESCRIPTION = "Stage B with a LoRA. The model before it stays as it is; several of these nodes add up."
    SEARCH_ALIASES = ("stable cascade", "lora", "load lora", "lora loader", "decoder")
    RETURN_TYPES, RETURN_NAMES = (sockets.STAGE_B,), ("stage_b",)
    OUTPUT_TOOLTIPS = ("Stage B with the LoRA.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "stage_b": (sockets.STAGE_B, {"tooltip": "The model that the LoRA was trained on."}),
                "lora_name": cls.file_input(),
                "strength": (
                    "FLOAT",
                    {
                        **STRENGTH,
                        "tooltip": "How much of the LoRA Stage B gets: 1 as trained, 0 none; negative is away.",
                    },
                ),
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

    def rehearse(self, **inputs: Any) -> tuple[Handle | None, ...]:
        return self.apply(**inputs, quiet=True)
