"""Fake node classes, and the log of their calls."""

from typing import Any

import pytest

from . import fake_nodes


@pytest.fixture
def calls() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def classes(calls: list[tuple[str, dict[str, Any]]]) -> dict[str, type[Any]]:
    return fake_nodes.make_classes(calls)
