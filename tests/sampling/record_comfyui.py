"""Record what ComfyUI's own samplers and schedules answer, for test_comfyui.py, which needs no ComfyUI.

    COMFYUI_PATH=<folder of ComfyUI> <its Python> tests/sampling/record_comfyui.py

Numbers are of ComfyUI's functions alone, run on `predict`: a function in the place of a network.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import torch

ANSWERS = Path(__file__).with_name("comfyui_answers.json")
SHAPE = (1, 2, 2, 2)
SAMPLERS = (
    "ddpm", "ddim", "euler", "lcm", "euler_ancestral", "heun", "dpm_2", "dpm_2_ancestral", "lms", "dpmpp_2s_ancestral",
    "dpmpp_sde", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde", "uni_pc",
)  # fmt: skip
SCHEDULES = ("simple", "normal", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta")
RUNS = (("simple", 2.0, 6, False), ("karras", 1.0, 9, False), ("sgm_uniform", 2.0, 3, False), ("beta", 2.0, 7, True))
SPAN, SEED, PATH = (0.01, 99.995), 2**33 + 5, (99.995, 7.5, 6.25, 0.125, 0.01)  # of Brownian noise
STEPS = ((7, 1.0), (20, 1.0), (30, 1.0), (6, 0.6), (1, 1.0))


def start() -> torch.Tensor:
    """Where a run starts, in the form x / sqrt(1 + sigma²)."""
    return torch.linspace(-1.5, 1.5, 8, dtype=torch.float64).view(SHAPE).sin() * 1.3


def predict(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """The picture that the function sees in x / sqrt(1 + sigma²)."""
    return 0.8 * torch.tanh(1.5 * x.flip(-1) + 0.2) + 0.2 * x.roll(1, 1) / (1 + sigma)


def fresh_noise(count: int) -> torch.Tensor:
    """The noise of the count-th draw."""
    return torch.cos(torch.arange(8, dtype=torch.float64) * 2.3 + 1.7 * count).view(SHAPE)


def path_noise(sigma: float, sigma_next: float) -> torch.Tensor:
    """Noise that depends on where a step starts and ends."""
    return torch.cos(torch.arange(8, dtype=torch.float64) * 2.3 + 3 * sigma + 5 * sigma_next).view(SHAPE)


def main() -> None:
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    sys.argv = [sys.argv[0], "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.extra_samplers.uni_pc as uni_pc
    import comfy.k_diffusion.sampling as k
    import comfy.model_sampling
    import comfy.samplers

    class ModelSampling(comfy.model_sampling.StableCascadeSampling, comfy.model_sampling.EPS):
        pass

    def sampling_of(shift: float) -> ModelSampling:
        made = ModelSampling(None)
        made.set_parameters(shift)
        return made

    sampling = {shift: sampling_of(shift) for shift in (0.5, 1.0, 2.0)}

    def sigmas_of(schedule: str, shift: float, steps: int, sampler: str, denoise: float) -> torch.Tensor:
        model = SimpleNamespace(get_model_object=lambda name: sampling[shift])
        return comfy.samplers.KSampler(model, steps, "cpu", sampler, schedule, denoise).sigmas

    def run(sampler: str, sigmas: torch.Tensor, shift: float) -> torch.Tensor:
        count = -1

        def noise(sigma: torch.Tensor, sigma_next: torch.Tensor) -> torch.Tensor:
            nonlocal count
            count += 1
            return path_noise(float(sigma), float(sigma_next)) if "_sde" in sampler else fresh_noise(count)

        def model(x: torch.Tensor, sigma: torch.Tensor, **kwargs: object) -> torch.Tensor:
            return predict(x / (1 + sigma**2).sqrt(), float(sigma))

        patcher = SimpleNamespace(get_model_object=lambda name: sampling[shift])
        of_k = SimpleNamespace(model_sampling=sampling[shift])
        wrapped = type("Model", (), {"__call__": staticmethod(model)})()
        wrapped.inner_model = SimpleNamespace(inner_model=of_k, model_patcher=patcher)
        x = start() * (1 + sigmas[0] ** 2).sqrt()
        if sampler == "uni_pc":
            torch.set_default_dtype(torch.float64)  # it makes small matrices of the default type
            answer = uni_pc.sample_unipc(wrapped, x, sigmas, extra_args={}, disable=True)
            torch.set_default_dtype(torch.float32)
            return answer
        function = getattr(k, f"sample_{'euler' if sampler == 'ddim' else sampler}")
        draws = {"noise_sampler": noise} if "noise_sampler" in function.__wrapped__.__code__.co_varnames else {}
        return function(wrapped, x, sigmas, disable=True, **draws)

    def rounded(values: torch.Tensor, digits: int) -> list[float]:
        return [float(f"{float(value):.{digits}g}") for value in values.flatten()]

    answers: dict[str, dict[str, list[float]]] = {"schedules": {}, "samplers": {}, "brownian": {}}
    for schedule in SCHEDULES:
        for shift in sampling:
            for sampler in ("euler", "dpm_2") if shift == 2 else ("euler",):
                for steps, denoise in STEPS if sampler == "euler" and shift == 2 else STEPS[:1]:
                    sigmas = sigmas_of(schedule, shift, steps, sampler, denoise)
                    answers["schedules"][f"{schedule} {shift} {steps} {denoise} {sampler}"] = rounded(sigmas, 7)
    for sampler in SAMPLERS:
        for schedule, shift, steps, leftover in RUNS:
            sigmas = sigmas_of(schedule, shift, steps, "euler", 1.0).double()
            found = run(sampler, sigmas[:-1] if leftover else sigmas, shift)
            answers["samplers"][f"{sampler} {schedule} {shift} {steps} {leftover}"] = rounded(found, 9)
    path = k.BrownianTreeNoiseSampler(torch.zeros(SHAPE), *SPAN, seed=SEED, cpu=True)
    for pair in pairwise(PATH):
        answers["brownian"]["{} {}".format(*pair)] = rounded(path(*map(torch.tensor, pair)), 7)
    tables = [
        f'"{key}": {{\n' + ",\n".join(f'  "{name}": {json.dumps(numbers)}' for name, numbers in table.items()) + "\n}"
        for key, table in answers.items()
    ]
    ANSWERS.write_text("{" + ",\n".join(tables) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
