"""The published files: where each lies on the hub, where it belongs here, and what `cascade download` is asked for it.

Data, and two questions to it. Names here are flat, as loaders list them; a ControlNet's is the one that ComfyUI's own
example workflows use, for `canny.safetensors` would say nothing in a folder of everybody's ControlNets.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

CASCADE, PRIOR = "stabilityai/stable-cascade", "stabilityai/stable-cascade-prior"  # repositories of the hub

ESSENTIAL = "essential"
VARIANTS = ("big-big", "big-small", "small-big", "small-small")  # Stage B, then Stage C
PRECISIONS = ("bfloat16", "float32")  # the first is the default
CONTROLNETS = ("canny", "inpainting", "super_resolution")
TEXT_ENCODER, IMAGE_ENCODER = "--text-encoder", "--image-encoder"
CHECKPOINTS = "checkpoints"  # ComfyUI's all-in-one files, and the key of their folder
TOKENIZER = "tokenizer"  # the kind of files that are no weights


@dataclass(frozen=True)
class Published:
    """One file of a repository."""

    repository: str
    path: str  # its path in the repository
    folder: str  # ComfyUI's key of the folder where it belongs
    name: str  # its name in that folder, with `/`
    kind: str  # as identification has it, or TOKENIZER; of an all-in-one file that of its stage
    preset: str  # as identification has it; a ControlNet's mode
    precision: str | None  # one of PRECISIONS; None where there is one file
    asked: tuple[str, ...]  # each of these words of `cascade download` brings it

    @property
    def label(self) -> str:
        """Folder and name, as people see them in `models`."""
        return f"{self.folder}/{self.name}"


def _stage(name: str, kind: str, preset: str, *variants: str) -> tuple[Published, ...]:
    """A stage in both precisions."""
    bfloat16, float32 = f"{name}_bf16.safetensors", f"{name}.safetensors"
    return (
        Published(CASCADE, bfloat16, "diffusion_models", bfloat16, kind, preset, "bfloat16", variants),
        Published(CASCADE, float32, "diffusion_models", float32, kind, preset, "float32", variants),
    )


def _small(name: str, kind: str) -> Published:
    return Published(CASCADE, name, "vae", name, kind, "published", None, (ESSENTIAL,))


def _clip(repository: str, folder: str, kind: str, option: str) -> tuple[Published, ...]:
    """A CLIP encoder in both precisions; its folder there is named as its kind is here."""
    bfloat16, float32 = "model.bf16.safetensors", "model.safetensors"
    return (
        Published(repository, f"{kind}/{bfloat16}", folder, bfloat16, kind, "published", "bfloat16", (option,)),
        Published(repository, f"{kind}/{float32}", folder, float32, kind, "published", "float32", (option,)),
    )


def _tokenizer(name: str) -> Published:
    """A file of the tokenizer, which belongs into a folder beside the text encoder."""
    path = f"tokenizer/{name}"
    return Published(CASCADE, path, "text_encoders", path, TOKENIZER, "published", None, (TEXT_ENCODER,))


def _controlnet(mode: str) -> Published:
    path, name = f"controlnet/{mode}.safetensors", f"stable_cascade_{mode}.safetensors"
    return Published(CASCADE, path, "controlnet", name, "controlnet", mode, None, (mode,))


def _all_in_one(kind: str, preset: str) -> Published:
    """A stage with what goes before or behind it in one file: that of ComfyUI's own examples."""
    name = f"stable_cascade_{kind}.safetensors"
    return Published(CASCADE, f"comfyui_checkpoints/{name}", CHECKPOINTS, name, kind, preset, None, (CHECKPOINTS,))


FILES: tuple[Published, ...] = (
    _small("effnet_encoder.safetensors", "effnet"),
    _small("stage_a.safetensors", "stage_a"),
    _small("previewer.safetensors", "previewer"),
    *_stage("stage_b", "stage_b", "1.5B", "big-big", "big-small"),
    *_stage("stage_b_lite", "stage_b", "700M", "small-small", "small-big"),
    *_stage("stage_c", "stage_c", "3.6B", "big-big", "small-big"),
    *_stage("stage_c_lite", "stage_c", "1B", "small-small", "big-small"),
    *map(_controlnet, CONTROLNETS),
    *_clip(CASCADE, "text_encoders", "text_encoder", TEXT_ENCODER),
    _tokenizer("vocab.json"),
    _tokenizer("merges.txt"),
    *_clip(PRIOR, "clip_vision", "image_encoder", IMAGE_ENCODER),
    _all_in_one("stage_c", "3.6B"),
    _all_in_one("stage_b", "1.5B"),
)
ELSEWHERE = {
    "stage_a_ft_hq.safetensors": "https://huggingface.co/madebyollin/stage-a-ft-hq",
}  # pages of files that shared workflows name, and that others have published


def choose(asked: Collection[str], precision: str) -> list[Published]:
    """The files that these words bring, in the order of FILES, where there is a choice in this precision."""
    return [file for file in FILES if set(file.asked) & set(asked) and file.precision in (None, precision)]


def where_to_get(name: str, *kinds: str) -> str:
    """The words behind a folder into which a file of this name belongs: the command that brings it, or its page."""
    command = next(filter(None, (command_for(name, kind) for kind in kinds)), None)
    if command is not None:
        return f" (`{command}` does so)"
    return f" (it lies at {ELSEWHERE[name]})" if name in ELSEWHERE else ""


def command_for(name: str, kind: str | None = None) -> str | None:
    """The command that downloads what is published under this name here; None if nothing is.

    kind tells apart the encoders, whose files have the same names; without it the text encoder's is meant.
    """
    for file in FILES:
        if file.name == name and kind in (None, file.kind):
            wanted = file.asked[0]
            words = [f"--controlnet {wanted}"] if wanted in CONTROLNETS else [wanted]
            if file.precision not in (None, PRECISIONS[0]):
                words.insert(0 if wanted.startswith("--") else 1, str(file.precision))  # words go before options
            return " ".join(("cascade download", *words))
    return None
