"""`cascade bench`: what it times is the same computation, and what it says is what was measured."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stable_cascade_nodes.benchmarks import bench, networks, others, pair, table
from stable_cascade_nodes.benchmarks.clock import medians
from stable_cascade_nodes.benchmarks.pairs import PAIRS, PEERS
from stable_cascade_nodes.benchmarks.report import Report
from stable_cascade_nodes.cli.main import main

pytestmark = pytest.mark.usefixtures("new_program")  # the command makes its program the host

CPU = torch.device("cpu")
ALONE = ("bench", "--device", "cpu", "--pair", "tiny", "--peers", "none")
PASS = {"preset": "tiny", "size": 256, "images": 1, "dtype": "float32", "seconds": {"ours": 0.5}}


@pytest.mark.parametrize("kind", ["stage_c", "stage_b", "stage_a"])
@pytest.mark.parametrize("name", [name for name in PEERS if name != "comfyui" and "compiled" not in name])
def test_peers_compute_the_same(kind: str, name: str) -> None:
    """Otherwise their seconds would say nothing of ours. ComfyUI: tests/host."""
    module = networks.network(kind, "tiny", CPU)
    given = networks.inputs(kind, "tiny", 128, 2, CPU)
    with torch.inference_mode():
        expected = networks.ours(module, given)()
        assert networks.rms(others.peer(name, module, kind, given)(), expected) < 1e-5
        assert float(expected.std()) > 0.1


def test_medians_are_of_each_run_and_rounds_take_turns() -> None:
    turns: list[str] = []
    found = medians({name: lambda name=name: turns.append(name) for name in "ab"}, CPU, rounds=4)
    assert "".join(turns) == "ab" * 5
    assert set(found) == {"a", "b"}


def test_a_failure_is_said_and_the_next_is_measured(tmp_path: Path) -> None:
    report = Report("some", tmp_path / "lines", show=lambda _: None)
    with report.attempt("first"):
        raise ValueError("of no use")
    report.say("second", seconds=1.23456789)
    first, second = map(json.loads, (tmp_path / "lines").read_text().splitlines())
    assert first["error"] == "ValueError: of no use"
    assert second["seconds"] == 1.235
    assert report.lines == [first, second]


def test_the_table_gives_shares_of_the_fastest_other() -> None:
    counted = {"operations": {"ours": 90}, "bytes": {"ours": 40_000}}
    row = table.Row("Stage X", {"ours": 0.5, "slow": 4.0, "fast": 1.0}, counted, floor=0.25)
    heads, name, *said = table.lines([row])
    assert name == "Stage X"
    assert [line.split()[3] for line in said] == ["0.50", "4.00", "1.00"]
    assert said[0].split()[4:] == ["90", "40.0", "kB", "50%"]
    for head, value in {"operations": "90", "bytes beyond weights": "40.0 kB", "products": "50%"}.items():
        assert heads.index(head) + len(head) == said[0].index(value) + len(value)
    bars = np.asarray(table.draw([row], "title").convert("L"))
    assert (bars < 200).any(axis=1).sum() > 60  # three bars of 18 pixels and their texts
    assert table.ratio(table.Row("alone", {"ours": 1.0}), "ours") == ""
    assert list(table.lines([table.Row("faster", {"ours": 1.0}, floor=1.06)]))[2].endswith(" 100%")


@pytest.mark.slow
def test_the_command_writes_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "--pair", "tiny", "--size", "128", "--seconds", "0.1", "--image", "-o", str(tmp_path)]
    assert main([*arguments, "--device", "cpu", "--dtype", "float32", "--peers", "diffusers"]) == 0
    said = capsys.readouterr().out
    assert "Stage C tiny, 128 px, float32" in said
    assert "Picture, 128 px, 20 + 10 steps" in said
    found = json.loads((tmp_path / "bench.json").read_text())
    agreement = {line["what"]: line["rms"] for line in found["measured"] if "rms" in line}
    assert len(agreement) == len(PAIRS["tiny"])
    assert all(rms["float32"]["diffusers"] < 1e-5 for rms in agreement.values())
    assert Image.open(tmp_path / "bench.png").size[0] == table.WIDTH


def test_a_peer_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("stable_cascade_nodes.benchmarks.bench.find_spec", lambda _: None)
    assert main(["bench", "--pair", "tiny", "--peers", "diffusers", "--device", "cpu"]) == 2
    assert "pip install diffusers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--peers", "comfyui"), "COMFYUI_PATH is not set"),
        (("--peers", "none", "diffusers"), "expected none alone or names"),
        (("--size", "7"), "expected a multiple of 128 up to 8192, found 7: choose 128"),
        (("--size", "330"), "found 330: choose 384"),
        (("--size", "9000"), "choose 8192"),
        (("--seconds", "0"), "expected more than 0, found 0"),
        (("--seconds", "-1"), "expected more than 0, found -1"),
        (("--seconds", "nan"), "expected more than 0, found nan"),
    ],
)
def test_bad_arguments_are_refused_at_once(
    given: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(pair, "measure", lambda *_: pytest.fail("measured"))
    try:
        code = main([*ALONE, *given])
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr().err.splitlines()
    assert (code, len(said)) == (2, 1)
    assert told in said[0]


def _measuring(monkeypatch: pytest.MonkeyPatch, then: BaseException) -> list[pair.Plan]:
    """A pass of Stage A is measured, and then this happens in Stage B's; the plans that were measured."""
    plans: list[pair.Plan] = []

    def measure(report: Report, plan: pair.Plan) -> None:
        plans.append(plan)
        report.say("stage_a pass", **PASS)
        with report.attempt("stage_b pass"):
            raise then

    monkeypatch.setattr(pair, "measure", measure)
    monkeypatch.setattr(bench, "rate", lambda *_: 1e9)
    return plans


def test_what_was_measured_before_ctrl_c_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _measuring(monkeypatch, KeyboardInterrupt())
    assert main([*ALONE, "-o", str(tmp_path)]) == 130
    said = capsys.readouterr().out
    assert "Stage A tiny, 256 px, float32" in said
    assert "500 ms" in said
    assert [line["what"] for line in json.loads((tmp_path / "bench.json").read_text())["measured"]] == ["stage_a pass"]


def test_lines_are_written_when_they_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []

    def measure(report: Report, plan: pair.Plan) -> None:
        for _ in range(2):
            found.append(len(json.loads((tmp_path / "bench.json").read_text())["measured"]))
            report.say("some")

    monkeypatch.setattr(pair, "measure", measure)
    monkeypatch.setattr(bench, "rate", lambda *_: 1e9)
    assert main([*ALONE, "-o", str(tmp_path)]) == 0
    assert found == [0, 1]


def test_a_failure_of_a_measurement_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the rest is shown; where in the code it was, `--debug` says."""
    _measuring(monkeypatch, ValueError("of no use\nat all"))
    assert main([*ALONE, "--debug"]) == 1
    said = capsys.readouterr()
    assert "Stage A tiny, 256 px, float32" in said.out
    *_, line, last, debug = said.err.splitlines()
    assert line.endswith("stage_b pass: ValueError: of no use")
    assert last == "cascade: bench: stage_b pass could not be measured: ValueError: of no use"
    assert "Traceback" not in said.err
    file = Path(debug.rpartition(" ")[2])
    assert "raise then" in file.read_text()
    file.unlink()


def test_what_a_processor_cannot_is_told_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    plans = _measuring(monkeypatch, ValueError())
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    main([*ALONE, "--compile", "graphs", "blocks", "--threads", "3"])
    torch.set_num_threads(threads)
    said = capsys.readouterr().err
    assert "more than this machine's 2 cores" in said
    assert "graphs is left out" in said
    assert plans[0].modes == ("off", "blocks")


def test_the_built_in_models_are_measured_as_they_are_used() -> None:
    plan = bench.plan_of(PAIRS["tiny"], CPU, None, [], ["none"])
    assert (plan.presets["stage_a"], plan.size, plan.dtypes) == ("tiny", 256, (torch.float32,))


def test_nobody_is_agreed_with_where_nobody_is_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair, "medians", lambda runs, *_, **__: dict.fromkeys(runs, 1.0))
    report = Report("some", show=lambda _: None)
    pair.measure(report, pair.Plan(PAIRS["tiny"], CPU, 128, [torch.float32], []))
    assert [line["what"] for line in report.lines] == ["stage_a pass", "stage_b pass", "stage_c pass"]
