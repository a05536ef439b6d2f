"""Workflow files changed at random: `cascade validate` ends soon, in a result or in clear messages."""

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

import stable_cascade_nodes
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import shipped

from ..headless.graph import probes
from . import mutator

WORKFLOWS = Path(stable_cascade_nodes.__file__).parent / "workflows"
LONGEST_MESSAGE = 2000  # characters: nobody reads more
LONGEST_TIME = 1.0  # CPU seconds


def check(number: int, documents: list[Any], folder: Path, capsys: pytest.CaptureFixture[str]) -> int:
    """The exit code for file `number`; whatever is wrong is told with the file kept."""
    chance = random.Random(number)
    path = folder / f"{number}.json"
    path.write_bytes(mutator.mutate(chance.choice(documents), documents, chance))
    started = time.process_time()
    code = main(["validate", str(path)])
    seconds = time.process_time() - started
    out, err = capsys.readouterr()
    assert seconds < LONGEST_TIME, f"{path}: {seconds:.2f} s for {path.stat().st_size:,} bytes"
    assert code in (0, 2), f"{path}: exit code {code}"
    assert (code == 0) == bool(out) and (code == 2) == bool(err), f"{path}: {code}, {out!r}, {err!r}"
    for line in err.splitlines():
        assert line.startswith("cascade: "), f"{path}: {line}"
        assert len(line) <= LONGEST_MESSAGE, f"{path}: {line}"
        assert "object at 0x" not in line and "Error:" not in line, f"{path}: {line}"
    path.unlink()
    return code


def documents() -> list[Any]:
    """The shipped workflows, what they are as API prompts, and what the editor has besides, such as subgraphs."""
    from stable_cascade_nodes.headless import graph, node_classes

    nodes = node_classes.load()
    definitions = graph.definitions(nodes.classes)
    files = [json.loads(path.read_text(encoding="utf-8")) for path in shipped.files()]
    prompts = [graph.convert(document, definitions, nodes.names).prompt for document in files]
    return (files + prompts) * 8 + [make() for make in probes.PROBES.values()]


@pytest.mark.usefixtures("own_garbage")
@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_result_or_clear_messages(count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    originals = documents()
    codes = [check(number, originals, tmp_path, capsys) for number in range(count)]
    good = codes.count(0)
    print(f"{count} files: {good} good, {count - good} refused")
    assert 0.02 * count < good < 0.8 * count  # the mutator neither leaves files alone nor only makes rubbish
