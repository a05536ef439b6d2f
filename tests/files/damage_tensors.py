"""Files that are whole, but of another network than they are taken for, or of none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .damage import HALF, Damage, Sound, changed, sound
from .networks import Shapes


def renamed() -> Iterator[Damage]:
    def rename(old: str, new: str) -> Callable[[dict[str, Any]], None]:
        return lambda header: header.update({new: header.pop(old)})

    for name, key, says in (
        ("stage_c", "clip_txt_mapper.weight", "looks like a Stage C file with official names, but it lacks clip_txt_m"),
        ("stage_c", "clf.1.weight", "looks like a Stage C file with official names, but it lacks clf.1.weight"),
        (
            "stage_c",
            "up_blocks.1.5.kv_mapper.1.bias",
            "does not fit Stage C 1B: .*1 missing .up_blocks.1.5.kv_mapper.1.b",
        ),
        ("stage_b", "effnet_mapper.0.weight", "looks like a Stage B file with comfyui names, but it lacks effnet_m"),
        ("stage_b", "up_blocks.0.0.channelwise.2.gamma", "does not fit Stage B 700M: .*1 missing .*1 unexpected"),
        (
            "decoder",
            "clip_txt_pooled_mapper.weight",
            "looks like a Stage B file with diffusers names, but it lacks clip_t",
        ),
        ("decoder", "down_blocks.2.2.attention.to_q.weight", "does not fit Stage B 1.5B"),
        ("all_in_one", "model.diffusion_model.clip_mapper.weight", "looks like a Stage B file"),
        ("all_in_one", "model.diffusion_model.clip_mapper.bias", "does not fit Stage B 700M: .*1 missing"),
        (
            "stage_a",
            "vquantizer.codebook.weight",
            "looks like a Stage A file with official names, but it lacks vquantizer",
        ),
        ("stage_a", "up_blocks.3.gammas", "does not fit Stage A published: .*missing .up_blocks.3.gammas"),
        ("effnet", "mapper.0.weight", "looks like an effnet file with official names, but it lacks mapper.0.weight"),
        ("effnet", "backbone.2.0.block.0.0.weight", "does not fit effnet published: .*1 missing"),
        (
            "previewer",
            "blocks.6.weight",
            "looks like a previewer file with official names, but it lacks blocks.6.weight",
        ),
        ("previewer", "blocks.9.weight", "does not fit previewer published: .*1 missing"),
        ("image_encoder", "visual_projection.weight", "looks like an image encoder file .* but it lacks visual_proj"),
        ("tiny", "clf.1.bias", "does not fit Stage C tiny: .*1 missing .clf.1.bias"),
    ):
        yield changed(name, f"{key} renamed", rename(key, key + ".x"), says)
    for name in ("stage_c", "stage_a", "effnet", "previewer"):

        def behind_another_prefix(header: dict[str, Any]) -> None:
            for key in list(header):
                header[f"module.{key}"] = header.pop(key)

        yield changed(
            name,
            "all behind a prefix",
            behind_another_prefix,
            "is no part of Stable Cascade .*found .* tensors .module.",
        )


def misshapen() -> Iterator[Damage]:
    """Sound headers of networks that are not quite ours."""

    def make_file(shapes: Shapes, file: Sound) -> Callable[[Path], Path]:
        return Sound(file.kind, file.dtype, shapes, file.metadata).write

    for name, tensor, shape, says in (
        ("stage_c", "clip_txt_mapper.weight", (1024, 1280), r"of an unknown size: .*\[1024, 1280\], expected 2048"),
        ("stage_c", "clf.1.bias", (7,), r"does not fit Stage C 1B: .*of another shape .clf.1.bias \[7\]"),
        (
            "stage_b",
            "down_blocks.1.0.channelwise.0.weight",
            (9, 9),
            r"like a Stage B file, but of an unknown size: .*\[9, 9\]",
        ),
        ("stage_a", "in_block.1.weight", (96, 12, 1, 1), "like a Stage A file, but of an unknown size"),
        ("stage_a", "out_block.0.weight", (), r"does not fit Stage A published: .*out_block.0.weight \[\] instead of"),
        ("effnet", "mapper.0.weight", (16,), "like an effnet file, but of an unknown size"),
        ("previewer", "blocks.24.weight", (4, 128, 1, 1), "does not fit previewer published: .*of another shape"),
        ("image_encoder", "visual_projection.weight", (768, 1280), "does not fit image encoder published"),
        ("tiny", "clf.1.weight", (1,), "does not fit Stage C tiny: .*of another shape"),
    ):
        file = sound(name)
        yield Damage(f"{name}: {tensor} {shape}", file.kind, make_file(file.shapes | {tensor: shape}, file), says)
    for name, gone in (("stage_c", 3), ("decoder", 2), ("stage_a", 2), ("previewer", 4), ("tiny", 2), ("effnet", 9)):
        file = sound(name)
        kept = {key: shape for i, (key, shape) in enumerate(file.shapes.items()) if i % gone or i == 0}
        yield Damage(
            f"{name}: one tensor in {gone} missing", file.kind, make_file(kept, file), "missing|lacks|no part of"
        )
    for name in ("stage_b", "stage_a", "image_encoder", "tiny"):
        file = sound(name)
        more = file.shapes | {"ema.decay": (1,)}
        yield Damage(f"{name}: one tensor too many", file.kind, make_file(more, file), "1 unexpected .ema.decay")


def swapped() -> Iterator[Damage]:
    said = {
        "stage_c": "is a Stage C file .1B.",
        "stage_b": "is a Stage B file .700M.",
        "stage_a": "is a Stage A file",
        "effnet": "is an effnet file",
        "previewer": "is a previewer file",
        "image_encoder": "is an image encoder file",
    }
    for name, says in said.items():
        file = sound(name)
        for kind in said:
            if kind != file.kind:
                yield Damage(f"{name} for {kind}", kind, file.write, f"{says}.*: choose it in the .* loader, and")
    lora = Sound("lora", "F32", {"weights.0.lora_down": (4, 2048), "weights.0.lora_up": (2048, 4)}, {})
    for name, file, kind, says in (
        ("a LoRA", lora, "stage_c", "is a LoRA .official., which belongs in the model folder loras: choose a Stage C"),
        ("an all-in-one", sound("all_in_one"), "stage_a", "is a Stage B file .700M.: choose it in the Stage B loader"),
    ):
        yield Damage(f"{name} for {kind}", kind, file.write, says)


def metadata() -> Iterator[Damage]:
    tiny = json.loads(sound("tiny").metadata["cascade"])
    for case, entry, says in (
        ("no JSON", "{", "cannot be used"),
        ("a list", "[]", "cannot be used"),
        ("empty", "", "cannot be used"),
        ("no kind", json.dumps({"config": {}}), "no 'kind' in it"),
        ("another kind", json.dumps(tiny | {"kind": "vae"}), "kind: expected one of"),
        ("an unknown field", json.dumps(tiny | {"config": {"width": 3}}), "width is no field of StageCConfig"),
        ("a wrong value", json.dumps(tiny | {"config": tiny["config"] | {"c_hidden": "x"}}), "c_hidden: expected"),
        ("no levels", json.dumps(tiny | {"config": tiny["config"] | {"c_hidden": []}}), "cannot be built"),
        ("another width", json.dumps(tiny | {"config": tiny["config"] | {"c_cond": 64}}), "does not fit Stage C c"),
        ("a published size", json.dumps({"kind": "stage_c", "config": {}}), "does not fit Stage C 3.6B"),
    ):
        yield changed("tiny", case, lambda header, entry=entry: header.update(__metadata__={"cascade": entry}), says)
    yield changed("tiny", "metadata of numbers", lambda header: header.update(__metadata__={"a": 1}), HALF)
