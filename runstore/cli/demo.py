"""`runstore demo`: a real training in a child process, and the monitor on what it writes."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from runstore.cli.manual import ROOT_VARIABLE, Manual, ManualCommand
from runstore.cli.options import root_option
from runstore.cli.output import say
from runstore.cli.progress import watched
from runstore.cli.show import page
from runstore.errors import RunStoreError
from runstore.runs.store import discover
from runstore.sources import RunRef
from runstore.tables.run_data import RunData
from runstore.text import shell_word

STOP_S = 10.0


MANUAL = Manual(
    examples={
        "Train and watch": "runstore demo",
        "As text, quickly": "runstore demo --no-tui --epochs 3",
    },
    statuses={
        "0": "trained, or the monitor was left",
        "1": "torch is missing, or the training failed",
    },
    variables=ROOT_VARIABLE,
    see=("runstore-tui", "docs/training.md"),
)


@click.command("demo", cls=ManualCommand, manual=MANUAL)
@root_option
@click.option("--epochs", default=20, type=click.IntRange(1), help="How many each run trains.")
@click.option("--no-tui", is_flag=True, help="Do not open the monitor: print the result as text.")
def command(root: Path, epochs: int, no_tui: bool) -> None:
    """Train a small CNN on 1,797 real images of digits, over a 2x2 grid, and watch it.

    The training runs in a child process that only writes files below --root; the monitor reads
    them. Without a terminal it trains, and prints the list of runs and the best one.
    """
    _require_packages()
    before = {ref.path for ref in discover([root], watched)} if root.is_dir() else set()
    root.mkdir(parents=True, exist_ok=True)
    training = [sys.executable, "-m", "runstore.train.demo"]
    training += ["--root", str(root), "--epochs", str(epochs)]
    if no_tui or not (sys.stdout.isatty() and sys.stdin.isatty()):
        _train_and_print(training, root, before)
    else:
        _train_and_watch(training, root)


def _require_packages() -> None:
    missing = [name for name in ("torch", "sklearn") if importlib.util.find_spec(name) is None]
    if missing:
        raise RunStoreError(
            f"the demo trains with {' and '.join(missing)}, not installed here; "
            "pip install 'runstore[demo]'"
        )


def _train_and_print(training: list[str], root: Path, before: set[Path]) -> None:
    say(f"training 4 runs into {root}; watch them with: runstore-tui {shell_word(root)}")
    if subprocess.run(training, stdin=subprocess.DEVNULL).returncode != 0:
        raise RunStoreError("the training failed; what it printed is above")
    subprocess.run([sys.executable, "-m", "runstore.cli", "ls", str(root)], check=True)
    best = _best([ref for ref in discover([root]) if ref.path not in before])
    click.echo("")
    for line in page(best.state):
        click.echo(line)


def _best(refs: list[RunRef]) -> RunData:
    """Return the run with the highest final validation accuracy."""
    runs = [RunData(ref) for ref in refs]
    return max(runs, key=lambda run: run.state.last.get("val/accuracy", 0.0))


def _train_and_watch(training: list[str], root: Path) -> None:
    with tempfile.TemporaryFile() as printed:
        # A group of its own: Ctrl-C in the monitor is not meant for the training.
        child = subprocess.Popen(
            training,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            start_new_session=True,
        )
        try:
            subprocess.run([sys.executable, "-m", "runstore.tui_launcher", str(root)])
        finally:
            stopped = _stop(child)
        if stopped:
            say("the demo's training was stopped with the monitor; its run says interrupted")
        elif child.returncode < 0:
            name = signal.Signals(-child.returncode).name
            raise RunStoreError(f"the training was killed by {name}; its last run is crashed")
        elif child.returncode:
            printed.seek(0)
            raise RunStoreError(f"the training failed: {_last_line(printed.read())}")
    place = shell_word(root)
    say(f"the runs are in {root}: runstore ls {place}, runstore-tui {place}")


def _stop(child: subprocess.Popen[bytes]) -> bool:
    """End the training if it still runs; tell whether it did."""
    if child.poll() is not None:
        return False
    child.terminate()
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    return True


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"
