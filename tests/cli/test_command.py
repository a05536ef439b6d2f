"""The command as a process: every way to start it, and how quickly it answers."""

import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import stable_cascade_nodes

ROOT = Path(stable_cascade_nodes.__file__).resolve().parent


def start(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


def test_as_a_module_and_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("[]")
    answers = [start(*way, "run", "bad.json", cwd=tmp_path) for way in (["-m", "stable_cascade_nodes"], [ROOT])]
    for answer in answers:
        assert (answer.returncode, answer.stdout) == (2, "")
        assert answer.stderr.startswith("cascade: bad.json: expected a workflow")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package in a folder whose name is no identifier, not installed, told from the installed one by its words."""
    folder = tmp_path_factory.mktemp("custom_nodes") / "my pack-2.0"
    for part in ("cascade_core", "cli", "nodes"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(ROOT / name, folder / name)
    main = folder / "cli" / "main.py"
    main.write_text(main.read_text().replace("Stable Cascade workflows", "This is the copy"))
    return folder


def test_any_folder_is_its_own_package(copy: Path) -> None:
    for way in (copy, copy / "__main__.py"):
        answer = start(way, "--help", cwd=copy.parent)
        assert answer.returncode == 0, answer.stderr
        assert "This is the copy" in answer.stdout
    answer = start(".", "nodes", "SaveImage", cwd=copy)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("SaveImage  Save Image")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["run", "missing.json"],
        ["run", "empty.json"],
        ["nodes"],
        ["validate", "inpainting"],
        ["export", "inpainting"],
    ],
)
def test_answers_that_need_no_torch_do_not_wait_for_it(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "empty.json").touch()
    program = f"""
        import sys
        from stable_cascade_nodes.cli.main import main
        try:
            main({arguments!r})
        except SystemExit:
            pass
        sys.exit(len({{"torch", "transformers", "PIL", "numpy"}} & set(sys.modules)))
    """
    assert start("-c", textwrap.dedent(program), cwd=tmp_path).returncode == 0


def test_a_run_does_not_load_torchs_compiler(tmp_path: Path) -> None:
    """Which torch imports to initialise weights that are not there, and for the rehearsal; it takes a second."""
    program = """
        import sys
        from stable_cascade_nodes.cli.main import main
        assert main(["run", "text_to_image", "--steps", "1", "--set", "Stage B.steps=1"]) == 0
        sys.exit(len({"torch._dynamo", "sympy"} & set(sys.modules)))
    """
    answer = start("-c", textwrap.dedent(program), cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize(
    ("library", "command"), [("torch", ["doctor"]), ("huggingface_hub", ["download", "essential", "--yes"])]
)
def test_a_missing_library_is_one_sentence(tmp_path: Path, library: str, command: list[str]) -> None:
    program = f"""
        import sys
        sys.modules[{library!r}] = None
        from stable_cascade_nodes.cli.main import main
        sys.exit(main({command!r}))
    """
    answer = start("-c", textwrap.dedent(program), cwd=tmp_path)
    assert (answer.returncode, answer.stdout, len(answer.stderr.splitlines())) == (2, "", 1)
    assert f'{library} is missing in {sys.executable}: "{sys.executable}" -m pip install -r' in answer.stderr


def test_alone_it_is_help_and_it_tells_its_version(tmp_path: Path) -> None:
    alone, asked, version = (
        start("-m", "stable_cascade_nodes", *a, cwd=tmp_path) for a in ([], ["--help"], ["--version"])
    )
    assert (alone.returncode, alone.stderr) == (0, "")
    assert alone.stdout == asked.stdout
    assert "validate" in alone.stdout
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{version.stdout.removeprefix("cascade ").strip()}"' in project


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["rnu"], '"run"'),
        (["validat", "x.json"], '"validate"'),
        (["text_to_image"], "did you mean cascade run text_to_image?"),
        (["run", "text_to_image", "a", "red", "star", "--steps", "3"], 'did you mean --prompt "a red star"?'),
        (["run", "x.json", "--outptu", "x"], "--output?"),
        (["train", "lora", "pictures", "--name", "x", "--bogus", "1"], "cascade train lora --help"),
    ],
)
def test_near_misses(tmp_path: Path, arguments: list[str], nearest: str) -> None:
    answer = start("-m", "stable_cascade_nodes", *arguments, cwd=tmp_path)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert nearest in answer.stderr


@pytest.mark.parametrize("arguments", [["runn", "x.json"], ["run"], ["run", "x.json", "--fast"]])
def test_bad_arguments(tmp_path: Path, arguments: list[str]) -> None:
    answer = start("-m", "stable_cascade_nodes", *arguments, cwd=tmp_path)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("cascade: ")
    assert len(answer.stderr.splitlines()) == 1


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    program = """
        import sys
        from stable_cascade_nodes.headless import node_classes
        from stable_cascade_nodes.cli.main import main
        node = type("Node", (), {"INPUT_TYPES": classmethod(lambda cls: {}), "RETURN_TYPES": (), "FUNCTION": "x"})
        node_classes.load = lambda: node_classes.Nodes({f"Node{i}": node for i in range(20_000)}, {})
        sys.exit(main(["nodes"]))
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.slow
def test_ctrl_c_at_a_hundred_moments(tmp_path: Path) -> None:
    """From Python's own start to the middle of a run: one line, 130, and no file half written."""
    odd: list[str] = []
    for number in range(100):
        moment = 0.05 + number * (6 - 0.05) / 99
        command = [sys.executable, str(ROOT), "run", "text_to_image", "--steps", "1000", "--set", "Stage B.steps=1000"]
        with subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            time.sleep(moment)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        told = [line for line in err.splitlines() if " s  " not in line]  # but for the nodes that were done
        # Where it comes within an exec of a text, as of dataclasses, Python ends itself by the signal: to a shell 130.
        quiet = process.returncode in (130, -signal.SIGINT) and told == ["cascade: stopped"] and not out
        still_starting = moment < 0.5 and str(ROOT) not in err  # Python, none of whose lines is ours
        if not quiet and not still_starting:
            odd.append(f"{moment:.2f} s: {process.returncode} {err[-600:]!r}")
    assert odd == []
    assert not [*tmp_path.rglob("*.*")]
