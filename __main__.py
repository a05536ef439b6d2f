"""`python <this folder> ...` and `python -m stable_cascade_nodes ...` are the `cascade` command.

Python runs a folder without its package, and puts the folder itself on the path. The package is then
the installed one if that is this very folder, else this folder loaded under the same name.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = "stable_cascade_nodes"


def load_package(root: Path) -> ModuleType:
    """The package whose root is the folder `root`, whatever the folder's name."""
    # Left on the path, our `nodes` and `cli` would be found by others as top-level modules.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != root]
    found = importlib.util.find_spec(PACKAGE)
    if found is not None and found.origin is not None and Path(found.origin).resolve().parent == root:
        return importlib.import_module(PACKAGE)
    spec = importlib.util.spec_from_file_location(PACKAGE, root / "__init__.py", submodule_search_locations=[str(root)])
    assert spec is not None and spec.loader is not None  # for a .py file there always is one
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    package = load_package(Path(__file__).resolve().parent)
    sys.exit(importlib.import_module(f"{package.__name__}.cli.main").main())
