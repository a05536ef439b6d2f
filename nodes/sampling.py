"""The two samplers: conditions and noise -> LATENT, one evaluation after another."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..runtime import host, previews
from . import sockets

if TYPE_CHECKING:
    from torch import Tensor

    from ..cascade_core.models.handle import Handle
    from ..cascade_core.sampling.stages import Step

CATEGORY = "Stable Cascade/sampling"


def _inputs(steps: int, cfg: float, shift: float, cfg_tooltip: str, shift_tooltip: str) -> dict[str, tuple[Any, ...]]:
    """The settings that both samplers have, in the order of their widgets."""
    from ..cascade_core.sampling.samplers import SAMPLERS

    return {
        "seed": (
            "INT",
            {
                "default": 0,
                "min": 0,
                "max": 0xFFFFFFFFFFFFFFFF,
                "control_after_generate": True,
                "tooltip": "The noise that the picture starts from. Picture k of a batch has the seed + k.",
            },
        ),
        "steps": (
            "INT",
            {
                "default": steps,
                "min": 1,
                "max": 1000,
                "step": 1,
                "tooltip": "Evaluations of the model: more are slower and finer.",
            },
        ),
        "cfg": (
            "FLOAT",
            {"default": cfg, "min": 0.0, "max": 50.0, "step": 0.1, "round": 0.01, "tooltip": cfg_tooltip},
        ),
        "sampler": (
            list(SAMPLERS),
            {
                "default": "ddpm",
                "tooltip": "How a step is taken: ddpm is the official one and adds fresh noise; ddim and euler add none"
                " (and give the same picture); lcm is for distilled models.",
            },
        ),
        "shift": (
            "FLOAT",
            {"default": shift, "min": 0.1, "max": 10.0, "step": 0.05, "round": 0.01, "tooltip": shift_tooltip},
        ),
    }


def _guidance_inputs() -> dict[str, tuple[Any, ...]]:
    percent = {"min": 0.0, "max": 1.0, "step": 0.01, "round": 0.001}
    return {
        "cfg_rescale": (
            "FLOAT",
            {
                **percent,
                "default": 0.7,
                "tooltip": "How far guidance may not change the contrast: 0 is plain guidance, 0.7 the official value.",
            },
        ),
        "rescale_over": (
            ["image", "batch"],
            {
                "default": "image",
                "tooltip": "What cfg_rescale measures: each image alone, or, as officially, the whole batch, which"
                " makes a picture depend on the others. The same for a batch of one.",
            },
        ),
        "cfg_start_percent": (
            "FLOAT",
            {
                **percent,
                "default": 0.0,
                "tooltip": "Guidance starts this far into the run. Steps without it cost half.",
            },
        ),
        "cfg_end_percent": (
            "FLOAT",
            {**percent, "default": 1.0, "tooltip": "Guidance ends this far into the run. Steps without it cost half."},
        ),
    }


class CascadeStageCSampler:
    DISPLAY_NAME = "Stage C Sampler"
    CATEGORY = CATEGORY
    DESCRIPTION = "Text to the latent of Stage C, which decides what the picture shows. The defaults are official."
    SEARCH_ALIASES = ("stable cascade", "ksampler", "prior", "denoise", "generate")
    FUNCTION, REHEARSE = "sample", "rehearse"
    RETURN_TYPES, RETURN_NAMES = ("LATENT",), ("stage_c",)
    OUTPUT_TOOLTIPS = ("The latent of Stage C, for `stage_c` of the Stage B sampler.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "stage_c": (sockets.STAGE_C, {"tooltip": "The model."}),
                "positive": ("CONDITIONING", {"tooltip": "What the picture shows."}),
                "negative": ("CONDITIONING", {"tooltip": "What guidance leads away from; it may be an empty prompt."}),
                "latent": (
                    "LATENT",
                    {
                        "tooltip": "An empty latent for its size; below denoise 1, the encoded picture to start from."
                        " Where it has a noise mask, only what is masked is made anew, at any denoise."
                    },
                ),
                **_inputs(
                    steps=20,
                    cfg=4.0,
                    shift=2.0,
                    cfg_tooltip="How closely the prompt is followed: 4 officially. 1 is no guidance, at half the cost.",
                    shift_tooltip="How many of the steps go to coarse structure: 2 officially; higher is coarser.",
                ),
                "denoise": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.01,
                        "max": 1.0,
                        "step": 0.01,
                        "round": 0.001,
                        "tooltip": "How much of the given latent is made anew; 1 is all. All of the steps are taken.",
                    },
                ),
            },
            "optional": {
                "previewer": (
                    sockets.PREVIEWER,
                    {"tooltip": "Shows the picture while it comes about, also where ComfyUI's previews are off."},
                ),
                **_guidance_inputs(),
                "noise_shift": (
                    ["same", "official"],
                    {
                        "default": "same",
                        "tooltip": "Below denoise 1: the noise on the given latent is what the sampler expects, or"
                        " less, as in the official notebook, which stays closer to the picture.",
                    },
                ),
            },
        }

    def sample(
        self,
        stage_c: Handle,
        positive: sockets.Conditioning,
        negative: sockets.Conditioning,
        latent: sockets.Latent,
        previewer: Handle | None = None,
        **settings: Any,
    ) -> tuple[sockets.Latent]:
        steps = self._check(stage_c, positive, negative, latent, previewer, **settings)
        mask = latent.get(sockets.NOISE_MASK)
        if mask is not None and not mask.any():
            host.current().warn(self.DISPLAY_NAME, "The noise_mask of `latent` is empty: nothing is made anew")
        samples = _run(stage_c, steps, self.DISPLAY_NAME, settings["steps"], previewer)
        return (sockets.with_samples(latent, samples, stage_c.family),)

    def rehearse(self, stage_c: Handle, latent: sockets.Latent, **inputs: Any) -> tuple[sockets.Latent]:
        self._check(stage_c=stage_c, latent=latent, **inputs)
        return (sockets.placeholder_latent(latent, stage_c.family),)

    def _check(
        self,
        stage_c: Handle,
        positive: sockets.Conditioning,
        negative: sockets.Conditioning,
        latent: sockets.Latent,
        previewer: Handle | None = None,
        **settings: Any,
    ) -> Iterator[Step]:
        """The steps, none of which is taken yet; CascadeError where the inputs do not fit."""
        from ..cascade_core.sampling.family import check_family
        from ..cascade_core.sampling.stages import sample_stage_c

        steps = sample_stage_c(
            stage_c,
            sockets.to_conditions("positive", positive),
            sockets.to_conditions("negative", negative),
            sockets.samples_of("latent", latent, stage_c.config.channels),
            batch_index=latent.get("batch_index"),
            latent_family=latent.get(sockets.FAMILY),
            size=sockets.size_of(latent),
            noise_mask=latent.get(sockets.NOISE_MASK),
            **settings,
        )
        if previewer is not None:
            check_family(previewer, "stage_c", stage_c.family)
        return steps


class CascadeStageBSampler:
    DISPLAY_NAME = "Stage B Sampler"
    CATEGORY = CATEGORY
    DESCRIPTION = "Works out the latent of Stage C into the details of the picture. The defaults are official."
    SEARCH_ALIASES = ("stable cascade", "ksampler", "decoder", "denoise", "generate")
    FUNCTION, REHEARSE = "sample", "rehearse"
    RETURN_TYPES, RETURN_NAMES = ("LATENT",), ("stage_b",)
    OUTPUT_TOOLTIPS = ("The latent of Stage B, for Stage A Decode or the native VAE Decode.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "stage_b": (sockets.STAGE_B, {"tooltip": "The model."}),
                "positive": ("CONDITIONING", {"tooltip": "What the picture shows: the same as for Stage C."}),
                "negative": ("CONDITIONING", {"tooltip": "What guidance leads away from: the same as for Stage C."}),
                "stage_c": ("LATENT", {"tooltip": "The result of the Stage C sampler, or an encoded picture."}),
                "latent": ("LATENT", {"tooltip": "An empty latent of Stage B, for its size."}),
                **_inputs(
                    steps=10,
                    cfg=1.1,
                    shift=1.0,
                    cfg_tooltip="Guidance: 1.1 officially. 1 is no guidance, at half the cost, hardly different.",
                    shift_tooltip="How many of the steps go to coarse structure: 1 officially.",
                ),
            },
            "optional": _guidance_inputs(),
        }

    def sample(
        self,
        stage_b: Handle,
        positive: sockets.Conditioning,
        negative: sockets.Conditioning,
        stage_c: sockets.Latent,
        latent: sockets.Latent,
        **settings: Any,
    ) -> tuple[sockets.Latent]:
        steps = self._check(stage_b, positive, negative, stage_c, latent, **settings)
        samples = _run(stage_b, steps, self.DISPLAY_NAME, settings["steps"]) * sockets.STAGE_B_SCALE
        return (sockets.with_samples(latent, samples, stage_b.family),)

    def rehearse(self, stage_b: Handle, latent: sockets.Latent, **inputs: Any) -> tuple[sockets.Latent]:
        self._check(stage_b=stage_b, latent=latent, **inputs)
        return (sockets.placeholder_latent(latent, stage_b.family),)

    def _check(
        self,
        stage_b: Handle,
        positive: sockets.Conditioning,
        negative: sockets.Conditioning,
        stage_c: sockets.Latent,
        latent: sockets.Latent,
        **settings: Any,
    ) -> Iterator[Step]:
        """The steps, none of which is taken yet; CascadeError where the inputs do not fit."""
        from ..cascade_core.sampling.stages import sample_stage_b

        effnet = sockets.samples_of("stage_c", stage_c, stage_b.config.c_effnet)
        samples = sockets.samples_of("latent", latent, stage_b.config.channels)
        if latent.get(sockets.NOISE_MASK) is not None:
            raise CascadeError(
                "`latent` carries a noise_mask (Set Latent Noise Mask): Stage B works out the whole picture and cannot"
                " honour that: put the mask on the latent of Stage C, and paste the result back into the original"
            )
        of_stage_c = stage_c.get("batch_index") if len(effnet) == len(samples) else None
        return sample_stage_b(
            stage_b,
            sockets.to_conditions("positive", positive),
            sockets.to_conditions("negative", negative),
            effnet,
            samples / sockets.STAGE_B_SCALE,
            batch_index=latent.get("batch_index", of_stage_c),
            stage_c_family=stage_c.get(sockets.FAMILY),
            latent_family=latent.get(sockets.FAMILY),
            **settings,
        )


def _run(stage: Handle, steps: Iterator[Step], label: str, total: int, wired: Handle | None = None) -> Tensor:
    """All steps, with progress, previews and cancel; the last prediction is the result."""
    previewer = previews.choose_previewer(stage, wired)
    show = previews.choose_picture(stage, previewer)
    here = host.current()
    x0: Tensor | None = None
    with here.together(stage, previewer), here.progress(label, total) as advance:
        for step in steps:
            here.check_cancel()
            advance(None if show is None else partial(show, step.x0))
            x0 = step.x0
    assert x0 is not None  # every sampler takes at least one step
    return x0
