"""The editor's form: widget positions, links through nodes that only draw, and values written back."""

from typing import Any

import pytest

from stable_cascade_nodes.headless import graph


def node(
    node_id: int,
    kind: str,
    values: Any = None,
    inputs: list[tuple[str, str, int | None]] | None = None,
    outputs: list[str] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    return {
        "id": node_id,
        "type": kind,
        "mode": 0,
        "inputs": [{"name": name, "type": slot, "link": link} for name, slot, link in inputs or []],
        "outputs": [{"name": slot, "type": slot, "links": []} for slot in outputs or []],
        **({} if values is None else {"widgets_values": values}),
        **fields,
    }


def document(*nodes: dict[str, Any], links: list[Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"version": 0.4, "nodes": list(nodes), "links": links or [], **fields}


def inputs_of(classes: graph.Classes, *nodes: dict[str, Any], links: list[Any] | None = None) -> dict[str, Any]:
    """The inputs of the last node."""
    prompt = graph.convert(document(*nodes, links=links), graph.definitions(classes)).prompt
    return prompt[str(nodes[-1]["id"])]["inputs"]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("Seeded", [5, "randomize", 20], {"seed": 5, "steps": 20}),
        ("Seeded", [5, 20], {"seed": 5, "steps": 1}),
        ("Seeded", [5, True, 20], {"seed": 5, "steps": 20}),
        ("Seeded", [5, "fixed"], {"seed": 5, "steps": 1}),
        ("Seeded", [5], {"seed": 5, "steps": 1}),
        ("Seeded", [], {"seed": 0, "steps": 1}),
        ("Seeded", [5, "fixed", 20, "stale", 3], {"seed": 5, "steps": 20}),
        ("Seeded", {"seed": 5, "steps": 20, "other": 1}, {"seed": 5, "steps": 20}),
        ("Upload", ["b.png", 4, "image"], {"image": "b.png", "size": 4}),
        ("Upload", ["b.png"], {"image": "b.png", "size": 1}),
        (
            "Many",
            ["green", "large", 1, True, ["a", 0]],
            {"colour": "green", "size": "large", "ratio": 1, "fast": True, "name": {"__value__": ["a", 0]}},
        ),
        ("Many", None, {"colour": "red", "size": "small", "ratio": 0.5, "fast": False, "name": "x"}),
        ("Forced", [3], {"times": 3}),
        ("Forced", ["old", 3], {"times": 3}),
        ("Either", [3], {}),
        ("Text", ["a {b} // c"], {"text": "a b "}),
    ],
)
def test_widget_values(classes: graph.Classes, kind: str, values: Any, expected: dict[str, Any]) -> None:
    assert inputs_of(classes, node(1, kind, values)) == expected


def test_dynamic_prompts_are_settled_in_the_prompt_alone(classes: graph.Classes) -> None:
    written = document(node(1, "Text", ["{a|b|c|d}"]))
    found = graph.convert(written, graph.definitions(classes))
    assert found.prompt["1"]["inputs"]["text"] in "abcd"
    assert found == graph.convert(written, graph.definitions(classes))  # chosen by the text: it can be repeated
    assert found.editor == document(node(1, "Text", ["{a|b|c|d}"]))


@pytest.mark.parametrize("version", [0.4, 1])
def test_links_come_from_the_table_by_the_inputs_own_id(classes: graph.Classes, version: float) -> None:
    links: list[Any] = [[9, 1, 0, 2, 77, "INT"], None]  # the target's slot is not to be trusted
    if version == 1:
        links = [{"id": 9, "origin_id": 1, "origin_slot": 0, "target_id": 2, "target_slot": 77, "type": "INT"}]
    nodes = [node(1, "Number", [3]), node(2, "Add", [1, 2], [("b", "INT", 9), ("a", "INT", None)])]
    prompt = graph.convert(document(*nodes, links=links, version=version), graph.definitions(classes)).prompt
    assert prompt["2"]["inputs"] == {"a": 1, "b": ["1", 0], "c": 1}


def test_titles(classes: graph.Classes) -> None:
    written = document(node(1, "Number", title="Mine"), node(2, "Number"), node(3, "Text"))
    prompt = graph.convert(written, graph.definitions(classes), {"Number": "A number"}).prompt
    assert [graph.title_of(entry) for entry in prompt.values()] == ["Mine", "A number", "Text"]


def test_notes_and_muted_nodes_are_left_out(classes: graph.Classes) -> None:
    nodes = [
        node(1, "Note", ["hello"]),
        node(2, "MarkdownNote", ["#"]),
        node(3, "Gone", mode=2),
        node(4, "Gone", mode=4),
    ]
    prompt = graph.convert(document(*nodes, node(5, "Number", mode=3)), graph.definitions(classes)).prompt
    assert list(prompt) == ["5"]


def test_a_muted_source_takes_the_input_away(classes: graph.Classes) -> None:
    nodes = [node(1, "Number", mode=2), node(2, "Add", [5, 6], [("a", "INT", 9)])]
    assert inputs_of(classes, *nodes, links=[[9, 1, 0, 2, 0, "INT"]]) == {"b": 6, "c": 1}


def test_reroutes_are_followed(classes: graph.Classes) -> None:
    nodes = [
        node(1, "Two", outputs=["INT", "STRING"]),
        node(2, "Reroute", inputs=[("", "*", 10)], outputs=["STRING"]),
        node(3, "Reroute", inputs=[("", "*", 11)], outputs=["STRING"]),
        node(4, "ShowText", inputs=[("text", "STRING", 12)]),
    ]
    links = [[10, 1, 1, 2, 0, "STRING"], [11, 2, 0, 3, 0, "STRING"], [12, 3, 0, 4, 0, "STRING"]]
    assert inputs_of(classes, *nodes, links=links) == {"text": ["1", 1]}


def test_a_reroute_from_nowhere_leaves_the_widget(classes: graph.Classes) -> None:
    nodes = [node(2, "Reroute", inputs=[("", "*", None)]), node(3, "Text", ["kept"], [("text", "STRING", 12)])]
    assert inputs_of(classes, *nodes, links=[[12, 2, 0, 3, 0, "STRING"]]) == {"text": "kept"}


def test_a_primitive_gives_its_value(classes: graph.Classes) -> None:
    nodes = [
        node(1, "PrimitiveNode", [42, "randomize"], outputs=["INT"]),
        node(2, "Seeded", [5, "fixed", 20], [("seed", "INT", 9)]),
    ]
    assert inputs_of(classes, *nodes, links=[[9, 1, 0, 2, 0, "INT"]]) == {"seed": 42, "steps": 20}


@pytest.mark.parametrize(
    ("inputs", "slot", "kind", "expected"),
    [
        ([("x", "INT", 1), ("y", "STRING", 2)], 0, "INT", ["7", 0]),  # beside it
        ([("x", "STRING", 2), ("y", "INT", 1)], 0, "INT", ["7", 0]),  # the first of the same type
        ([("x", "STRING", 2), ("y", "FLOAT,INT", 1)], 0, "INT", ["7", 0]),  # the first that fits
        ([("x", "STRING", 2), ("y", "*", 1)], 1, "*", ["7", 0]),  # an output of any type: the same place
        ([("x", "INT", 1)], 3, "*", ["7", 0]),  # ... or the first
        ([("x", "STRING", 2)], 0, "INT", None),
        ([("x", "INT", None)], 0, "INT", None),
        ([], 0, "INT", None),
    ],
)
def test_bypassed_nodes_pass_a_matching_input(
    classes: graph.Classes, inputs: list[Any], slot: int, kind: str, expected: Any
) -> None:
    nodes = [
        node(7, "Two", outputs=["INT", "STRING"]),
        node(2, "Unknown here", inputs=inputs, outputs=[kind] * (slot + 1), mode=4),
        node(3, "Show", inputs=[("value", kind, 3)]),
    ]
    links = [[1, 7, 0, 2, 0, "INT"], [2, 7, 1, 2, 0, "STRING"], [3, 2, slot, 3, 0, kind]]
    assert inputs_of(classes, *nodes, links=links).get("value") == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (document(node(1, "Show", inputs=[("value", "INT", 99)])), ('node 1 "Show" (Show), input "value"', "link 99")),
        (
            document(
                node(1, "Reroute", inputs=[("", "*", 1)]),
                node(2, "Show", inputs=[("value", "INT", 1)]),
                links=[[1, 1, 0, 1, 0, "*"]],
            ),
            ('node 2 "Show"', "circle"),
        ),
        (document(node(1, "Number"), node(1, "Number")), ("twice", '"1"')),
        (document(node(1, "Number"), {"id": 2}), ("an id, a type", '{"id": 2}')),
        (document(node(1, "Number", "text")), ("lists of slots",)),
        (document({"id": 1, "type": "Number", "inputs": [3]}), ("lists of slots",)),
        (document({"id": 1, "type": "Number", "inputs": [{"name": "a", "link": [1]}]}), ("lists of slots",)),
        (document(links=[[1, 2]]), ("every link", "[1, 2]")),
        (document(links=[[1, 2, -1, 3, 0, "INT"]]), ("every link", "-1")),
        (document(links=[{"id": 1}]), ("every link",)),
        ({"nodes": [], "links": 3}, ('"links" to be a list', "3")),
        (document(version=3), ("version 0.4 or 1", "found 3")),
        (document(node(1, "workflow>old")), ("node 1", "group node", "convert it")),
        (
            document(node(2, "Show", inputs=[("value", "INT", 9)]), links=[[9, 55, 0, 2, 0, "INT"]]),
            ('node 2 "Show" (Show), input "value"', "link 9", 'nothing with the id "55"'),
        ),
    ],
)
def test_refuses_by_name(classes: graph.Classes, written: dict[str, Any], expected: tuple[str, ...]) -> None:
    with pytest.raises(graph.WorkflowError) as caught:
        graph.convert(written, graph.definitions(classes))
    assert all(part in str(caught.value) for part in expected), str(caught.value)


def test_refuses_everything_at_once(classes: graph.Classes) -> None:
    nodes = [node(i, "Show", inputs=[("value", "INT", 90 + i)]) for i in (1, 2)]
    with pytest.raises(graph.WorkflowError) as caught:
        graph.convert(document(*nodes), graph.definitions(classes))
    assert len(caught.value.messages) == 2


@pytest.mark.parametrize("values", [[5, "fixed", 20], [5, "fixed"], [], {"seed": 5}])
def test_a_value_is_written_back_where_the_editor_reads_it(classes: graph.Classes, values: Any) -> None:
    found = graph.convert(document(node(1, "Seeded", values)), graph.definitions(classes))
    assert found.editor is not None
    graph.set_widget(found.editor, graph.definitions(classes), "1", "steps", 33)
    again = graph.convert(found.editor, graph.definitions(classes)).prompt
    assert again["1"]["inputs"] == found.prompt["1"]["inputs"] | {"steps": 33}


def test_a_written_value_replaces_a_link(classes: graph.Classes) -> None:
    nodes = [node(1, "Number", outputs=["INT"]), node(2, "Add", [1, 2], [("b", "INT", 9)])]
    nodes[0]["outputs"][0]["links"] = [9, 8]
    written = document(*nodes, links=[[9, 1, 0, 2, 0, "INT"]])
    graph.set_widget(written, graph.definitions(classes), "2", "b", 4)
    assert written["links"] == []
    assert written["nodes"][0]["outputs"][0]["links"] == [8]
    assert graph.convert(written, graph.definitions(classes)).prompt["2"]["inputs"] == {"a": 1, "b": 4, "c": 1}


def test_an_input_without_a_widget_has_no_place_for_a_value(classes: graph.Classes) -> None:
    written = document(node(1, "Show", inputs=[("value", "INT", 9)]), links=[[9, 1, 0, 1, 0, "INT"]])
    graph.set_widget(written, graph.definitions(classes), "1", "value", 4)
    assert written["nodes"][0]["inputs"][0]["link"] == 9


class SaveImage:
    RETURN_TYPES = ()
    FUNCTION = "save"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"filename_prefix": ("STRING", {})}}


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_name_has_what_a_primitive_node_holds_in_any_order(classes: graph.Classes, order: int) -> None:
    nodes = [
        node(1, "SaveImage", ["a%P.value%"]),
        node(2, "Number", [3], inputs=[("value", "INT", 1)]),
        node(3, "PrimitiveNode", [120, "fixed"], outputs=["INT"], title="P"),
    ]
    written = document(*nodes[::order], links=[[1, 3, 0, 2, 0, "INT"]])
    prompt = graph.convert(written, graph.definitions({**classes, "SaveImage": SaveImage})).prompt
    assert prompt["1"]["inputs"] == {"filename_prefix": "a100"}  # within the range of the widget that it is linked to
    assert prompt["2"]["inputs"] == {"value": 100}
