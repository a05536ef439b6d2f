"""Record what ComfyUI's own node classes declare: `python -m tests.host.record_comfyui_nodes URL`.

URL is a ComfyUI without packs, models and input pictures, so that lists of files are empty. What conversion needs of
its /object_info goes to headless/comfyui_nodes.json.gz: names, types, order, defaults, ranges and choices; no texts for
people besides the names of nodes.
"""

from __future__ import annotations

import gzip
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import stable_cascade_nodes

TARGET = Path(stable_cascade_nodes.__file__).parent / "headless" / "comfyui_nodes.json.gz"
OWN = ("nodes", "comfy_extras", "comfy_api_nodes")  # modules of ComfyUI's own classes
KEPT = {
    *("default", "min", "max", "step", "round", "multiline", "dynamicPrompts", "forceInput", "lazy", "rawLink"),
    *("options", "control_after_generate", "widgetType", "socketless", "template", "multi_select", "remote"),
    *("image_upload", "video_upload", "animated_image_upload", "audio_upload", "file_upload", "image_folder"),
}
_FILES = ("image_upload", "video_upload", "animated_image_upload", "audio_upload", "file_upload")


def main(url: str) -> None:
    with urllib.request.urlopen(f"{url.rstrip('/')}/object_info") as answer:
        info: dict[str, Any] = json.load(answer)
    found = {name: entry_of(entry) for name, entry in sorted(info.items()) if is_own(entry)}
    data = gzip.compress(json.dumps(found, separators=(",", ":")).encode(), 9, mtime=0)
    TARGET.write_bytes(data)
    print(f"{len(found)} classes, {len(data):,} bytes in {TARGET}")


def is_own(entry: dict[str, Any]) -> bool:
    return entry["python_module"].partition(".")[0] in OWN


def entry_of(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of /object_info with what conversion needs, its inputs in their order."""
    order, inputs = entry.get("input_order") or {}, entry["input"]
    kept = {
        section: {name: spec_of(inputs[section][name]) for name in order.get(section) or inputs[section]}
        for section in ("required", "optional")
        if inputs.get(section)
    }
    found = {"input": kept, "output": entry["output"], "has_intermediate_output": False}
    if entry.get("display_name") not in (None, entry["name"]):
        found["display_name"] = entry["display_name"]
    return found | ({"output_node": True} if entry["output_node"] else {})


def spec_of(spec: list[Any]) -> list[Any]:
    declared, options = spec[0], spec[1] if len(spec) > 1 else {}
    kept = {key: value for key, value in options.items() if key in KEPT}
    if "void main" in str(kept.get("default")):  # a program, and no file is without its own
        del kept["default"]
    if any(kept.get(key) for key in _FILES):  # a list of files
        kept.pop("default", None)
        declared = [] if isinstance(declared, list) else declared
        if "options" in kept:
            kept["options"] = []
    if declared == "COMFY_DYNAMICCOMBO_V3":
        kept["options"] = [{"key": choice["key"], "inputs": inputs_of(choice["inputs"])} for choice in kept["options"]]
    if declared == "COMFY_AUTOGROW_V3":
        kept["template"] = kept["template"] | {"input": inputs_of(kept["template"]["input"])}
    return [declared, kept] if kept else [declared]


def inputs_of(sections: dict[str, Any]) -> dict[str, Any]:
    return {
        section: {name: spec_of(spec) for name, spec in specs.items()} for section, specs in sections.items() if specs
    }


if __name__ == "__main__":
    main(sys.argv[1])
