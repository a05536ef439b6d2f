"""The published files: where each lies on the hub, where it belongs here, and what `cascade download` is asked for it.

Data, and two questions to it. Names here are flat, as loaders list them; a ControlNet's is the one that ComfyUI's own
example workflows use, for `canny.safetensors` would say nothing in a folder of everybody's ControlNets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
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
    size: int = 0  # bytes of its tensors, as its network has them: about the file's; 0 of files that are no weights

    @property
    def label(self) -> str:
        """Folder and name, as people see them in `models`."""
        return f"{self.folder}/{self.name}"


def _stage(name: str, kind: str, preset: str, size: int, *variants: str) -> tuple[Published, ...]:
    """A stage in both precisions; `size` is in bfloat16."""
    bfloat16, float32 = f"{name}_bf16.safetensors", f"{name}.safetensors"
    return (
        Published(CASCADE, bfloat16, "diffusion_models", bfloat16, kind, preset, "bfloat16", variants, size),
        Published(CASCADE, float32, "diffusion_models", float32, kind, preset, "float32", variants, 2 * size),
    )


def _small(name: str, kind: str, size: int) -> Published:
    return Published(CASCADE, name, "vae", name, kind, "published", None, (ESSENTIAL,), size)


def _clip(repository: str, folder: str, kind: str, option: str, size: int) -> tuple[Published, ...]:
    """A CLIP encoder in both precisions; its folder there is named as its kind is here. `size` is in bfloat16."""
    bfloat16, float32 = "model.bf16.safetensors", "model.safetensors"
    return (
        Published(repository, f"{kind}/{bfloat16}", folder, bfloat16, kind, "published", "bfloat16", (option,), size),
        Published(repository, f"{kind}/{float32}", folder, float32, kind, "published", "float32", (option,), 2 * size),
    )


def _tokenizer(name: str) -> Published:
    """A file of the tokenizer, which belongs into a folder beside the text encoder."""
    path = f"tokenizer/{name}"
    return Published(CASCADE, path, "text_encoders", path, TOKENIZER, "published", None, (TEXT_ENCODER,))


def _controlnet(mode: str, size: int) -> Published:
    path, name = f"controlnet/{mode}.safetensors", f"stable_cascade_{mode}.safetensors"
    return Published(CASCADE, path, "controlnet", name, "controlnet", mode, None, (mode,), size)


def _all_in_one(kind: str, preset: str, size: int) -> Published:
    """A stage with what goes before or behind it in one file: that of ComfyUI's own examples."""
    name = f"stable_cascade_{kind}.safetensors"
    return Published(
        CASCADE, f"comfyui_checkpoints/{name}", CHECKPOINTS, name, kind, preset, None, (CHECKPOINTS,), size
    )


FILES: tuple[Published, ...] = (
    _small("effnet_encoder.safetensors", "effnet", 81_408_376),
    _small("stage_a.safetensors", "stage_a", 73_627_616),
    _small("previewer.safetensors", "previewer", 15_935_052),
    *_stage("stage_b", "stage_b", "1.5B", 3_125_882_272, "big-big", "big-small"),
    *_stage("stage_b_lite", "stage_b", "700M", 1_398_942_496, "small-small", "small-big"),
    *_stage("stage_c", "stage_c", "3.6B", 7_178_207_264, "big-big", "small-big"),
    *_stage("stage_c_lite", "stage_c", "1B", 2_061_570_080, "small-small", "big-small"),
    *map(_controlnet, CONTROLNETS, (108_820_176, 108_821_472, 406_983_168)),
    *_clip(CASCADE, "text_encoders", "text_encoder", TEXT_ENCODER, 1_389_319_680),
    _tokenizer("vocab.json"),
    _tokenizer("merges.txt"),
    *_clip(PRIOR, "clip_vision", "image_encoder", IMAGE_ENCODER, 607_932_416),
    _all_in_one("stage_c", "3.6B", 9_224_100_000),
    _all_in_one("stage_b", "1.5B", 4_552_000_000),
)
ELSEWHERE = {
    "stage_a_ft_hq.safetensors": "https://huggingface.co/madebyollin/stage-a-ft-hq",
}  # pages of files that shared workflows name, and that others have published


def choose(asked: Collection[str], precision: str) -> list[Published]:
    """The files that these words bring, in the order of FILES, where there is a choice in this precision."""
    return [file for file in FILES if set(file.asked) & set(asked) and file.precision in (None, precision)]


def find(name: str, kind: str | None = None) -> Published | None:
    """What is published under this name here; None if nothing is.

    kind tells apart the encoders, whose files have the same names; without it the text encoder's is meant.
    """
    return next((file for file in FILES if file.name == name and kind in (None, file.kind)), None)


def where_to_get(name: str, *kinds: str) -> str:
    """The words behind a folder into which a file of this name belongs: the command that brings it, or its page."""
    if file := next(filter(None, (find(name, kind) for kind in kinds)), None):
        return f" (`{commands_for([file])[0]}` does so)"
    return f" (it lies at {ELSEWHERE[name]})" if name in ELSEWHERE else ""


def commands_for(files: Sequence[Published]) -> list[str]:
    """The fewest commands that download these files; nearly always one."""
    groups: list[list[Published]] = []
    for file in files:
        group = next((each for each in groups if _are_one_command([*each, file])), None)
        if group is None:
            groups.append([file])
        else:
            group.append(file)
    return [" ".join(("cascade download", *_words(group))) for group in groups]


def _are_one_command(files: Sequence[Published]) -> bool:
    """A command has one precision and one pair of stages."""
    precisions = {file.precision for file in files} - {None}
    return len(precisions) < 2 and (not any(map(_variants, files)) or bool(_common_variants(files)))


def _words(files: Sequence[Published]) -> Iterator[str]:
    """The words of a command, then its options."""
    asked = {word for file in files for word in file.asked}
    yield from (word for word in (ESSENTIAL, *_common_variants(files)[:1], CHECKPOINTS) if word in asked)
    yield from {file.precision for file in files if file.precision is not None} - {PRECISIONS[0]}
    if controlnets := [mode for mode in CONTROLNETS if mode in asked]:
        yield f"--controlnet {','.join(controlnets)}"
    yield from (option for option in (TEXT_ENCODER, IMAGE_ENCODER) if option in asked)


def _variants(file: Published) -> set[str]:
    return set(file.asked) & set(VARIANTS)


def _common_variants(files: Sequence[Published]) -> list[str]:
    """The pairs of stages that bring all stages among the files, as the first of them prefers."""
    stages = [file for file in files if _variants(file)]
    return [word for word in (stages[0].asked if stages else ()) if all(word in _variants(file) for file in stages)]
