"""Fine-tuning of Stage C and Stage B, for the command line: no nodes, but with what nodes that train have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import sockets
from .trainer import MODELS, Trainer

if TYPE_CHECKING:
    from ..cascade_core.training.dataset import Dataset
    from ..cascade_core.training.examples import TrainingModels
    from ..cascade_core.training.settings import TrainingSettings
    from ..cascade_core.training.stages import StageBModels


class StageCTrainer(Trainer):
    """Of the command alone: a graph has no room for a second Stage C."""

    DISPLAY_NAME = "Train Stage C"
    KEY = "diffusion_models"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": cls.common(), "optional": cls.common_optional()}

    def train(self, dataset: Dataset, name: str, **inputs: Any) -> dict[str, Any]:
        from ..cascade_core.training.start import train_stage_c

        models, settings = self._split(**inputs)
        folder, target = self.places(name)
        run = train_stage_c(models, dataset, settings, folder, target)
        samples, shown = self.carry_out(run, list(models.named().values()))
        return {"ui": {"images": shown}, "result": (None, str(target), samples)}

    def rehearse(self, dataset: Dataset, name: str, **inputs: Any) -> None:
        self._split(**inputs)
        self.places(name)

    def _split(self, **inputs: Any) -> tuple[TrainingModels, TrainingSettings]:
        from ..cascade_core.training.examples import TrainingModels
        from ..cascade_core.training.settings import TrainingSettings

        models = TrainingModels(**{key: inputs.pop(key) for key in MODELS if key in inputs})
        return models, TrainingSettings(**self.settings(**inputs))


class StageBTrainer(Trainer):
    """Of the command alone."""

    DISPLAY_NAME = "Train Stage B"
    KEY = "diffusion_models"
    LEFT_OUT = ("stage_c", "previewer", "image_encoder", "image_dropout", "prompts", "sample_every", "sample_cfg")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        optional = cls.common_optional()
        stages = {
            "stage_b": (sockets.STAGE_B, {"tooltip": "The model to train. Its file stays as it is."}),
            "stage_a": (sockets.STAGE_A, {"tooltip": "Stage A of the same family, which encodes the pictures."}),
        }
        required = {**stages, **cls.common()}
        left = (*cls.LEFT_OUT, *stages)
        return {
            "required": {key: entry for key, entry in required.items() if key not in cls.LEFT_OUT},
            "optional": {key: entry for key, entry in optional.items() if key not in left},
        }

    def train(self, dataset: Dataset, name: str, **inputs: Any) -> dict[str, Any]:
        from ..cascade_core.training.start import train_stage_b

        models, settings = self._split(**inputs)
        folder, target = self.places(name)
        run = train_stage_b(models, dataset, settings, folder, target)
        handles = [models.stage_b, models.stage_a, models.text_encoder, models.effnet]
        samples, shown = self.carry_out(run, handles)
        return {"ui": {"images": shown}, "result": (None, str(target), samples)}

    def rehearse(self, dataset: Dataset, name: str, **inputs: Any) -> None:
        self._split(**inputs)
        self.places(name)

    def _split(self, **inputs: Any) -> tuple[StageBModels, TrainingSettings]:
        from ..cascade_core.training.settings import TrainingSettings
        from ..cascade_core.training.stages import StageBModels

        models = StageBModels(**{key: inputs.pop(key) for key in ("stage_b", "stage_a", "text_encoder", "effnet")})
        return models, TrainingSettings(**self.settings(**inputs))
