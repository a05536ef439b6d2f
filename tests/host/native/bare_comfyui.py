"""ComfyUI's modules and this pack in one bare process, without a server. For scripts that COMFYUI_PYTHON runs.

    script.py COMFYUI_FOLDER PACK_FOLDER FACTS_FILE --cpu ...

The script writes what it finds, as JSON, to FACTS_FILE; the tests say what it should be.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


def run(find: Callable[[ModuleType], dict[str, Any]]) -> None:
    """Write the facts that `find` finds, given the pack, under whose name its parts can be imported."""
    comfyui, pack, facts = (sys.argv.pop(1) for _ in range(3))
    sys.path.insert(0, comfyui)
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.model_management  # as in ComfyUI, where it comes before all packs

    spec = importlib.util.spec_from_file_location(
        "the_pack", Path(pack) / "__init__.py", submodule_search_locations=[pack]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["the_pack"] = module
    spec.loader.exec_module(module)
    Path(facts).write_text(json.dumps(find(module)))
