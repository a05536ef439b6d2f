"""`cascade doctor`: one of everything in a folder, and what a workflow needs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, PngImagePlugin
from safetensors.torch import save_file

import stable_cascade_nodes
from stable_cascade_nodes.cascade_core.files.save import save
from stable_cascade_nodes.cascade_core.models.clip_config import PUBLISHED_VISION
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.controlnet import ControlNet
from stable_cascade_nodes.cascade_core.models.previewer import Previewer
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC
from stable_cascade_nodes.cascade_core.models.vision import ImageEncoder
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.runtime.environment import EXTRAS

from .. import model_files
from ..model_files import shapes_of, write_header
from .conftest import Answer

ROOT = Path(stable_cascade_nodes.__file__).parent
LORA = {
    f"lora_unet_down_blocks_0_2_attention_attn_to_q.{end}": ("F32", shape)
    for end, shape in (("lora_down.weight", (4, 2048)), ("lora_up.weight", (2048, 4)), ("alpha", ()))
}
SDXL = {"conditioner.embedders.1.model.ln_final.weight": ("F16", (1280,))}

Row = tuple[str, str, str, str, str, str]


def previewer(dtype: str) -> dict[str, Any]:
    return shapes_of(Previewer, PRESETS["previewer"]["published"], dtype)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `models`, in which one of everything lies. The large files are holes."""
    base = tmp_path_factory.mktemp("doctor")
    models = base / "models"
    large, auto = models / "diffusion_models", models / "checkpoints"
    write_header(large / "stage_c_bf16.safetensors", shapes_of(StageC, PRESETS["stage_c"]["3.6B"], "BF16"))
    write_header(large / "b_fp8.safetensors", shapes_of(StageB, PRESETS["stage_b"]["1.5B"], "F8_E4M3"))
    write_header(
        models / "vae" / "previewer.safetensors", shapes_of(Previewer, PRESETS["previewer"]["published"], "F32")
    )
    write_header(models / "clip_vision" / "clip.safetensors", shapes_of(ImageEncoder, PUBLISHED_VISION, "F16"))
    write_header(models / "loras" / "misplaced.safetensors", shapes_of(StageA, PRESETS["stage_a"]["published"], "F32"))
    write_header(models / "loras" / "style.safetensors", LORA)
    canny = shapes_of(ControlNet, PRESETS["controlnet"]["canny"], "F32")
    write_header(models / "controlnet" / "canny.safetensors", canny)
    write_header(auto / "sd_xl.safetensors", SDXL)
    model_files.write_decoder_all_in_one(auto / "whole.safetensors")

    stages = model_files.small_stages()
    save(models / "vae" / "small.safetensors", stages["stage_a"], "stage_a", dtype="float16")
    header = (models / "vae" / "small.safetensors").read_bytes()
    metadata = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]
    model_files.write_shards(models / "vae", "set", stages["stage_a"].state_dict(), 2, metadata)
    model_files.write_pipeline(models / "diffusers" / "pipeline", stages, model_files.SMALL_TEXT)
    torch.save({"weights": StageA}, models / "vae" / "code.ckpt")
    save(base / "sound.safetensors", stages["stage_a"], "stage_a")
    whole = (base / "sound.safetensors").read_bytes()
    for name, (data, _) in model_files.damaged(whole).items():
        (models / "vae" / f"bad_{name}.safetensors").write_bytes(data)
    for name in ("a.safetensors.part", "b.safetensors.crdownload", "c.incomplete"):
        (models / "vae" / name).write_bytes(whole[:1000])
    (models / "vae" / "put_vae_here").touch()
    return base


@pytest.fixture
def doctor(base: Path, new_program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(base)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str | Path) -> Answer:
        code = main(["doctor", *map(str, arguments)])
        return Answer(code, *capsys.readouterr())

    return run


def rows(text: str) -> dict[str, list[list[str]]]:
    """Of the table: file -> the cells of its lines, or the words of the reason."""
    found: dict[str, list[list[str]]] = {}
    file = ""
    for line in text.splitlines():
        if line.startswith("    "):
            found[file].append(re.split(r"\s{2,}", line.strip()))
        else:
            file = line
            found[file] = []
    return found


EXPECTED: dict[str, list[Row]] = {
    "diffusion_models/stage_c_bf16.safetensors": [
        ("Stage C 3.6B", "official", "7.2 GB", "bfloat16", "diffusion_models", "yes")
    ],
    "diffusion_models/b_fp8.safetensors": [
        ("Stage B 1.5B", "official", "1.6 GB", "float8_e4m3fn", "diffusion_models", "yes")
    ],
    "vae/previewer.safetensors": [("previewer", "official", "15.9 MB", "float32", "vae", "yes")],
    "clip_vision/clip.safetensors": [("image encoder", "official", "607.9 MB", "float16", "clip_vision", "yes")],
    "loras/misplaced.safetensors": [("Stage A", "official", "73.6 MB", "float32", "vae", "no")],
    "loras/style.safetensors": [("LoRA kohya, for 3.6B", "official", "65.5 kB", "float32", "loras", "yes")],
    "controlnet/canny.safetensors": [
        ("ControlNet canny, for 3.6B", "official", "217.6 MB", "float32", "controlnet", "yes")
    ],
    "checkpoints/whole.safetensors": [
        ("Stage B 700M", "all-in-one", "1.4 GB", "bfloat16", "checkpoints", "yes"),
        ("Stage A", "all-in-one", "73.6 MB", "float32", "checkpoints", "yes"),
    ],
    "vae/small.safetensors": [("Stage A custom", "official", "211.4 kB", "float16", "vae", "yes")],
    "vae/set-00001-of-00002.safetensors": [("Stage A custom", "official", "422.7 kB", "float32", "vae", "yes")],
    "diffusers/pipeline/": [
        ("Stage C custom", "diffusers", "3.1 MB", "float32", "diffusers", "yes"),
        ("Stage B custom", "diffusers", "3.1 MB", "float32", "diffusers", "yes"),
        ("Stage A custom", "diffusers", "3.1 MB", "float32", "diffusers", "yes"),
        ("text encoder custom", "diffusers", "3.1 MB", "float32", "diffusers", "yes"),
    ],
}
REASONS = {
    "checkpoints/sd_xl.safetensors": "is an SDXL checkpoint, not a part of Stable Cascade",
    "vae/a.safetensors.part": "is a half download (1.0 kB so far)",
    "vae/b.safetensors.crdownload": "is a half download",
    "vae/c.incomplete": "is a half download",
    "vae/code.ckpt": "code.ckpt",
    **{f"vae/bad_{name}.safetensors": says for name, (_, says) in model_files.damaged(bytes(8)).items()},
}


def test_a_folder_with_one_of_everything(doctor: Any) -> None:
    answer = doctor("models")
    assert answer.code == 2 and answer.err == ""
    assert max(map(len, answer.lines)) <= 100
    *table, empty, summary = answer.lines
    found = rows("\n".join(table))
    assert found.pop("file") == [["what it is", "layout", "size", "precision", "belongs in", "there"]]
    assert found.keys() == EXPECTED.keys() | REASONS.keys()
    sizes = r"\d+\.\d [kMG]B"
    for name, cells in EXPECTED.items():
        if name != "diffusers/pipeline/":
            assert list(map(tuple, found[name])) == cells, name
        assert [re.sub(sizes, "", " ".join(row)) for row in found[name]] == [
            re.sub(sizes, "", " ".join(row)) for row in cells
        ]
    for name, reason in REASONS.items():
        assert reason in " ".join(word for line in found[name] for word in line), name
    assert empty == ""
    assert summary == "10 usable, 1 in another folder than loaders look in, 17 not usable, 1 of other models"


def test_the_same_as_json(doctor: Any, base: Path) -> None:
    answer = doctor("models", "--json")
    assert (answer.code, answer.err) == (2, "")
    told = json.loads(answer.out)
    assert (told["fine"], told["surroundings"]) == (False, {})
    files = {Path(entry["path"]).relative_to("models").as_posix(): entry for entry in told["files"]}
    assert files["diffusion_models/stage_c_bf16.safetensors"]["rows"] == [
        {
            "kind": "stage_c",
            "name": "Stage C 3.6B",
            "layout": "official",
            "bytes": 7_178_207_264,
            "precision": "bfloat16",
            "belongs_in": "diffusion_models",
            "right_place": True,
        }
    ]
    assert "Git LFS pointer" in files["vae/bad_pointer.safetensors"]["problem"]
    assert files["checkpoints/sd_xl.safetensors"]["foreign"] is True


def test_without_a_path_it_tells_of_the_machine_and_of_extra_folders(
    doctor: Any, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")  # no path is broken, however long the name of pytest's folder
    models = tmp_path / "ComfyUI" / "models"
    write_header(
        models / "vae" / "previewer.safetensors", shapes_of(Previewer, PRESETS["previewer"]["published"], "F32")
    )
    write_header(tmp_path / "disk" / "p.safetensors", previewer("F16"))
    (models.parent / "extra_model_paths.yaml").write_text(f"more:\n  vae: {tmp_path / 'disk'}\n")
    answer = doctor("--models", models)
    assert (answer.code, answer.err) == (0, "")
    assert f"torch {torch.__version__}" in answer.out
    assert "dtype auto is float32 for Stage C" in answer.out
    assert f"models: {models}" in " ".join(answer.out.split())  # long paths are on a line of their own
    lines = answer.lines[answer.lines.index("file") :]
    assert lines[2] == "vae/previewer.safetensors"
    assert lines[4] == str(tmp_path / "disk" / "p.safetensors")
    assert lines[3].endswith("yes") and lines[5].endswith("yes")


def test_an_empty_folder(doctor: Any, tmp_path: Path) -> None:
    answer = doctor(tmp_path)
    assert (answer.code, answer.lines) == (
        0,
        [f"no model files in {tmp_path}: the built-in models need none, `cascade download` gets the published ones"],
    )


@pytest.mark.parametrize(
    ("file", "code", "says"),
    [
        ("diffusion_models/stage_c_bf16.safetensors", 0, "Stage C 3.6B"),
        ("loras/misplaced.safetensors", 2, "vae               no"),
        ("checkpoints/sd_xl.safetensors", 2, "an SDXL checkpoint"),
        ("vae/bad_page.safetensors", 2, "a web page"),
        ("vae/put_vae_here", 2, "is empty"),
        ("diffusers/pipeline", 0, "Stage B custom"),
    ],
)
def test_one_file(doctor: Any, base: Path, file: str, code: int, says: str) -> None:
    answer = doctor(base / "models" / file, "--models", base / "models")
    assert answer.code == code
    assert says.split(maxsplit=1)[0] in answer.out and answer.err == ""


def test_a_file_in_no_model_folder_is_in_no_wrong_one(doctor: Any, tmp_path: Path) -> None:
    save_file(dict(model_files.alive(StageA, PRESETS["stage_a"]["published"]).state_dict()), tmp_path / "a.safetensors")
    answer = doctor(tmp_path / "a.safetensors")
    assert answer.code == 0
    assert answer.lines[3].split() == ["Stage", "A", "official", "73.6", "MB", "float32", "vae", "-"]


def test_a_path_that_is_not_there(doctor: Any) -> None:
    answer = doctor("nowhere")
    assert (answer.code, answer.out) == (2, "")
    assert "'nowhere' does not exist" in answer.err


def test_long_names_lose_their_middle(doctor: Any, tmp_path: Path) -> None:
    name = f"{'sub/' * 20}{'x' * 60}_the_end.safetensors"
    write_header(tmp_path / name, SDXL)
    line = doctor(tmp_path).lines[2]
    assert len(line) == 100
    assert line.startswith("sub/sub/") and line.endswith("_the_end.safetensors") and "..." in line


# ---- workflows ----


def test_what_a_workflow_lacks(doctor: Any, base: Path) -> None:
    answer = doctor(ROOT / "workflows" / "published_models.json")
    assert answer.code == 2 and answer.err == ""
    assert answer.lines[0] == "nodes: 11 of 11 kinds are here"
    assert answer.lines[1] == "files: 2 of 5 are here and of the right kind"
    text = " ".join(answer.out.split())
    assert 'stage_c_bf16.safetensors (node 2 "Stable Cascade: Load Stage C", Stage C): here' in text
    assert 'model.bf16.safetensors (node 1 "Stable Cascade: Load Text Encoder", text encoder): missing' in text
    assert f"looked in {base / 'models' / 'text_encoders'}, {base / 'models' / 'clip'}" in text
    assert "get it with: cascade download --text-encoder" in text
    assert "it lies at https://huggingface.co/stabilityai/stable-cascade/resolve/main/text_encoder/model.bf16" in text


def test_a_workflow_that_has_all(doctor: Any) -> None:
    answer = doctor(ROOT / "workflows" / "text_to_image.json", "--json")
    told = json.loads(answer.out)
    assert (answer.code, told["fine"]) == (0, True)
    assert {file["name"] for file in told["files"]} == {"tiny (built-in)"}
    assert all(entry["present"] for entry in told["nodes"])


def test_a_picture_with_a_workflow_and_files_that_cannot_be_used(doctor: Any, tmp_path: Path) -> None:
    prompt = {
        "1": {"class_type": "CascadeStageALoader", "inputs": {"model_name": "bad_pointer.safetensors"}},
        "2": {"class_type": "CascadeStageCLoader", "inputs": {"model_name": "whole.safetensors"}},
        "3": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        "4": {"class_type": "CascadePicture", "inputs": {"image": "../x.png"}},
        "5": {"class_type": "SamplerCustom", "inputs": {}},
    }
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", json.dumps(prompt))
    Image.new("RGB", (8, 8)).save(tmp_path / "made.png", pnginfo=info)
    answer = doctor(tmp_path / "made.png")
    assert answer.code == 2 and answer.err == ""
    text = " ".join(answer.out.split())
    assert "nodes: 4 of 5 kinds are here SamplerCustom is missing: ComfyUI's own; `cascade run --server URL`" in text
    assert "files: 0 of 4" in text
    assert "bad_pointer.safetensors (node 1" in text and "is a Git LFS pointer" in text
    assert "whole.safetensors holds Stage B (700M) and Stage A (published), but no Stage C" in text
    assert "There is no picture 'photo.png'" in text
    assert "'../x.png' leads out of" in text


def test_models_that_only_the_file_itself_lists(doctor: Any, tmp_path: Path) -> None:
    listed = [
        {"name": "sd_xl.safetensors", "url": "https://example.org/a", "directory": "checkpoints"},
        {"name": "other.safetensors", "url": "https://example.org/b", "directory": "checkpoints"},
        {"name": "secret", "url": "https://example.org/c", "directory": "../.."},
    ]
    node = {"id": 1, "type": "CheckpointLoader", "properties": {"cnr_id": "comfy-core", "models": listed}}
    muted = {
        "id": 2,
        "type": "UNETLoader",
        "mode": 2,
        "properties": {"models": [dict(listed[1], name="muted.safetensors")]},
    }
    (tmp_path / "w.json").write_text(json.dumps({"nodes": [node, muted], "links": [], "version": 0.4}))
    told = json.loads(doctor(tmp_path / "w.json", "--json").out)
    assert told["nodes"] == [{"name": "CheckpointLoader", "present": False, "pack": "comfy-core"}]
    assert [(file["name"], file["present"], file["address"]) for file in told["files"]] == [
        ("sd_xl.safetensors", True, "https://example.org/a"),
        ("other.safetensors", False, "https://example.org/b"),
    ]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\x89PNG\r\n\x1a\n"])
def test_no_workflow(doctor: Any, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.json").write_bytes(content)
    answer = doctor(tmp_path / "w.json")
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.err.splitlines()) == 1


def test_the_extras_are_those_that_people_can_install() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    declared = {name: re.findall(r'"([\w-]+)', line) for name, line in re.findall(r"^(\w+) = \[(.*)\]", section, re.M)}
    packages = {"cv2": "opencv-python-headless", "comfy_kitchen": "comfy-kitchen"}  # where the module has another name
    asked = {name: [packages.get(module, module) for module in modules] for name, modules in EXTRAS.items()}
    assert asked == declared
