"""What all trainings share: models, settings, a folder for the state, and how the steps of a run are taken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..runtime import host, previews
from . import sockets

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from ..cascade_core.models.handle import Handle
    from ..cascade_core.training.examples import TrainingModels
    from ..cascade_core.training.run import TrainingRun
    from ..cascade_core.training.settings import TrainingSettings

CATEGORY = "Stable Cascade/training"
STATES = "training"  # in the output folder
NAME = re.compile(r"\w[\w .+-]*")
MODELS = ("stage_c", "text_encoder", "effnet", "image_encoder", "previewer", "stage_b", "stage_a")


def number(
    kind: str, default: float, least: float, most: float, tooltip: str, **more: Any
) -> tuple[str, dict[str, Any]]:
    step = {} if kind == "INT" and "step" in more else {"step": 1} if kind == "INT" else {}
    return kind, {"default": default, "min": least, "max": most, **step, **more, "tooltip": tooltip}


def share(default: float, tooltip: str) -> tuple[str, dict[str, Any]]:
    return number("FLOAT", default, 0.0, 1.0, tooltip, step=0.01, round=0.001)


class Trainer:
    """What all trainings share: models, settings, a folder for the state, and how steps are taken."""

    CATEGORY = CATEGORY
    FUNCTION, REHEARSE = "train", "rehearse"
    OUTPUT_NODE = True
    KEY: str  # of the model folder that gets the finished file
    DISPLAY_NAME: str

    @classmethod
    def common(cls) -> dict[str, tuple[Any, ...]]:
        """Models and settings that no training does without, in the order of their widgets."""
        return {
            "dataset": (sockets.DATASET, {"tooltip": "The pictures to learn from, and their captions."}),
            "stage_c": (sockets.STAGE_C, {"tooltip": "The model to train on. It stays as it is."}),
            "text_encoder": (sockets.TEXT_ENCODER, {"tooltip": "The text encoder of the same family."}),
            "effnet": (sockets.EFFNET, {"tooltip": "The effnet of the same family, which encodes the pictures."}),
            "name": (
                "STRING",
                {
                    "default": "my_training",
                    "tooltip": "Of the finished file, and of the folder `training/NAME` in the output folder, in which"
                    " the state is kept: the same name goes on where the last run stopped.",
                },
            ),
            "size": number(
                "INT",
                768,
                64,
                2048,
                "Side at which the pictures are encoded, in pixels: 768 officially, for pictures of 1024; 192 for the"
                " built-in models. Other aspects get as many pixels.",
                step=32,
            ),
            "steps": number("INT", 1000, 1, 1000000, "Steps in all. More can be asked for later."),
            "batch_size": number("INT", 1, 1, 256, "Pictures in a batch: more are steadier, and need more memory."),
            "learning_rate": number(
                "FLOAT", 1e-4, 1e-7, 1.0, "How far a step goes: 0.0001 officially.", step=1e-5, round=1e-7
            ),
            "prompts": (
                "STRING",
                {
                    "default": "",
                    "multiline": True,
                    "tooltip": "Prompts of the sample pictures that show how it goes, one in a line.",
                },
            ),
            "sample_every": number("INT", 100, 0, 100000, "Make sample pictures after so many steps; 0: never."),
            "seed": number(
                "INT",
                0,
                0,
                0xFFFFFFFFFFFFFFFF,
                "What the training draws: order, times, noise. The samples have the seeds seed, seed + 1, ...",
                control_after_generate=True,
            ),
        }

    @classmethod
    def common_optional(cls) -> dict[str, tuple[Any, ...]]:
        return {
            "previewer": (sockets.PREVIEWER, {"tooltip": "Makes small sample pictures of Stage C's latents, quickly."}),
            "stage_b": (sockets.STAGE_B, {"tooltip": "With `stage_a`: makes the sample pictures in full."}),
            "stage_a": (sockets.STAGE_A, {"tooltip": "With `stage_b`: makes the sample pictures in full."}),
            "image_encoder": (
                sockets.IMAGE_ENCODER,
                {"tooltip": "Shows Stage C the pictures themselves now and then, as officially: see `image_dropout`."},
            ),
            "accumulate": number(
                "INT", 1, 1, 1024, "Batches in a step: as a larger batch, for time instead of memory."
            ),
            "schedule": (
                ["constant", "cosine"],
                {
                    "default": "constant",
                    "tooltip": "The learning rate: constant, officially; or, after three tenths of the steps, down to"
                    " zero, which is finer, but fixes the number of steps.",
                },
            ),
            "warmup": number("INT", 1, 1, 100000, "Steps in which the learning rate rises from zero."),
            "optimizer": (
                ["adamw", "adamw8bit", "adafactor"],
                {
                    "default": "adamw",
                    "tooltip": "adamw, officially; adamw8bit needs bitsandbytes and keeps a quarter as much; adafactor"
                    " keeps next to nothing.",
                },
            ),
            "loss_weight": (
                ["auto", "p2", "constant"],
                {
                    "default": "auto",
                    "tooltip": "How errors count at different noise: p2, officially, counts nearly clean ones little;"
                    " auto is that for the published models, and constant for the built-in ones.",
                },
            ),
            "noisy_share": share(
                0.0,
                "Share of the times drawn from the noisiest tenth, where the layout is decided: 0 officially; 0.3 helps"
                " short trainings.",
            ),
            "caption_dropout": share(
                0.05, "Share of captions that are left out, so that guidance works: 0.05 officially."
            ),
            "image_dropout": share(
                0.9, "Share of the pictures whose image embedding is left out, with an image encoder: 0.9 officially."
            ),
            "checkpointing": (
                "BOOLEAN",
                {
                    "default": True,
                    "tooltip": "Compute each block twice instead of keeping what it computed: much less memory, for a"
                    " third more time.",
                },
            ),
            "save_every": number("INT", 100, 1, 100000, "Save the state after so many steps."),
            "sample_cfg": number("FLOAT", 4.0, 0.0, 50.0, "Guidance of the sample pictures.", step=0.1, round=0.01),
        }

    @staticmethod
    def settings(
        prompts: str = "", sample_every: int = 100, seed: int = 0, sample_cfg: float = 4.0, **others: Any
    ) -> dict[str, Any]:
        """The core's settings from the widgets' values."""
        from ..cascade_core.training.settings import TrainingSamples

        lines = tuple(filter(None, map(str.strip, prompts.splitlines())))
        samples = TrainingSamples(lines, sample_every, seed, sample_cfg)
        return {"samples": samples, "seed": seed, **others}

    def places(self, name: str) -> tuple[Path, Path]:
        """The folder of the state, and the finished file."""
        if not NAME.fullmatch(name):
            raise CascadeError(
                f"name: expected letters, digits, spaces and . _ + - after a letter or digit, found {name!r:.80}"
            )
        here = host.current()
        return here.output_directory() / STATES / name, here.model_folder(self.KEY) / f"{name}.safetensors"

    @staticmethod
    def placeholder(models: TrainingModels, settings: TrainingSettings) -> Tensor:
        """Samples, or the curve, that nobody has made yet."""
        from ..cascade_core.training.journal import CURVE_SIZE
        from ..cascade_core.training.samples import sample_side

        count = len(settings.samples.prompts) if settings.samples.every else 0
        size = sample_side(models, settings.size)
        if not count or size is None:
            return sockets.placeholder_image(1, *CURVE_SIZE)
        return sockets.placeholder_image(count, size, size)

    def carry_out(self, run: TrainingRun, handles: Sequence[Handle | None]) -> tuple[Tensor, list[dict[str, str]]]:
        """All steps, with progress, previews and cancel; the last samples or the curve, and the files of them."""
        from ..cascade_core.training.journal import CURVE

        label = self.DISPLAY_NAME
        tasks = len(run.task.encode())
        here = host.current()
        with here.together(*handles):
            with here.progress(f"{label}: encode", tasks) as advance:
                for _ in run.encode():
                    here.check_cancel()
                    advance(None)
            pictures: tuple[Tensor, ...] = ()
            files: tuple[Path, ...] = ()
            left = run.task.settings.steps - run.done
            with here.progress(label, left) as advance, closing(run.train()) as reports:
                for report in reports:
                    if report.pictures:
                        pictures, files = report.pictures, report.files
                    here.check_cancel()
                    if report.progress.losses:
                        advance(partial(_beside, report.pictures) if report.pictures else None)
        shown = [
            {
                "filename": path.name,
                "subfolder": path.parent.relative_to(here.output_directory()).as_posix(),
                "type": "output",
            }
            for path in files or (run.folder / CURVE,)
        ]
        return _batch(pictures, run.folder / CURVE), shown


def _beside(pictures: Sequence[Tensor]) -> Image.Image:
    """Pictures (3, H, W) next to each other."""
    import torch

    return previews.to_picture(torch.cat(list(pictures), dim=-1)[None])


def _batch(pictures: Sequence[Tensor], curve: Path) -> Tensor:
    """The pictures as an IMAGE, or the curve where there are none."""
    import torch

    if pictures:
        return sockets.to_image(torch.stack(list(pictures)))
    from .images import read_picture

    return read_picture(curve)[0]
