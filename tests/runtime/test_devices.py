"""Every device that a person may name is checked before anything runs. Run: pytest tests/runtime/test_devices.py"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.runtime.devices import choose_device

from ..workflow_runs import FOLDER


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many GPUs of each kind this PyTorch has, to be changed by the test."""
    counts = {"cuda": 0, "xpu": 0, "mps": 0}
    for kind in ("cuda", "xpu"):
        monkeypatch.setattr(getattr(torch, kind), "is_available", lambda kind=kind: counts[kind] > 0)
        monkeypatch.setattr(getattr(torch, kind), "device_count", lambda kind=kind: counts[kind])
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: counts["mps"] > 0)
    monkeypatch.setattr(torch.mps, "device_count", lambda: counts["mps"])
    return counts


def test_the_first_gpu_that_there_is(gpus: dict[str, int]) -> None:
    assert choose_device(None) == torch.device("cpu")
    for kind in ("mps", "xpu", "cuda"):  # each wins over those before it
        gpus[kind] = 1
        assert choose_device(None) == torch.device(kind)


def test_what_is_there_can_be_chosen(gpus: dict[str, int]) -> None:
    gpus |= {"cuda": 2, "mps": 1}
    for name in ("cpu", "cuda", "cuda:0", "cuda:1", "mps", "mps:0"):
        assert choose_device(name) == torch.device(name)


NOT_HERE = ("cuda", "cuda:7", "xpu", "mps", "hpu", "vulkan", "meta", "cpu:3", "xla", "toaster", "cuda:x", "", "CPU")


@pytest.mark.parametrize("name", NOT_HERE)
def test_what_is_not_there(gpus: dict[str, int], name: str) -> None:
    with pytest.raises(CascadeError) as raised:
        choose_device(name)
    assert str(raised.value) == f"device: expected one of what PyTorch has here (cpu), found {name!r}"


def test_what_there_is_instead_is_named(gpus: dict[str, int]) -> None:
    gpus |= {"cuda": 2, "xpu": 1}
    with pytest.raises(CascadeError, match=r"\(cpu, cuda:0, cuda:1 and xpu\), found 'cuda:2'"):
        choose_device("cuda:2")


def test_an_extension_of_pytorch(gpus: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "hpu", SimpleNamespace(is_available=lambda: True, device_count=lambda: 1), raising=False)
    assert choose_device("hpu").type == "hpu"


@pytest.mark.parametrize("name", ["mps", "xpu", "cuda:7", "hpu", "vulkan", "nonsense", ""])
@pytest.mark.parametrize("command", ["run", "encode"])
@pytest.mark.usefixtures("new_program", "gpus")
def test_the_command_says_so_before_anything_runs(capsys: pytest.CaptureFixture[str], command: str, name: str) -> None:
    given = {"run": [str(FOLDER / "text_to_image.json")], "encode": [str(FOLDER), "--to", "x.safetensors"]}
    assert main([command, *given[command], "--device", name]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err == f"cascade: device: expected one of what PyTorch has here (cpu), found {name!r}\n"
