"""Runs of both samplers, whose latents and settings are given loosely."""

from dataclasses import replace

from stable_cascade_nodes.cascade_core.sampling.latent import Latent
from stable_cascade_nodes.cascade_core.sampling.settings import STAGE_B_DEFAULTS, STAGE_C_DEFAULTS
from stable_cascade_nodes.cascade_core.sampling.stages import sample_stage_b, sample_stage_c

OF_LATENT = ("size", "family", "batch_index", "noise_mask")


def run_c(model, positive, negative, samples, *, seed, **options):
    """Stage C's steps; `options` are fields of the latent and settings."""
    latent = Latent(samples, **{key: options.pop(key) for key in OF_LATENT if key in options})
    return sample_stage_c(model, positive, negative, latent, seed=seed, settings=replace(STAGE_C_DEFAULTS, **options))


def run_b(model, positive, negative, stage_c, samples, *, seed, stage_c_family=None, **options):
    """Stage B's steps, as above."""
    latent = Latent(samples, **{key: options.pop(key) for key in OF_LATENT if key in options})
    stage_c = Latent(stage_c, family=stage_c_family)
    return sample_stage_b(
        model, positive, negative, stage_c, latent, seed=seed, settings=replace(STAGE_B_DEFAULTS, **options)
    )
