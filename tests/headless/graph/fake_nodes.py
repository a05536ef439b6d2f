"""Small node classes for tests of the graph, of whole numbers and texts, a log of their calls, and nodes of prompts."""

import math
from collections.abc import Callable
from typing import Any

Calls = list[tuple[str, dict[str, Any]]]


def node(class_type: str, title: str | None = None, **inputs: Any) -> dict[str, Any]:
    """A node of an API prompt, with its class as its title unless one is given."""
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title or class_type}}


def make_class(
    name: str,
    calls: Calls,
    required: dict[str, Any],
    outputs: tuple[str, ...],
    compute: Callable[..., Any],
    **attributes: Any,
) -> type[Any]:
    """A V1 node class; every call is added to `calls`. `optional` and `hidden` are inputs too."""
    declared = {"required": required}
    declared |= {key: attributes.pop(key) for key in ("optional", "hidden") if key in attributes}

    def call(self: Any, **inputs: Any) -> Any:
        calls.append((name, inputs))
        return compute(**inputs)

    members = {"INPUT_TYPES": classmethod(lambda cls: declared), "RETURN_TYPES": outputs, "FUNCTION": "call"}
    return type(name, (), {**members, "call": call, **attributes})


def show(**values: Any) -> dict[str, Any]:
    return {"ui": {name: [value] for name, value in values.items()}}


def fail() -> None:
    raise ValueError("this node always fails")


async def later() -> tuple[int]:
    return (1,)


def make_classes(calls: Calls) -> dict[str, type[Any]]:
    whole = ("INT", {"default": 1, "min": 0, "max": 100})
    seed = ("INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True})
    text = ("STRING", {"default": "", "multiline": True, "dynamicPrompts": True})
    upload = (["a.png", "b.png"], {"image_upload": True})
    classes: dict[str, type[Any]] = {}

    def add(name: str, required: dict[str, Any], outputs: tuple[str, ...], compute: Any, **attributes: Any) -> None:
        classes[name] = make_class(name, calls, required, outputs, compute, **attributes)

    add("Number", {"value": whole}, ("INT",), lambda value: (value,))
    add("Two", {}, ("INT", "STRING"), lambda: (7, "seven"))
    add("Add", {"a": whole, "b": whole}, ("INT",), lambda a, b, c=0: (a + b + c,), optional={"c": whole})
    add("Text", {"text": text}, ("STRING",), lambda text: (text,))
    add("Seeded", {"seed": seed, "steps": whole}, ("INT",), lambda seed, steps: (seed % 100,))
    add("Upload", {"image": upload}, ("STRING",), lambda image, size=0: (image,), optional={"size": whole})
    add(
        "Many",
        {
            "colour": (["red", "green"],),
            "size": ("COMBO", {"options": ["small", "large"]}),
            "ratio": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0}),
            "fast": ("BOOLEAN", {"default": False}),
            "name": ("STRING", {"default": "x"}),
        },
        ("STRING", "RATIO"),
        lambda **values: (str(values), values),
    )
    add("Forced", {"text": ("STRING", {"forceInput": True}), "times": whole}, ("STRING",), lambda text, times: (text,))
    add("Either", {"value": ("INT,FLOAT", {})}, ("INT,FLOAT",), lambda value: (value,))
    add("Anything", {"value": ("*", {})}, ("*",), lambda value: (value,))
    add("Split", {"text": text}, ("STRING",), lambda text: (text.split(),), OUTPUT_IS_LIST=(True,))
    add("Gather", {"text": text}, ("STRING",), lambda text: ("+".join(text),), INPUT_IS_LIST=True)
    add("Show", {"value": ("INT", {"forceInput": True})}, (), show, OUTPUT_NODE=True)
    add("ShowText", {"text": ("STRING", {"forceInput": True})}, (), show, OUTPUT_NODE=True)
    add("ShowRatio", {"ratio": ("RATIO",)}, (), show, OUTPUT_NODE=True)
    add("Fails", {}, ("INT",), fail)
    add("Short", {}, ("INT", "INT"), lambda: (1,))
    add("Expands", {}, ("INT",), lambda: {"expand": {}, "result": (1,)})
    add("Changing", {}, ("INT",), lambda: (len(calls),), IS_CHANGED=classmethod(lambda cls: math.nan))
    add(
        "Hidden",
        {},
        (),
        show,
        hidden={"prompt": "PROMPT", "extra": "EXTRA_PNGINFO", "node": "UNIQUE_ID"},
        OUTPUT_NODE=True,
    )
    add("Lazy", {"value": ("INT", {"lazy": True})}, ("INT",), lambda value: (value,))
    add("Dynamic", {}, ("INT",), lambda graph: (1,), hidden={"graph": "DYNPROMPT"})
    classes["Async"] = make_class("Async", calls, {}, ("INT",), later, FUNCTION="later", later=staticmethod(later))
    strict = {"FUNCTION": "strict", "strict": lambda self, value: show(value=value), "OUTPUT_NODE": True}
    classes["Strict"] = make_class("Strict", calls, {"value": whole}, (), show, **strict)
    classes["Third"] = type("Third", (), {"define_schema": classmethod(lambda cls: None)})
    add(
        "Checked",
        {"value": whole, "text": text},
        ("INT",),
        lambda value, text: (value,),
        VALIDATE_INPUTS=classmethod(lambda cls, value: True if value != 13 else "13 brings bad luck"),
    )
    return classes
