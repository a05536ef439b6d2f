"""Fake node classes, and the log of their calls."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location("graph_fake_nodes", Path(__file__).with_name("fake_nodes.py"))
assert _spec is not None and _spec.loader is not None
fake_nodes: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fake_nodes)


@pytest.fixture
def calls() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def classes(calls: list[tuple[str, dict[str, Any]]]) -> dict[str, type[Any]]:
    return fake_nodes.make_classes(calls)
