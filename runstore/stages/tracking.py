"""What a batch adds to the split that is open: means, counts, and the row of its step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from runstore.errors import BadValueError
from runstore.metrics.reports import ReportOptions
from runstore.metrics.step_rows import StepRow
from runstore.metrics.values import as_float, is_late, shown_as_text
from runstore.stages.open_stages import TRAIN, Split

if TYPE_CHECKING:
    from runstore.run.run import Run

LOOK_INTERVAL_S = 0.5
"""How often values on an accelerator are fetched only to show them."""


class Tracker:
    """Takes in the batches of one run's splits."""

    def __init__(self, run: Run) -> None:
        """Begin with no batch; `run` writes the rows."""
        self._run = run
        self._step_row = StepRow()

    def track(self, split: Split, values: Mapping[str, Any], n: Any, tokens: Any) -> None:
        """Add a batch to the open split, and write its row when it is time."""
        run = self._run
        numbers = run.row_values.tracked(split.name, values)
        if split.display is None:
            # Explicit calls: no loop of ours counts the batches, so each call is one.
            split.batch += 1
            split.pace.tick(time.monotonic())
        samples = self._samples(n)
        guard_device(run, "track()", lambda: split.meters.add(split.batch, numbers, samples))
        if tokens is not None:
            self._count_tokens(split, tokens)
        self._note_latest(split, numbers)
        run.touch()
        if split.name != TRAIN:
            return
        if run.has_stepper:
            self._step_row.add(numbers, samples)
            return
        self._count_step(split)
        if numbers and run.step % run.log_every == 0:
            run.write_row("metrics", numbers)

    def _samples(self, n: Any) -> Any:
        """Return a number of samples, or None; on an accelerator it is taken as it is."""
        if type(n) is int and n >= 0:
            return n
        if n is None or is_late(n):
            return n
        try:
            samples = n if type(n) is int else as_float("n", n)
        except BadValueError:
            samples = -1
        if 0 <= samples < float("inf"):
            return samples
        self._run.complain(
            "n", f"track(n={shown_as_text(n)}): expected a number of samples; it is ignored"
        )
        return None

    def _count_tokens(self, split: Split, tokens: Any) -> None:
        """Add up what can be added, without looking at it: a tensor may be on a GPU."""
        try:
            split.meters.add_tokens(tokens)
        except Exception:  # noqa: BLE001  # whatever was given, and whatever torch says to it
            self._run.complain(
                "tokens",
                f"track(tokens={shown_as_text(tokens)}): expected a number; it is ignored",
            )

    def _note_latest(self, split: Split, numbers: Mapping[str, Any]) -> None:
        """Show the latest values; those on an accelerator now and then, when they have come."""
        if all(type(value) is float for value in numbers.values()):
            split.latest = numbers
        elif split.display is not None and time.monotonic() >= split.next_look:
            split.next_look = time.monotonic() + LOOK_INTERVAL_S
            self._run.when_known(numbers, split.show)

    # ---- steps -----------------------------------------------------------------------------------

    def _count_step(self, split: Split) -> None:
        """One optimizer step per batch, however often the batch is tracked."""
        if split.counted != split.batch:
            self._run.count_step()
        split.counted = split.batch

    def note_step(self, split: Split | None, facts: Mapping[str, float]) -> None:
        """Note that the optimizer step was taken: `lr`, `grad_norm`, …

        Inside a train split the row is written behind the batch, or before the next step, so that
        it does not matter whether `track` comes before `step` or after it.
        """
        self._step_row.note(facts)
        if split is None or split.name != TRAIN:
            self.write_step_row()

    def write_step_row(self) -> None:
        """Write the row of the optimizer step, if it was taken and has none yet."""
        if not self._step_row.is_taken:
            return
        values = self._step_row.take()
        if self._run.step % self._run.log_every == 0:
            self._run.note(self._run.write_row("metrics", values))

    # ---- reports ---------------------------------------------------------------------------------

    def track_classification(
        self, split: Split, predictions: Any, targets: Any, options: ReportOptions
    ) -> None:
        """Count a batch of classifications in the open split."""
        self._add(
            "track_classification",
            lambda: split.add_classifications(predictions, targets, options),
        )

    def track_regression(self, split: Split, predictions: Any, targets: Any) -> None:
        """Add a batch of regressions in the open split."""
        self._add("track_regression", lambda: split.add_regressions(predictions, targets))

    def _add(self, call: str, add: Callable[[], object]) -> None:
        self._run.touch()
        try:
            add()
        except ImportError as error:
            problem = f"{error}; no report is written; pip install torch"
        except Exception as error:  # noqa: BLE001  # whatever torch says to what it was given
            problem = f"{error}; the batch is left out"
        else:
            return
        self._run.complain(call, f"{call}: {problem}")


def guard_device(run: Run, what: str, action: Callable[[], object]) -> None:
    """A fault of the accelerator costs what it held, not the training."""
    try:
        action()
    except Exception as error:  # noqa: BLE001  # torch tells an earlier kernel's fault here
        run.complain("device", f"{what}: values on the device are lost ({error})")
