"""Starts the scripts of peers/, which log through real libraries what they are told to."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
# Nobody's network, accounts or threads; warnings of other projects are not ours to mend.
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "PYTHONWARNINGS": "ignore",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


@dataclass(frozen=True, slots=True)
class Logged:
    """What a tool was given for a step, under its own names, as precisely as it keeps it."""

    step: int
    values: dict[str, float]


class Writer:
    """A process that logs with a tool; see peers/orders.py for what it is told and answers."""

    def __init__(self, python: str, tool: str, directory: Path, *arguments: str) -> None:
        """Start peers/`tool`.py; `directory` is there, and so is the folder around it."""
        self._complaints = directory.with_name(f"{directory.name}.stderr")
        with self._complaints.open("a") as stderr:
            self.process = subprocess.Popen(
                [python, "-m", f"tests.integration.peers.{tool}", str(directory), *arguments],
                cwd=directory.parent,
                env={**os.environ, **ENVIRONMENT},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def log(self, steps: int) -> list[Logged]:
        """Let it log so many steps more, and return them."""
        return self._ask(f"log {steps}")

    def end(self) -> list[Logged]:
        """Let it end its run as the tool ends runs, and return what it logged at that."""
        logged = self._ask("end")
        self.process.communicate(timeout=60)
        return logged

    def kill(self) -> None:
        """Take its life, if it still has one."""
        self.process.kill()
        self.process.communicate()

    def _ask(self, order: str) -> list[Logged]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(order + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        assert answer, f"the writer died:\n{self._complaints.read_text()[-4000:]}"
        return [Logged(row["step"], row["values"]) for row in json.loads(answer)["rows"]]
