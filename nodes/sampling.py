"""The two samplers: conditions and noise -> LATENT, one evaluation after another."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ..cascade_core.sampling.samplers import SAMPLERS
from ..cascade_core.sampling.settings import STAGE_B_DEFAULTS, STAGE_C_DEFAULTS, SamplerSettings
from ..runtime import host, previews
from . import sockets

if TYPE_CHECKING:
    from torch import Tensor

    from ..cascade_core.models.handle import Handle
    from ..cascade_core.sampling.stages import Step

PERCENT = {"min": 0.0, "max": 1.0, "step": 0.01, "round": 0.001}


def _inputs(defaults: SamplerSettings, cfg_tooltip: str, shift_tooltip: str) -> dict[str, tuple[Any, ...]]:
    """The required settings that both samplers have, in the order of their widgets."""
    samplers = "; ".join(f"{name}: {sampler.help}" for name, sampler in SAMPLERS.items())
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
                "default": defaults.steps,
                "min": 1,
                "max": 1000,
                "step": 1,
                "tooltip": "Evaluations of the model: more are slower and finer.",
            },
        ),
        "cfg": (
            "FLOAT",
            {"default": defaults.cfg, "min": 0.0, "max": 50.0, "step": 0.1, "round": 0.01, "tooltip": cfg_tooltip},
        ),
        "sampler": (
            list(SAMPLERS),
            {"default": defaults.sampler, "tooltip": f"How a step is taken. {samplers}."},
        ),
        "shift": (
            "FLOAT",
            {"default": defaults.shift, "min": 0.1, "max": 10.0, "step": 0.05, "round": 0.01, "tooltip": shift_tooltip},
        ),
    }


def _guidance_inputs(defaults: SamplerSettings) -> dict[str, tuple[Any, ...]]:
    return {
        "cfg_rescale": (
            "FLOAT",
            {
                **PERCENT,
                "default": defaults.cfg_rescale,
                "tooltip": "How far guidance may not change the contrast: 0 is plain guidance, 0.7 the official value.",
            },
        ),
        "rescale_over": (
            ["image", "batch"],
            {
                "default": defaults.rescale_over,
                "tooltip": "What cfg_rescale measures: each image alone, or, as officially, the whole batch, which"
                " makes a picture depend on the others. The same for a batch of one.",
            },
        ),
        "cfg_start_percent": (
            "FLOAT",
            {
                **PERCENT,
                "default": defaults.cfg_start_percent,
                "tooltip": "Guidance starts this far into the run. Steps without it cost half.",
            },
        ),
        "cfg_end_percent": (
            "FLOAT",
            {
                **PERCENT,
                "default": defaults.cfg_end_percent,
                "tooltip": "Guidance ends this far into the run. Steps without it cost half.",
            },
        ),
    }


class _StageSampler:
    """The part that both samplers share. `STAGE` is the model's input; `_start` takes the inputs of `sample`."""

    CATEGORY = "Stable Cascade/sampling"
    FUNCTION, REHEARSE = "sample", "rehearse"
    RETURN_TYPES = ("LATENT",)
    DISPLAY_NAME: str
    STAGE: str

    def rehearse(self, latent: sockets.Latent, **inputs: Any) -> tuple[sockets.Latent]:
        self._start(latent=latent, **inputs)
        return (sockets.placeholder_latent(latent, inputs[self.STAGE].family),)

    def _start(self, *inputs: Any, **named: Any) -> Iterator[Step]:
        """The steps, none of which is taken yet; CascadeError where the inputs do not fit."""
        raise NotImplementedError

    def _finish(
        self, stage: Handle, latent: sockets.Latent, steps: Iterator[Step], total: int, wired: Handle | None = None
    ) -> tuple[sockets.Latent]:
        """The prediction of the last of `total` steps, with progress, previews and cancel on the way."""
        previewer = previews.choose_previewer(stage, wired)
        show = previews.choose_picture(stage, previewer)
        x0: Tensor | None = None
        with host.current().together(stage, previewer), host.current().progress(self.DISPLAY_NAME, total) as advance:
            for step in steps:
                x0 = step.x0
                host.current().check_cancel()
                advance(None if show is None else partial(show, x0))
        assert x0 is not None  # a run has at least one step
        return (sockets.with_samples(latent, x0, stage.family),)


class CascadeStageCSampler(_StageSampler):
    DISPLAY_NAME = "Stage C Sampler"
    DESCRIPTION = "Text to the latent of Stage C, which decides what the picture shows. The defaults are official."
    SEARCH_ALIASES = ("stable cascade", "ksampler", "prior", "denoise", "generate")
    RETURN_NAMES = ("stage_c",)
    OUTPUT_TOOLTIPS = ("The latent of Stage C, for `stage_c` of the Stage B sampler.",)
    STAGE = "stage_c"

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
                    STAGE_C_DEFAULTS,
                    cfg_tooltip="How closely the prompt is followed: 4 officially. 1 is no guidance, at half the cost.",
                    shift_tooltip="How many of the steps go to coarse structure: 2 officially; higher is coarser.",
                ),
                "denoise": (
                    "FLOAT",
                    {
                        **PERCENT,
                        "default": STAGE_C_DEFAULTS.denoise,
                        "min": 0.01,
                        "tooltip": "How much of the given latent is made anew; 1 is all. All of the steps are taken.",
                    },
                ),
            },
            "optional": {
                "previewer": (
                    sockets.PREVIEWER,
                    {"tooltip": "Shows the picture while it comes about, also where ComfyUI's previews are off."},
                ),
                **_guidance_inputs(STAGE_C_DEFAULTS),
                "noise_shift": (
                    ["same", "official"],
                    {
                        "default": STAGE_C_DEFAULTS.noise_shift,
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
        steps = self._start(stage_c, positive, negative, latent, previewer, **settings)
        mask = latent.get(sockets.NOISE_MASK)
        if mask is not None and not mask.any():
            host.current().warn(self.DISPLAY_NAME, "The noise_mask of `latent` is empty: nothing is made anew")
        return self._finish(stage_c, latent, steps, settings["steps"], previewer)

    def _start(
        self,
        stage_c: Handle,
        positive: sockets.Conditioning,
        negative: sockets.Conditioning,
        latent: sockets.Latent,
        previewer: Handle | None = None,
        *,
        seed: int,
        **settings: Any,
    ) -> Iterator[Step]:
        from ..cascade_core.models.family import check_family
        from ..cascade_core.sampling.stages import sample_stage_c

        steps = sample_stage_c(
            stage_c,
            sockets.to_conditions("positive", positive),
            sockets.to_conditions("negative", negative),
            sockets.to_latent("latent", latent, stage_c.config.channels),
            seed=seed,
            settings=SamplerSettings(**settings),
        )
        if previewer is not None:
            check_family(previewer, "stage_c", stage_c.family)
        return steps


class CascadeStageBSampler(_StageSampler):
    DISPLAY_NAME = "Stage B Sampler"
    DESCRIPTION = "Works out the latent of Stage C into the details of the picture. The defaults are official."
    SEARCH_ALIASES = ("stable cascade", "ksampler", "decoder", "denoise", "generate")
    RETURN_NAMES = ("stage_b",)
    OUTPUT_TOOLTIPS = ("The latent of Stage B, for Stage A Decode or the native VAE Decode.",)
    STAGE = "stage_b"

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
                    STAGE_B_DEFAULTS,
                    cfg_tooltip="Guidance: 1.1 officially. 1 is no guidance, at half the cost, hardly different.",
                    shift_tooltip="How many of the steps go to coarse structure: 1 officially.",
                ),
            },
            "optional": _guidance_inputs(STAGE_B_DEFAULTS),
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
        steps = self._start(stage_b, positive, negative, stage_c, latent, **settings)
        return self._finish(stage_b, latent, steps, settings["steps"])

    def _start(
        self,
        stage_b: Handle,
        positive: sockets.Conditioning,
        negative: sockets.Conditioning,
        stage_c: sockets.Latent,
        latent: sockets.Latent,
        *,
        seed: int,
        **settings: Any,
    ) -> Iterator[Step]:
        from ..cascade_core.sampling.stages import sample_stage_b

        return sample_stage_b(
            stage_b,
            sockets.to_conditions("positive", positive),
            sockets.to_conditions("negative", negative),
            sockets.to_latent("stage_c", stage_c, stage_b.config.c_effnet),
            sockets.to_latent("latent", latent, stage_b.config.channels),
            seed=seed,
            settings=SamplerSettings(**settings),
        )
