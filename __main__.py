"""`python <this folder> ...` and `python -m stable_cascade_nodes ...` are the `cascade` command.

Python runs a folder without its package, and puts the folder itself on the path. The package is then
the installed one if that is this very folder, else this folder loaded under the same name.
"""

import importlib
import importlib.util
import signal
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = "stable_cascade_nodes"
STOPPED = 130  # as cli/output.py has it, which is not imported yet


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


def main() -> int:
    """The command; who stops it before all of it is imported sees what later ones see."""
    try:
        package = load_package(Path(__file__).resolve().parent)
        importlib.import_module(f"{package.__name__}.cli.interrupts").let_imports_end()
        return importlib.import_module(f"{package.__name__}.cli.main").main()
    except KeyboardInterrupt:
        print("cascade: stopped", file=sys.stderr)
        return STOPPED
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said: nothing interrupts Python's own end


if __name__ == "__main__":
    sys.exit(main())
