"""States and other files: whole or not at all, also on a full disk. Run: pytest tests/training"""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files import tensors as writer
from stable_cascade_nodes.cascade_core.training.loop import Averaged
from stable_cascade_nodes.cascade_core.training.optimizers import make_optimizers
from stable_cascade_nodes.cascade_core.training.plan import Plan
from stable_cascade_nodes.cascade_core.training.state import load_state, read_head, save_state


def trained(steps: int) -> tuple[nn.Module, Averaged, list[torch.optim.Optimizer]]:
    torch.manual_seed(0)
    module = nn.Linear(4, 3)
    optimizers = make_optimizers(module, "adamw", 1e-2, 0.01, (0.9, 0.99))
    averaged = Averaged(module, Plan(3, 1e-2, ema=0.9))
    for _ in range(steps):
        module(torch.ones(2, 4)).square().sum().backward()
        optimizers[0].step()
        averaged.update(1)
    return module, averaged, optimizers


def test_all_of_it_comes_back(tmp_path: Path) -> None:
    module, averaged, optimizers = trained(3)
    save_state(tmp_path / "state.safetensors", 3, module, averaged.kept, optimizers, "of these pictures")
    other, other_average, other_optimizers = trained(0)
    assert load_state(tmp_path / "state.safetensors", other, other_average.kept, other_optimizers) == 3
    assert read_head(tmp_path / "state.safetensors").origin == "of these pictures"
    assert torch.equal(module.weight, other.weight)  # pyright: ignore[reportArgumentType]
    assert all(torch.equal(tensor, other_average.kept[name]) for name, tensor in averaged.kept.items())
    for before, after in zip(optimizers, other_optimizers, strict=True):
        for index, entries in before.state_dict()["state"].items():
            for name, value in entries.items():
                assert torch.equal(value, after.state_dict()["state"][index][name])


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"step": "x", "numbers": "[]"},
        {"step": "-1", "numbers": "[]"},
        {"step": "1", "numbers": "[" * 500},
        {"step": "1", "numbers": "3"},
        {"step": "1", "numbers": "[]"},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["weights.gone", "averaged.gone", "optimizer.0.7.step", "optimizer.x", "odd"])
def test_a_state_of_another_version(tmp_path: Path, metadata: dict[str, str], name: str) -> None:
    save_file({name: torch.zeros(1)}, tmp_path / "s", metadata)
    module, averaged, optimizers = trained(0)
    with pytest.raises(CascadeError, match=r"s is no state of a training that can be read, or of another version"):
        load_state(tmp_path / "s", module, averaged.kept, optimizers)


def test_plain_numbers_of_an_optimiser_stay_plain(tmp_path: Path) -> None:
    """bitsandbytes counts its steps in an int."""
    module = nn.Linear(2, 2)

    def optimizer(count: int) -> torch.optim.Optimizer:
        made = torch.optim.SGD(module.parameters(), 0.1)
        made.state[module.weight] = {"count": count, "sum": torch.full((2,), float(count))}
        return made

    save_state(tmp_path / "s", 2, module, {}, [optimizer(2)])
    loaded = optimizer(0)
    load_state(tmp_path / "s", module, {}, [loaded])
    (entries,) = loaded.state_dict()["state"].values()
    assert type(entries["count"]) is int
    assert entries["count"] == 2 and entries["sum"].tolist() == [2, 2]


class FullDisk:
    """A file that takes some bytes and then none."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: Any) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(data)

    def read(self, size: int = -1) -> Any:
        return self._file.read(size)

    def seek(self, place: int) -> int:
        return self._file.seek(place)

    def fileno(self) -> int:
        return self._file.fileno()


def test_a_full_disk_says_so_and_the_last_state_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, averaged, optimizers = trained(1)
    state = tmp_path / "state.safetensors"
    save_state(state, 1, module, averaged.kept, optimizers)
    before = state.read_bytes()
    original = Path.open
    module, averaged, optimizers = trained(2)
    with monkeypatch.context() as patch:
        patch.setattr(writer.Path, "open", lambda path, mode="r", **more: FullDisk(original(path, mode, **more), 900))
        with pytest.raises(CascadeError, match="No space left on device; the state of step 1 is kept"):
            save_state(state, 2, module, averaged.kept, optimizers)
    assert state.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"half a file")
    with pytest.raises(CascadeError, match=r"state\.safetensors is no state .* delete it to start over"):
        read_head(tmp_path / "state.safetensors")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adamw8bit", "needs bitsandbytes"),
        ("prodigy", r"prodigy needs prodigyopt, which is not installed \(.*pip install prodigyopt\): choose adamw"),
        ("schedule_free", r"pip install schedulefree\): choose adamw"),
        ("lion", "expected one of adamw"),
    ],
)
def test_an_optimiser_that_is_not_there(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("bitsandbytes", "prodigyopt", "schedulefree"):
        monkeypatch.setitem(sys.modules, library, None)  # which import takes for one that is not there
    with pytest.raises(CascadeError, match=message):
        make_optimizers(nn.Linear(2, 2), name, 1e-3, 0.0, (0.9, 0.99))
