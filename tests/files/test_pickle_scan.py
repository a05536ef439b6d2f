"""Pickles that would run code are named as that and none runs, and no pickle takes long, whatever it holds."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.identify import identify
from stable_cascade_nodes.cascade_core.files.pickled import read_pickled


class Call:
    """An object whose pickle calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def saved(value: Any, new: bool) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=new)
    return file.getvalue()


def zipped(data: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("x/data.pkl", data)
        archive.writestr("x/version", "3\n")
    return file.getvalue()


def payloads(mark: Path) -> dict[str, tuple[bytes, str]]:
    """A file that would leave `mark` or do worse, and the name that is told."""
    touch = Call(os.system, f"touch {mark}")
    os_system = f"{os.system.__module__}.system"
    found = {f"protocol {number}": (pickle.dumps({"a": touch}, number), os_system) for number in range(6)}
    return found | {
        "eval": (pickle.dumps(Call(eval, "1"), 2), "__builtin__.eval"),
        "exec": (pickle.dumps(Call(exec, "1"), 4), "builtins.exec"),
        "popen": (pickle.dumps(Call(subprocess.Popen, ["touch", str(mark)]), 4), "subprocess.Popen"),
        "getattr": (b"\x80\x02cbuiltins\ngetattr\ncos\nenviron\nX\x03\0\0\0get\x86R.", "builtins.getattr"),
        "a pickle in a pickle": (pickle.dumps(Call(pickle.loads, pickle.dumps(touch)), 4), "_pickle.loads"),
        "torch.load": (b"\x80\x02ctorch\nload\nX\x01\0\0\0a\x85R.", "torch.load"),
        "torch.hub": (b"\x80\x04\x8c\x09torch.hub\x8c\x04load\x93\x8c\x01a\x85R.", "torch.hub.load"),
        "torch's bytes": (b"\x80\x02ctorch.storage\n_load_from_bytes\nC\x01a\x85R.", "torch.storage._load_from_bytes"),
        "INST": (b"\x80\x02(X\x01\0\0\0aios\nsystem\n.", "os.system"),
        "OBJ": (b"\x80\x02(cos\nsystem\nX\x01\0\0\0ao.", "os.system"),
        "NEWOBJ_EX": (b"\x80\x04\x8c\x02os\x8c\x06system\x93)}\x92.", "os.system"),
        "a name out of the memo": (b"\x80\x04\x8c\x02os\x94\x8c\x06system\x9400h\0h\1\x93\x8c\1a\x85R.", "os.system"),
        "cut short": (pickle.dumps({"a": touch}, 2)[:-1], os_system),
        "BUILD": (b"\x80\x02ccollections\nOrderedDict\n)R}X\1\0\0\0acshutil\nrmtree\nsb.", "shutil.rmtree"),
        "an extension": (b"\x80\x02\x82\x05.", "extension 5"),
        "zipped": (zipped(pickle.dumps(touch, 4)), os_system),
        "beside tensors": (saved({"a": torch.zeros(2), "b": touch}, True), os_system),
        "as torch wrote them": (saved({"a": torch.zeros(2), "b": touch}, False), os_system),
        "a whole module": (saved(torch.nn.Linear(2, 2), True), "torch.nn.modules.linear.Linear"),
    }


PAYLOADS = payloads(Path("mark"))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("name", PAYLOADS)
def test_none_runs_and_each_is_named(tmp_path: Path, name: str, suffix: str) -> None:
    data, wanted = payloads(tmp_path / "mark")[name]
    (tmp_path / f"x{suffix}").write_bytes(data)
    with pytest.raises(CascadeError, match="could run code when it is opened") as caught:
        identify(tmp_path / f"x{suffix}")
    assert f"(it wants {wanted})" in str(caught.value)
    assert not (tmp_path / "mark").exists()


def test_there_are_twenty_of_them() -> None:
    assert len(PAYLOADS) >= 20


def laughs() -> bytes:
    """A dictionary whose key is a tuple of a tuple twice, of a tuple twice, ...: its hash takes 2^60 steps."""
    pairs = b"".join(b"h%c\x86q%c" % (number, number + 1) for number in range(60))
    return b"\x80\x02}(K\x01K\x02\x86q\x00" + pairs + b"K\x01u."


def shared_dictionaries() -> bytes:
    """Each level holds the next a hundred times."""
    level: dict[str, Any] = {f"{number}": torch.zeros(1) for number in range(100)}
    for _ in range(3):
        level = {f"{number}": level for number in range(100)}
    return saved(level, True)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (laughs(), "nested too deeply, or holds the same values"),
        (b"\x80\x02}K\x01" + b"\x85" * 250_000 + b"K\x01s.", "nested too deeply, or holds the same values"),
        (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "nested too deeply, or holds the same values"),
        (b"\x80\x02" + b"N0" * 400_000 + b"N.", "more than 300,000 operations"),
        (b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.", "it wants builtins.bytearray"),
        (b"\x80\x02X\xff\xff\xff\xff.", "damaged"),
        (zipped(b"\x80\x02" + b"N0" * 10**7 + b"N.", zipfile.ZIP_DEFLATED), "a zip archive that torch did not write"),
        (shared_dictionaries(), "no part of Stable Cascade .* 100 tensors"),
    ],
    ids=["a hash", "a deep key", "a deep list", "operations", "a bytearray", "a text", "a compressed pickle", "levels"],
)
@pytest.mark.usefixtures("own_garbage")
def test_ends_soon(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "x.pt").write_bytes(data)
    started = time.process_time()
    with pytest.raises(CascadeError, match=said):
        identify(tmp_path / "x.pt")
    assert time.process_time() - started < 1.5


@pytest.mark.parametrize("new", [True, False])
def test_a_training_checkpoint_is_read(tmp_path: Path, new: bool) -> None:
    network = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(50)))
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    value = {"state_dict": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "name": "x"}
    (tmp_path / "x.ckpt").write_bytes(saved(value, new))
    assert {name: info.shape for name, info in read_pickled(tmp_path / "x.ckpt").items()} == {
        name: tuple(tensor.shape) for name, tensor in network.state_dict().items()
    }
