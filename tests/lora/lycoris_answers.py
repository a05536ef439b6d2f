"""Answers of the package lycoris-lora, recorded once, so that the tests need no LyCORIS.

Writes lycoris_answers.safetensors beside this file: for each case its base weight, the tensors of a file as LyCORIS
writes it, and what the package makes of both. Run with lycoris-lora 4.1.3 installed:

    python tests/lora/lycoris_answers.py

Version 4.1.3 multiplies by alpha / rank once when it computes and twice when it merges LoHa and LoKr, so what it
computes is recorded; where alpha is the rank both are the same, which is checked here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

ANSWERS = Path(__file__).with_suffix(".safetensors")


def layers() -> dict[str, nn.Module]:
    return {
        "linear": nn.Linear(8, 12),
        "square": nn.Linear(16, 16),
        "convolution": nn.Conv2d(4, 6, 3, padding=1),
        "point": nn.Conv2d(4, 6, 1),
    }


def cases() -> dict[str, tuple[Any, str, dict[str, Any]]]:
    """Name -> LyCORIS's class, the name of a layer, and the class's settings."""
    from lycoris.modules.full import FullModule  # type: ignore[import-not-found]
    from lycoris.modules.ia3 import IA3Module  # type: ignore[import-not-found]
    from lycoris.modules.locon import LoConModule  # type: ignore[import-not-found]
    from lycoris.modules.loha import LohaModule  # type: ignore[import-not-found]
    from lycoris.modules.lokr import LokrModule  # type: ignore[import-not-found]

    ranked: dict[str, Any] = {"lora_dim": 3, "alpha": 2.0}
    return {
        "locon": (LoConModule, "convolution", ranked),
        "locon, tucker": (LoConModule, "convolution", ranked | {"use_tucker": True}),
        "loha": (LohaModule, "linear", ranked),
        "loha, alpha is the rank": (LohaModule, "linear", ranked | {"alpha": 3.0}),
        "loha, convolution": (LohaModule, "convolution", ranked),
        "loha, point": (LohaModule, "point", ranked),
        "loha, tucker": (LohaModule, "convolution", ranked | {"use_tucker": True}),
        "loha, rank-stabilised": (LohaModule, "linear", ranked | {"rs_lora": True}),
        "loha, dora": (LohaModule, "linear", ranked | {"weight_decompose": True}),
        "loha, dora by columns": (LohaModule, "linear", ranked | {"weight_decompose": True, "wd_on_out": False}),
        "lokr": (LokrModule, "linear", ranked | {"lora_dim": 1, "alpha": 0.5}),
        "lokr, alpha is the rank": (LokrModule, "linear", ranked | {"lora_dim": 1, "alpha": 1.0}),
        "lokr, whole": (LokrModule, "linear", ranked | {"full_matrix": True}),
        "lokr, both low": (LokrModule, "square", {"lora_dim": 1, "alpha": 0.5, "decompose_both": True}),
        "lokr, convolution": (LokrModule, "convolution", ranked | {"lora_dim": 1, "alpha": 0.5}),
        "lokr, tucker": (LokrModule, "convolution", ranked | {"lora_dim": 1, "alpha": 0.5, "use_tucker": True}),
        "lokr, dora": (LokrModule, "linear", {"lora_dim": 1, "alpha": 0.5, "weight_decompose": True}),
        "ia3, rows": (IA3Module, "linear", {"train_on_input": False}),
        "ia3, columns": (IA3Module, "linear", {"train_on_input": True}),
        "ia3, convolution": (IA3Module, "convolution", {"train_on_input": False}),
        "ia3, columns of a convolution": (IA3Module, "convolution", {"train_on_input": True}),
        "full": (FullModule, "linear", {}),
        "full, convolution": (FullModule, "convolution", {}),
    }


def merge(made: Any, base: torch.Tensor) -> torch.Tensor:
    """The weight that LyCORIS's own forward computes with, at strength 1."""
    if not hasattr(made, "get_weight"):
        return made.get_merged_weight(1.0, base.shape)[0]
    changed = base + made.get_weight(base.shape) * made.scalar
    merged = made.apply_weight_decompose(changed, 1.0) if made.wd else changed
    if getattr(made, "scale", 1.0) == 1.0:
        assert torch.allclose(merged, made.get_merged_weight(1.0, base.shape)[0], atol=1e-7)
    return merged


def main() -> None:
    torch.manual_seed(0)
    answers: dict[str, torch.Tensor] = {}
    bases = layers()
    for name, base in bases.items():
        answers |= {f"base/{name}/{key}": tensor.clone() for key, tensor in base.state_dict().items()}
    with torch.no_grad():
        for name, (cls, of, settings) in cases().items():
            layer = bases[of]
            made = cls(name, layer, **settings)
            for key, parameter in made.named_parameters():
                if "org_module" not in key:
                    parameter.add_(torch.randn_like(parameter) * 0.3)
            if cls.name == "full":
                weight, bias = made.get_merged_weight(1.0, layer.weight.shape)
                written = {"diff": made.weight.clone(), "diff_b": made.bias.clone()}
                answers[f"{name}/{of}/bias"] = bias.clone()
            else:
                weight = merge(made, layer.weight)
                written = made.custom_state_dict() if cls.name != "ia3" else made.state_dict()
            answers[f"{name}/{of}/weight"] = weight.clone()
            for key, tensor in written.items():
                answers[f"{name}/file/{key}"] = torch.as_tensor(tensor).detach().clone().contiguous()
    save_file(answers, ANSWERS, {"package": "lycoris-lora 4.1.3"})


if __name__ == "__main__":
    main()
