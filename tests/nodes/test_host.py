"""The plain side of the host: device, memory, progress, cancel, warnings."""

import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.runtime import folders, host, local


def test_device_is_what_was_chosen() -> None:
    host.configure(device="cpu")
    assert host.device() == torch.device("cpu")
    assert host.placement() is None  # models stay where they were loaded


def test_devices_share_one_placement() -> None:
    host.configure(device="meta")
    placement = host.placement()
    assert placement is not None
    assert placement is host.placement()


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    host.configure(device="toaster")
    with pytest.raises(CascadeError, match="device: expected a name such as cpu or cuda:0, found 'toaster'"):
        host.device()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    host.configure(device="cuda:0")
    with pytest.raises(CascadeError, match="cuda:0 was chosen, but torch finds no CUDA device"):
        host.device()


def test_without_a_choice_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_settings", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert host.device() == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert host.device() == torch.device("cpu")


def test_cancel_is_heard_once() -> None:
    host.check_cancel()
    thread = threading.Thread(target=local.request_cancel)
    thread.start()
    thread.join()
    with pytest.raises(KeyboardInterrupt):
        host.check_cancel()
    host.check_cancel()


def test_progress_makes_no_previews_that_nobody_sees() -> None:
    def preview() -> torch.Tensor:
        raise AssertionError("nobody looks")

    with host.progress("Stage C", 2) as advance:
        advance(preview)
        advance(None)


def test_previews_go_to_a_folder_of_their_own() -> None:
    folder = host.temporary_directory()
    assert folder.is_dir()
    assert folder == host.temporary_directory()


def test_warnings_and_results_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    host.warn("Text Encode", "odd")
    host.tell("Compare Pictures", "equal")
    assert capsys.readouterr() == ("", "Text Encode: odd\nCompare Pictures: equal\n")


def test_the_host_is_comfyui_unless_a_program_chose_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_settings", None)
    assert not host.in_comfyui()
    monkeypatch.setitem(sys.modules, "comfy.model_management", ModuleType("comfy.model_management"))
    assert host.in_comfyui()
    host.configure()
    assert not host.in_comfyui()


def test_nobody_asks_for_previews_where_no_editor_is() -> None:
    assert not host.wants_previews()
    assert host.rough_preview("stage_c") is None


def test_comfyuis_vocabulary_is_found_from_its_custom_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = [tmp_path / "models" / name / "tokenizer" for name in ("text_encoders", "clip")]
    assert host.tokenizer_folders() == fetched
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(folders, "__file__", str(tmp_path / "custom_nodes" / "pack" / "runtime" / "folders.py"))
    assert host.tokenizer_folders() == [*fetched, tmp_path / "comfy" / "sd1_tokenizer"]


def test_models_stay_where_they_are_while_they_work_together() -> None:
    with host.together(None):
        assert host.placement() is None
