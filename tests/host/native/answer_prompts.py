"""A ComfyUI without HTTP, which answers API prompts with the values on their wires. Run by COMFYUI_PYTHON.

    answer_prompts.py COMFYUI_FOLDER --cpu --base-directory FOLDER ...

ComfyUI starts as it does for a person: the packs of `custom_nodes`, its memory manager, its progress hook. Each line of
stdin is {"prompt": API prompt, "wanted": {name: [node, slot]}, "file": path}. It is validated and executed as in a
server, and one line of stdout answers with `values`, where each tensor of a wire's value is the name by which the
safetensors `file` has it, or with `error`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from typing import Any, TextIO

from safetensors.torch import save_file
from step_noise import as_newer_comfyui

RUN = "run"  # the only one


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what ComfyUI prints is no answer
    sys.path[0] = sys.argv.pop(1)  # this script's folder -> ComfyUI's

    import comfy.options

    comfy.options.enable_args_parsing()
    import main as program

    _, server, _ = program.start_comfyui()
    import execution

    as_newer_comfyui()
    executor = execution.PromptExecutor(server, cache_type=execution.CacheType.CLASSIC)
    executor.cache_args = {"ram": 0.0, "ram_inactive": 0.0}  # newer ones look there whichever the cache
    tell(answers, {"values": {}})
    for line in sys.stdin:
        try:
            tell(answers, answer(executor, **json.loads(line)))
        except Exception:  # it fails the test that asked, and no other
            tell(answers, {"error": {"node": None, "message": traceback.format_exc()}})


def tell(answers: TextIO, answer: dict[str, Any]) -> None:
    print(json.dumps(answer), file=answers, flush=True)


def answer(executor: Any, prompt: dict[str, Any], wanted: dict[str, tuple[str, int]], file: str) -> dict[str, Any]:
    import execution

    outputs = sorted({node for node, _ in wanted.values()})
    validated: dict[str, Any] = {}
    for output in outputs:
        asyncio.run(execution.validate_inputs(RUN, prompt, output, validated))
    for node, (valid, errors, _) in validated.items():
        if not valid and errors:
            return {"error": {"node": node, "message": json.dumps(errors, default=str)}}

    executor.server.last_prompt_id = RUN
    executor.execute(prompt, RUN, {"client_id": RUN}, outputs)
    if not executor.success:
        error = dict(executor.status_messages)["execution_error"]
        return {"error": {"node": error["node_id"], "message": error["exception_message"]}}
    tensors: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for name, (node, slot) in wanted.items():
        of_node = kept(executor.caches.outputs, node)  # empty where nothing goes on from it, as in SaveImage
        values[name] = take(name, of_node[slot][0], tensors) if of_node else None
    save_file(tensors, file)
    return {"values": values}


def kept(cache: Any, node: str) -> Any:
    """The outputs of a node; newer caches answer `get` later, and keep more than outputs."""
    entry = cache.get_local(node) if hasattr(cache, "get_local") else cache.get(node)
    return getattr(entry, "outputs", entry)


def take(name: str, value: Any, tensors: dict[str, Any]) -> Any:
    """The value with each tensor moved to `tensors`, and replaced by its name there."""
    if hasattr(value, "shape"):
        tensors[name] = value.contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {key: take(f"{name}.{key}", item, tensors) for key, item in value.items()}
    if hasattr(value, "image_embeds"):  # a CLIP_VISION_OUTPUT
        return {"image_embeds": take(f"{name}.image_embeds", value.image_embeds, tensors)}
    if isinstance(value, (list, tuple)):
        return [take(f"{name}.{index}", item, tensors) for index, item in enumerate(value)]
    return value


main()
