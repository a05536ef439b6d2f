"""Sampling: the diffusion process, samplers, guidance, and the runs of Stage C and Stage B."""
