"""Training in the graph: a data set -> a LoRA or a ControlNet, stopped and resumed at will."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..runtime import face_detectors, host
from . import sockets
from .trainer import MODELS, Trainer, number

if TYPE_CHECKING:
    from torch import Tensor

    from ..cascade_core.lora.lora import Lora
    from ..cascade_core.models.handle import Handle
    from ..cascade_core.training.controlnet import ControlNetSettings
    from ..cascade_core.training.dataset import Dataset
    from ..cascade_core.training.examples import TrainingModels
    from ..cascade_core.training.lora import LoraSettings


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
                "rank": number("INT", 4, 1, 1024, "How much the LoRA can hold: 4 officially; the file grows with it."),
                "alpha": number(
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
                "token_rate": number(
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
                "keep_weight": number(
                    "FLOAT",
                    0.0,
                    0.0,
                    100.0,
                    "How firmly Stage C is held to what it did before, where no new word is said; 0: not at all, and"
                    " twice as fast. 1 keeps a small training from spilling over.",
                    step=0.1,
                    round=0.001,
                ),
                "keep_count": number(
                    "INT",
                    64,
                    1,
                    10000,
                    "How many latents Stage C draws of the prompts in `keep`, once, before it learns.",
                ),
                "keep_batch": number(
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

    def train(self, dataset: Dataset, name: str, **inputs: Any) -> dict[str, Any]:
        from ..cascade_core.training.start import train_lora

        models, settings = self._split(**inputs)
        folder, target = self.places(name)
        run, task = train_lora(models, dataset, settings, folder, target)
        samples, shown = self.carry_out(run, list(models.named().values()))
        return {"ui": {"images": shown}, "result": (task.result(name), str(target), samples)}

    def rehearse(self, dataset: Dataset, name: str, **inputs: Any) -> tuple[Lora, str, Tensor]:
        from ..cascade_core.training.lora import untrained_lora

        models, settings = self._split(**inputs)
        _, target = self.places(name)
        lora = untrained_lora(models, settings, name)
        return lora, str(target), self.placeholder(models, settings)

    def _split(
        self, filters: str = ".attn", tokens: str = "", keep: str = "", **inputs: Any
    ) -> tuple[TrainingModels, LoraSettings]:
        from ..cascade_core.training.examples import TrainingModels
        from ..cascade_core.training.lora import LoraSettings, read_tokens

        models = TrainingModels(**{key: inputs.pop(key) for key in MODELS if key in inputs})
        settings = LoraSettings(
            filters=tuple(part.strip() for part in filters.split(",")),
            tokens=read_tokens(tokens),
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
                    list(face_detectors.DETECTORS),
                    {"default": face_detectors.TINY, "tooltip": "Who finds the faces, for identity alone."},
                ),
                "offset_noise": number(
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

    def train(self, dataset: Dataset, name: str, **inputs: Any) -> dict[str, Any]:
        from ..cascade_core.files.load import load
        from ..cascade_core.training.start import train_controlnet

        models, settings, start, detector = self._split(**inputs)
        folder, target = self.places(name)
        found = face_detectors.DETECTORS[detector].make() if settings.hint == "identity" else None
        run = train_controlnet(models, dataset, settings, folder, target, start, found)
        samples, shown = self.carry_out(run, list(models.named().values()))
        here = host.current()
        placed: dict[str, Any] = {"device": here.device(), "placement": here.placement()}
        net = load("controlnet", target, name=target.name, **placed)
        return {"ui": {"images": shown}, "result": (net, str(target), samples)}

    def rehearse(self, dataset: Dataset, name: str, **inputs: Any) -> tuple[Handle, str, Tensor]:
        from ..cascade_core.training.controlnet import untrained_controlnet

        models, settings, start, detector = self._split(**inputs)
        _, target = self.places(name)
        width = face_detectors.DETECTORS[detector].width if settings.hint == "identity" else None
        net = untrained_controlnet(models, dataset, settings, name, start, width)
        return net, str(target), self.placeholder(models, settings)

    def _split(
        self, controlnet: Handle | None = None, detector: str = face_detectors.TINY, **inputs: Any
    ) -> tuple[TrainingModels, ControlNetSettings, Handle | None, str]:
        from ..cascade_core.training.controlnet import ControlNetSettings
        from ..cascade_core.training.examples import TrainingModels

        models = TrainingModels(**{key: inputs.pop(key) for key in MODELS if key in inputs})
        return models, ControlNetSettings(**self.settings(**inputs)), controlnet, detector
