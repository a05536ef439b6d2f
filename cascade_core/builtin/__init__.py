"""The built-in tiny cascade: its weights, and the picture world that it draws."""

from pathlib import Path

FAMILY = "tiny"
NAME = "tiny (built-in)"
KINDS = ("stage_a", "stage_b", "stage_c", "effnet", "previewer", "text_encoder", "image_encoder")
CONTROLS = ("canny", "inpainting", "super_resolution", "identity")  # the ControlNets by their hints
LORAS = ("zig", "fast")  # a pattern with its word; both stages in few steps
LESSONS = ("zig",)


def control_path(mode: str) -> Path:
    """The path of the built-in ControlNet for this kind of hint."""
    return weights_path(f"controlnet_{mode}")


def lora_path(name: str) -> Path:
    """The path of the built-in LoRA of this name."""
    return weights_path(f"lora_{name}")


def lesson_path(name: str) -> Path:
    """The folder of pictures from which a built-in LoRA learned."""
    return Path(__file__).parent / "lessons" / name


def weights_path(kind: str) -> Path:
    """The path of the built-in network of this kind."""
    return Path(__file__).parent / "weights" / f"{kind}.safetensors"


def built_in(kind: str) -> dict[str, Path]:
    """The built-in models of a kind by the name that a loader shows; empty where there are none."""
    if kind == "controlnet":
        return {f"tiny {mode} (built-in)": control_path(mode) for mode in CONTROLS if control_path(mode).exists()}
    if kind == "dataset":
        return {f"tiny {name} (built-in)": lesson_path(name) for name in LESSONS}
    if kind == "lora":
        return {f"tiny {name} (built-in)": lora_path(name) for name in LORAS if lora_path(name).exists()}
    return {NAME: weights_path(kind)} if kind in KINDS else {}
