"""A file of source text as a tree: what it imports, what it calls, and what of it runs when it is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Source:
    """One file of the package: its place under the root, and its tree."""

    place: PurePosixPath
    tree: ast.Module

    @property
    def package(self) -> tuple[str, ...]:
        return self.place.parts[:-1]

    @property
    def module(self) -> tuple[str, ...]:
        return self.package if self.place.stem == "__init__" else (*self.package, self.place.stem)


@dataclass(frozen=True)
class Import:
    """One imported name. `module` is the path under the root for ours, the absolute name's parts for others."""

    line: int
    ours: bool
    module: tuple[str, ...]
    name: str | None  # what is taken from the module; None for `import module`
    lazy: bool  # inside a function, or for type checkers only


def parse(place: str, text: str) -> Source:
    return Source(PurePosixPath(place), ast.parse(text))


def modules_of(sources: list[Source]) -> set[tuple[str, ...]]:
    return {source.module for source in sources}


def imports(source: Source, modules: set[tuple[str, ...]]) -> Iterator[Import]:
    """Every import of the file, `import_module("name")` too; `from . import x` is the module x where there is one."""
    eager = set(map(id, run_at_import(source.tree)))
    for node in ast.walk(source.tree):
        lazy = id(node) not in eager
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, False, tuple(alias.name.split(".")), None, lazy)
        elif isinstance(node, ast.ImportFrom):
            base = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                base = source.package[: len(source.package) - node.level + 1] + base
            for alias in node.names:
                inner = (*base, alias.name)
                if node.level and inner in modules:
                    yield Import(node.lineno, True, inner, None, lazy)
                else:
                    yield Import(node.lineno, bool(node.level), base, alias.name, lazy)
        elif isinstance(node, ast.Call) and called(node) == "import_module" and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and argument.value[0] != ".":
                yield Import(node.lineno, False, tuple(argument.value.split(".")), None, lazy)


def run_at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """What runs when the file is imported: all but functions' bodies and what stands under a guard."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'"):
            waiting += node.orelse
        elif not isinstance(node, ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def called(node: ast.Call) -> str:
    """The last part of the called name: `mkdir` of `Path(x).mkdir()`."""
    return ast.unparse(node.func).rpartition(".")[2]
