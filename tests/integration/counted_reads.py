"""Counts the bytes that a process reads from the files below a directory, by its system calls."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.integration.peer_writers import ROOT

CALLS = "read,pread64,readv,preadv,preadv2,mmap"
_STARTED = re.compile(r"(\d+) +(\w+)\((.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")
_FILE = re.compile(r"\d+<(/[^>]*)>")
_RESULT = re.compile(r"= (\d+|0x[0-9a-f]+)$")


class Trace:
    """What strace tells of a command. It has written down each call before the call returns."""

    def __init__(self, strace: str, directory: Path, log: Path) -> None:
        """Count the reading of files below `directory`; strace writes into `log`."""
        self.options = [strace, "-f", "-y", "-s", "0", "--seccomp-bpf", "-o", str(log)]
        self.options += ["-e", f"trace={CALLS}"]
        self._directory, self._log = directory.resolve(), log
        self._at = 0

    def bytes_read(self) -> int:
        """Return how many bytes were read since the last time that this, or `reads`, was asked."""
        return sum(self.reads())

    def reads(self) -> list[int]:
        """Return how many bytes each call has read since the last time that this was asked.

        Raises:
            AssertionError: a file was mapped, so that its reading cannot be counted.
        """
        with self._log.open("rb") as file:
            file.seek(self._at)
            told = file.read()
        whole = told[: told.rfind(b"\n") + 1]
        self._at += len(whole)
        return list(bytes_by_call(whole.decode(errors="replace").splitlines(), self._directory))


def bytes_by_call(lines: Iterable[str], directory: Path) -> Iterator[int]:
    """Yield what each call on a file below a directory read, from the lines of a trace."""
    waiting: dict[str, str] = {}
    for line in lines:
        if resumed := _RESUMED.match(line):
            thread, call, told = resumed.groups()
            told = waiting.pop(thread, "") + told
        elif started := _STARTED.match(line):
            thread, call, told = started.groups()
            if "<unfinished" in told:
                waiting[thread] = told.partition("<unfinished")[0]
                continue
        else:
            continue
        file, result = _FILE.search(told), _RESULT.search(told)
        if file and result and Path(file[1]).is_relative_to(directory):
            assert call != "mmap", f"{file[1]} is mapped: its reading cannot be counted"
            yield int(result[1])


class ToldReader:
    """poll_when_told.py, traced."""

    def __init__(self, trace: Trace, run: Path) -> None:
        script = Path(__file__).with_name("poll_when_told.py")
        self.process = subprocess.Popen(
            [*trace.options, sys.executable, str(script), str(run)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def poll(self) -> dict[str, float]:
        """Let it read all that is new, and return the newest value of each metric."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        last: dict[str, float] = json.loads(self.process.stdout.readline())
        return last

    def close(self) -> None:
        """Let it end."""
        self.process.communicate(timeout=60)
