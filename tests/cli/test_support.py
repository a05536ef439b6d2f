"""What the command does not run is refused by name before anything runs; what it has computed, it need not again."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import stable_cascade_nodes
from stable_cascade_nodes.headless import graph, node_classes

from ..headless.graph.fake_nodes import node

Cascade = Callable[..., Any]
WORKFLOW = Path(stable_cascade_nodes.__file__).parent / "workflows" / "text_to_image.json"
PICTURE = {"1": node("Paint", red=0.25), "2": node("SaveImage", "Picture out", images=["1", 0], filename_prefix="a")}


class Plain:
    RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "go", True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {}}

    def go(self, **_: Any) -> Any:
        return ()


class Lazy(Plain):
    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"optional": {"image": ("IMAGE", {"lazy": True})}}


class NewStyle(Plain):
    @classmethod
    def define_schema(cls) -> None: ...


class Waiting(Plain):
    async def go(self, **_: Any) -> Any:
        return ()


class Dynamic(Plain):
    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"hidden": {"graph": "DYNPROMPT"}}


class Expanding(Plain):
    def go(self, **_: Any) -> Any:
        return {"result": (), "expand": {}}


@pytest.fixture
def known(cascade: Cascade, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    nodes = node_classes.load()
    strange = {kind.__name__: kind for kind in (Lazy, NewStyle, Waiting, Dynamic, Expanding)}
    monkeypatch.setattr(node_classes, "load", lambda: node_classes.Nodes({**nodes.classes, **strange}, nodes.names))
    yield


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("command", ["run", "validate"])
@pytest.mark.parametrize(
    ("class_type", "expected"),
    [
        ("Lazy", "expected a node that runs outside ComfyUI's server"),
        ("Lazy", "found the lazy input image"),
        ("NewStyle", "found a V3 node class"),
        ("Waiting", "found an asynchronous node"),
        ("Dynamic", "found the hidden input DYNPROMPT"),
        ("SamplerCustom", 'no node "SamplerCustom" here; it is ComfyUI\'s own: '),
        ("workflow>group", 'no node "workflow>group" here; it is of another pack or a newer ComfyUI: '),
    ],
)
def test_what_only_comfyui_runs(
    cascade: Cascade, folders: Path, calls: list[Any], command: str, class_type: str, expected: str
) -> None:
    answer = cascade(command, PICTURE | {"3": node(class_type, "Mine")})
    assert (answer.code, answer.out, calls) == (2, "", [])
    (told,) = answer.err.splitlines()
    assert told.startswith(f'cascade: node 3 "Mine" ({class_type}): ')
    assert expected in told and "`cascade run --server URL` has a ComfyUI run it" in told
    assert not list((folders / "output").iterdir())


def test_the_hint_is_given_for_nothing_else(cascade: Cascade) -> None:
    assert "--server" not in cascade("run", PICTURE | {"1": node("Paint", red="much")}).err
    assert "--server" not in cascade("run", {"1": []}).err


@pytest.mark.usefixtures("known")
def test_expansion_is_named(cascade: Cascade) -> None:
    answer = cascade("run", {"1": node("Expanding", "Mine")})
    assert answer.code == 1
    assert 'node 1 "Mine" (Expanding) failed' in answer.err.splitlines()[-1]
    assert "expanding into other nodes is not supported outside ComfyUI's server" in answer.err


@pytest.mark.usefixtures("folders")
def test_models_stay_loaded_from_run_to_run() -> None:
    nodes = node_classes.load()
    workflow = graph.convert(json.loads(WORKFLOW.read_bytes()), graph.definitions(nodes.classes), nodes.names)
    prompt = workflow.prompt
    by_title = {graph.title_of(entry): entry["inputs"] for entry in prompt.values()}
    by_title["Size"] |= {"width": 64, "height": 64}
    cache, records = graph.Cache(), []
    for seed in (1, 2):
        for title in ("Stage C", "Stage B"):
            by_title[title] |= {"seed": seed, "steps": 1}
        records.append(
            graph.execute(graph.Plan(graph.validate(prompt, nodes.classes).prompt, nodes.classes, cache=cache))
        )
    assert not any(done.cached for done in records[0])
    computed = {done.class_type for done in records[1] if not done.cached}
    assert computed == {"CascadeStageCSampler", "CascadeStageBSampler", "CascadeStageADecode", "SaveImage"}
