"""The counting of bytes on which the live tests of other tools rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.counted_reads import bytes_by_call

RUN = Path("/runs/x")


def test_bytes_of_the_run_alone_are_counted_also_of_calls_that_another_thread_interrupts() -> None:
    trace = [
        '7  pread64(3</runs/x/a>, ""..., 4096, 0) = 1000',
        '7  read(4</runs/xy/a>, ""..., 4096) = 20000',
        "7  pread64(3</runs/x/a>,  <unfinished ...>",
        '8  read(5</runs/x/deep/b>, ""..., 4096) = 200',
        '7  <... pread64 resumed>""..., 4096, 1000) = 30',
        '8  read(5</runs/x/deep/b>, "", 4096) = 0',
        "8  read(5</runs/x/deep/b>, 0x7f00, 4096) = -1 EIO (Input/output error)",
        "8  read(0<pipe:[5]>, 0x7f00, 4096) = 4",
        "8  +++ exited with 0 +++",
    ]
    assert list(bytes_by_call(trace, RUN)) == [1000, 200, 30, 0]


def test_mapped_file_is_refused_as_nobody_sees_what_is_read_of_it() -> None:
    line = "7  mmap(NULL, 4096, PROT_READ, MAP_SHARED, 3</runs/x/a>, 0) = 0x7f0000"
    with pytest.raises(AssertionError, match="/runs/x/a is mapped"):
        list(bytes_by_call([line], RUN))
