"""Conversion between layouts: every value survives, half a file never appears."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from stable_cascade_nodes.benchmarks.peers import alive, deviation
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files import load
from stable_cascade_nodes.cascade_core.files.convert import LAYOUTS, Conversion, convert
from stable_cascade_nodes.cascade_core.files.identify import identify
from stable_cascade_nodes.cascade_core.files.save import save
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.effnet import Effnet
from stable_cascade_nodes.cascade_core.models.previewer import Previewer
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC
from stable_cascade_nodes.cascade_core.models.text import TextEncoder
from stable_cascade_nodes.cascade_core.models.tokenizer import WordTokenizer
from stable_cascade_nodes.cascade_core.models.vision import ImageEncoder

from ..model_files import write_header
from ..models import test_stage_a, test_stage_b, test_stage_c
from .networks import PUBLISHED, official_shapes, published_shapes

WORDS = ["a", "red", "circle"]
TEXT = replace(PRESETS["text_encoder"]["tiny"], vocab_size=len(WORDS) + 2)
NETWORKS: dict[str, tuple[Any, Any]] = {
    "stage_c": (StageC, test_stage_c.SMALL),
    "stage_b": (StageB, test_stage_b.SMALL),
    "stage_a": (StageA, test_stage_a.SMALL),
    "effnet": (Effnet, PRESETS["effnet"]["tiny"]),
    "previewer": (Previewer, PRESETS["previewer"]["tiny"]),
    "text_encoder": (lambda config: TextEncoder(config, WordTokenizer(WORDS, config.max_positions)), TEXT),
    "image_encoder": (ImageEncoder, PRESETS["image_encoder"]["tiny"]),
}
DIFFUSERS = [kind for kind in NETWORKS if kind not in ("effnet", "previewer")]


def write(kind: str, path: Path, **options: Any) -> Path:
    network, config = NETWORKS[kind]
    words = WORDS if kind == "text_encoder" else None
    save(path, alive(network, config), kind, vocabulary=words, **options)
    return path


def target_of(folder: Path, layout: str) -> Path:
    return folder / layout / "component" if layout == "diffusers" else folder / f"{layout}.safetensors"


def weights_of(path: Path) -> Path:
    return next(path.glob("*.safetensors")) if path.is_dir() else path


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(weights_of(path), framework="pt") as file:
        return file.metadata()


def assert_equal_tensors(found: Path, expected: Path) -> None:
    ours, theirs = load_file(found), load_file(expected)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor), name


@pytest.mark.parametrize("second", LAYOUTS)
@pytest.mark.parametrize("first", LAYOUTS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_round_trips_give_back_every_byte(kind: str, first: str, second: str, tmp_path: Path) -> None:
    if kind not in DIFFUSERS and "diffusers" in (first, second):
        return
    source = write(kind, tmp_path / "source.safetensors", family="mine")
    steps = [source]
    for layout in (first, second, "official"):
        steps.append(target_of(tmp_path / str(len(steps)), layout))
        assert convert(steps[-2], steps[-1], layout=layout) == Conversion((steps[-1],), ())
        (part,) = identify(steps[-1])
        assert (part.kind, part.config, part.family) == (kind, NETWORKS[kind][1], "mine")
    assert_equal_tensors(steps[-1], source)
    assert metadata_of(steps[-1])["cascade"] == metadata_of(source)["cascade"]
    if kind in DIFFUSERS and "diffusers" in (first, second):
        loaded = load.load(kind, steps[2 if second == "diffusers" else 1])
        assert loaded.family == "mine"


@pytest.mark.parametrize("kind", ["stage_c", "stage_b", "stage_a"])
def test_diffusers_reads_what_is_written(kind: str, tmp_path: Path) -> None:
    from diffusers import StableCascadeUNet
    from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel

    source = write(kind, tmp_path / "source.safetensors")
    convert(source, tmp_path / "folder", layout="diffusers")
    cls: Any = PaellaVQModel if kind == "stage_a" else StableCascadeUNet
    other, rest = cls.from_pretrained(tmp_path / "folder", output_loading_info=True)
    assert not any(rest.values())
    other.requires_grad_(False)
    module: Any = load.load(kind, source).module
    if kind == "stage_a":
        assert other.config.scale_factor == 0.43
        latent = torch.randn(1, 4, 4, 6)
        assert deviation(module.decode(latent), other.decode(latent * 0.43).sample) < 1e-5
    else:
        test = test_stage_c if kind == "stage_c" else test_stage_b
        given = test.inputs(module.config)
        assert deviation(module(**given), test.by_diffusers(other, given)) < 1e-5


def test_transformers_reads_what_is_written(tmp_path: Path) -> None:
    from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

    for kind, cls in (("text_encoder", CLIPTextModelWithProjection), ("image_encoder", CLIPVisionModelWithProjection)):
        source = write(kind, tmp_path / f"{kind}.safetensors")
        convert(source, tmp_path / kind, layout="diffusers")
        other: Any = cls.from_pretrained(tmp_path / kind)
        state = other.state_dict()
        for name, tensor in load_file(source).items():
            assert torch.equal(state[name], tensor)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("kind", "preset"), PUBLISHED)
def test_published_sizes_at_full_size(kind: str, preset: str, layout: str, tmp_path: Path) -> None:
    """Planned from the header alone; nothing but names and shapes is there."""
    if layout == "diffusers" and kind not in DIFFUSERS:
        return
    shapes = published_shapes(kind, preset)
    write_header(tmp_path / "file.safetensors", {name: ("BF16", shape) for name, shape in shapes.items()})
    seen: list[int] = []

    def stop(done: int, size: int) -> None:
        seen.append(size)
        raise InterruptedError

    with pytest.raises(CascadeError):
        convert(tmp_path / "file.safetensors", target_of(tmp_path, layout), layout=layout, progress=stop)
    assert seen == [2 * sum(torch.Size(shape).numel() for shape in shapes.values())]
    assert [path.name for path in tmp_path.iterdir()] == ["file.safetensors"]


def test_published_files_need_no_metadata(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", alive(StageA, PRESETS["stage_a"]["published"]), "stage_a")
    convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", layout="official")
    assert metadata_of(tmp_path / "b.safetensors") == {"format": "pt"}
    assert_equal_tensors(tmp_path / "b.safetensors", tmp_path / "a.safetensors")
    convert(tmp_path / "b.safetensors", tmp_path / "vqgan", layout="diffusers")
    assert json.loads((tmp_path / "vqgan" / "config.json").read_text())["scale_factor"] == 0.43


def test_casts_what_is_floating_point(tmp_path: Path) -> None:
    source = write("previewer", tmp_path / "source.safetensors")
    convert(source, tmp_path / "half.safetensors", layout="official", dtype="float16")
    found = load_file(tmp_path / "half.safetensors")
    for name, tensor in load_file(source).items():
        assert torch.equal(found[name], tensor.half() if tensor.is_floating_point() else tensor)
    eighth = {name: t.to(torch.float8_e4m3fn) if t.is_floating_point() else t for name, t in found.items()}
    save_file(eighth, tmp_path / "f8.safetensors", metadata_of(source))
    convert(tmp_path / "f8.safetensors", tmp_path / "wide.safetensors", layout="comfyui", dtype="bfloat16")
    for name, tensor in load_file(tmp_path / "wide.safetensors").items():
        assert tensor.dtype == (torch.bfloat16 if eighth[name].is_floating_point() else torch.int64)
        assert torch.equal(tensor, eighth[name].to(tensor.dtype))


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    source = write("stage_b", tmp_path / "source.safetensors")
    seen: list[tuple[int, int]] = []
    convert(source, tmp_path / "split.safetensors", layout="comfyui", progress=lambda *now: seen.append(now))
    sizes = [tensor.nbytes for tensor in load_file(source).values()]
    assert len(seen) > len(sizes)  # q, k and v apart
    assert seen[-1] == (sum(sizes), sum(sizes))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_tensors_lie_at_multiples_of_their_size(tmp_path: Path) -> None:
    source = write("previewer", tmp_path / "source.safetensors")
    convert(source, tmp_path / "half.safetensors", layout="official", dtype="bfloat16")
    raw = (tmp_path / "half.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    entries = json.loads(raw[8 : 8 + length])
    del entries["__metadata__"]
    assert length % 8 == 0
    assert all(entry["data_offsets"][0] % (8 if entry["dtype"] == "I64" else 2) == 0 for entry in entries.values())


def test_the_parts_of_an_all_in_one_go_each_to_its_file(tmp_path: Path) -> None:
    """The effnet and the previewer, as ComfyUI names them."""
    tensors = {"vae.encoder.mean": torch.zeros(1, 3, 1, 1)}
    prefixes = {"effnet": "vae.encoder.", "previewer": "vae.previewer."}
    for kind, prefix in prefixes.items():
        module = alive(NETWORKS[kind][0], PRESETS[kind]["published"])
        tensors |= {prefix + name: tensor for name, tensor in module.state_dict().items()}
    save_file(tensors, tmp_path / "all.safetensors")

    done = convert(tmp_path / "all.safetensors", tmp_path / "parts", layout="official")
    assert sorted(path.name for path in done.files) == ["effnet.safetensors", "previewer.safetensors"]
    for kind, prefix in prefixes.items():
        found = load_file(tmp_path / "parts" / f"{kind}.safetensors")
        assert found.keys() == official_shapes(kind, PRESETS[kind]["published"]).keys()
        assert all(torch.equal(tensor, tensors[prefix + name]) for name, tensor in found.items())
    convert(tmp_path / "all.safetensors", tmp_path / "one.safetensors", layout="official", kind="previewer")
    assert_equal_tensors(tmp_path / "one.safetensors", tmp_path / "parts" / "previewer.safetensors")
    with pytest.raises(CascadeError, match="but no Stage B"):
        convert(tmp_path / "all.safetensors", tmp_path / "b.safetensors", layout="official", kind="stage_b")
    with pytest.raises(CascadeError, match="diffusers' layout has no place for the effnet: "):
        convert(tmp_path / "all.safetensors", tmp_path / "effnet", layout="diffusers", kind="effnet")
    with pytest.raises(CascadeError, match="no place for the effnet and previewer: "):
        convert(tmp_path / "all.safetensors", tmp_path / "both", layout="diffusers")


def test_parts_that_diffusers_does_not_know_are_left_out_and_named(tmp_path: Path) -> None:
    index = {"_class_name": "StableCascadeCombinedPipeline", "vqgan": ["", ""], "effnet": ["", ""], "prior": ["", ""]}
    for folder, kind in (("vqgan", "stage_a"), ("effnet", "effnet"), ("prior", "stage_c")):
        (tmp_path / "made" / folder).mkdir(parents=True)
        write(kind, tmp_path / "made" / folder / "model.safetensors")
    (tmp_path / "made" / "model_index.json").write_text(json.dumps(index))
    done = convert(tmp_path / "made", tmp_path / "folders", layout="diffusers")
    assert done == Conversion((tmp_path / "folders" / "vqgan", tmp_path / "folders" / "prior"), ("effnet",))
    assert sorted(os.listdir(tmp_path / "folders")) == ["prior", "vqgan"]
    done = convert(tmp_path / "made", tmp_path / "files", layout="comfyui")
    assert done.left_out == ()
    assert sorted(os.listdir(tmp_path / "files")) == [
        f"{kind}.safetensors" for kind in ("effnet", "stage_a", "stage_c")
    ]


def everything(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write("stage_c", tmp_path / "source.safetensors")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_full_disk_leaves_nothing(layout: str, source: Path, tmp_path: Path, small_disk: None) -> None:
    before = everything(tmp_path)
    with pytest.raises(CascadeError, match="cannot be written: File too large"):
        convert(source, target_of(tmp_path, layout), layout=layout)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("there", [False, True])
def test_ctrl_c_leaves_what_was_there(layout: str, there: bool, source: Path, tmp_path: Path) -> None:
    target = target_of(tmp_path, layout)
    if there:
        convert(source, target, layout=layout, dtype="float16")
    before = everything(tmp_path)

    def interrupt(done: int, size: int) -> None:
        if done > size / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, target, layout=layout, overwrite=True, progress=interrupt)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_there_is_replaced_only_when_told(layout: str, source: Path, tmp_path: Path) -> None:
    target = target_of(tmp_path, layout)
    convert(source, target, layout=layout)
    before = everything(tmp_path)
    with pytest.raises(CascadeError, match="exists: name another target"):
        convert(source, target, layout=layout, dtype="float16")
    assert everything(tmp_path) == before
    convert(source, target, layout=layout, dtype="float16", overwrite=True)
    assert {tensor.dtype for tensor in load_file(weights_of(target)).values()} == {torch.float16}
    assert len(everything(tmp_path)) == len(before)


def test_a_file_can_be_replaced_by_itself(source: Path, tmp_path: Path) -> None:
    before = load_file(source)
    values = {name: tensor.clone() for name, tensor in before.items()}
    convert(source, source, layout="comfyui", overwrite=True)
    assert len(load_file(source)) > len(values)
    convert(source, source, layout="official", overwrite=True)
    assert all(torch.equal(tensor, values[name]) for name, tensor in load_file(source).items())


def test_targets_that_make_no_sense(source: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "other.txt").touch()
    for target, layout, message in (
        (tmp_path / "model.ckpt", "official", r"ends in \.safetensors"),
        (tmp_path / "folder", "official", r"ends in \.safetensors"),
        (tmp_path / "folder", "diffusers", r"holds other files \(other\.txt\)"),
        (source, "diffusers", "is a file: diffusers' layout is a folder"),
        (tmp_path / "x.safetensors", "original", "layout: expected official, comfyui, diffusers, found 'original'"),
        (source / "x.safetensors", "official", "cannot be written"),
    ):
        with pytest.raises(CascadeError, match=message):
            convert(source, target, layout=layout, overwrite=True)
    with pytest.raises(CascadeError, match=r"dtype: expected float32, .*, int4, found 'float8'"):
        convert(source, tmp_path / "x.safetensors", layout="official", dtype="float8")
    assert sorted(os.listdir(tmp_path)) == ["folder", "source.safetensors"]


def test_sources_that_are_not_whole(source: Path, tmp_path: Path) -> None:
    tensors = load_file(source)
    del tensors["clf.1.bias"]
    save_file(tensors, tmp_path / "bad.safetensors", metadata_of(source))
    with pytest.raises(
        CascadeError, match=r"bad\.safetensors does not fit Stage C custom: .* 1 missing \(clf\.1\.bias\)"
    ):
        convert(tmp_path / "bad.safetensors", tmp_path / "x.safetensors", layout="comfyui")
    save_file({"lora_prior_unet_down_blocks_0_2_attention_attn_to_q.alpha": torch.zeros(1)}, tmp_path / "l.safetensors")
    with pytest.raises(CascadeError, match=r"l\.safetensors is a LoRA: only Stage"):
        convert(tmp_path / "l.safetensors", tmp_path / "x.safetensors", layout="comfyui")
    assert not (tmp_path / "x.safetensors").exists()
