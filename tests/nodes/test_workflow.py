"""workflows/: they open in the editor without a warning, and run without one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stable_cascade_nodes import NODE_CLASS_MAPPINGS
from stable_cascade_nodes.headless import graph, shipped, workflow_file
from stable_cascade_nodes.recipes.tiny import judge
from stable_cascade_nodes.runtime import host

WORKFLOWS = shipped.files()
FILE, PUBLISHED = (WORKFLOWS[0].with_name(f"{name}.json") for name in ("text_to_image", "published_models"))
TITLES = {
    "CascadeTextEncode": ["Negative prompt", "Prompt"],
    "CascadeEmptyLatents": ["Size"],
    "CascadeStageCSampler": ["Stage C"],
    "CascadeStageBSampler": ["Stage B"],
    "CascadePicture": ["Picture"],
    "SaveImage": ["Picture out"],
}
SECOND = {"CascadePicture": ["Second picture"]}  # where a workflow takes two


class SaveImage:
    """What the host's node of this name declares; it keeps the picture."""

    saved: list[torch.Tensor] = []
    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})}}

    def save(self, images: torch.Tensor, filename_prefix: str) -> dict[str, Any]:
        self.saved.append(images)
        return {"ui": {"images": []}}


REGISTRY = {**NODE_CLASS_MAPPINGS, "SaveImage": SaveImage}


@pytest.fixture(params=WORKFLOWS, ids=lambda file: file.stem)
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    return json.loads(request.param.read_text(encoding="utf-8"))


def embedded(document: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What each node of a file says of where its model comes from, by the node's class."""
    return {node["type"]: model for node in document["nodes"] for model in node["properties"].get("models", [])}


def test_the_schema_of_the_editor(document: dict[str, Any]) -> None:
    assert document["version"] == 0.4
    assert {"last_node_id", "last_link_id", "nodes", "links", "groups"} <= document.keys()
    ids = [node["id"] for node in document["nodes"]]
    assert len(set(ids)) == len(ids) and max(ids) == document["last_node_id"]
    assert max(link[0] for link in document["links"]) == document["last_link_id"]
    for node in document["nodes"]:
        assert {"type", "pos", "size", "flags", "order", "mode", "properties"} <= node.keys()
        assert len(node["pos"]) == len(node["size"]) == 2
        assert node["mode"] == 0


def test_every_link_is_written_at_both_of_its_ends(document: dict[str, Any]) -> None:
    nodes = {node["id"]: node for node in document["nodes"]}
    for identity, source, slot, target, target_slot, kind in document["links"]:
        output, given = nodes[source]["outputs"][slot], nodes[target]["inputs"][target_slot]
        assert identity in output["links"] and given["link"] == identity
        assert output["type"] == given["type"] == kind
    written = [link for node in document["nodes"] for slot in node.get("outputs", []) for link in slot["links"] or []]
    assert sorted(written) == sorted(link[0] for link in document["links"])


def test_nodes_are_as_their_classes_declare(document: dict[str, Any]) -> None:
    for node in document["nodes"]:
        if node["type"] not in NODE_CLASS_MAPPINGS:
            continue
        declared = NODE_CLASS_MAPPINGS[node["type"]]
        sockets = [entry for entry in graph.define(declared).inputs.values() if not entry.has_widget]
        wired = [(s["name"], s["type"]) for s in node["inputs"] if "widget" not in s]
        assert wired == [(entry.name, entry.type) for entry in sockets]
        for slot in (slot for slot in node["inputs"] if "widget" in slot):  # a link in a widget's place
            entry = graph.define(declared).inputs[slot["name"]]
            assert (slot["widget"], slot["type"]) == ({"name": entry.name}, entry.type) and entry.has_widget
        assert [s["type"] for s in node["outputs"]] == list(declared.RETURN_TYPES)
        assert [s["name"] for s in node["outputs"]] == list(declared.RETURN_NAMES)


def test_titles_by_which_the_command_finds_nodes(document: dict[str, Any]) -> None:
    titles = [node["title"] for node in document["nodes"] if "title" in node]
    assert len(set(titles)) == len(titles)
    for kind, usual in TITLES.items():
        found = sorted(node["title"] for node in document["nodes"] if node["type"] == kind)
        expected = [*usual, *SECOND.get(kind, ())] if len(found) > len(usual) else usual
        assert found == expected or not found
    assert {"Prompt", "Negative prompt", "Stage B", "Picture out"} <= set(titles)


def test_it_is_valid_and_says_what_it_does() -> None:
    prompt = graph.convert(workflow_file.read(FILE), graph.definitions(REGISTRY)).prompt
    assert not graph.validate(prompt, REGISTRY).problems
    by_title = {graph.title_of(node): node["inputs"] for node in prompt.values()}
    assert by_title["Prompt"]["text"] == "a large red circle at the top left on a white background"
    assert (by_title["Size"]["width"], by_title["Size"]["height"]) == (256, 256)
    assert by_title["Stage C"]["cfg"] == judge.SETTINGS.cfg  # so that the levels that tests assert are the workflow's
    assert {inputs["model_name"] for inputs in by_title.values() if "model_name" in inputs} == {"tiny (built-in)"}


def run(prompt: dict[str, dict[str, Any]]) -> torch.Tensor:
    SaveImage.saved.clear()
    with torch.inference_mode():  # as the host does
        graph.execute(graph.Plan(prompt, REGISTRY))
    (image,) = SaveImage.saved
    return image


def test_only_the_published_models_may_be_missing() -> None:
    """Whatever names a model that is not built in would raise the editor's dialog."""
    for file in WORKFLOWS:
        document = json.loads(file.read_text(encoding="utf-8"))
        loaders = [node for node in document["nodes"] if node["type"].endswith("Loader")]
        built_in = [node["widgets_values"][0].endswith(" (built-in)") for node in loaders]
        assert built_in == [file != PUBLISHED] * len(loaders)
        assert bool(embedded(document)) == (file == PUBLISHED) and "models" not in document


def test_the_editor_can_offer_the_published_models() -> None:
    """Its conditions: the name is the chosen one, an address that it trusts, a folder that it knows."""
    document = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    models = embedded(document)
    loaders = [node for node in document["nodes"] if node["type"].endswith("Loader")]
    assert models.keys() == {node["type"] for node in loaders}
    for node in loaders:
        model = models[node["type"]]
        assert model["name"] == node["widgets_values"][0]
        assert model["url"].startswith("https://huggingface.co/stabilityai/stable-cascade/resolve/main/")
        assert model["url"].endswith(f"/{model['name']}") and model["name"].endswith(".safetensors")
        assert model["directory"] == NODE_CLASS_MAPPINGS[node["type"]].KIND.folders[0]
    note, _ = [node["widgets_values"][0] for node in document["nodes"] if node["type"] == "MarkdownNote"]
    assert "Stability AI Non-Commercial Research Community License" in note
    assert all(model["name"] in note for model in models.values())


def test_missing_published_models_are_named_with_their_folders() -> None:
    prompt = graph.convert(workflow_file.read(PUBLISHED), graph.definitions(REGISTRY)).prompt
    problems = graph.validate(prompt, REGISTRY).problems
    models = embedded(json.loads(PUBLISHED.read_text(encoding="utf-8")))
    assert len(problems) == len(models)
    for kind, model in models.items():
        (message,) = [str(problem) for problem in problems if f"({kind})" in str(problem)]
        assert model["name"] in message and model["directory"] in message and "put the file into" in message


def test_the_published_workflow_runs_where_its_files_are(models: Path, tmp_path: Path) -> None:
    """With small parts under the names of the published ones."""
    kinds = {"CascadeStageCLoader": "stage_c", "CascadeStageBLoader": "stage_b", "CascadeStageALoader": "stage_a"}
    kinds |= {"CascadeTextEncoderLoader": "text_encoder", "CascadePreviewerLoader": "previewer"}
    for kind, model in embedded(json.loads(PUBLISHED.read_text(encoding="utf-8"))).items():
        (file,) = models.rglob(f"{kinds[kind]}.safetensors")
        place = tmp_path / "models" / model["directory"]
        place.mkdir(parents=True, exist_ok=True)
        (place / model["name"]).symlink_to(file)
    host.configure(models=tmp_path / "models")
    prompt = graph.convert(workflow_file.read(PUBLISHED), graph.definitions(REGISTRY)).prompt
    for node in prompt.values():
        node["inputs"].update({name: 128 for name in ("width", "height") if name in node["inputs"]})
    assert not graph.validate(prompt, REGISTRY).problems
    assert run(prompt).shape == (1, 128, 128, 3)


def test_it_runs_with_files_of_ones_own(models: Path) -> None:
    host.configure(models=models)
    prompt = graph.convert(workflow_file.read(FILE), graph.definitions(REGISTRY)).prompt
    for node in prompt.values():
        kind = {"CascadeStageCLoader": "stage_c", "CascadeStageBLoader": "stage_b", "CascadeStageALoader": "stage_a"}
        kind |= {"CascadeTextEncoderLoader": "text_encoder", "CascadePreviewerLoader": "previewer"}
        if node["class_type"] in kind:
            node["inputs"]["model_name"] = f"{kind[node['class_type']]}.safetensors"
    assert not graph.validate(prompt, REGISTRY).problems
    assert run(prompt).shape == (1, 256, 256, 3)


def test_it_runs_as_it_is() -> None:
    image = run(graph.convert(workflow_file.read(FILE), graph.definitions(REGISTRY)).prompt)
    assert image.shape == (1, 256, 256, 3)
    assert image.std() > 0.05
