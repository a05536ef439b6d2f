"""The plain side of the host: device, memory, progress, cancel, warnings."""

import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.runtime import devices, host, local
from stable_cascade_nodes.runtime.comfyui import ComfyUIHost
from stable_cascade_nodes.runtime.local import LocalHost


def test_device_is_what_was_chosen() -> None:
    host.configure(device="cpu")
    assert host.current().device() == torch.device("cpu")
    assert host.current().placement() is None  # models stay where they were loaded


def test_devices_share_one_placement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "choose_device", lambda chosen: torch.device("meta"))
    placement = host.current().placement()
    assert placement is not None
    assert placement is host.current().placement()


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    host.configure(device="toaster")
    with pytest.raises(CascadeError, match=r"device: expected one of what PyTorch has here .*, found 'toaster'"):
        host.current().device()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    host.configure(device="cuda:0")
    with pytest.raises(CascadeError, match=r"device: expected one of what PyTorch has here .*, found 'cuda:0'"):
        host.current().device()


def test_without_a_choice_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_current", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert host.current().device() == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert host.current().device() == torch.device("cpu")


def test_cancel_is_heard_once() -> None:
    host.current().check_cancel()
    thread = threading.Thread(target=host.configure().request_cancel)
    thread.start()
    thread.join()
    with pytest.raises(KeyboardInterrupt):
        host.current().check_cancel()
    host.current().check_cancel()


def test_progress_makes_no_previews_that_nobody_sees() -> None:
    def preview() -> torch.Tensor:
        raise AssertionError("nobody looks")

    with host.current().progress("Stage C", 2) as advance:
        advance(preview)
        advance(None)


def test_previews_go_to_a_folder_of_their_own() -> None:
    folder = host.current().temporary_directory()
    assert folder.is_dir()
    assert folder == host.current().temporary_directory()


def test_warnings_and_results_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    host.current().warn("Text Encode", "odd")
    host.current().tell("Compare Pictures", "equal")
    assert capsys.readouterr() == ("", "Text Encode: odd\nCompare Pictures: equal\n")


def test_the_host_is_comfyui_unless_a_program_chose_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_current", None)
    assert isinstance(host.current(), LocalHost)
    assert host.current() is host.current()
    monkeypatch.setitem(sys.modules, "comfy.model_management", ModuleType("comfy.model_management"))
    monkeypatch.setattr(host, "_current", None)
    assert isinstance(host.current(), ComfyUIHost)
    assert host.current() is host.current()
    chosen = host.configure()
    assert isinstance(chosen, LocalHost) and host.current() is chosen


def test_nobody_asks_for_previews_where_no_editor_is() -> None:
    assert not host.current().wants_previews()
    assert host.current().rough_preview("stage_c") is None


def test_comfyuis_vocabulary_is_found_from_its_custom_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = [tmp_path / "models" / name / "tokenizer" for name in ("text_encoders", "clip")]
    assert host.current().tokenizer_folders() == fetched
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(local, "__file__", str(tmp_path / "custom_nodes" / "pack" / "runtime" / "local.py"))
    assert host.current().tokenizer_folders() == [*fetched, tmp_path / "comfy" / "sd1_tokenizer"]


def test_models_stay_where_they_are_while_they_work_together() -> None:
    with host.current().together(None):
        assert host.current().placement() is None
