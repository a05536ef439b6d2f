"""`cascade app` before there is a page, and its end. Run: pytest tests/app/test_command.py"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from stable_cascade_nodes.cli import app
from stable_cascade_nodes.cli.main import main

from .client import Client
from .conftest import SHIPPED, launch, reach, wait_for


def test_without_gradio_one_sentence_says_how_to_get_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    assert main(["app"]) == 2
    answer = capsys.readouterr()
    assert answer.out == ""
    how = f'"{sys.executable}" -m pip install -e "{SHIPPED.parent}[app]"'
    assert answer.err == f"cascade: app: gradio is missing in {sys.executable}: {how}\n"


def test_gradio_is_imported_by_no_other_command() -> None:
    script = (
        "import sys; from stable_cascade_nodes.cli.main import main\n"
        "try: main(['run', '--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('gradio', 'torch', 'fastapi', 'uvicorn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workflows", "nowhere"], "--workflows: expected a folder, found 'nowhere'"),
        (["--input", "nowhere"], "--input: expected a folder, found 'nowhere'"),
        (["--port", "70000"], "--port: expected a number from 0 to 65535, found 70000"),
        (["--device", "cuda:99"], "device: "),
        (["--host", "no.such.host.invalid"], "cannot listen at no.such.host.invalid:7860"),
    ],
)
def test_bad_arguments_are_told_before_anything_is_drawn(
    place: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if arguments[0] == "--device" and __import__("torch").cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(["app", *arguments]) == 2
    answer = capsys.readouterr()
    assert message in answer.err and answer.err.count("\n") == 1


def test_a_port_in_use_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["app", "--port", str(taken.getsockname()[1])]) == 2
    assert "choose another --port" in capsys.readouterr().err


def test_it_listens_on_this_computer_alone_tells_of_broken_files_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "broken.json").write_text("{", "utf-8")
    arguments = [sys.executable, str(SHIPPED.parent), "app", "--port", "0", "--workflows", "workflows"]
    with subprocess.Popen(
        arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), process.stderr.read()
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=30)
        errors = process.stderr.read()
    assert code == 130 and "Traceback" not in errors
    assert "broken.json: expected a workflow as JSON" in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["workflows"]


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ctrl_c_with_a_page_open_and_a_run_under_way_says_one_line(tmp_path: Path, times: int) -> None:
    process = launch(tmp_path)
    client = Client(reach(process, tmp_path))
    button = client.button("text_to_image")
    data = list(button.data)
    for place, index in button.places.items():
        data[index] = 1000 if place[1] == "steps" else data[index]
    _, session = client.send(button.number, data)
    address = f"{client.server.url}/gradio_api/queue/data?session_hash={session}"
    with urllib.request.urlopen(address, timeout=60) as stream:
        wait_for(lambda: b"step " in stream.readline(), 60)
        began = time.monotonic()
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        assert process.wait(timeout=30) == 130
    assert time.monotonic() - began < 15
    assert (tmp_path / "log").read_text("utf-8").splitlines() == ["Ctrl-C ends the app", "cascade: ended"]
