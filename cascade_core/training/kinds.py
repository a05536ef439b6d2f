"""The kinds of training by name: which models each takes, and its settings. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .controlnet_settings import ControlNetSettings
from .distill_settings import DistillSettings, DistillStageBSettings
from .lora_settings import LoraSettings
from .setting import ADDED, COMMAND, OPTIONAL, REQUIRED, Setting, at_place, settings_of
from .settings import TrainingSettings
from .stage_settings import StageCSettings


@dataclass(frozen=True)
class Model:
    """A model that a training takes."""

    help: str


Inputs = Mapping[str, Model | Setting]


@dataclass(frozen=True)
class TrainingKind:
    """A kind of training as people meet it: its inputs. It trains a model of the kind that it is named by."""

    folder_key: str  # key of the model folder that gets the finished file
    settings: type[TrainingSettings]
    needed: Mapping[str, Model]
    helpful: Mapping[str, Model] = field(default_factory=dict[str, Model])  # models that it can do without
    start: Mapping[str, Model] = field(default_factory=dict[str, Model])  # a model to go on from
    left_out: frozenset[str] = frozenset()  # settings that mean nothing to it
    learns_from: str = "pictures"  # with captions, in a folder; or "prompts", in a file
    title: str = ""  # of its progress, where it is not to train a model of its kind

    def required(self) -> dict[str, Model | Setting]:
        """The inputs that a node always shows, in order."""
        common, own = self._settings()
        return {**self.needed, **at_place(common, REQUIRED), **at_place(own, REQUIRED)}

    def optional(self) -> dict[str, Model | Setting]:
        """A node's other inputs, in order: those that were added later come last."""
        common, own = self._settings()
        first = {**self.helpful, **at_place(common, OPTIONAL), **self.start, **at_place(own, OPTIONAL)}
        return {**first, **at_place([*common, *own], ADDED)}

    def inputs(self) -> dict[str, Model | Setting]:
        """All inputs, in order: those that the command offers."""
        common, own = self._settings()
        return {**self.required(), **self.optional(), **at_place([*common, *own], COMMAND)}

    def _settings(self) -> tuple[list[Setting], list[Setting]]:
        """Those that all trainings have, and its own."""
        common = settings_of(TrainingSettings)
        meant = [each for name, each in settings_of(self.settings).items() if name not in self.left_out]
        return [each for each in meant if each.name in common], [each for each in meant if each.name not in common]


EFFNET = Model("The effnet of the same family, which encodes the pictures.")
TEXT_ENCODER = Model("The text encoder of the same family.")
OF_STAGE_C = {
    "stage_c": Model("The model to train on. It stays as it is."),
    "text_encoder": TEXT_ENCODER,
    "effnet": EFFNET,
}
OF_STAGE_B = {
    "stage_b": Model("The model to train. Its file stays as it is."),
    "stage_a": Model("Stage A of the same family, which encodes the pictures."),
    "text_encoder": TEXT_ENCODER,
    "effnet": EFFNET,
}
FOR_SAMPLES = {
    "previewer": Model("Makes small sample pictures of Stage C's latents, quickly."),
    "stage_b": Model("With `stage_a`: makes the sample pictures in full."),
    "stage_a": Model("With `stage_b`: makes the sample pictures in full."),
    "image_encoder": Model("Shows Stage C the pictures themselves now and then, as officially: see `image_dropout`."),
}
TEACHER = Model("The teacher, which the LoRA will be for. It stays as it is.")
VALIDATION = {"held_out", "validate_every", "patience"}
OF_CAPTIONS = {"caption_dropout", "shuffle_tags", "keep_tags"}
OF_PICTURES = {"loss_weight", "noisy_share", "image_dropout", "unmasked_weight", *OF_CAPTIONS, *VALIDATION}
OF_LORAS = {"tokens", "token_rate", "keep", "keep_weight", "keep_count", "keep_batch", "text_rank"}
TRAININGS = {
    "lora": TrainingKind("loras", LoraSettings, OF_STAGE_C, FOR_SAMPLES),
    "controlnet": TrainingKind(
        "controlnet",
        ControlNetSettings,
        OF_STAGE_C,
        FOR_SAMPLES,
        {"controlnet": Model("Go on from this ControlNet, made for the same hints, instead of a new one.")},
    ),
    "stage_c": TrainingKind("diffusion_models", StageCSettings, OF_STAGE_C, FOR_SAMPLES),
    "stage_b": TrainingKind(
        "diffusion_models",
        TrainingSettings,
        OF_STAGE_B,
        left_out=frozenset({"image_dropout", "prompts", "sample_every", "sample_cfg", "unmasked_weight"}),
    ),
    "distill_stage_c": TrainingKind(
        "loras",
        DistillSettings,
        {"stage_c": TEACHER, "text_encoder": TEXT_ENCODER},
        {name: model for name, model in FOR_SAMPLES.items() if name != "image_encoder"},
        left_out=frozenset({"sample_cfg", *OF_PICTURES, *OF_LORAS}),
        learns_from="prompts",
        title="Distill Stage C",
    ),
    "distill_stage_b": TrainingKind(
        "loras",
        DistillStageBSettings,
        {
            "stage_b": TEACHER,
            "stage_c": Model("Draws the latents that Stage B works out."),
            "text_encoder": TEXT_ENCODER,
        },
        left_out=frozenset({"prompts", "sample_every", *OF_PICTURES, *OF_LORAS}),
        learns_from="prompts",
        title="Distill Stage B",
    ),
}
