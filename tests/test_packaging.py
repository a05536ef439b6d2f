"""What a person installs: by pip under one name, by ComfyUI under a path. Run: pytest tests/test_packaging.py"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import stable_cascade_nodes
from stable_cascade_nodes.headless import shipped

from . import registry_archive

ROOT = Path(stable_cascade_nodes.__file__).parent
SETTINGS = ROOT / "pyproject.toml"
PACKAGES = ("app", "benchmarks", "cascade_core", "cli", "headless", "nodes", "runtime")
HOST = {"comfy", "comfy_aimdo", "comfy_execution", "execution", "folder_paths", "latent_preview", "nodes", "server"}
OURS = {"pack"}  # as a benchmark loads this pack into ComfyUI
IMPORTED_AS = {"PIL": "Pillow", "comfy_kitchen": "comfy-kitchen", "cv2": "opencv-python-headless", "yaml": "pyyaml"}

# What ComfyUI does to import a pack (its `nodes.py`), with a `nodes` of its own already there.
LOAD_AS_COMFYUI_DOES = """
import importlib.util, json, sys, types
from pathlib import Path

folder = Path(sys.argv[1])
sys.modules["nodes"] = host = types.ModuleType("nodes")
name = str(folder).replace(".", "_x_")
spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
sys.modules[name] = pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
web = getattr(pack, "WEB_DIRECTORY", None)
json.dump({
    "ids": list(pack.NODE_CLASS_MAPPINGS),
    "titled": list(pack.NODE_DISPLAY_NAME_MAPPINGS),
    "modules": sorted({node.__module__ for node in pack.NODE_CLASS_MAPPINGS.values()}),
    "inputs": {id: list(node.INPUT_TYPES()) for id, node in pack.NODE_CLASS_MAPPINGS.items()},
    "web": web is not None and (folder / web / "colours.js").is_file(),
    "name": name,
    "host kept": sys.modules["nodes"] is host,
}, sys.stdout)
"""


def setting(table: str, key: str) -> Any:
    """A value of pyproject.toml, which Python 3.10 cannot read; ours are lists and strings, written as in Python."""
    text = SETTINGS.read_text(encoding="utf-8")
    body = re.search(rf"^\[{re.escape(table)}\]\n(.*?)(?=^\[|\Z)", text, re.M | re.S)
    assert body, f"pyproject.toml has no [{table}]"
    value = re.search(rf"^\"?{re.escape(key)}\"? = (\[.*?\]|\".*?\")", body[1], re.M | re.S)
    assert value, f"[{table}] of pyproject.toml has no {key}"
    return ast.literal_eval(value[1])


def requirements() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.partition("#")[0].strip()]


def package_folders() -> list[Path]:
    return sorted(file.parent for package in PACKAGES for file in (ROOT / package).rglob("__init__.py"))


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack in a `custom_nodes` folder whose path is no identifier."""
    folder = tmp_path_factory.mktemp("ComfyUI-0.3") / "custom_nodes" / "stable-cascade-nodes"
    folder.mkdir(parents=True)
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(ROOT / name, folder)
    for name in (*PACKAGES, "web", "workflows", "subgraphs"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run(arguments: list[str], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Python on a machine where the package is not installed, as far as its name goes, in another folder than ours."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['stable_cascade_nodes'] = None\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_package_is_listed() -> None:
    folders = [".".join(("stable_cascade_nodes", *folder.relative_to(ROOT).parts)) for folder in package_folders()]
    assert sorted(setting("tool.setuptools", "packages")) == ["stable_cascade_nodes", *folders]


def test_every_data_file_is_packed() -> None:
    for folder in package_folders():
        inner = [other for other in package_folders() if folder in other.parents]
        data = [
            file.relative_to(folder)
            for file in folder.rglob("*")
            if file.is_file()
            and file.suffix not in (".py", ".pyc", ".md")
            and not any(other in file.parents for other in inner)
        ]
        if data:
            package = ".".join(("stable_cascade_nodes", *folder.relative_to(ROOT).parts))
            patterns = setting("tool.setuptools.package-data", package)
            assert [file for file in data if not any(file.match(pattern) for pattern in patterns)] == []


def test_the_registry_reads_the_requirements_that_a_manager_installs() -> None:
    assert setting("project", "dependencies") == requirements()
    assert "dynamic" not in SETTINGS.read_text(encoding="utf-8")  # the registry resolves nothing


def test_requirements_pin_nothing() -> None:
    assert requirements()
    for line in requirements():
        assert re.fullmatch(r"[A-Za-z0-9_.-]+(>=[0-9.]+)?", line), f"{line}: lower bounds only"


def test_requirements_name_what_is_imported() -> None:
    """Each third-party import of the package is a requirement, and each requirement is used."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    imported: set[str] = set()
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported.add(node.module.split(".")[0])
    imported = {IMPORTED_AS.get(name, name) for name in imported - set(sys.stdlib_module_names)}
    required = {re.split("[>=]", line)[0] for line in requirements()}
    extras = [
        setting("project.optional-dependencies", extra)
        for extra in ("app", "server", "sde", "canny", "face", "quant", "completion", "batch", "bench")
    ]
    extra = {re.split("[>=]", name)[0] for names in extras for name in names}
    assert required - imported == set(), "required, but nowhere imported"
    assert imported - required - extra - HOST - OURS == set(), "imported, but not required"


def test_workflows_and_their_pictures_are_packed() -> None:
    patterns = setting("tool.setuptools.package-data", "stable_cascade_nodes")
    files = [file.relative_to(ROOT) for file in (ROOT / "workflows").iterdir()]
    assert [file for file in files if not any(file.match(pattern) for pattern in patterns)] == []
    names = {suffix: {file.stem for file in files if file.suffix == suffix} for suffix in (".json", ".jpg")}
    assert names[".json"] == names[".jpg"] != set()  # the template browser wants a picture for each


def test_what_the_registry_reads() -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", setting("project", "name"))
    assert "comfyui" not in setting("project", "name")
    assert re.fullmatch(r"\d+\.\d+\.\d+", setting("project", "version"))
    assert setting("tool.comfy", "PublisherId") and setting("tool.comfy", "DisplayName") == "Stable Cascade"
    assert re.fullmatch(r">=\d+\.\d+\.\d+", setting("tool.comfy", "requires-comfyui"))
    body = SETTINGS.read_text(encoding="utf-8").partition("[tool.comfy]")[2].partition("\n[")[0]
    assert "web" not in body  # ComfyUI would load every script twice


def test_the_registry_gets_what_a_user_needs_and_no_more() -> None:
    """The patterns of .comfyignore, which are those of git; ours name files and folders from the root on."""
    lines = (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    for pattern in patterns:
        assert re.fullmatch(r"(/[\w.-]+)+/?", pattern) and (ROOT / pattern.lstrip("/")).exists(), pattern
        assert pattern.endswith("/") == (ROOT / pattern.lstrip("/")).is_dir(), pattern
    ignored = {pattern.strip("/") for pattern in patterns}
    needed = {
        *PACKAGES,
        "__init__.py",
        "__main__.py",
        "locales",
        "web",
        "workflows",
        "subgraphs",
        "pyproject.toml",
        "requirements.txt",
    }
    needed -= {"app", "benchmarks"}
    assert needed & ignored == set()
    of_git = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    never_packed = {line.strip("/") for line in of_git} | {".git"}
    here = {entry.name for entry in ROOT.iterdir() if not entry.name.endswith(".egg-info")}
    assert here - ignored - never_packed == needed | {"README.md", "LICENSE", "CHANGELOG.md"}


def test_comfyui_loads_the_pack_by_its_path(copied: Path, tmp_path: Path) -> None:
    done = run(["-c", LOAD_AS_COMFYUI_DOES, str(copied)], tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ids"]
    assert all(id.startswith("Cascade") for id in found["ids"])
    assert sorted(found["titled"]) == sorted(found["ids"])
    assert all(module.startswith(f"{found['name']}.nodes") for module in found["modules"])
    assert all("required" in inputs for inputs in found["inputs"].values())
    assert found["web"]
    assert found["host kept"]


def test_the_folder_is_the_command(copied: Path, tmp_path: Path) -> None:
    done = run([str(copied), "--help"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "validate" in done.stdout
    assert done.stderr == ""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ComfyUI's registry hands out, in a `custom_nodes` folder."""
    return registry_archive.unpack(tmp_path_factory.mktemp("ComfyUI") / "custom_nodes" / "stable-cascade-nodes")


def test_comfyui_loads_what_the_registry_hands_out(archive: Path, tmp_path: Path) -> None:
    done = run(["-c", LOAD_AS_COMFYUI_DOES, str(archive)], tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ids"] == list(stable_cascade_nodes.NODE_CLASS_MAPPINGS)
    assert found["web"]


def test_what_the_registry_hands_out_runs_a_workflow(archive: Path, tmp_path: Path) -> None:
    done = run([str(archive), "run", "text_to_image", "--size", "64x64", "-o", str(tmp_path / "out")], tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_file()


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (["train", "tiny"], "train tiny: the recipe"),
        (["app"], "app: the page"),
        (["run", "text_to_image", "--server", "http://127.0.0.1:1"], "--server: what asks a server"),
        (["export", "text_to_image", "--object-info", "http://127.0.0.1:1"], "--object-info: what asks a server"),
    ],
)
def test_a_command_whose_part_is_left_out_says_so(
    archive: Path, tmp_path: Path, arguments: list[str], start: str
) -> None:
    done = run(["-S", str(archive), *arguments], tmp_path)  # without site: no other copy of us
    assert done.returncode == 2
    assert done.stderr.startswith(f"cascade: {start} is in the repository, and not in this copy of it: ")
    assert len(done.stderr.splitlines()) == 1


def test_every_socket_of_ours_has_a_colour_of_its_own() -> None:
    script = (ROOT / "web" / "colours.js").read_text(encoding="utf-8")
    colours = dict(re.findall(r"^  (CASCADE_\w+): \"(#[0-9A-F]{6})\",$", script, re.M))
    kinds = {kind for node in stable_cascade_nodes.NODE_CLASS_MAPPINGS.values() for kind in node.RETURN_TYPES}
    assert {kind for kind in kinds if kind.startswith("CASCADE_")} <= colours.keys()
    assert len(set(colours.values())) == len(colours)


def test_the_readme_and_its_table_of_nodes_name_what_there_is() -> None:
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/nodes.md"))
    present = {*stable_cascade_nodes.NODE_CLASS_MAPPINGS, *(file.name for file in shipped.files())}
    assert sorted(name for name in present if f"`{name}`" not in text) == []
    named = set(re.findall(r"`(Cascade\w+)`", text)) | set(re.findall(r"\]\(workflows/(\w+\.json)\)", text))
    assert sorted(named - present) == []
