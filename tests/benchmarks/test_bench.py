"""`cascade bench`: what it times is the same computation, and what it says is what was measured."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stable_cascade_nodes.benchmarks import bench, networks, others, table
from stable_cascade_nodes.benchmarks.clock import medians
from stable_cascade_nodes.benchmarks.pairs import PAIRS, PEERS
from stable_cascade_nodes.benchmarks.report import Report
from stable_cascade_nodes.cli.main import main

CPU = torch.device("cpu")


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


def test_the_built_in_models_are_measured_as_they_are_used() -> None:
    plan = bench.plan_of(PAIRS["tiny"], CPU, None, [], ["none"])
    assert (plan.presets["stage_a"], plan.size, plan.dtypes) == ("tiny", 256, (torch.float32,))
