"""Files with quantised weights between ComfyUI and us, on a narrow Stage C of the same weights. See bare_comfyui.py.

Writes for each format how far outputs lie apart, and which tensors are not the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bare_comfyui
import torch
from torch import Tensor

WIDTH = 256
SIZES = {"c_hidden": [WIDTH, WIDTH], "nhead": [4, 4], "blocks": [[1, 1], [1, 1]], "c_cond": WIDTH}
LAYER = "down_blocks.0.0.channelwise.4"


def find(pack: Any) -> dict[str, Any]:
    from the_pack.cascade_core.files.convert import convert
    from the_pack.cascade_core.files.load import load
    from the_pack.cascade_core.files.save import save
    from the_pack.cascade_core.models.config import StageCConfig
    from the_pack.cascade_core.models.stage_c import StageC

    detect_narrow()
    torch.manual_seed(0)
    config = StageCConfig(**{name: as_tuple(value) for name, value in SIZES.items()}, dropout=(0.0, 0.0))
    given = torch.randn(1, 16, 12, 12), torch.tensor([0.5]), torch.randn(1, 77, 1280), torch.randn(1, 1280)
    with torch.no_grad():
        module = StageC(config).eval()
        for tensor in module.parameters():
            tensor.copy_(torch.randn(tensor.shape) * (0.2 if tensor.ndim < 2 else tensor[0].numel() ** -0.5))
        save("plain.safetensors", module, "stage_c")
        whole = module(*given)
        found: dict[str, Any] = {}
        for name in ("int8", "fp8", "int4"):
            path = Path(f"{name}.safetensors")
            convert("plain.safetensors", path, layout="comfyui", dtype=name)
            theirs = load_theirs(path)
            ours = load("stage_c", path).module
            expected = call_theirs(theirs, *given)
            again = Path(f"{name}_again.safetensors")
            written = save_theirs(theirs, again)
            found[name] = {
                "quantised": count_quantised(theirs),
                "to whole": apart(ours(*given), whole),
                "rounded inputs": apart(ours(*given), expected),
                "one layer": one_layer(theirs, ours),
                "saved otherwise": differing(read(path), written),
                "loaded again": apart(load("stage_c", again).module(*given), ours(*given)),
                "made otherwise": made_otherwise(name, module.get_parameter(f"{LAYER}.weight"), read(path)),
                "whole inputs": apart(ours(*given), with_whole_inputs(theirs, given)),  # the last: it changes theirs
            }
    return found


def as_tuple(value: Any) -> Any:
    return tuple(map(as_tuple, value)) if isinstance(value, list) else value


def detect_narrow() -> None:
    """ComfyUI tells sizes by the published widths: here is another."""
    import comfy.model_detection

    detect = comfy.model_detection.detect_unet_config
    comfy.model_detection.detect_unet_config = lambda *given, **named: detect(*given, **named) | SIZES


def load_theirs(path: Path) -> Any:
    import comfy.sd

    patcher = comfy.sd.load_diffusion_model(str(path), model_options={"dtype": torch.float32})
    return patcher.model


def call_theirs(model: Any, x: Tensor, r: Tensor, text: Tensor, pooled: Tensor) -> Tensor:
    network = model.diffusion_model
    return network(x, r, text, pooled[:, None], torch.zeros(1, 1, 768)).float()


def save_theirs(model: Any, path: Path) -> dict[str, Tensor]:
    import comfy.utils

    state = {name: tensor.contiguous() for name, tensor in model.diffusion_model.state_dict().items()}
    comfy.utils.save_torch_file(state, str(path), metadata=metadata_of("int8.safetensors"))
    return state


def metadata_of(path: str) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return dict(file.metadata())


def count_quantised(model: Any) -> int:
    return sum(getattr(layer, "layout_type", None) is not None for layer in model.diffusion_model.modules())


def with_whole_inputs(theirs: Any, given: tuple[Tensor, ...]) -> Tensor:
    """What ComfyUI gives where it rounds weights alone, not also what is multiplied with them."""
    for layer in theirs.diffusion_model.modules():
        if getattr(layer, "layout_type", None) is not None:
            layer.weight = torch.nn.Parameter(layer.weight.dequantize(), requires_grad=False)
            layer.layout_type = None
    return call_theirs(theirs, *given)


def one_layer(theirs: Any, ours: Any) -> float:
    """How far apart one layer's outputs are, ours by the product of int8, as on a GPU.

    Of a whole pass nothing can be said: a rounding that falls otherwise is one of a hundred in the next layer.
    """
    from the_pack.cascade_core.models.linear import by_int8
    from the_pack.cascade_core.models.quantised import Int8

    layer, own = theirs.diffusion_model.get_submodule(LAYER), ours.get_submodule(LAYER)
    x = torch.randn(64, 4 * WIDTH)
    weight = own.weight.value()
    found = by_int8(x, weight, own.bias) if isinstance(weight, Int8) else own(x)
    return apart(found, layer(x))


def read(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def differing(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> list[str]:
    """Names of one alone, and of quantised layers' tensors that are not the same bytes."""
    layers = [name.removesuffix("comfy_quant") for name in ours if name.endswith(".comfy_quant")]
    own = [name for name in ours if any(name.startswith(layer) for layer in layers) and not name.endswith("bias")]
    return sorted({*(ours.keys() ^ theirs.keys()), *(name for name in own if not same(ours[name], theirs[name]))})


def same(a: Tensor, b: Tensor) -> bool:
    same_kind = a.dtype == b.dtype and a.shape == b.shape
    return same_kind and torch.equal(a.flatten().view(torch.uint8), b.detach().contiguous().flatten().view(torch.uint8))


def made_otherwise(name: str, weight: Tensor, file: dict[str, Tensor]) -> list[str]:
    """The tensors of one layer that ComfyUI's own quantisation of this weight would give otherwise."""
    from comfy.quant_ops import QuantizedTensor

    options: dict[str, Any] = {
        "int8": {"per_channel": True, "convrot": True},
        "fp8": {"scale": "recalculate"},
        "int4": {"codebook_tensor": file.get(f"{LAYER}.weight_codebook")},
    }[name]
    layout = {"int8": "TensorWiseINT8Layout", "fp8": "TensorCoreFP8E4M3Layout", "int4": "AsymW4A8Int8Layout"}[name]
    made = QuantizedTensor.from_float(weight.detach().float(), layout, **options).state_dict(f"{LAYER}.weight")
    return [key for key, tensor in made.items() if not same(tensor, file[key])]


def apart(found: Tensor, expected: Tensor) -> float:
    """Relative, of the whole."""
    return float((found - expected).norm() / expected.norm())


if __name__ == "__main__":
    bare_comfyui.run(find)
