"""The words of the page for inputs, and the headings under which Advanced has them."""

from __future__ import annotations

# Heading -> inputs by their names, with what a person calls them. Headings stand in this order.
HEADINGS: dict[str, dict[str, str]] = {
    "Prompt": {"text": "Prompt", "caption": "Caption", "picks": "Picked drafts"},
    "Picture and size": {
        "image": "Picture",
        "mask": "Mask from a file",
        "width": "Width",
        "height": "Height",
        "batch_size": "Batch size",
        "budget": "Size",
        "method": "Other aspects are",
        "multiple": "Sides are multiples of",
        "enlarge": "Enlarge small pictures",
        "resize": "Made smaller",
        "left": "Left",
        "top": "Top",
        "right": "Right",
        "bottom": "Bottom",
        "feather": "Soft edge",
    },
    "Strength": {
        "denoise": "How much is made anew",
        "strength": "Strength",
        "start_percent": "Steers from",
        "end_percent": "Steers until",
        "low": "Weaker edges from",
        "high": "Edges from",
        "threshold": "Mask threshold",
        "detector": "Face detector",
        "max_faces": "Faces at most",
        "mix": "Mixed",
    },
    "Guidance": {
        "cfg": "Guidance",
        "cfg_rescale": "Guidance rescale",
        "rescale_over": "Rescaled over",
        "cfg_start_percent": "Guidance from",
        "cfg_end_percent": "Guidance until",
    },
    "Steps": {
        "steps": "Steps",
        "sampler": "Sampler",
        "schedule": "Schedule",
        "shift": "Coarse structure (shift)",
        "noise_shift": "Noise on a given picture",
        "reuse_from": "Reuse of inner levels",
    },
    "Seeds": {"seed": "Seed"},
    "LoRA": {
        "lora_name": "LoRA",
        "text_strength": "Strength on words",
        "tokens": "New words",
        "fuse": "Fuse into the weights",
        "filters": "Module filters",
    },
    "Training": {
        "folder": "Folder of pictures",
        "name": "Name",
        "size": "Size of the pictures",
        "learning_rate": "Learning rate",
        "prompts": "Sample prompts",
        "sample_every": "Samples after steps",
        "save_every": "Save after steps",
        "sample_cfg": "Guidance of samples",
        "noisy_share": "Share of noisy times",
        "token_rate": "Rate of new words",
        "keep": "Prompts that stay as they are",
    },
    "Models": {"model_name": "", "dtype": "Precision", "compile": "Compile"},  # a model is called as its loader
    "Files": {"filename_prefix": "Name of the files"},
}
TITLES = {
    "canny": "Outlines (Canny)",
    "super_resolution": "Enlarge (super resolution)",
    "lora": "Style or word (LoRA)",
    "economical": "Drafts to pick from",
}  # of shipped workflows whose names say little
OTHERS = "More"  # what nobody has put under a heading
ORDER = [*HEADINGS, OTHERS]
KEPT = {"lora": "LoRA", "controlnet": "ControlNet", "unet": "UNet", "vae": "VAE", "clip": "CLIP"}  # in titles


def heading_of(name: str) -> str:
    """The heading of an input that no rule puts elsewhere."""
    return next((heading for heading, inputs in HEADINGS.items() if name in inputs), OTHERS)


def label_of(name: str, title: str) -> str:
    """What a person calls an input of a node with this title."""
    if name == "model_name":
        return sentence(title.removeprefix("Load "))
    found = next((inputs[name] for inputs in HEADINGS.values() if name in inputs), "")
    return found or sentence(name)


def called(name: str, title: str) -> str:
    """The same where no field is looked at, so that it says of which node."""
    if name in ("text", "image"):
        return title
    label = label_of(name, title)
    return label if name == "model_name" else f"{label} ({title.removeprefix('Load ')})"


def sentence(words: str) -> str:
    """A name as words: the first with a capital, and those that are spelled in a way of their own."""
    found = [KEPT.get(word.casefold(), word) for word in words.replace("_", " ").replace("-", " ").split()]
    text = " ".join(found)
    return text[:1].upper() + text[1:]
