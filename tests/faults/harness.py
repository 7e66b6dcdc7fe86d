"""Runs a script while one of its system calls fails, and checks what must hold whatever failed.

After SQLite's tests: the N-th call of a kind fails, N = 1, 2, …, until nothing fails any more.
strace injects the faults (`-e inject=write:error=ENOSPC:when=3`), into calls on the files of the
run directory alone (`-P`). Two facts of strace decide how:

* `-P` compares whole paths, of files that do not exist yet too, and of what descriptors are open
  on. It knows no patterns; so a run without faults tells first which files there are. The names of
  temporary files have the process in them and the thread. The process is known before strace
  attaches, and threads of forks of one process have the same addresses.
* `when` counts in each thread for itself: the third `write` is that of the training's thread, and
  the third of the writer's thread too.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCENARIOS = HERE / "scenarios"
REFUSED = 3
TIMEOUT_S = 200.0
ROOT_NAME, RUN = "runs", "20261121-120000-faults-abcdea"

CALLS = {
    "openat": "openat,?openat2,?open,?creat",
    "write": "write,?pwrite64,?writev",
    "fdatasync": "fdatasync",
    "fsync": "fsync",
    "rename": "?rename,?renameat,renameat2",
    "ftruncate": "ftruncate",
    "flock": "flock",
    "unlink": "?unlink,unlinkat",
    "mkdir": "?mkdir,mkdirat",
}
"""What each row of the matrix is for strace. CPython calls rename and unlink where the machine has
them (x86), and otherwise renameat2 or renameat, and unlinkat (ARM)."""
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EINTR", "ESTALE", "EROFS")


@dataclass(frozen=True)
class Fault:
    """`call` fails with `error` when strace's `when` says so: `3`, `3+`, `3..9`.

    The error may be a signal: SIGKILL leaves the call undone.
    """

    call: str
    error: str
    when: str
    also: Fault | None = None
    """Another call that fails too."""

    def __str__(self) -> str:
        return f"{self.call}:{self.error}:{self.when}{f' {self.also}' if self.also else ''}"

    def options(self) -> list[str]:
        """Return strace's options that trace the calls and let them fail."""
        found = ["-e", f"inject={CALLS[self.call]}:{self._what()}:when={self.when}"]
        calls = CALLS[self.call]
        if self.also is not None:
            calls = f"{calls},{CALLS[self.also.call]}"
            found += self.also.options()[2:]
        return ["-e", f"trace={calls}", *found]

    def has_met(self, line: str) -> bool:
        """Tell whether a line of strace's is about this call, and not about `also`."""
        names = re.findall(r"\w+", CALLS[self.call])
        killed = self.error == "SIGKILL" and "killed by" in line
        return killed or any(re.search(rf" {name}(\(| resumed)", line) for name in names)

    def _what(self) -> str:
        return f"signal={self.error}" if self.error.startswith("SIG") else f"error={self.error}"


@dataclass
class Outcome:
    """What a script did, and what is left of it."""

    root: Path
    """Where its runs are."""
    status: int
    """The exit status; negative after a signal."""
    output: str
    acknowledged: list[str]
    """What returned: `RUN log 7`; an attempt that was killed before wrote to it too."""
    injected: list[str] = field(default_factory=list)
    """The calls that failed, as strace prints them."""

    @property
    def what_failed(self) -> str:
        """The first call that failed, with the paths as in the run."""
        return self.injected[0].replace(f"{self.root.parent}/", "").partition(" = ")[0][:200]

    @property
    def runs(self) -> list[Path]:
        """The directories of the runs, by name."""
        return sorted(path for path in self.root.glob("*") if path.is_dir())

    def numbers(self, run: str, word: str) -> list[int]:
        """Return N of the lines `RUN word N` that the script acknowledged."""
        found = (line.split() for line in self.acknowledged)
        return [int(text[2]) for text in found if text[:2] == [run, word] and len(text) > 2]

    def said(self, word: str) -> bool:
        """Tell whether the script came to say `RUN word`."""
        return any(line.split()[1] == word for line in self.acknowledged)


class Zygote:
    """A process that has imported everything, and forks a child for each case."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py")],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._process.communicate(timeout=30)

    def _send(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def _answer(self, timeout_s: float) -> int | None:
        assert self._process.stdout is not None
        # One line is one answer to one question: nothing is left in Python's buffer.
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            return None
        return int(self._process.stdout.readline())

    def run(
        self, script: Path, folder: Path, *argv: str, strace: Strace | None = None
    ) -> tuple[int, str]:
        """Run a script in `folder`; return its status and its output."""
        out = folder / "output"
        out.unlink(missing_ok=True)
        request = {"script": str(script), "argv": argv, "cwd": str(folder), "out": str(out)}
        self._send(json.dumps(request))
        child = self._answer(TIMEOUT_S)
        assert child is not None, "the zygote does not fork"
        if strace is not None:
            strace.attach(child)
        self._send("go")
        status = self._answer(TIMEOUT_S)
        if status is None:
            os.kill(child, signal.SIGKILL)
            self._answer(TIMEOUT_S)
            raise AssertionError(f"it hangs: {out.read_text()}")
        if strace is not None:
            strace.wait()
        return status, out.read_text()


class Strace:
    """One strace of one process and its threads."""

    def __init__(self, log: Path, options: Iterable[str]) -> None:
        self._log, self._options = log, list(options)
        self._process: subprocess.Popen[str] | None = None

    def attach(self, child: int) -> None:
        """Trace `child`, which waits; return when it does."""
        options = [option.replace("{pid}", str(child)) for option in self._options]
        self._process = subprocess.Popen(
            ["strace", "-f", "-y", "-o", str(self._log), *options, "-p", str(child)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        first = self._process.stderr.readline()
        assert "attached" in first, first

    def wait(self) -> None:
        assert self._process is not None
        self._process.communicate(timeout=TIMEOUT_S)

    def lines(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines()


class Lab:
    """Where cases run: a folder, a zygote, and the names of the files of each scenario."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._zygote = Zygote()
        self._names: dict[str, list[str]] = {}
        self._count = 0

    def close(self) -> None:
        self._zygote.close()

    def run(
        self, scenario: Scenario, fault: Fault | None = None, options: tuple[str, ...] = ()
    ) -> Outcome:
        """Run a scenario once, with a fault or without."""
        if fault is None:
            return self._run(scenario, None, *options)
        if scenario.name not in self._names:
            self._names[scenario.name] = self._names_of(scenario)
        return self._run(scenario, fault)

    def again(self, scenario: Scenario, outcome: Outcome, *options: str) -> Outcome:
        """Run the script once more on what it left, without faults."""
        return self._outcome(scenario, outcome.root.parent, None, *options)

    def until_nothing_fails(
        self, scenario: Scenario, fault: Fault, numbers: Iterable[int]
    ) -> Iterator[tuple[Fault, Outcome]]:
        """Let the N-th call fail for each of `numbers` as long as there is an N-th call.

        The fault's `when` is `{}`, or `{}+` for all calls from there on, or `{}..{}` for ten.
        """
        for number in numbers:
            now = replace(fault, when=fault.when.format(number, number + 9))
            outcome = self.run(scenario, now)
            if not any(fault.has_met(line) for line in outcome.injected):
                return
            yield now, outcome
            shutil.rmtree(outcome.root.parent)

    def _new_folder(self) -> Path:
        self._count += 1
        folder = self._folder / f"{self._count:05d}"
        folder.mkdir()
        return folder

    def _names_of(self, scenario: Scenario) -> list[str]:
        """Return the files that a run touches, relative to its directory, with `{pid}` in them."""
        every = ",".join(CALLS.values())
        found: set[str] = set()
        # Twice: what the thread comes to differs.
        for _ in range(2):
            folder = self._new_folder()
            scenario.prepare(self._zygote, folder)
            strace = Strace(folder / "strace", ["-e", f"trace={every}"])
            scenario.run(self._zygote, folder, strace)
            lines = strace.lines()
            child, root = lines[0].split()[0], str(folder / ROOT_NAME)
            for path in re.findall(re.escape(root) + r'/[^">]*', "\n".join(lines)):
                found.add(path[len(root) :].replace(f".{child}", ".{pid}"))
            shutil.rmtree(folder)
        return sorted(name for name in found if scenario.below in name)

    def _run(self, scenario: Scenario, fault: Fault | None, *options: str) -> Outcome:
        folder = self._new_folder()
        scenario.prepare(self._zygote, folder)
        strace = None
        if fault is not None:
            paths = [f"{folder / ROOT_NAME}{name}" for name in self._names[scenario.name]]
            only = [option for path in paths for option in ("-P", path)]
            strace = Strace(folder / "strace", [*fault.options(), *only])
        return self._outcome(scenario, folder, strace, *options)

    def _outcome(
        self, scenario: Scenario, folder: Path, strace: Strace | None, *options: str
    ) -> Outcome:
        status, output = scenario.run(self._zygote, folder, strace, *options)
        marks = ("(INJECTED)", "+++ killed by SIGKILL")
        lines = strace.lines() if strace else []
        injected = [line for line in lines if any(mark in line for mark in marks)]
        acknowledged = (folder / "acknowledged").read_text().splitlines()
        return Outcome(folder / ROOT_NAME, status, output, acknowledged, injected)


@dataclass(frozen=True)
class Scenario:
    """A script, and what is there before it starts."""

    name: str
    script: Path = SCENARIOS / "train.py"
    killed_at: int | None = None
    """Before, an attempt at the same run was killed at this step."""
    torn: bool = False
    """It was killed in the middle of a line."""
    below: str = ""
    """Of the calls, those fail whose paths have this in them."""

    def prepare(self, zygote: Zygote, folder: Path) -> None:
        """Leave in `folder` what an attempt before left."""
        if self.killed_at is not None:
            status, output = self.run(zygote, folder, None, str(self.killed_at))
            assert status == -signal.SIGKILL, output
            if self.torn:
                with (folder / ROOT_NAME / RUN / "metrics-0001.jsonl").open("ab") as metrics:
                    metrics.write(b'{"step":9,"torn')

    def run(
        self, zygote: Zygote, folder: Path, strace: Strace | None, *options: str
    ) -> tuple[int, str]:
        """Run the script once and return its status and its output."""
        argv = [str(folder / ROOT_NAME / RUN), str(folder / "acknowledged"), *options]
        return zygote.run(self.script, folder, *argv, strace=strace)
