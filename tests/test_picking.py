"""Drafts, and the picked ones finished: the shipped workflow by the command and in the app's queue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from stable_cascade_nodes.app.runs import Run, Runner
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import graph, node_classes, shipped, workflow_file
from stable_cascade_nodes.runtime import host

from .app.conftest import wait_for


def run(folder: Path, picks: str, *more: str) -> int:
    return main(["run", "economical", "-o", str(folder), "--set", f"Pick.picks={picks}", *more])


def pixels(folder: Path) -> list[bytes]:
    return [Image.open(file).tobytes() for file in sorted(folder.glob("*.png"))]


@pytest.mark.usefixtures("new_program")
def test_with_nothing_picked_a_run_shows_the_drafts_and_is_no_failure(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(Path("out"), "", "--json") == 0
    out, err = capfd.readouterr()
    told = json.loads(out)
    assert told["files"] == [] and not Path("out").exists()
    assert [Image.open(path).size for path in told["previews"]] == [(48, 48)] * 8
    titles = {node["title"] for node in told["nodes"].values()}
    assert {"Stage C", "Pick"} <= titles and not {"Stage B", "Picture out"} & titles
    (line,) = [line for line in err.splitlines() if "Pick Pictures" in line]
    assert line.startswith("Pick Pictures: nothing is picked of 8 pictures yet, so nothing after this node runs")


@pytest.mark.usefixtures("new_program")
def test_picked_drafts_become_the_pictures_of_a_whole_run() -> None:
    assert run(Path("some"), "2, 5") == run(Path("all"), "all") == 0
    some, every = pixels(Path("some")), pixels(Path("all"))
    assert (len(some), len(every)) == (2, 8)
    assert some == [every[1], every[4]]


@pytest.mark.usefixtures("new_program")
def test_a_number_that_is_none_of_them_is_refused_before_anything_is_computed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(Path("out"), "9") == 2
    err = capfd.readouterr().err
    assert '"Pick" (CascadePickLatents): `picks`: expected numbers of the 8 pictures' in err
    assert "Stage C" not in err


def test_the_app_shows_the_drafts_and_then_computes_stage_b_alone(
    new_program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = node_classes.load()
    document = workflow_file.read(shipped.path_of("economical"))
    prompt = graph.convert(document, graph.definitions(nodes.classes), nodes.names).prompt
    runner = Runner(nodes)
    host.configure(output=new_program / "output")
    (key,) = [key for key, node in prompt.items() if node["class_type"] == "CascadePickLatents"]

    done: dict[str, bool] = {}
    finish = runner._finish

    def note(run: Run, one: graph.Done) -> None:
        done[one.title] = one.cached
        finish(run, one)

    monkeypatch.setattr(runner, "_finish", note)

    def make(picks: str) -> Run:
        prompt[key]["inputs"]["picks"] = picks
        checked = graph.validate(prompt, nodes.classes)
        assert not checked.problems
        made = Run("economical", checked, None)
        done.clear()
        runner.submit([made])
        wait_for(lambda: made.is_over, 120)
        assert made.state == "done", made.messages
        return made

    drafts = make("")
    assert [title for _, title in drafts.pictures] == ["Pick"] * 8
    assert drafts.texts == [text.removeprefix("Pick Pictures: ") for text in drafts.warnings] != []
    assert "Stage B" not in done
    finished = make("2, 5")
    assert [title for _, title in finished.pictures] == ["Pick"] * 8 + ["", ""]
    assert done["Stage C"] and not done["Stage B"]  # cached, computed
