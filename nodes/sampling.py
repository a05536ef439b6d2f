"""The nodes that sample Stage C and Stage B, one evaluation of the model after another."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..cascade_core.sampling.samplers import SAMPLERS
from ..cascade_core.sampling.schedules import SCHEDULES
from ..cascade_core.sampling.settings import STAGE_B_DEFAULTS, STAGE_C_DEFAULTS, SamplerSettings
from ..cascade_core.sampling.sizes import PIXELS_PER_CELL, odd_size
from ..runtime import host, previews
from . import inputs, sockets

if TYPE_CHECKING:
    from ..cascade_core.models.handle import Handle
    from ..cascade_core.sampling.stages import Run, Step


def _inputs(defaults: SamplerSettings, cfg_tooltip: str, shift_tooltip: str) -> dict[str, inputs.Entry]:
    """The required settings that both samplers have, in the order of their widgets."""
    samplers = "; ".join(f"{name}: {sampler.help}" for name, sampler in SAMPLERS.items())
    return {
        "seed": inputs.seed("The noise that the picture starts from. Picture k of a batch has the seed + k."),
        "steps": inputs.integer(defaults.steps, 1, 1000, "Evaluations of the model: more are slower and finer."),
        "cfg": inputs.decimal(defaults.cfg, 0.0, 50.0, cfg_tooltip, step=0.1, round=0.01),
        "sampler": inputs.choice(SAMPLERS, defaults.sampler, f"How a step is taken. {samplers}."),
        "shift": inputs.decimal(defaults.shift, 0.1, 10.0, shift_tooltip, step=0.05, round=0.01),
    }


def _guidance_inputs(defaults: SamplerSettings) -> dict[str, inputs.Entry]:
    """The optional settings of guidance that both samplers have."""
    rescale = "How far guidance may not change the contrast: 0 is plain guidance, 0.7 the official value."
    over = (
        "What cfg_rescale measures: each image alone, or, as officially, the whole batch, which makes a picture depend"
        " on the others. The same for a batch of one."
    )
    when = "Guidance {} this far into the run. Steps without it cost half."
    return {
        "cfg_rescale": inputs.decimal(defaults.cfg_rescale, 0.0, 1.0, rescale),
        "rescale_over": inputs.choice(("image", "batch"), defaults.rescale_over, over),
        "cfg_start_percent": inputs.decimal(defaults.cfg_start_percent, 0.0, 1.0, when.format("starts")),
        "cfg_end_percent": inputs.decimal(defaults.cfg_end_percent, 0.0, 1.0, when.format("ends")),
    }


def _schedule_input() -> dict[str, inputs.Entry]:
    """The last of the optional settings of both."""
    schedules = "; ".join(f"{name}: {schedule.help}" for name, schedule in SCHEDULES.items())
    return {"schedule": inputs.choice(SCHEDULES, "cosine", f"At which noise the steps are taken. {schedules}.")}


def take(name: str, stage: Handle, run: Run, wired: Handle | None = None) -> Step:
    """Take the steps of a run, with progress under this name, previews and cancel on the way; the last one.

    wired: the previewer that a person chose.
    """
    previewer = previews.choose_previewer(stage, wired)
    show = previews.choose_picture(stage, previewer)
    here = host.current()
    last: Step | None = None
    with here.together(stage, previewer), here.progress(name, run.total) as advance:
        for step in run:
            last = step
            here.check_cancel()
            advance(None if show is None else partial(show, step.x0))
    assert last is not None  # a run has at least one step
    return last


class _StageSampler:
    """The part that both samplers share. `STAGE` is the model's input; `_start` takes the inputs of `sample`."""

    CATEGORY = "Stable Cascade/sampling"
    FUNCTION, REHEARSE = "sample", "rehearse"
    RETURN_TYPES = ("LATENT",)
    DISPLAY_NAME: str
    STAGE: str

    def rehearse(self, latent: sockets.Latent, **given: Any) -> tuple[sockets.Latent]:
        self._start(latent=latent, **given)
        return (sockets.placeholder_latent(latent, given[self.STAGE].family),)

    def _start(self, *given: Any, **named: Any) -> Run:
        """The run, of which no step is taken yet; CascadeError where the inputs do not fit. Each stage has its own."""
        raise NotImplementedError

    def _finish(
        self, stage: Handle, latent: sockets.Latent, run: Run, wired: Handle | None = None
    ) -> tuple[sockets.Latent]:
        """The prediction of the last step."""
        return (sockets.with_samples(latent, take(self.DISPLAY_NAME, stage, run, wired).x0, stage.family),)


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
                "stage_c": inputs.wire(sockets.STAGE_C, "The model."),
                "positive": inputs.wire("CONDITIONING", "What the picture shows."),
                "negative": inputs.wire("CONDITIONING", "What guidance leads away from; it may be an empty prompt."),
                "latent": inputs.wire(
                    "LATENT",
                    "An empty latent for its size; below denoise 1, the encoded picture to start from. Where it has a"
                    " noise mask, only what is masked is made anew, at any denoise.",
                ),
                **_inputs(
                    STAGE_C_DEFAULTS,
                    cfg_tooltip="How closely the prompt is followed: 4 officially. 1 is no guidance, at half the cost.",
                    shift_tooltip="How many of the steps go to coarse structure: 2 officially; higher is coarser.",
                ),
                "denoise": inputs.decimal(
                    STAGE_C_DEFAULTS.denoise,
                    0.01,
                    1.0,
                    "How much of the given latent is made anew; 1 is all. All of the steps are taken.",
                ),
            },
            "optional": {
                "previewer": inputs.wire(
                    sockets.PREVIEWER,
                    "Shows the picture while it comes about, also where ComfyUI's previews are off.",
                ),
                **inputs.advanced(
                    {
                        **_guidance_inputs(STAGE_C_DEFAULTS),
                        "noise_shift": inputs.choice(
                            ("same", "official"),
                            STAGE_C_DEFAULTS.noise_shift,
                            "Below denoise 1: the noise on the given latent is what the sampler expects, or less, as in"
                            " the official notebook, which stays closer to the picture.",
                        ),
                        **_schedule_input(),
                    }
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
        h, w = (round(cells * PIXELS_PER_CELL) for cells in latent["samples"].shape[-2:])
        if message := odd_size(stage_c.family, sockets.size_of(latent) or (h, w)):
            host.current().warn(self.DISPLAY_NAME, message)
        return self._finish(stage_c, latent, steps, previewer)

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
    ) -> Run:
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
                "stage_b": inputs.wire(sockets.STAGE_B, "The model."),
                "positive": inputs.wire("CONDITIONING", "What the picture shows: the same as for Stage C."),
                "negative": inputs.wire("CONDITIONING", "What guidance leads away from: the same as for Stage C."),
                "stage_c": inputs.wire("LATENT", "The result of the Stage C sampler, or an encoded picture."),
                "latent": inputs.wire("LATENT", "An empty latent of Stage B, for its size."),
                **_inputs(
                    STAGE_B_DEFAULTS,
                    cfg_tooltip="Guidance: 1.1 officially. 1 is no guidance, at half the cost, hardly different.",
                    shift_tooltip="How many of the steps go to coarse structure: 1 officially.",
                ),
            },
            "optional": inputs.advanced(
                {
                    **_guidance_inputs(STAGE_B_DEFAULTS),
                    **_schedule_input(),
                    "reuse_from": inputs.integer(
                        0,
                        0,
                        3,
                        "In every second step the network's levels from this one on are not computed: what they gave in"
                        " the step before is taken. 1 saves most, 0 reuses nothing. Not together with `compile`.",
                    ),
                }
            ),
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
        if settings.get("reuse_from") and stage_b.compile != "off":
            message = f"reuse_from does not go together with compile: compile {stage_b.compile} is left out"
            host.current().warn(self.DISPLAY_NAME, message)
        steps = self._start(stage_b, positive, negative, stage_c, latent, **settings)
        return self._finish(stage_b, latent, steps)

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
    ) -> Run:
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


NODES = (CascadeStageCSampler, CascadeStageBSampler)
