"""A new Stage C, which knows nothing yet."""

from __future__ import annotations

import torch

from ..errors import CascadeError
from ..files.load import choose_dtype
from ..memory import Placement, StayPut
from ..models.config import StageCConfig
from ..models.handle import Handle, Target
from ..models.stage_c import StageC
from .architecture import beside_encoders
from .stage_settings import StageCSettings


def new_stage_c(
    settings: StageCSettings,
    text_encoder: Handle,
    image_encoder: Handle | None = None,
    *,
    device: torch.device | None = None,
    dtype: str = "auto",
    placement: Placement | None = None,
) -> Handle:
    """A Stage C of the settings' architecture in the text encoder's family; its weights are drawn by the seed.

    They are float32 on the CPU; dtype: of the file that they become, as `load` has it. Raises CascadeError.
    """
    assert settings.architecture is not None
    images = None if image_encoder is None else image_encoder.config
    config = beside_encoders(settings.architecture, text_encoder.config, images)
    target: Target = "v" if settings.target == "v" else "epsilon"
    module = _drawn(config, settings.seed)
    return Handle(
        module=module,
        kind="stage_c",
        name="new",
        family=text_encoder.family,
        config=config,
        target=target,
        x0_clamp=settings.x0_clamp or None,
        dtype=choose_dtype(dtype, "stage_c", device or torch.device("cpu")),
        placement=placement or StayPut(),
    )


def _drawn(config: StageCConfig, seed: int) -> StageC:
    try:
        with torch.inference_mode(False), torch.random.fork_rng([]):  # pyright: ignore[reportUnknownMemberType]  (half typed)
            torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]  (half typed)
            module = StageC(config)
            module.initialise()
    except (ValueError, TypeError, IndexError, ArithmeticError, RuntimeError) as error:
        raise CascadeError(f"architecture: it cannot be built: {str(error).partition(chr(10))[0]}") from error
    return module.eval().requires_grad_(False)
