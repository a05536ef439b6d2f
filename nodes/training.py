"""Training in the graph: a folder of pictures -> a LoRA or a ControlNet, stopped and resumed at will."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import cascade_core as core
from . import faces, host, previews, sockets

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

CATEGORY = "Stable Cascade/training"
STATES = "training"  # in the output folder
NAME = re.compile(r"\w[\w .+-]*")
MODELS = ("stage_c", "text_encoder", "effnet", "image_encoder", "previewer", "stage_b", "stage_a")


class CascadeDataset:
    DISPLAY_NAME = "Dataset"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "The pictures of a folder and its sub-folders, each with its caption in a text file of the same name, or with"
        " one caption for all."
    )
    SEARCH_ALIASES = ("stable cascade", "training", "captions", "load images", "folder")
    FUNCTION, REHEARSE = "read", "rehearse"
    RETURN_TYPES, RETURN_NAMES = (sockets.DATASET,), ("dataset",)
    OUTPUT_TOOLTIPS = ("The pictures and their captions, for Train LoRA or Train ControlNet.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "folder": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "Where the pictures are: a full path, or a folder in the input folder. tiny zig"
                        " (built-in) has twelve pictures of a word that the built-in models do not know.",
                    },
                ),
            },
            "optional": {
                "caption": (
                    "STRING",
                    {
                        "default": "",
                        "multiline": True,
                        "tooltip": "One caption for all pictures, such as: a photo of [zig]. {name} in it is the"
                        " picture's file name, {caption} the text of its .txt file. Empty: each picture's .txt file.",
                    },
                ),
            },
        }

    @classmethod
    def IS_CHANGED(cls, folder: str, **_: Any) -> str:
        """Whatever is added, taken away or edited counts."""
        states = ((path, path.stat()) for path in sorted(cls._path(folder).rglob("*")) if path.is_file())
        return " ".join(f"{path.name} {state.st_mtime_ns} {state.st_size}" for path, state in states)

    def read(self, folder: str, caption: str = "") -> tuple[core.Dataset]:
        return (core.read_dataset(self._path(folder), caption.strip()),)

    def rehearse(self, folder: str, caption: str = "") -> tuple[core.Dataset]:
        return self.read(folder, caption)

    @staticmethod
    def _path(folder: str) -> Path:
        if not folder.strip():
            raise core.CascadeError("folder: expected the folder in which the pictures are, found nothing")
        built_in = core.built_in("dataset").get(folder.strip())
        return built_in or host.input_directory() / Path(folder.strip()).expanduser()


def _number(
    kind: str, default: float, least: float, most: float, tooltip: str, **more: Any
) -> tuple[str, dict[str, Any]]:
    step = {} if kind == "INT" and "step" in more else {"step": 1} if kind == "INT" else {}
    return kind, {"default": default, "min": least, "max": most, **step, **more, "tooltip": tooltip}


def _share(default: float, tooltip: str) -> tuple[str, dict[str, Any]]:
    return _number("FLOAT", default, 0.0, 1.0, tooltip, step=0.01, round=0.001)


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
            "size": _number(
                "INT",
                768,
                64,
                2048,
                "Side at which the pictures are encoded, in pixels: 768 officially, for pictures of 1024; 192 for the"
                " built-in models. Other aspects get as many pixels.",
                step=32,
            ),
            "steps": _number("INT", 1000, 1, 1000000, "Steps in all. More can be asked for later."),
            "batch_size": _number("INT", 1, 1, 256, "Pictures in a batch: more are steadier, and need more memory."),
            "learning_rate": _number(
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
            "sample_every": _number("INT", 100, 0, 100000, "Make sample pictures after so many steps; 0: never."),
            "seed": _number(
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
            "accumulate": _number(
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
            "warmup": _number("INT", 1, 1, 100000, "Steps in which the learning rate rises from zero."),
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
            "noisy_share": _share(
                0.0,
                "Share of the times drawn from the noisiest tenth, where the layout is decided: 0 officially; 0.3 helps"
                " short trainings.",
            ),
            "caption_dropout": _share(
                0.05, "Share of captions that are left out, so that guidance works: 0.05 officially."
            ),
            "image_dropout": _share(
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
            "save_every": _number("INT", 100, 1, 100000, "Save the state after so many steps."),
            "sample_cfg": _number("FLOAT", 4.0, 0.0, 50.0, "Guidance of the sample pictures.", step=0.1, round=0.01),
        }

    @staticmethod
    def settings(
        prompts: str = "", sample_every: int = 100, seed: int = 0, sample_cfg: float = 4.0, **others: Any
    ) -> dict[str, Any]:
        """The core's settings from the widgets' values."""
        lines = tuple(filter(None, map(str.strip, prompts.splitlines())))
        samples = core.TrainingSamples(lines, sample_every, seed, sample_cfg)
        return {"samples": samples, "seed": seed, **others}

    def places(self, name: str) -> tuple[Path, Path]:
        """The folder of the state, and the finished file."""
        if not NAME.fullmatch(name):
            raise core.CascadeError(
                f"name: expected letters, digits, spaces and . _ + - after a letter or digit, found {name!r:.80}"
            )
        return host.output_directory() / STATES / name, host.model_folder(self.KEY) / f"{name}.safetensors"

    @staticmethod
    def placeholder(models: core.TrainingModels, settings: core.TrainingSettings) -> Tensor:
        """Samples, or the curve, that nobody has made yet."""
        count = len(settings.samples.prompts) if settings.samples.every else 0
        size = core.sample_side(models, settings.size)
        if not count or size is None:
            return sockets.placeholder_image(1, *core.CURVE_SIZE)
        return sockets.placeholder_image(count, size, size)

    def carry_out(
        self, run: core.TrainingRun, handles: Sequence[core.Handle | None]
    ) -> tuple[Tensor, list[dict[str, str]]]:
        """All steps, with progress, previews and cancel; the last samples or the curve, and the files of them."""
        label = self.DISPLAY_NAME
        tasks = len(run.task.encode())
        with host.together(*handles):
            with host.progress(f"{label}: encode", tasks) as advance:
                for _ in run.encode():
                    host.check_cancel()
                    advance(None)
            pictures: tuple[Tensor, ...] = ()
            files: tuple[Path, ...] = ()
            with host.progress(label, run.task.settings.steps - run.done) as advance, closing(run.train()) as reports:
                for report in reports:
                    if report.pictures:
                        pictures, files = report.pictures, report.files
                    host.check_cancel()
                    if report.progress.losses:
                        advance(partial(_beside, report.pictures) if report.pictures else None)
        shown = [
            {
                "filename": path.name,
                "subfolder": path.parent.relative_to(host.output_directory()).as_posix(),
                "type": "output",
            }
            for path in files or (run.folder / core.CURVE,)
        ]
        return _batch(pictures, run.folder / core.CURVE), shown


class CascadeLoRATrain(Trainer):
    DISPLAY_NAME = "Train LoRA"
    DESCRIPTION = (
        "Learns from a folder of pictures what Stage C does not know, as a LoRA, and new words for prompts with it. It"
        " goes on where it stopped: Cancel keeps the state, and the same name resumes it."
    )
    SEARCH_ALIASES = ("stable cascade", "lora", "training", "fine-tune", "dreambooth", "textual inversion", "token")
    KEY = "loras"
    RETURN_TYPES, RETURN_NAMES = (sockets.LORA, "STRING", "IMAGE"), ("lora", "path", "samples")
    OUTPUT_TOOLTIPS = (
        "The LoRA, for `lora` of Apply LoRA.",
        "Where the finished file is.",
        "The last sample pictures; without prompts the curve of the loss.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                **cls.common(),
                "rank": _number("INT", 4, 1, 1024, "How much the LoRA can hold: 4 officially; the file grows with it."),
                "alpha": _number(
                    "FLOAT",
                    1.0,
                    0.0001,
                    1024.0,
                    "The LoRA counts alpha / rank: 1 officially.",
                    step=0.5,
                    round=0.0001,
                ),
                "tokens": (
                    "STRING",
                    {
                        "default": "",
                        "multiline": True,
                        "tooltip": "New words for prompts, one in a line, each with a regular expression of the words"
                        " that it starts from: [zig]=^star$ (for the published encoder: ^star</w>). Captions say them.",
                    },
                ),
            },
            "optional": {
                **cls.common_optional(),
                "filters": (
                    "STRING",
                    {
                        "default": ".attn",
                        "tooltip": "Which weights get branches: those in modules of Stage C whose name contains one of"
                        " these, with commas between: .attn officially; empty: all.",
                    },
                ),
                "init": (
                    ["official", "down"],
                    {
                        "default": "official",
                        "tooltip": "Which of a branch's two matrices is random at first: up, officially, or down, as"
                        " other trainers have it, which learns more freely and wants ten times the learning rate.",
                    },
                ),
                "token_rate": _number(
                    "FLOAT",
                    1.0,
                    0.01,
                    100.0,
                    "How many times faster than the rest new words learn: 1 officially; 5 leads a word further away"
                    " from those that it starts from.",
                    step=0.5,
                    round=0.001,
                ),
                "keep": (
                    "STRING",
                    {
                        "default": "",
                        "multiline": True,
                        "tooltip": "Prompts for which nothing shall change, one in a line, with `keep_weight` over 0."
                        " Of {a|b} one is drawn each time.",
                    },
                ),
                "keep_weight": _number(
                    "FLOAT",
                    0.0,
                    0.0,
                    100.0,
                    "How firmly Stage C is held to what it did before, where no new word is said; 0: not at all, and"
                    " twice as fast. 1 keeps a small training from spilling over.",
                    step=0.1,
                    round=0.001,
                ),
                "keep_count": _number(
                    "INT",
                    64,
                    1,
                    10000,
                    "How many latents Stage C draws of the prompts in `keep`, once, before it learns.",
                ),
                "keep_batch": _number(
                    "INT", 0, 0, 256, "How many of them are looked at beside each batch; 0: as many as the batch has."
                ),
                "dialect": (
                    ["comfyui", "official", "kohya"],
                    {
                        "default": "comfyui",
                        "tooltip": "Whose names the file has: ComfyUI's, the official code's (which has them for .attn"
                        " alone), or kohya's.",
                    },
                ),
            },
        }

    def train(self, dataset: core.Dataset, name: str, **inputs: Any) -> dict[str, Any]:
        models, settings = self._split(**inputs)
        folder, target = self.places(name)
        run, task = core.train_lora(models, dataset, settings, folder, target)
        samples, shown = self.carry_out(run, list(models.named().values()))
        return {"ui": {"images": shown}, "result": (task.result(name), str(target), samples)}

    def rehearse(self, dataset: core.Dataset, name: str, **inputs: Any) -> tuple[core.Lora, str, Tensor]:
        models, settings = self._split(**inputs)
        _, target = self.places(name)
        lora = core.untrained_lora(models, settings, name)
        return lora, str(target), self.placeholder(models, settings)

    def _split(
        self, filters: str = ".attn", tokens: str = "", keep: str = "", **inputs: Any
    ) -> tuple[core.TrainingModels, core.LoraSettings]:
        models = core.TrainingModels(**{key: inputs.pop(key) for key in MODELS if key in inputs})
        settings = core.LoraSettings(
            filters=tuple(part.strip() for part in filters.split(",")),
            tokens=core.read_tokens(tokens),
            keep=tuple(filter(None, map(str.strip, keep.splitlines()))),
            **self.settings(**inputs),
        )
        return models, settings


class CascadeControlNetTrain(Trainer):
    DISPLAY_NAME = "Train ControlNet"
    DESCRIPTION = (
        "Learns to steer Stage C by your own control pictures, or by hints that it makes of the pictures. It goes on"
        " where it stopped: Cancel keeps the state, and the same name resumes it."
    )
    SEARCH_ALIASES = ("stable cascade", "controlnet", "training", "fine-tune", "control")
    KEY = "controlnet"
    RETURN_TYPES, RETURN_NAMES = (sockets.CONTROLNET, "STRING", "IMAGE"), ("controlnet", "path", "samples")
    OUTPUT_TOOLTIPS = (
        "The ControlNet, for Apply ControlNet.",
        "Where the finished file is.",
        "The last sample pictures, steered by the first pictures' hints; without prompts the curve of the loss.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                **cls.common(),
                "hint": (
                    ["own", "canny", "inpainting", "super_resolution", "identity"],
                    {
                        "default": "own",
                        "tooltip": "What it is steered by: own control pictures, which lie under the pictures' names in"
                        " the data set's sub-folder `control`; or edges, holes, small pictures or faces that are made"
                        " of the pictures themselves.",
                    },
                ),
            },
            "optional": {
                **cls.common_optional(),
                "controlnet": (
                    sockets.CONTROLNET,
                    {"tooltip": "Go on from this ControlNet, made for the same hints, instead of a new one."},
                ),
                "bottleneck": (
                    ["auto", "effnet", "simple", "large"],
                    {
                        "default": "auto",
                        "tooltip": "How a new one sees hints: effnet by pixels; simple and large by one value for each"
                        " cell of the latent. auto is what the published ones have.",
                    },
                ),
                "detector": (
                    list(faces.DETECTORS),
                    {"default": faces.TINY, "tooltip": "Who finds the faces, for identity alone."},
                ),
                "offset_noise": _number(
                    "FLOAT",
                    0.0,
                    0.0,
                    1.0,
                    "Noise that is the same all over the picture, so that brightness is learned: 0.1 officially for"
                    " inpainting and super-resolution, else 0.",
                    step=0.01,
                    round=0.001,
                ),
            },
        }

    def train(self, dataset: core.Dataset, name: str, **inputs: Any) -> dict[str, Any]:
        models, settings, start, detector = self._split(**inputs)
        folder, target = self.places(name)
        found = faces.DETECTORS[detector].make() if settings.hint == "identity" else None
        run = core.train_controlnet(models, dataset, settings, folder, target, start, found)
        samples, shown = self.carry_out(run, list(models.named().values()))
        placed: dict[str, Any] = {"device": host.device(), "placement": host.placement()}
        net = core.load("controlnet", target, name=target.name, **placed)
        return {"ui": {"images": shown}, "result": (net, str(target), samples)}

    def rehearse(self, dataset: core.Dataset, name: str, **inputs: Any) -> tuple[core.Handle, str, Tensor]:
        models, settings, start, detector = self._split(**inputs)
        _, target = self.places(name)
        width = faces.DETECTORS[detector].width if settings.hint == "identity" else None
        net = core.untrained_controlnet(models, dataset, settings, name, start, width)
        return net, str(target), self.placeholder(models, settings)

    def _split(
        self, controlnet: core.Handle | None = None, detector: str = faces.TINY, **inputs: Any
    ) -> tuple[core.TrainingModels, core.ControlNetSettings, core.Handle | None, str]:
        models = core.TrainingModels(**{key: inputs.pop(key) for key in MODELS if key in inputs})
        return models, core.ControlNetSettings(**self.settings(**inputs)), controlnet, detector


class StageCTrainer(Trainer):
    """Of the command alone: a graph has no room for a second Stage C."""

    DISPLAY_NAME = "Train Stage C"
    KEY = "diffusion_models"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": cls.common(), "optional": cls.common_optional()}

    def train(self, dataset: core.Dataset, name: str, **inputs: Any) -> dict[str, Any]:
        models, settings = self._split(**inputs)
        folder, target = self.places(name)
        run = core.train_stage_c(models, dataset, settings, folder, target)
        samples, shown = self.carry_out(run, list(models.named().values()))
        return {"ui": {"images": shown}, "result": (None, str(target), samples)}

    def rehearse(self, dataset: core.Dataset, name: str, **inputs: Any) -> None:
        self._split(**inputs)
        self.places(name)

    def _split(self, **inputs: Any) -> tuple[core.TrainingModels, core.TrainingSettings]:
        models = core.TrainingModels(**{key: inputs.pop(key) for key in MODELS if key in inputs})
        return models, core.TrainingSettings(**self.settings(**inputs))


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

    def train(self, dataset: core.Dataset, name: str, **inputs: Any) -> dict[str, Any]:
        models, settings = self._split(**inputs)
        folder, target = self.places(name)
        run = core.train_stage_b(models, dataset, settings, folder, target)
        handles = [models.stage_b, models.stage_a, models.text_encoder, models.effnet]
        samples, shown = self.carry_out(run, handles)
        return {"ui": {"images": shown}, "result": (None, str(target), samples)}

    def rehearse(self, dataset: core.Dataset, name: str, **inputs: Any) -> None:
        self._split(**inputs)
        self.places(name)

    def _split(self, **inputs: Any) -> tuple[core.StageBModels, core.TrainingSettings]:
        models = core.StageBModels(**{key: inputs.pop(key) for key in ("stage_b", "stage_a", "text_encoder", "effnet")})
        return models, core.TrainingSettings(**self.settings(**inputs))


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
