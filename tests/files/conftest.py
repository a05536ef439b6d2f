"""A file that several tests load, and a disk on which there is no room."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stable_cascade_nodes.cascade_core.files.save import save

from .tiny_models import tiny


@pytest.fixture
def stage_b_file(tmp_path: Path) -> Path:
    save(tmp_path / "b.safetensors", tiny("stage_b"), "stage_b", family="tiny", target="v", x0_clamp=3.0)
    return tmp_path / "b.safetensors"


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file can grow beyond 100,000 bytes."""
    resource = pytest.importorskip("resource")  # Windows has none
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
