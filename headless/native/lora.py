"""Stand-ins for the host's LoRA loaders: the work is that of Apply LoRA.

As in the host, a strength of 0 leaves a model as it is, and what the file does not change stays as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...nodes.lora import LoRAApplier, LoRAFiles
from ...runtime import model_folders
from . import inputs

if TYPE_CHECKING:
    from ...cascade_core.models.handle import Handle


class LoraLoader(LoRAApplier):
    DISPLAY_NAME = "Load LoRA (Model and CLIP)"
    CATEGORY = "loaders"
    DESCRIPTION = "Stage C or B with a LoRA, and the text encoder with the changes and words that it brings."
    FUNCTION = "load_lora"
    RETURN_TYPES: tuple[str, ...] = ("MODEL", "CLIP")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        strength = inputs.decimal(1.0, -100.0, 100.0)
        return {
            "required": {
                **inputs.wires(model="MODEL", clip="CLIP"),
                "lora_name": (model_folders.offered(LoRAFiles.choices()),),
                "strength_model": strength,
                "strength_clip": strength,
            }
        }

    def load_lora(
        self,
        model: Handle,
        clip: Handle | None,
        lora_name: str,
        strength_model: float,
        strength_clip: float,
        quiet: bool = False,
    ) -> tuple[Handle | None, ...]:
        if strength_model == 0 and strength_clip == 0:
            return model, clip
        lora = self.read(lora_name, None, quiet)
        handles: dict[str, tuple[Handle | None, float]] = {model.kind: (model, strength_model)}
        if clip is not None:
            handles["text_encoder"] = clip, strength_clip
        model_lora, *rest = self.attach(lora, handles, False, quiet)
        return model_lora, rest[0] if rest else None

    def rehearse(self, **given: Any) -> tuple[Handle | None, ...]:
        return self.load_lora(**given, quiet=True)


class LoraLoaderModelOnly(LoraLoader):
    DISPLAY_NAME = "Load LoRA"
    DESCRIPTION = "Stage C or B with a LoRA."
    FUNCTION = "load_lora_model_only"
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        entries = super().INPUT_TYPES()["required"]
        return {"required": {name: entries[name] for name in ("model", "lora_name", "strength_model")}}

    def load_lora_model_only(
        self, model: Handle, lora_name: str, strength_model: float, quiet: bool = False
    ) -> tuple[Handle | None, ...]:
        return self.load_lora(model, None, lora_name, strength_model, 0, quiet)[:1]

    def rehearse(self, **given: Any) -> tuple[Handle | None, ...]:
        return self.load_lora_model_only(**given, quiet=True)


NODES = (LoraLoader, LoraLoaderModelOnly)
