"""Freed memory goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

HOLES = """
import threading
from pathlib import Path
from tui.heap import give_back_freed

def resident_mib():
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if "VmRSS" in line)

def read():
    large = bytes(range(256)) * 32_768
    del large
    for _ in range(64):
        blocks.append(bytes(range(256)) * 4096)
        kept.append(bytes(5000))

give_back_freed()
blocks, kept = [], []
before = resident_mib()
thread = threading.Thread(target=read)
thread.start()
thread.join()
blocks.clear()
print(resident_mib() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what glibc is told")
def test_freed_blocks_leave_no_holes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOLES], capture_output=True, text=True, check=True, timeout=60
    )
    assert float(done.stdout) < 16, "of 64 MiB that were freed"
