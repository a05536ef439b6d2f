"""Stand-ins for the host's samplers: KSampler, KSamplerAdvanced and ModelSamplingStableCascade.

Ids, inputs and results are the host's, by its rules (sampling_rules.py). MODEL is the handle of a Stage C or Stage B.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...cascade_core.errors import CascadeError
from ...nodes import sockets
from ...nodes.sampling import take
from .. import graph
from . import sampling_rules

if TYPE_CHECKING:
    from ...cascade_core.models.handle import Handle
    from ...cascade_core.sampling.stages import Run

# The host's lists, as shared workflows may name any of them. What is not ours too is refused.
_SAMPLER_NAMES = [
    "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "exp_heun_2_x0",
    "exp_heun_2_x0_sde", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral",
    "dpmpp_2s_ancestral_cfg_pp", "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu", "dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm",
    "ipndm", "ipndm_v", "deis", "res_multistep", "res_multistep_cfg_pp", "res_multistep_ancestral",
    "res_multistep_ancestral_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp", "er_sde", "seeds_2",
    "seeds_3", "sa_solver", "sa_solver_pece", "ddim", "uni_pc", "uni_pc_bh2",
]  # fmt: skip
_SCHEDULER_NAMES = [
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic",
    "kl_optimal",
]  # fmt: skip

_SAMPLER = (_SAMPLER_NAMES, {graph.RUNS_HERE: sampling_rules.SAMPLER_NAMES})
_SCHEDULER = (_SCHEDULER_NAMES, {graph.RUNS_HERE: sampling_rules.SCHEDULER_NAMES})
_STEPS = ("INT", {"default": 20, "min": 1, "max": 10000})
_CFG = ("FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01})
_SEED = ("INT", {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF, "control_after_generate": True})
_STEP = {"min": 0, "max": 10000}
_SWITCH = ["enable", "disable"]
LARGEST_SHIFT = 100.0


class _Sampler:
    CATEGORY = "sampling"
    FUNCTION, REHEARSE = "sample", "rehearse"
    RETURN_TYPES = ("LATENT",)
    DISPLAY_NAME: str

    def rehearse(self, model: Handle, latent_image: sockets.Latent, **given: Any) -> tuple[sockets.Latent]:
        latent = sampling_rules.fitting(model, latent_image)
        self._start(model, latent, **given)
        return (sockets.placeholder_latent(latent, model.family),)

    def sample(self, model: Handle, latent_image: sockets.Latent, **given: Any) -> tuple[sockets.Latent]:
        latent = sampling_rules.fitting(model, latent_image)
        run = self._start(model, latent, **given)
        if run is None:
            return (latent,)
        step = take(self.DISPLAY_NAME, model, run)
        return (sockets.with_samples(latent, step.x / step.time.a, model.family),)

    def _start(self, model: Handle, latent: sockets.Latent, **given: Any) -> Run | None:
        """The run; None where no step is to be taken. Each node has its own."""
        raise NotImplementedError


class KSampler(_Sampler):
    DISPLAY_NAME = "KSampler"
    DESCRIPTION = "Draws a latent anew, as the prompts say."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL",),
                "seed": _SEED,
                "steps": _STEPS,
                "cfg": _CFG,
                "sampler_name": _SAMPLER,
                "scheduler": _SCHEDULER,
                "positive": ("CONDITIONING",),
                "negative": ("CONDITIONING",),
                "latent_image": ("LATENT",),
                "denoise": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}),
            }
        }

    def _start(self, model: Handle, latent: sockets.Latent, *, denoise: float = 1.0, **given: Any) -> Run | None:
        return sampling_rules.start(model, latent, **given, denoise=denoise)


class KSamplerAdvanced(_Sampler):
    DISPLAY_NAME = "KSampler (Advanced)"
    DESCRIPTION = "A part of the steps of a run, from a latent that may have noise in it already."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL",),
                "add_noise": (_SWITCH,),
                "noise_seed": _SEED,
                "steps": _STEPS,
                "cfg": _CFG,
                "sampler_name": _SAMPLER,
                "scheduler": _SCHEDULER,
                "positive": ("CONDITIONING",),
                "negative": ("CONDITIONING",),
                "latent_image": ("LATENT",),
                "start_at_step": ("INT", {"default": 0, **_STEP}),
                "end_at_step": ("INT", {"default": sampling_rules.NO_END, **_STEP}),
                "return_with_leftover_noise": (_SWITCH[::-1],),
            }
        }

    def _start(
        self,
        model: Handle,
        latent: sockets.Latent,
        *,
        add_noise: str,
        noise_seed: int,
        start_at_step: int,
        end_at_step: int,
        return_with_leftover_noise: str,
        **given: Any,
    ) -> Run | None:
        noise, leftover = add_noise != "disable", return_with_leftover_noise == "enable"
        steps = (start_at_step, end_at_step)
        return sampling_rules.start(model, latent, **given, seed=noise_seed, noise=noise, span=steps, leftover=leftover)


class ModelSamplingStableCascade:
    DISPLAY_NAME = "ModelSamplingStableCascade"
    CATEGORY = "advanced/model"
    DESCRIPTION = "The model with another shift: over 1 more of the steps go to coarse structure."
    FUNCTION = REHEARSE = "patch"
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        shift = ("FLOAT", {"default": 2.0, "min": 0.0, "max": LARGEST_SHIFT, "step": 0.01})
        return {"required": {"model": ("MODEL",), "shift": shift}}

    @classmethod
    def VALIDATE_INPUTS(cls, shift: float | None = None) -> bool | str:
        if shift is None or 0 < shift <= LARGEST_SHIFT:
            return True
        return f"`shift`: expected over 0, to {LARGEST_SHIFT:g} (1 is no shift), found {shift}: choose another"

    def patch(self, model: Handle, shift: float) -> tuple[Handle]:
        if shift <= 0:
            raise CascadeError(str(self.VALIDATE_INPUTS(shift)))
        return (replace(model, shift=shift),)


NODES = (KSampler, KSamplerAdvanced, ModelSamplingStableCascade)
