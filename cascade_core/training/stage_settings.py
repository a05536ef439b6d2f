"""The settings of a training of all weights of a stage. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.config import StageCConfig
from .architecture import read_architecture
from .setting import setting
from .settings import TrainingSettings


@dataclass(frozen=True)
class StageCSettings(TrainingSettings):
    """The settings of a training of all of Stage C, a published one or one of one's own."""

    architecture: StageCConfig | None = setting(  # noqa: RUF009  (it makes a field)
        None,
        "Train a new Stage C, which knows nothing, of this architecture: a preset's name, or a JSON file of widths,"
        " blocks and conditions. Empty: `stage_c` is trained on.",
        text="",
        read=read_architecture,
    )
    target: str = setting(
        "v",
        "What a new Stage C predicts: v, which short trainings need, or epsilon, the noise, as the published one.",
        choices=("v", "epsilon"),
    )
    x0_clamp: float = setting(
        0.0,
        "Largest value of the latents that a new Stage C may predict, which sampling goes by; 0: any.",
        least=0.0,
        most=1000.0,
        step=0.5,
        round=0.01,
    )
