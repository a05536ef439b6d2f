"""Who may import whom, what no file may do at its import, how long it may be. Run: pytest tests/test_import_rules.py

The rules read source text only, so they hold for files that no test runs. They are tried on made-up offenders below:
a rule that cannot fail guards nothing.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath

import pytest

import stable_cascade_nodes

from .sources import Source, called, imports, modules_of, parse, run_at_import

ROOT = Path(stable_cascade_nodes.__file__).parent

# The floors of the house, from the top: a file imports from its own floor and from those named.
FLOORS = {
    "cli": ("app", "headless", "nodes", "runtime", "cascade_core", "recipes", "benchmarks"),
    "app": ("headless", "nodes", "runtime", "cascade_core"),
    "headless": ("nodes", "runtime", "cascade_core"),
    "nodes": ("runtime", "cascade_core"),
    "runtime": ("cascade_core",),
    "cascade_core": (),
    "recipes": ("headless", "nodes", "runtime", "cascade_core"),
    "benchmarks": ("recipes", "cascade_core"),
}

# The core from bottom to top: a file imports from its own level and from below.
LEVELS = (
    ("errors", "kinds", "libraries", "memory", "reading", "tars", "wording"),
    ("models",),
    ("files",),
    ("sampling",),
    ("faces", "lora", "hints", "images", "tiles"),
    ("pipeline",),
    ("training",),
    ("builtin",),
)
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}

LONGEST = 350  # lines of a file
OURS = {
    "stable_cascade_nodes",
    "cascade_core",
    "cli",
    "headless",
    "recipes",
    "runtime",
}  # absolute names by which a file could reach a second copy of us
COMFYUI = {PurePosixPath(f"{name}.py") for name in ("runtime/comfyui", "runtime/comfyui_memory")}
MEASURES_COMFYUI = {PurePosixPath(f"benchmarks/{name}.py") for name in ("comfyui", "memory_in_comfyui")}
HOST = {
    "app", "comfy", "comfy_api", "comfy_config", "comfy_execution", "comfy_extras", "execution", "folder_paths",
    "latent_preview", "node_helpers", "nodes", "server",
}  # fmt: skip
# ComfyUI's server takes what is added to it only while packs are imported; elsewhere this call does nothing.
AT_IMPORT = ("__init__.py", "serve")
PROGRAMS = ("memory_in_comfyui.py",)  # where nobody else's settings are changed
PICKLED = PurePosixPath("cascade_core/files/pickled.py")
PICKLERS = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
RUNS_TEXT = {"__import__", "compile", "eval", "exec"}
DOES_IO = {
    "chdir", "exists", "from_pretrained", "glob", "is_dir", "is_file", "iterdir", "listdir", "load", "load_file",
    "makedirs", "mkdir", "open", "print", "read_bytes", "read_text", "rglob", "run", "safe_open", "save", "save_file",
    "scandir", "stat", "system", "touch", "unlink", "urlopen", "write_bytes", "write_text", "Popen",
}  # fmt: skip


def files_of(root: Path, place: str) -> list[Path]:
    """The source files of a folder, sorted; of the root only those that lie in it."""
    return sorted((root / place).rglob("*.py") if place else root.glob("*.py"))


@cache
def read_tree() -> list[Source]:
    files = [file for floor in ("", *FLOORS) for file in files_of(ROOT, floor)]
    return [parse(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")) for file in files]


def check_layers(source: Source, modules: set[tuple[str, ...]]) -> Iterator[str]:
    """Downward only: from floor to floor, and inside the core."""
    top, *inner = source.module or ("",)
    for item in imports(source, modules):
        if not item.ours:
            continue
        to = item.module
        line = f"{source.place}:{item.line} imports {'.'.join(to) or 'the root'}"
        if top in FLOORS and to[:1] != (top,) and to[:1] not in [(floor,) for floor in FLOORS[top]]:
            yield f"{line}: {top} lies below it, and imports only {', '.join(FLOORS[top]) or 'itself'}"
        elif source.package[:2] == ("recipes", "tiny") and to[0] not in ("recipes", "cascade_core"):
            yield f"{line}: the tiny cascade's recipe lies below it, over the core alone"
        elif to in (("cascade_core",), ("cascade_core", "api")):
            yield f"{line}: the public face is for people: name the module"
        elif source.package[:2] == ("headless", "graph"):
            if to[:2] != ("headless", "graph") and to != ("cascade_core", "errors"):
                yield f"{line}: the graph stands alone"
        elif top == "cascade_core" and inner not in ([], ["api"]):
            if to[1] not in LEVEL or inner[0] not in LEVEL:
                yield f"{line}: {to[1] if to[1] not in LEVEL else inner[0]} stands in no level of LEVELS"
            elif LEVEL[to[1]] > LEVEL[inner[0]]:
                yield f"{line}: imports run downward ({inner[0]} lies below {to[1]})"
        elif top == "" and to[:1] == ("cascade_core",):
            yield f"{line}: the root offers the nodes; only the command joins them to the core"


def check_absolute(source: Source, modules: set[tuple[str, ...]]) -> Iterator[str]:
    """No second copy of us, no host outside COMFYUI, no graph beyond the standard library, no pickle."""
    for item in imports(source, modules):
        line = f"{source.place}:{item.line} imports {'.'.join(item.module)}"
        if item.name == "*":
            yield f"{line} with a star: name what is used"
        if item.ours:
            continue
        name = item.module[0]
        if name in OURS and source.place.name != "__main__.py":
            yield f"{line}: only relative imports reach our own modules"
        if name in HOST and source.place not in COMFYUI | MEASURES_COMFYUI:
            yield f"{line}: only runtime/comfyui.py and comfyui_memory.py name ComfyUI's modules"
        if name in HOST and not item.lazy:
            yield f"{line} at import: ComfyUI's modules are imported inside functions"
        if name in PICKLERS:
            yield f"{line}: nothing is pickled"
        if source.package[:2] == ("headless", "graph") and name not in sys.stdlib_module_names:
            yield f"{line}: the graph needs the standard library only"


def reads_tensors_only(source: Source, call: ast.Call) -> bool:
    """torch.load in the one file that reads what others pickled, and there with weights_only=True."""
    given = {key.arg: ast.unparse(key.value) for key in call.keywords}
    return source.place == PICKLED and called(call) == "load" and given.get("weights_only") == "True"


def check_code(source: Source) -> Iterator[str]:
    """No text that is run, no pickled weights, no swallowed errors, no changed strangers."""
    strangers = {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    for node in ast.walk(source.tree):
        line = f"{source.place}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call):
            written = ast.unparse(node.func)
            if written in RUNS_TEXT:
                yield f"{line} calls {written}"
            if written in ("torch.load", "torch.save") and not reads_tensors_only(source, node):
                yield f"{line} calls {written}: weights are safetensors"
            if any(key.arg == "allow_pickle" and ast.unparse(key.value) != "False" for key in node.keywords):
                yield f"{line} allows pickle"
        elif isinstance(node, ast.ExceptHandler):
            if node.type is None or (
                ast.unparse(node.type) in ("Exception", "BaseException") and isinstance(node.body[0], ast.Pass)
            ):
                yield f"{line} swallows every error"
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                owner = target.value if isinstance(target, ast.Attribute) else None
                while isinstance(owner, ast.Attribute):
                    owner = owner.value
                if isinstance(owner, ast.Name) and owner.id in strangers and source.place.name not in PROGRAMS:
                    yield f"{line} changes {ast.unparse(target)}, which is not ours"


def check_import_time(source: Source) -> Iterator[str]:
    """Importing a file defines things: it reads, writes, prints and switches nothing."""
    if source.place.name == "__main__.py":  # this one is run, never imported
        return
    for node in run_at_import(source.tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            written = ast.unparse(node.value.func)
            if (str(source.place), written) != AT_IMPORT:
                yield f"{source.place}:{node.lineno} calls {written} for its effect at import"
        elif isinstance(node, ast.Call) and called(node) in DOES_IO:
            yield f"{source.place}:{node.lineno} calls {ast.unparse(node.func)} at import"


def check(source: Source) -> list[str]:
    modules = modules_of(read_tree()) | {source.module}
    return [
        *check_layers(source, modules),
        *check_absolute(source, modules),
        *check_code(source),
        *check_import_time(source),
    ]


def test_every_file_keeps_the_rules() -> None:
    broken = [message for source in read_tree() for message in check(source)]
    assert not broken, "\n".join(broken)


def too_long(root: Path) -> dict[str, int]:
    """The files with more lines than LONGEST, those of the tests too."""
    texts = {file: file.read_text("utf-8") for place in ("", *FLOORS, "tests") for file in files_of(root, place)}
    lengths = {file.relative_to(root).as_posix(): len(text.splitlines()) for file, text in texts.items()}
    return {place: lines for place, lines in lengths.items() if lines > LONGEST}


def test_no_file_is_too_long() -> None:
    assert too_long(ROOT) == {}, "split it by concepts"


@pytest.mark.parametrize("place", ["__init__.py", "cli/a.py", "tests/test_a.py", "tests/cli/a.py"])
def test_a_file_that_is_too_long_is_found(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("\n" * LONGEST)
    assert too_long(tmp_path) == {}
    (tmp_path / place).write_text("\n" * (LONGEST + 1))
    assert too_long(tmp_path) == {place: LONGEST + 1}


def test_no_file_imports_in_a_circle() -> None:
    sources = read_tree()
    modules = modules_of(sources)
    needs = {
        source.module: {item.module for item in imports(source, modules) if item.ours and not item.lazy}
        for source in sources
    }
    assert list(TopologicalSorter(needs).static_order())  # a CycleError names the circle


OFFENDERS = [
    ("cascade_core/models/a.py", "from ..sampling import process", "downward"),
    ("cascade_core/models/a.py", "def f():\n    from ..files.load import load", "downward"),
    ("cascade_core/sampling/a.py", "from ...runtime import host", "lies below"),
    ("cascade_core/training/a.py", "from .. import load", "name the module"),
    ("cli/main.py", "def f():\n    from ..cascade_core.api import load", "name the module"),
    ("cascade_core/novelty.py", "from .errors import CascadeError", "novelty stands in no level"),
    ("headless/graph/a.py", "from ...cascade_core.memory import StayPut", "stands alone"),
    ("headless/graph/a.py", "import torch", "standard library"),
    ("cascade_core/errors.py", "from ..cli import main", "lies below"),
    ("cascade_core/errors.py", "from ..recipes.tiny import data", "lies below"),
    ("runtime/local.py", "from ..nodes import sockets", "lies below"),
    ("headless/run.py", "from ..cli.output import OK", "lies below"),
    ("app/page.py", "from ..cli.output import OK", "lies below"),
    ("recipes/tiny/a.py", "from ...nodes import sockets", "lies below"),
    ("cascade_core/errors.py", "def f():\n    import comfy.utils", "only runtime/comfyui"),
    ("nodes/loaders.py", "from ..headless import graph", "lies below"),
    ("nodes/loaders.py", "from ..cascade_core import load", "name the module"),
    ("nodes/loaders.py", "from ..cli import main", "lies below"),
    ("nodes/loaders.py", "def f():\n    import folder_paths", "only runtime/comfyui"),
    ("nodes/loaders.py", "def f():\n    import_module('comfy.sd')", "only runtime/comfyui"),
    ("nodes/loaders.py", "from nodes import LoadImage", "only runtime/comfyui"),
    ("runtime/comfyui.py", "import folder_paths", "inside functions"),
    ("cli/main.py", "from stable_cascade_nodes.runtime import host", "only relative"),
    ("cli/main.py", "import headless.graph", "only relative"),
    ("cli/main.py", "from ..nodes import *", "star"),
    ("__init__.py", "from .cascade_core import errors", "only the command"),
    ("cli/main.py", "import pickle", "pickled"),
    ("cli/main.py", "def f(x):\n    return eval(x)", "calls eval"),
    ("cli/main.py", "def f(x):\n    return torch.load(x, weights_only=True)", "safetensors"),
    ("cascade_core/files/pickled.py", "def f(x):\n    return torch.load(x)", "safetensors"),
    ("cascade_core/files/pickled.py", "def f(x):\n    torch.save(x, weights_only=True)", "safetensors"),
    ("cli/main.py", "def f(x):\n    return np.load(x, allow_pickle=True)", "allows pickle"),
    ("cli/main.py", "def f(x):\n    try:\n        x()\n    except Exception:\n        pass", "swallows"),
    ("cli/main.py", "import torch\ndef f(x):\n    torch.nn.Linear.forward = x", "not ours"),
    ("cli/main.py", "TEXT = open('a').read()", "calls open at import"),
    ("cli/main.py", "class A:\n    text = Path('a').read_text()", "at import"),
    ("cli/main.py", "def f(x=Path('a').exists()):\n    return x", "at import"),
    ("cli/main.py", "if True:\n    Path('a').mkdir()", "for its effect"),
    ("cli/main.py", "logging.basicConfig()", "for its effect"),
    ("__init__.py", "host.configure()", "for its effect"),
    ("nodes/__init__.py", "serve()", "for its effect"),
]


@pytest.mark.parametrize(("place", "text", "complaint"), OFFENDERS)
def test_an_offender_is_found(place: str, text: str, complaint: str) -> None:
    found = check(parse(place, text))
    assert any(complaint in message for message in found), found


LAWFUL = [
    ("__init__.py", "serve()"),
    ("cascade_core/files/pickled.py", "def f(x):\n    return torch.load(x, weights_only=True)"),
    ("cascade_core/training/a.py", "from ..files.load import load\nfrom .loop import train"),
    ("headless/graph/a.py", "import json\nfrom ...cascade_core.errors import CascadeError\nfrom . import wording"),
    ("nodes/a.py", "from ..cascade_core.errors import CascadeError\nfrom ..runtime import host"),
    ("nodes/a.py", "def f(name):\n    from ..cascade_core.files.load import load\n    return load('stage_c', name)"),
    ("runtime/comfyui.py", "def f():\n    import folder_paths\n    return folder_paths"),
    ("recipes/languages/a.py", "from ...nodes import NODE_CLASS_MAPPINGS"),
    ("cli/a.py", "from ..headless import graph\nfrom ..nodes import NODE_CLASS_MAPPINGS"),
    ("cli/a.py", "if __name__ == '__main__':\n    print(main())"),
    ("cli/a.py", "def f(model, path):\n    model.eval()\n    return open(path)"),
    ("cli/__init__.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .main import main"),
]


@pytest.mark.parametrize(("place", "text"), LAWFUL)
def test_a_lawful_file_passes(place: str, text: str) -> None:
    assert check(parse(place, text)) == []


def test_the_import_is_cheap_and_silent() -> None:
    script = "import json, sys, stable_cascade_nodes; json.dump(sorted(sys.modules), sys.stdout)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    loaded = json.loads(done.stdout)  # anything printed besides would not be JSON
    assert {"torch", "torchvision", "transformers", "diffusers"} & set(loaded) == set()
