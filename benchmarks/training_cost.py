"""What logging costs a training loop: the digits' CNN, batches of 64, every step logged.

Each contestant has a process of its own, in which its loop and the same loop without it take turns,
epoch by epoch; the ratios are those of neighbours, so they hold where absolute times do not. The
plain loop has the same batches, accuracy and evaluation, and only the logging lines are missing.
Its weights and the contestant's must be equal in the end. Three ratios are given:

* loop: CPU time of the training thread. A busy machine does not disturb it much.
* wall: what the user waits for. On a busy machine only its median tells something.
* all: CPU time of the training thread, every other thread and every child process. None of these
  others belongs to the plain loop, so all they do is counted against the contestant.

Opening and closing a run are not in them; they are the column `open+end`. The row `nothing` is the
plain loop against itself: what the machine cannot tell apart. Exit status 1 if runstore is above
the budget, with the whole 95 % interval of the median of `loop` or `wall`, or the weights differ.

The other trackers are optional. They bring many packages, and other versions of some than
constraints.txt has (under all of it, pip takes a Trackio of long ago), so they are best installed
into an environment of their own, with torch as it is:
    pip install -c constraints.txt -e '.[demo]'
    pip install -c <(grep -E '^(torch|numpy|protobuf)==' constraints.txt) wandb trackio aspara
Nothing here reaches for the network: they write to a local folder that is thrown away.

    python benchmarks/training_cost.py                      # all
    python benchmarks/training_cost.py runstore Trackio     # some
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import math
import os
import pty
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

import runstore
from runstore.train.demo import NAMES, digits, network

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "60"))
WARM_UP = 3
BATCH_SIZE = 64
BUDGET = 1.05
STEPS = 23
"""Of an epoch: 1,438 images."""
MAX_NORM = 1.0
SETTINGS = {
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
}

Loop = Iterator[nn.Module]
"""Runs an epoch, with its evaluation, each time that it is advanced; yields the model."""


class Training:
    """What all loops have in common: data, model, optimizer, loss."""

    def __init__(self) -> None:
        """Begin with the same weights each time."""
        torch.manual_seed(0)
        train, val = digits()
        self.train = DataLoader(train, batch_size=BATCH_SIZE, shuffle=True)
        self.val = DataLoader(val, batch_size=len(val))
        self.model = network()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.loss_of = nn.CrossEntropyLoss()

    def step(self, x: torch.Tensor, y: torch.Tensor, clip: bool = False) -> tuple[Any, Any]:
        """Take an optimizer step as everybody writes it; return loss and accuracy, 0-d."""
        logits = self.model(x)
        loss = self.loss_of(logits, y)
        self.optimizer.zero_grad()
        loss.backward()
        if clip:
            clip_grad_norm_(self.model.parameters(), MAX_NORM)
        self.optimizer.step()
        return loss, (logits.argmax(1) == y).float().mean()

    def evaluate(self, x: torch.Tensor, y: torch.Tensor) -> tuple[Any, Any, Any]:
        """Return logits, loss and accuracy."""
        logits = self.model(x)
        return logits, self.loss_of(logits, y), (logits.argmax(1) == y).float().mean()


def plain(epochs: int, *, clip: bool = False) -> Loop:
    """Train without logging anything."""
    it = Training()
    for _ in range(epochs):
        yield it.model
        it.model.train()
        for x, y in it.train:
            it.step(x, y, clip)
        it.model.eval()
        with torch.no_grad():
            for x, y in it.val:
                it.evaluate(x, y)
    yield it.model


# ---- runstore ------------------------------------------------------------------------------------


def with_runstore(epochs: int, directory: Path, *, report: bool, clip: bool = False) -> Loop:
    """Log through the three loops of a run, and with a report of each evaluation."""
    it = Training()
    with runstore.init(root=directory) as run:
        for _ in run.epochs(epochs):
            yield it.model
            it.model.train()
            for x, y in run.train(it.train):
                loss, accuracy = it.step(x, y, clip)
                run.track(loss=loss, accuracy=accuracy, n=len(y))
            run.log({"lr": it.optimizer.param_groups[0]["lr"]})
            it.model.eval()
            with torch.no_grad():
                for x, y in run.val(it.val):
                    logits, loss, accuracy = it.evaluate(x, y)
                    run.track(loss=loss, accuracy=accuracy, n=len(y))
                    if report:
                        run.track_classification(logits, y, target_names=NAMES)
        yield it.model


def with_stepper(epochs: int, directory: Path) -> Loop:
    """Log the same, with the optimizer steps taken, clipped and logged by a `Stepper`."""
    it = Training()
    with runstore.init(root=directory) as run:
        stepper = runstore.Stepper(run, it.model, it.optimizer, max_grad_norm=MAX_NORM)
        for _ in run.epochs(epochs):
            yield it.model
            it.model.train()
            for x, y in run.train(it.train):
                with stepper.forward():
                    logits = it.model(x)
                    loss = it.loss_of(logits, y)
                stepper.backward(loss)
                stepper.step()
                run.track(loss=loss, accuracy=(logits.argmax(1) == y).float().mean(), n=len(y))
            it.model.eval()
            with torch.no_grad():
                for x, y in run.val(it.val):
                    logits, loss, accuracy = it.evaluate(x, y)
                    run.track(loss=loss, accuracy=accuracy, n=len(y))
                    run.track_classification(logits, y, target_names=NAMES)
        yield it.model


# ---- others --------------------------------------------------------------------------------------


def with_log(epochs: int, log: Callable[[dict[str, float], int], None]) -> Loop:
    """Log the same values by a function: two each step, and each epoch the means and the rate."""
    it = Training()
    step = 0
    for _ in range(epochs):
        yield it.model
        it.model.train()
        losses, accuracies, samples = 0.0, 0.0, 0
        for x, y in it.train:
            loss, accuracy = (value.item() for value in it.step(x, y))
            step += 1
            log({"train/loss": loss, "train/accuracy": accuracy}, step)
            losses += loss * len(y)
            accuracies += accuracy * len(y)
            samples += len(y)
        it.model.eval()
        with torch.no_grad():
            for x, y in it.val:
                _, val_loss, val_accuracy = it.evaluate(x, y)
        ends = {
            "epoch/train_loss": losses / samples,
            "epoch/train_accuracy": accuracies / samples,
            "val/loss": val_loss.item(),
            "val/accuracy": val_accuracy.item(),
            "lr": it.optimizer.param_groups[0]["lr"],
        }
        log(ends, step)
    yield it.model


def summary_writer(epochs: int, directory: Path) -> Loop:
    """Call add_scalar for each value; a thread of its own writes them."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(directory)) as writer:

        def log(values: dict[str, float], step: int) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        yield from with_log(epochs, log)


def wandb_offline(epochs: int, directory: Path) -> Loop:
    """Call run.log; a process of its own writes."""
    import wandb

    with wandb.init(project="bench", mode="offline", dir=str(directory)) as run:
        yield from with_log(epochs, lambda values, step: run.log(values, step=step))


def trackio_local(epochs: int, directory: Path) -> Loop:
    """Call trackio.log; a thread writes into SQLite."""
    import trackio

    trackio.init(project="bench", embed=False)
    yield from with_log(epochs, lambda values, step: trackio.log(values, step=step))
    trackio.finish()


def aspara_local(epochs: int, directory: Path) -> Loop:
    """Call aspara.log, which appends to a JSON-lines file and syncs it."""
    import aspara

    aspara.init(project="bench", dir=str(directory))
    yield from with_log(epochs, lambda values, step: aspara.log(values, step=step))
    aspara.finish()


Maker = Callable[[int, Path], Loop]
# Each with what it needs, whether its gradients are clipped, and whether stderr is a terminal.
CONTESTANTS: dict[str, tuple[Maker, str, bool, bool]] = {
    "nothing": (lambda n, _: plain(n), "torch", False, False),
    "runstore": (lambda n, d: with_runstore(n, d, report=True), "runstore", False, False),
    "runstore, with a bar": (lambda n, d: with_runstore(n, d, report=True), "tqdm", False, True),
    "runstore, no report": (
        lambda n, d: with_runstore(n, d, report=False),
        "runstore",
        False,
        False,
    ),
    "SummaryWriter": (summary_writer, "tensorboard", False, False),
    "wandb offline": (wandb_offline, "wandb", False, False),
    "Trackio": (trackio_local, "trackio", False, False),
    "Aspara": (aspara_local, "aspara", False, False),
    "runstore, clipped by hand": (
        lambda n, d: with_runstore(n, d, report=True, clip=True),
        "runstore",
        True,
        False,
    ),
    "runstore.Stepper": (with_stepper, "runstore", True, False),
}
BUDGETED = ("runstore", "runstore, with a bar")


# ---- measuring -----------------------------------------------------------------------------------


class Clocks:
    """Reads the clocks by which an epoch is measured, in seconds."""

    def __init__(self) -> None:
        """Begin now."""
        self.wall, self.thread = time.perf_counter(), time.thread_time()

    def since(self) -> dict[str, float]:
        """Return the seconds since then."""
        return {
            "wall": time.perf_counter() - self.wall,
            "loop": time.thread_time() - self.thread,
        }


def measure(name: str, directory: Path) -> dict[str, Any]:
    """Return the seconds of each epoch of the contestant and of the plain loop, in pairs."""
    maker, _, clip, _ = CONTESTANTS[name]
    # Two threads win nothing on 8×8 images, and would be disturbed by whatever runs beside.
    torch.set_num_threads(1)
    epochs = WARM_UP + ROUNDS
    loops = {"with": maker(epochs, directory), "without": plain(epochs, clip=clip)}
    models = {"without": next(loops["without"])}  # first, as it imports what both need
    clocks = Clocks()
    models["with"] = next(loops["with"])
    opening = clocks.since()["wall"]
    seconds: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
    others = 0.0
    for number in range(epochs):
        if number == WARM_UP:
            others = _cpu_of_others()
        # Whoever is first finds other caches: each is first every second time.
        for key in sorted(loops, reverse=bool(number % 2)):
            torch.manual_seed(number)  # the same order and dropout for both
            seconds[key].append(_timed_next(loops[key]))
    others = _cpu_of_others() - others
    return {
        **{key: values[WARM_UP:] for key, values in seconds.items()},
        "others": others / ROUNDS,
        "opening": opening + _seconds_to_end(loops["with"]),
        "equal": _equal(*models.values()),
    }


def _timed_next(loop: Loop) -> dict[str, float]:
    clocks = Clocks()
    next(loop)
    return clocks.since()


def _seconds_to_end(loop: Loop) -> float:
    clocks = Clocks()
    assert next(loop, None) is None  # all epochs were run
    return clocks.since()["wall"]


def _cpu_of_others() -> float:
    """Return the CPU seconds of this process's other threads and of its children, so far."""
    total = time.process_time() - time.thread_time()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            times = child.cpu_times()
            total += times.user + times.system
    return total


def _equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def measure_in_process(name: str) -> dict[str, Any] | None:
    """Return what `measure` does in a process of its own, or None when it failed."""
    _, _, _, terminal = CONTESTANTS[name]
    with ExitStack() as stack:
        made = tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR"))
        directory = Path(stack.enter_context(made))
        result, log = directory / "result.json", directory / "log.txt"
        stderr: Any = stack.enter_context(_terminal() if terminal else log.open("wb"))
        command = [sys.executable, __file__, "--measure", name, str(result)]
        folders = ("TRACKIO_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")
        environment = os.environ | SETTINGS | {key: str(directory / key) for key in folders}
        code = subprocess.run(
            command, env=environment, cwd=directory, stdout=stderr, stderr=stderr, check=False
        ).returncode
        if code == 0:
            return dict(json.loads(result.read_bytes()))
        print(f"{name:26} failed ({code}): {_last_line(log)}")
        return None


@contextmanager
def _terminal() -> Iterator[int]:
    """Yield the descriptor of a terminal of 80 columns whose output is thrown away."""
    inner, outer = pty.openpty()
    fcntl.ioctl(outer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def read() -> None:
        with suppress(OSError):  # which is how the end of a terminal is told
            while os.read(inner, 1 << 16):
                pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield outer
    finally:
        os.close(outer)
        reader.join()
        os.close(inner)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")


# ---- the table -----------------------------------------------------------------------------------


def ratios(found: dict[str, Any], clock: str) -> list[float]:
    """Return the contestant's seconds over the plain loop's, neighbour by neighbour."""
    extra = found["others"] if clock == "all" else 0.0
    key = "wall" if clock == "wall" else "loop"
    pairs = zip(found["with"], found["without"], strict=True)
    return [(one[key] + extra) / other[key] for one, other in pairs]


def print_row(name: str, found: dict[str, Any]) -> None:
    """Print medians and quartiles of the ratios."""
    cells = []
    for clock in ("loop", "wall", "all"):
        low, median, high = statistics.quantiles(ratios(found, clock), n=4)
        cells.append(f"{median:6.3f} ({low:.3f}..{high:.3f})")
    step_us = statistics.median(
        (one["loop"] - other["loop"]) / STEPS * 1e6
        for one, other in zip(found["with"], found["without"], strict=True)
    )
    plain_ms = statistics.median(one["loop"] for one in found["without"]) / STEPS * 1e3
    print(
        f"{name:26} {'  '.join(cells)} {step_us:8.0f} of {plain_ms:4.1f} ms {found['opening']:9.2f}"
    )


def is_within_budget(name: str, found: dict[str, Any]) -> bool:
    """Say whether training goes on undisturbed; False when it surely does not."""
    fits = True
    for clock in ("loop", "wall") if name in BUDGETED else ():
        low, median, high = median_interval(ratios(found, clock))
        verdict = "ok" if high <= BUDGET else "TOO SLOW" if low > BUDGET else "too noisy to tell"
        print(
            f"budget: {name} at most {BUDGET}: {clock} {median:.3f} ({low:.3f}..{high:.3f})", end=""
        )
        print(f", {verdict}")
        fits = fits and verdict != "TOO SLOW"
    return fits


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """Return the median between the ends of its 95 % confidence interval, by ranks."""
    ordered = sorted(values)
    reach = 0.98 * math.sqrt(len(ordered))
    middle = (len(ordered) - 1) / 2
    low, high = max(0, math.floor(middle - reach)), math.ceil(middle + reach)
    return ordered[low], statistics.median(ordered), ordered[min(high, len(ordered) - 1)]


def main(names: list[str]) -> int:
    """Measure one contestant after another and print the table."""
    print(f"{STEPS} steps an epoch, {ROUNDS} pairs of epochs: medians of ratios (quartiles)")
    print(
        f"{'':26} {'loop':^21}  {'wall':^21}  {'all':^21} {'µs/step':>8} {'':10} {'open+end s'}",
        flush=True,
    )
    results: dict[str, dict[str, Any]] = {}
    crashed = False
    for name in names or CONTESTANTS:
        if importlib.util.find_spec(CONTESTANTS[name][1]) is None:
            print(f"{name:26} not installed", flush=True)
        elif found := measure_in_process(name):
            print_row(name, found)
            sys.stdout.flush()
            results[name] = found
        else:
            crashed = crashed or name in BUDGETED
    unequal = [name for name, found in results.items() if not found["equal"]]
    if unequal:
        print(f"other weights than without logging: {', '.join(unequal)}")
    fitting = [is_within_budget(name, found) for name, found in results.items()]
    return 0 if all(fitting) and not unequal and not crashed else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        Path(sys.argv[3]).write_text(json.dumps(measure(sys.argv[2], Path(sys.argv[3]).parent)))
    else:
        sys.exit(main(sys.argv[1:]))
