"""The graphs that people share, as prompts: the six examples of ComfyUI for Stable Cascade, and variants of them.

Built here, as ComfyUI's pages show them; nobody's file is kept. Titles are the display names, ids those of the files.
"""

from __future__ import annotations

from typing import Any

Graph = dict[str, Any]

STAGE_C, STAGE_B = "stable_cascade_stage_c.safetensors", "stable_cascade_stage_b.safetensors"


def node(class_type: str, **inputs: Any) -> Graph:
    return {"class_type": class_type, "inputs": inputs}


def sampler(model: str, positive: list[Any], negative: list[Any], latent: list[Any], **settings: Any) -> Graph:
    chosen = {"seed": 1, "steps": 20, "cfg": 4.0, "sampler_name": "euler_ancestral", "scheduler": "simple"}
    links = {"model": [model, 0], "positive": positive, "negative": negative, "latent_image": latent}
    return node("KSampler", **{**chosen, "denoise": 1.0, **settings}, **links)


def text_to_image() -> Graph:
    return {
        "41": node("CheckpointLoaderSimple", ckpt_name=STAGE_C),
        "42": node("CheckpointLoaderSimple", ckpt_name=STAGE_B),
        "6": node("CLIPTextEncode", text="a glass bottle", clip=["41", 1]),
        "7": node("CLIPTextEncode", text="text, watermark", clip=["41", 1]),
        "34": node("StableCascade_EmptyLatentImage", width=1024, height=1024, compression=42, batch_size=1),
        "3": sampler("41", ["6", 0], ["7", 0], ["34", 0]),
        "36": node("StableCascade_StageB_Conditioning", conditioning=["6", 0], stage_c=["3", 0]),
        "33": sampler("42", ["36", 0], ["7", 0], ["34", 1], steps=10, cfg=1.1, seed=2),
        "8": node("VAEDecode", samples=["33", 0], vae=["42", 2]),
        "9": node("SaveImage", filename_prefix="ComfyUI", images=["8", 0]),
    }


def image_to_image() -> Graph:
    graph = text_to_image()
    del graph["34"]
    graph["48"] = node("LoadImage", image="example.png", upload="image")
    graph["49"] = node("StableCascade_StageC_VAEEncode", compression=32, image=["48", 0], vae=["41", 2])
    graph["3"]["inputs"] |= {"latent_image": ["49", 0], "denoise": 0.6}
    graph["33"]["inputs"]["latent_image"] = ["49", 1]
    return graph


def image_remixing() -> Graph:
    graph = text_to_image()
    graph["41"]["class_type"] = "unCLIPCheckpointLoader"
    graph["48"] = node("LoadImage", image="mountains.png", upload="image")
    graph["50"] = node("CLIPVisionEncode", clip_vision=["41", 3], image=["48", 0], crop="center")
    unclip = {"conditioning": ["6", 0], "clip_vision_output": ["50", 0]}
    graph["51"] = node("unCLIPConditioning", strength=1.0, noise_augmentation=0.0, **unclip)
    graph["3"]["inputs"]["positive"] = ["51", 0]
    return graph


def image_remixing_multiple() -> Graph:
    graph = image_remixing()
    graph["52"] = node("LoadImage", image="sunset.png", upload="image")
    graph["54"] = node("CLIPVisionEncode", clip_vision=["41", 3], image=["52", 0], crop="center")
    unclip = {"conditioning": ["51", 0], "clip_vision_output": ["54", 0]}
    graph["53"] = node("unCLIPConditioning", strength=1.0, noise_augmentation=0.0, **unclip)
    graph["3"]["inputs"]["positive"] = ["53", 0]
    return graph


def _controlled(graph: Graph, file: str, image: str) -> None:
    graph["47"] = node("ControlNetLoader", control_net_name=file)
    settings = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
    links = {"positive": ["6", 0], "negative": ["7", 0], "control_net": ["47", 0], "image": [image, 0]}
    graph["49"] = node("ControlNetApplyAdvanced", **settings, **links)
    graph["3"]["inputs"] |= {"positive": ["49", 0], "negative": ["49", 1]}


def canny_controlnet() -> Graph:
    graph = text_to_image()
    graph["50"] = node("LoadImage", image="example.png", upload="image")
    small = {"upscale_method": "nearest-exact", "width": 224, "height": 224, "crop": "disabled"}
    graph["54"] = node("ImageScale", image=["50", 0], **small)
    graph["51"] = node("Canny", low_threshold=0.3, high_threshold=0.7, image=["54", 0])
    graph["52"] = node("PreviewImage", images=["51", 0])
    _controlled(graph, "stable_cascade_canny.safetensors", "51")
    return graph


def inpaint_controlnet() -> Graph:
    graph = text_to_image()
    graph["34"]["inputs"]["height"] = 768
    graph["50"] = node("LoadImage", image="yosemite_inpaint_example.png", upload="image")
    graph["62"] = node("EmptyImage", width=512, height=512, batch_size=1, color=0xFFFFFF)
    graph["66"] = node("ThresholdMask", value=0.5, mask=["50", 1])
    whole = {"x": 0, "y": 0, "resize_source": True}
    links = {"destination": ["50", 0], "source": ["62", 0], "mask": ["66", 0]}
    graph["61"] = node("ImageCompositeMasked", **whole, **links)
    graph["64"] = node("InvertMask", mask=["50", 1])
    graph["60"] = node("JoinImageWithAlpha", image=["61", 0], alpha=["64", 0])
    graph["70"] = node("InvertMask", mask=["50", 1])
    graph["71"] = node("GrowMask", expand=-8, tapered_corners=True, mask=["70", 0])
    links = {"destination": ["8", 0], "source": ["50", 0], "mask": ["71", 0]}
    graph["69"] = node("ImageCompositeMasked", **whole, **links)
    graph["9"]["inputs"]["images"] = ["69", 0]
    _controlled(graph, "stable_cascade_inpainting.safetensors", "60")
    return graph


EXAMPLES = (
    text_to_image, image_to_image, image_remixing, image_remixing_multiple, canny_controlnet, inpaint_controlnet
)  # fmt: skip
