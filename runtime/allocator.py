"""The C library's memory: told to keep what large tensors free for the next ones.

glibc gives every block of more than 32 MiB back to the system when it is freed, and gets the next one page by page: of
a large picture on a CPU that is up to a third of the time.
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
MAPPED = 2**30  # bytes; blocks below come from the heap, and so from what was freed before
KEPT = 2**31 - 1  # bytes that the heap may have free at its end


def keep_memory() -> bool:
    """Let this process keep freed memory; whether its C library could be told."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        tell = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # a C library without it, such as musl
        return False
    return bool(tell(M_MMAP_THRESHOLD, MAPPED) and tell(M_TRIM_THRESHOLD, KEPT))
