"""How the C library gives memory back to the system while the monitor runs."""

from __future__ import annotations

import ctypes

# Of glibc's <malloc.h>.
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

LARGE_BYTES = 128 << 10
"""Blocks from this size on are mapped one by one: glibc's own first choice."""


def give_back_freed() -> None:
    """Have freed memory go back to the system; does nothing where the C library is not glibc.

    As it is, glibc raises its threshold for large blocks when the first one is freed, up to 32 MiB,
    and has a heap for each thread. Lines of a megabyte, read by several threads, then leave holes
    that nobody else uses: half of what the monitor holds after some large runs.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # macOS, musl
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
