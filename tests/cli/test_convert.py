"""`cascade convert`: where the result goes, what is printed, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.files.convert import LAYOUTS
from stable_cascade_nodes.cascade_core.files.identify import identify
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.files.save import save
from stable_cascade_nodes.cascade_core.lora.write import DIALECTS
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.previewer import Previewer
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cli import convert
from stable_cascade_nodes.cli.main import main

from .. import model_files
from ..lora import files as lora_files
from .conftest import Answer

PATHS_1B = [f"down_blocks.{level}.{3 * i + 2}.attention.attn" for level, n in ((0, 4), (1, 12)) for i in range(n)]
PATHS_1B += [f"up_blocks.{level}.{3 * i + 2}.attention.attn" for level, n in ((0, 12), (1, 4)) for i in range(n)]
CHANGES = lora_files.factors(PATHS_1B, 1536)  # of the published 1B


@pytest.fixture(scope="module")
def stages() -> dict[str, Any]:
    return model_files.small_stages()


@pytest.fixture
def files(tmp_path: Path, stages: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with a Stage C, a pipeline and a damaged file."""
    save(tmp_path / "c.safetensors", stages["stage_c"], "stage_c")
    model_files.write_pipeline(tmp_path / "pipeline", stages)
    lora_files.write(tmp_path / "l.safetensors", lora_files.official(CHANGES))
    stray = "lora_unet_down_blocks_9_2_attention_attn_to_q"
    tensors = {f"{stray}.lora_down.weight": torch.zeros(1, 4), f"{stray}.lora_up.weight": torch.zeros(4, 1)}
    lora_files.write(tmp_path / "stray.safetensors", tensors)
    lora_files.write(
        tmp_path / "peft.safetensors",
        {"base_model.model.down_blocks.0.2.attention.attn.to_q.lora_A.weight": torch.zeros(1, 4)},
    )
    (tmp_path / "pointer.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(files: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> Answer:
        try:
            code = main(["convert", *arguments])
        except SystemExit as stop:
            code = int(str(stop.code))
        return Answer(code, *capsys.readouterr())

    return run


def test_the_choices_are_the_cores() -> None:
    assert convert.MODEL_LAYOUTS == LAYOUTS
    assert set(convert.LORA_LAYOUTS) == set(DIALECTS)


@pytest.mark.parametrize(
    ("layout", "target"),
    [
        ("official", "c_official.safetensors"),
        ("comfyui", "c_comfyui.safetensors"),
        ("diffusers", "c_diffusers"),
    ],
)
def test_the_result_lies_beside_the_file(
    run: Any, files: Path, stages: dict[str, Any], layout: str, target: str
) -> None:
    assert run("c.safetensors", "--to", layout) == (0, f"{target}\n", "")
    handle = load("stage_c", files / target)
    expected = stages["stage_c"].state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in handle.module.state_dict().items())


def test_precision_and_target(run: Any, files: Path) -> None:
    answer = run("c.safetensors", "--to", "official", "--dtype", "bfloat16", "-o", "new/small.safetensors")
    assert answer == (0, "new/small.safetensors\n", "")
    (part,) = identify(files / "new" / "small.safetensors")
    assert (part.precision, part.layout) == ("bfloat16", "official")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_another_layout_it_stays_what_it_is(run: Any, files: Path, layout: str) -> None:
    assert run("c.safetensors", "--to", layout, "-o", f"{layout}{'' if layout == 'diffusers' else '.safetensors'}").out
    (made,) = files.glob(f"{layout}*")
    answer = run(made.name, "--dtype", "float16")
    assert answer.code == 0, answer.err
    (part,) = identify(files / answer.out.strip())
    assert (part.precision, part.layout) == ("float16", layout)


def test_what_is_quantised_stays_so_in_comfyuis_layout(run: Any, files: Path) -> None:
    assert run("c.safetensors", "--dtype", "int8") == (0, "c_int8.safetensors\n", "")
    assert run("c_int8.safetensors", "--to", "comfyui", "-o", "again.safetensors") == (0, "again.safetensors\n", "")
    found, expected = load_file(files / "again.safetensors"), load_file(files / "c_int8.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    answer = run("c_int8.safetensors", "--to", "official")
    assert answer.err == (
        "cascade: c_int8.safetensors: its int8 weights are decoded, into bfloat16: only --to comfyui keeps quantised"
        " ones\n"
    )
    assert identify(files / "c_int8_official.safetensors")[0].precision == "bfloat16"
    answer = run("c_int8.safetensors", "--dtype", "int4", "-o", "twice.safetensors")
    assert (answer.code, len(answer.err.splitlines())) == (0, 1)
    assert "c_int8.safetensors is int8 already: its weights are rounded a second time" in answer.err


def test_one_part_and_all_parts_of_a_folder(run: Any, files: Path) -> None:
    assert run("pipeline", "--to", "comfyui", "--part", "stage_b") == (0, "pipeline_comfyui.safetensors\n", "")
    (part,) = identify(files / "pipeline_comfyui.safetensors")
    assert (part.kind, part.layout) == ("stage_b", "comfyui")
    answer = run("pipeline", "--to", "official")
    assert answer.code == 0
    assert answer.lines == [f"pipeline_official/{kind}.safetensors" for kind in ("stage_c", "stage_b", "stage_a")]


def test_a_lora(run: Any, files: Path) -> None:
    """Of the 1B, told by its sizes: numbers become names and numbers again, with no weights at hand."""
    assert run("l.safetensors", "--to", "kohya") == (0, "l_kohya.safetensors\n", "")
    assert identify(files / "l_kohya.safetensors")[0].mode == "kohya"
    named = load_file(files / "l_kohya.safetensors")
    for path, parts in CHANGES.items():
        down, up = parts["in_proj"]
        key = f"lora_unet_{path.replace('.', '_')}_to_v"
        delta = (
            named[f"{key}.lora_up.weight"] @ named[f"{key}.lora_down.weight"] * named[f"{key}.alpha"] / lora_files.RANK
        )
        assert torch.allclose(delta, lora_files.ALPHA / lora_files.RANK * up[2 * 1536 :] @ down, atol=1e-6)
    assert run("l_kohya.safetensors", "--to", "official", "-o", "again.safetensors").code == 0
    again, wanted = load_file(files / "again.safetensors"), load_file(files / "l.safetensors")
    rank = len(again["weights.0.lora_down"])
    assert sum(name.endswith("lora_up") for name in again) == 64
    for number in range(64):
        found = again[f"weights.{number}.lora_up"] @ again[f"weights.{number}.lora_down"] / rank
        up, down = (wanted[f"weights.{number}.{part}"] for part in ("lora_up", "lora_down"))
        assert torch.allclose(found, up @ down / lora_files.RANK, atol=1e-6), number


def test_a_lora_of_both_stages(run: Any, files: Path) -> None:
    source = built_in("lora")["tiny fast (built-in)"]
    (part,) = identify(source)
    assert part.mode == "kohya, Stage C and B"
    assert run(str(source), "--to", "kohya", "-o", "both.safetensors") == (0, "both.safetensors\n", "")
    found, expected = load_file(files / "both.safetensors"), load_file(source)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor.float()) for name, tensor in expected.items())
    for layout in ("comfyui", "official"):
        answer = run(str(source), "--to", layout, "-o", "x.safetensors")
        assert (answer.code, answer.err.count("\n")) == (1, 1)
        assert "is for Stage C and B, which only kohya's names tell apart: write kohya" in answer.err


def test_what_is_there_is_kept_unless_forced(run: Any, files: Path) -> None:
    kept = files / "kept.safetensors"
    kept.write_bytes(b"mine")
    answer = run("c.safetensors", "--to", "comfyui", "-o", "kept.safetensors")
    assert (answer.code, answer.out) == (2, "")
    assert "--output: kept.safetensors is there already" in answer.err and "--force" in answer.err
    assert kept.read_bytes() == b"mine"
    assert run("c.safetensors", "--to", "comfyui", "-o", "kept.safetensors", "--force").code == 0
    assert identify(kept)[0].layout == "comfyui"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["none.safetensors", "--to", "official"], 2, "'none.safetensors' does not exist"),
        (["c.safetensors", "--to", "gguf"], 2, "--to"),
        (["c.safetensors"], 2, 'convert: expected --to ("official", "comfyui", "diffusers", "kohya"), --dtype or both'),
        (
            ["tiny (built-in)", "--dtype", "int8"],
            2,
            '`cascade run text_to_image --set "Stable Cascade: Load Stage C.dtype=int8"`',
        ),
        (["c.safetensors", "--to", "official", "--dtype", "int8"], 2, "--dtype int8 is a format of ComfyUI's"),
        (["peft.safetensors", "--dtype", "float16"], 2, "since peft.safetensors cannot stay peft"),
        (["l.safetensors", "--dtype", "int8"], 2, "--dtype int8 is for Stage B and C"),
        (["c.safetensors", "--to", "official", "--part", "stage_d"], 2, "--part: expected one of"),
        (["c.safetensors", "--to", "official", "--part", "stage_b"], 1, "c.safetensors is a Stage C file"),
        (["c.safetensors", "--to", "kohya"], 2, "--to kohya is for LoRAs: expected"),
        (["c.safetensors", "--to", "comfyui", "--filters", ".attn"], 2, "--filters is for LoRAs: c.safetensors is a"),
        (["l.safetensors", "--to", "diffusers"], 2, "--to diffusers is for models: for a LoRA expected"),
        (["l.safetensors", "--to", "official", "-o", "x.ckpt"], 1, "expected a file name that ends in .safetensors"),
        (["stray.safetensors", "--to", "official"], 1, "stray.safetensors fits no network that is known"),
        (["pointer.safetensors", "--to", "official"], 1, "is a Git LFS pointer"),
        (["c.safetensors", "--to", "official", "-o", "x.ckpt"], 1, "expected a file name that ends in .safetensors"),
    ],
)
def test_one_message_for_each_failure(run: Any, files: Path, arguments: list[str], code: int, says: str) -> None:
    before = sorted(files.iterdir())
    answer = run(*arguments)
    assert (answer.code, answer.out) == (code, "")
    assert says in answer.err and len(answer.err.splitlines()) == 1
    assert sorted(files.iterdir()) == before


def test_parts_that_a_layout_does_not_know(run: Any, files: Path) -> None:
    """diffusers has no class for the previewer."""
    stage_a = model_files.shapes_of(StageA, PRESETS["stage_a"]["published"], "F32", "vae.")
    previewer = model_files.shapes_of(Previewer, PRESETS["previewer"]["published"], "F32", "previewer.")
    model_files.write_header(files / "whole.safetensors", stage_a | previewer)
    answer = run("whole.safetensors", "--to", "diffusers", "--dtype", "float16")
    assert (answer.code, answer.lines) == (0, ["whole_diffusers/vqgan"])
    assert answer.err == "cascade: left out, since diffusers has no layout for it: previewer\n"
