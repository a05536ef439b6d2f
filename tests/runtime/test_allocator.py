"""Memory that stays with the process: a large block that was freed is not fetched from the system again."""

import ctypes
import platform
import subprocess
import sys

import pytest

from stable_cascade_nodes.runtime import allocator

COUNT = """
import ctypes, resource
from stable_cascade_nodes.runtime.allocator import keep_memory
print(keep_memory() if {kept} else None)
library, size = ctypes.CDLL(None), 64 * 2**20
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    block = library.malloc(size)
    ctypes.memset(block, 1, size)
    library.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_used_again() -> None:
    pages: list[int] = []
    for kept in (False, True):
        done = subprocess.run(
            [sys.executable, "-c", COUNT.format(kept=kept)], capture_output=True, text=True, check=True
        )
        told, count = done.stdout.split()
        assert told == str(kept or None)
        pages.append(int(count))
    assert pages[1] < pages[0] / 4


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not allocator.keep_memory()
    monkeypatch.setattr(sys, "platform", "win32")
    assert not allocator.keep_memory()
