"""`cascade train`: options are the core's settings, results on stdout, exit codes. Run: pytest tests/cli"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.owner import owned
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.cli.train import OTHERS

OPTIONS = ["--size", "64", "--batch-size", "1", "--sample-every", "2", "--learning-rate", "0.01"]


@pytest.fixture(autouse=True)
def here(new_program: Path) -> None:
    folder = new_program / "pictures"
    folder.mkdir()
    for number in range(2):
        levels = np.random.default_rng(number).integers(255, size=(64, 64, 3), dtype=np.uint8)
        Image.fromarray(levels).save(folder / f"{number}.png")


def test_a_lora(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--tokens", "[zig]=^star$", "--prompts", "a [zig]", "--prompts", "a star", "--previewer", "tiny"]
    command = ["train", "lora", "pictures", "--name", "zig", "--caption", "a [zig]", "--steps", "2", *OPTIONS, *words]
    assert main(command) == 0
    out = capsys.readouterr().out
    written = tmp_path / "models" / "loras" / "zig.safetensors"
    assert out == f"{written}\n" and written.is_file()
    assert sorted(path.name for path in (tmp_path / "output/training/zig/samples").iterdir()) == [
        "000002-0.png",
        "000002-1.png",
    ]
    assert main([*command[:7], "--steps", "3", *OPTIONS, *words, "--json"]) == 0  # one more step
    assert json.loads(capsys.readouterr().out) == {"files": [str(written)]}


def test_what_is_said_of_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "lora", "pictures", "--name", "zig", "--caption", "[x] & y", "--save-every", "2", *OPTIONS]
    command += ["--held-out", "0.38", "--validate-every", "1"]
    told: list[list[str]] = []
    for steps in ("1", "4", "4"):
        assert main([*command, "--steps", steps]) == 0
        told.append([line.removeprefix("cascade: ") for line in capsys.readouterr().err.splitlines()][3:])
    report = f"its report is {Path('output/training/zig/report.html').absolute()}"
    assert told[0] == [report] and told[2] == [
        "this training is finished: only its file is written again, after step 4",
        report,
    ]
    first, second, third, last = told[1]
    assert first == "going on from step 1 of 4" and last == report
    page = Path("output/training/zig/report.html").read_text()
    assert f"<td>cascade {' '.join(command[:6])} &#x27;[x] &amp; y&#x27; --save-every 2 " in page
    assert "stage_c tiny (built-in) (float32); text_encoder tiny (built-in) (float32)" in page
    assert "<td>1 of 2</td>" in page and "<td>after all 4 steps</td>" in page
    lines = [json.loads(line) for line in Path("output/training/zig/curve.jsonl").read_text().splitlines()]
    mean = (lines[1]["denoising"] + lines[2]["denoising"] + lines[3]["denoising"]) / 3
    assert second.startswith(f"step 2 of 4: loss {lines[1]['denoising']:.3g}, validation ")
    assert third == f"step 4 of 4: loss {mean:.3g}, validation {lines[3]['validation']:.3g}"


def test_the_bar_begins_where_the_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its loss beside it, on a terminal; then no lines are written under it."""
    bars: list[tuple[Any, list[str]]] = []

    class Bar(contextlib.nullcontext[Any]):
        def __init__(self, **options: Any) -> None:
            super().__init__(self)
            self.words: list[str] = []
            bars.append((options, self.words))

        def set_postfix_str(self, words: str, refresh: bool) -> None:
            self.words.append(words)

        def update(self) -> None:
            self.words.append("step")

    monkeypatch.setattr("tqdm.tqdm", Bar)
    command = ["train", "lora", "pictures", "--name", "zig", "--caption", "a", *OPTIONS]
    assert main([*command, "--steps", "1"]) == main([*command, "--steps", "3"]) == 0
    options, words = bars[-1]
    assert (options["initial"], options["total"]) == (1, 3)
    assert [each.split()[0] for each in words] == ["loss", "step"] * 2


def test_samples_are_made_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", "lora", "pictures", "--name", "zig", "--caption", "a", "--steps", "2", *OPTIONS]
    assert main(command) == 0
    assert "--sample-every: no samples are made, since they need --prompts" in capsys.readouterr().err
    seen = [*command[:4], "seen", *command[5:], "--prompts", "a star"]
    assert main(seen) == 0
    assert (tmp_path / "output/training/seen/samples/000002-0.png").is_file()
    monkeypatch.setattr("stable_cascade_nodes.cli.train.builtin.FAMILY", "another")
    assert main(seen) == 2
    assert "--prompts: samples need --previewer, or --stage-b and --stage-a" in capsys.readouterr().err


def test_other_settings_than_the_states_are_a_bad_argument(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "lora", "pictures", "--name", "zig", "--caption", "a", "--steps", "1", *OPTIONS]
    assert main(command) == 0
    assert main([*command, "--rank", "2"]) == 2
    assert "began otherwise: rank was 4, is 2. Choose another name" in capsys.readouterr().err


def test_a_second_training_of_the_name_is_told_who_is_at_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "lora", "pictures", "--name", "zig", "--caption", "a", "--steps", "1", *OPTIONS]
    folder = tmp_path / "output/training/zig"
    with owned(folder):
        assert main(command) == 1
    assert f"{folder} is being worked on by process {os.getpid()} on " in capsys.readouterr().err
    assert not list(folder.iterdir())


def test_defaults_follow_the_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in models are trained at their own size and rate, where nothing is said of it."""
    from stable_cascade_nodes.runtime.training import Training

    asked: list[dict[str, Any]] = []

    def note(self: Training, kind: str, dataset: Any, name: str, inputs: dict[str, Any]) -> None:
        asked.append(inputs)
        raise CascadeError("enough")

    monkeypatch.setattr(Training, "__init__", note)
    command = ["train", "lora", "pictures", "--name", "zig", "--caption", "a"]
    assert main(command) == 2
    monkeypatch.setattr("stable_cascade_nodes.cli.train.builtin.FAMILY", "another")
    assert main(command) == 2
    assert main([*command, "--size", "512", "--learning-rate", "0.5"]) == 2
    assert main([*command, "--optimizer", "prodigy"]) == 2
    assert main([*command, "--optimizer", "prodigy", "--learning-rate", "0.5"]) == 2
    assert [each["size"] for each in asked] == [192, 768, 512, 768, 768]
    assert [each["learning_rate"] for each in asked] == [0.002, 0.0001, 0.5, 1.0, 0.5]


def test_a_controlnet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "controlnet", "pictures", "--name", "edges", "--caption", "a star", "--steps", "1", *OPTIONS]
    assert main([*command, "--hint", "canny"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'models' / 'controlnet' / 'edges.safetensors'}\n"
    assert main([*command, "--hint", "own"]) == 2
    assert "has no control picture" in capsys.readouterr().err


@pytest.mark.parametrize(("stage", "rate"), [("stage_c", "4.0, is 1.5"), ("stage_b", "1.1, is 1.5")])
def test_a_distillation(tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str, rate: str) -> None:
    (tmp_path / "prompts.txt").write_text("a {red|blue} star\n")
    command = ["train", "distill", stage, "prompts.txt", "--name", "fast", "--steps", "2", "--size", "64"]
    command += ["--batch-size", "2", "--count", "3", "--teacher-steps", "2"]
    cfg = rate.partition(",")[0]
    assert main([*command, "--teacher-cfg", cfg]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'models' / 'loras' / 'fast.safetensors'}\n"
    assert main([*command, "--teacher-cfg", "1.5"]) == 2
    assert f"began otherwise: teacher_cfg was {rate}" in capsys.readouterr().err
    whole = ["whole" if part == "fast" else part for part in command]
    assert main([*whole, "--whole"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'models' / 'diffusion_models' / 'whole.safetensors'}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.txt", "--name", "a"], "nowhere.txt, the prompts, cannot be read"),
        (["prompts.txt", "--name", "a", "--filters", "zzz"], "no weight of this Stage B"),
        (["prompts.txt", "--name", "a", "--student-steps", "3"], "teacher_steps: expected a multiple of student_steps"),
    ],
)
def test_bad_arguments_of_a_distillation(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prompts.txt").write_text("a star\n")
    assert main(["train", "distill", "stage_b", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pictures", "--name", "a"], "2 of 2 pictures have no caption, "),
        (["nowhere", "--name", "a", "--caption", "b"], "is no folder"),
        (["pictures", "--name", "a", "--caption", "b", "--stage-c", "nothing"], "There is no Stage C 'nothing'"),
        (["pictures", "--name", "../a", "--caption", "b"], "name: expected letters"),
        (["pictures", "--name", "a", "--caption", "b", "--filters", "zzz"], "no weight of this Stage C"),
        (["pictures", "--name", "a", "--caption", "b", "--tokens", "[z]=^starz</w>"], "name another, such as ^star$"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "lora", *arguments, "--steps", "1", *OPTIONS]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--rank", "0"], "argument --rank: expected a whole number from 1 to 1024, found '0'"),
        (["--rank", "four"], "argument --rank: expected a whole number from 1 to 1024, found 'four'"),
        (["--alpha", "nan"], "argument --alpha: expected a number from 0.0001 to 1024.0, found 'nan'"),
        (["--optimizer", "lion"], "argument --optimizer: invalid choice: 'lion'"),
        (["--size", "much"], "argument --size: expected a whole number from 64 to 2048, found 'much'"),
        (["--network-dim", "8"], "unknown argument '--network-dim': did you mean --rank?"),
        (["--max_train_steps=8"], "unknown argument '--max_train_steps=8': did you mean --steps?"),
        (["--lr", "1e-4"], "unknown argument '--lr': did you mean --learning-rate?"),
    ],
)
def test_values_that_the_node_does_not_take(
    option: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        main(["train", "lora", "pictures", "--name", "a", *option])
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_the_names_of_other_trainers_are_those_of_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "lora", "--help"])
    assert set(OTHERS.values()) <= set(re.findall(r"--[\w-]+", capsys.readouterr().out))


def test_the_help_of_a_controlnet(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "controlnet", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "Train a ControlNet on the pictures of FOLDER" in told and "sub-folder `control`;" in told
    assert "for a third more time. (on)" in told and "`wandb sync`. (off)" in told
    assert "(default:" not in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--held-out", "0.01"], "held_out: with a share of 0.01 none of these pictures is held out"),
        (["--optimizer", "prodigy", "--learning-rate", "0.01"], "learning_rate: prodigy finds the rate itself"),
        (["--optimizer", "ADAMW8bit"], "optimizer: adamw8bit needs bitsandbytes, which is not installed"),
    ],
)
def test_what_cannot_be_trained_is_a_bad_argument(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    command = ["train", "lora", "pictures", "--name", "zig", "--caption", "a", "--steps", "1", *OPTIONS[:4]]
    assert main([*command, *options]) == 2
    assert message in capsys.readouterr().err


def test_another_dtype_is_named_where_a_training_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "lora", "pictures", "--name", "zig", "--caption", "a", "--steps", "1", *OPTIONS]
    assert main(command) == 0
    assert main([*command, "--dtype", "int8"]) == 2
    assert "began otherwise: the dtype of stage_c was float32, is int8. Choose" in capsys.readouterr().err


def test_ctrl_c_ends_the_step_and_keeps_the_state(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "stable_cascade_nodes",
        "train",
        "lora",
        "pictures",
        "--name",
        "zig",
        "--caption",
        "a",
    ]
    command += ["--steps", "100000", "--save-every", "100000", *OPTIONS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    curve = tmp_path / "output" / "training" / "zig" / "curve.jsonl"
    deadline = time.monotonic() + 120
    while not (curve.exists() and curve.read_text().count("\n") > 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert out == ""
    assert "stopping after this step" in error
    assert (curve.parent / "state.safetensors").is_file()
    assert not (tmp_path / "models").exists()


def test_an_unknown_argument_names_the_training_whose_help_knows(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in (["lora"], ["distill", "stage_b"]):
        with pytest.raises(SystemExit):
            main(["train", *kind, "here", "--name", "x", "--stps", "3"])
        assert capsys.readouterr().err == (
            f"cascade: unknown argument '--stps': did you mean --steps?; see cascade train {' '.join(kind)} --help\n"
        )
