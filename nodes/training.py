"""Nodes that train a LoRA or a ControlNet on a data set, stopped and resumed at will."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..cascade_core.kinds import KINDS
from ..runtime import host
from . import inputs, sockets
from .images import read_picture

if TYPE_CHECKING:
    from torch import Tensor

    from ..cascade_core.lora.lora import Lora
    from ..cascade_core.models.handle import Handle
    from ..cascade_core.training.data.dataset import Dataset
    from ..runtime.training import Trained, Training


class Trainer:
    """The shared part of the nodes that train: their inputs, and what they show when they have run."""

    KIND: ClassVar[str]  # a key of TRAININGS
    CATEGORY = "Stable Cascade/training"
    FUNCTION, REHEARSE = "train", "rehearse"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        from ..cascade_core.training.kinds import TRAININGS, Model

        required = TRAININGS[cls.KIND].required()
        models = {name: each for name, each in required.items() if isinstance(each, Model)}
        settings = {name: each for name, each in required.items() if name not in models}
        name = (
            "Of the finished file, and of the folder `training/NAME` in the output folder, in which the state is kept:"
            " the same name goes on where the last run stopped."
        )
        return {
            "required": {
                "dataset": inputs.wire(sockets.DATASET, "The pictures to learn from, and their captions."),
                **inputs.of_training(models),
                "name": inputs.text("my_training", name),
                **inputs.of_training(settings),
            },
            "optional": inputs.advanced(inputs.of_training(TRAININGS[cls.KIND].optional())),
        }

    def train(self, dataset: Dataset, name: str, **given: Any) -> dict[str, Any]:
        from ..runtime.training import Training

        training = Training(self.KIND, dataset, name, given)
        trained = training.carry_out()
        result = self._model(training, trained), str(training.target), self._samples(trained)
        return {"ui": self._shown(trained), "result": result}

    def rehearse(self, dataset: Dataset, name: str, **given: Any) -> tuple[Lora | Handle | None, str, Tensor]:
        from ..runtime.training import Training

        training = Training(self.KIND, dataset, name, given)
        return training.check(), str(training.target), sockets.placeholder_image(*training.sample_shape())

    def _model(self, training: Training, trained: Trained) -> Lora | Handle:
        """The value of the first output."""
        raise NotImplementedError

    @staticmethod
    def _shown(trained: Trained) -> dict[str, Any]:
        """The files of the last samples, or of the curve, for the editor."""
        root = host.current().output_directory()
        places = [(path.name, path.parent.relative_to(root).as_posix()) for path in trained.files]
        return {"images": [{"filename": name, "subfolder": folder, "type": "output"} for name, folder in places]}

    @staticmethod
    def _samples(trained: Trained) -> Tensor:
        """The last samples as an IMAGE, or the curve."""
        import torch

        if trained.pictures:
            return sockets.to_image(torch.stack(trained.pictures))
        return read_picture(trained.files[0])[0]


class CascadeLoRATrain(Trainer):
    KIND = "lora"
    DISPLAY_NAME = f"Train {KINDS[KIND].name}"
    DESCRIPTION = (
        "Learns from a folder of pictures what Stage C does not know, as a LoRA, and new words for prompts with it. It"
        " goes on where it stopped: Cancel keeps the state, and the same name resumes it."
    )
    SEARCH_ALIASES = ("stable cascade", "lora", "training", "fine-tune", "dreambooth", "textual inversion", "token")
    RETURN_TYPES, RETURN_NAMES = (sockets.LORA, "STRING", "IMAGE"), ("lora", "path", "samples")
    OUTPUT_TOOLTIPS = (
        "The LoRA, for `lora` of Apply LoRA.",
        "Where the finished file is.",
        "The last sample pictures; without prompts the curve of the loss.",
    )

    def _model(self, training: Training, trained: Trained) -> Lora:
        from ..cascade_core.training.lora import LoraTask

        assert isinstance(trained.task, LoraTask)
        return trained.task.result(training.name)


class CascadeControlNetTrain(Trainer):
    KIND = "controlnet"
    DISPLAY_NAME = f"Train {KINDS[KIND].name}"
    DESCRIPTION = (
        "Learns to steer Stage C by your own control pictures, or by hints that it makes of the pictures. It goes on"
        " where it stopped: Cancel keeps the state, and the same name resumes it."
    )
    SEARCH_ALIASES = ("stable cascade", "controlnet", "training", "fine-tune", "control")
    RETURN_TYPES, RETURN_NAMES = (sockets.CONTROLNET, "STRING", "IMAGE"), ("controlnet", "path", "samples")
    OUTPUT_TOOLTIPS = (
        "The ControlNet, for Apply ControlNet.",
        "Where the finished file is.",
        "The last sample pictures, steered by the first pictures' hints; without prompts the curve of the loss.",
    )

    def _model(self, training: Training, trained: Trained) -> Handle:
        from ..cascade_core.files.load import load

        target = training.target
        return load(
            "controlnet", target, name=target.name, device=host.current().device(), placement=host.current().placement()
        )


NODES = (CascadeLoRATrain, CascadeControlNetTrain)
