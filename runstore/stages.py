"""The stages of a run: run → epoch → split, their order, durations and summaries.

A resumed run executes its script from the beginning: what an earlier attempt has done is passed
over, and nothing is written, until the loops come to the place where the checkpoint was made.
"""

from __future__ import annotations

import math
import operator
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar

from runstore.console import LineThrottle, split_display
from runstore.device_memory import peaks, reset_peaks
from runstore.errors import BadValueError, StageError
from runstore.meters import Meters, Pace, Sums
from runstore.open_stages import (
    TRAIN,
    Epoch,
    EpochDurations,
    Split,
    length_of,
    samples_of,
    summary_line,
)
from runstore.places import Place, PlaceKind, generator_states, place_generators
from runstore.state import Best
from runstore.step_rows import StepRow
from runstore.values import as_float, as_index, is_late, shown_as_text

if TYPE_CHECKING:
    from runstore.run import Run
    from runstore.train.classification import Classification
    from runstore.train.regression import Regression

Batch = TypeVar("Batch")
LOOK_INTERVAL_S = 0.5
"""How often values on an accelerator are fetched only to show them."""


class Stages:
    """Keeps the order of a run's stages and writes what each of them amounts to."""

    def __init__(self, run: Run, best: str) -> None:
        """Begin outside of any epoch.

        Args:
            run: writes the rows and events.
            best: `metric:min` or `metric:max`, which tells the best epoch.
        """
        self._run = run
        self._best_metric, self._best_sign = parse_best(best)
        self.best: Best | None = None
        self._epoch: Epoch | None = None
        # At most two: an evaluation may come inside of a train split, as in step-based training.
        # A tuple, because the writer's thread looks at it.
        self._splits: tuple[Split, ...] = ()
        self._epochs: int | None = None
        self._durations = EpochDurations()
        self._throttle = LineThrottle()
        self._paces: dict[str, Pace] = {}
        self._started = time.monotonic()
        self._step_row = StepRow()
        self._passed = 0
        """The number of the last epoch that was begun, or passed over."""
        self._train_splits = 0
        """Train splits that have ended in the open epoch, or outside of any."""
        self._in_epochs = False
        self._loaders: dict[str, Any] = {}
        """What each split was last drawn from."""
        self._generators: dict[str, list[Any]] = {}
        """The states of the loaders' own generators at the checkpoint, by split."""
        self._place: Place | None = None
        """Where the checkpoint was made, until the loops are there."""

    @property
    def _split(self) -> Split | None:
        """The innermost open split."""
        splits = self._splits
        return splits[-1] if splits else None

    # ---- loops -----------------------------------------------------------------------------------

    def epochs(self, n: SupportsIndex) -> Iterator[int]:
        """Yield `n` further epochs, each open and ended behind the loop's body."""
        count = operator.index(n)
        self._run.check_registered()
        total = self._passed + count
        for _ in range(count):
            if self._pass_over_epoch(total):
                continue
            number = self.begin_epoch(total)
            epoch = self._epoch
            self._in_epochs = True
            try:
                yield number
            except BaseException:
                if epoch is not None:
                    epoch.left = time.monotonic()
                raise
            finally:
                self._in_epochs = False
            if self._epoch is epoch:
                self._run.boundaries.after_epoch(self.end_epoch(), is_last=number == total)

    def _pass_over_epoch(self, total: int) -> bool:
        """Tell whether an earlier attempt has done the next epoch, and count it."""
        place = self._place
        if place is None or self._passed >= place.epochs_done:
            return False
        self._passed += 1
        self._run.epoch, self._epochs = self._passed, total
        if self._passed == place.epochs_done and place.split is None:
            self._arrive()
        return True

    def split(self, name: str, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield a loader's batches as a split."""
        self._run.check_registered()
        if self._pass_over_split(name):
            return
        batches = self._batches(name, loader)
        split = self._split
        assert split is not None  # _batches has begun it
        split.display = split_display(self._title(split), split.batches, self._throttle)
        try:
            for batch in batches:
                self._begin_batch(split)
                yield batch
                self._end_batch(split)
        except BaseException:
            # `break` and an exception look the same from here; the next call on the run tells. One
            # of the loader itself may be caught by the script, too.
            split.left = time.monotonic()
            split.display.leave()
            raise
        self._settle_splits()
        if self._split is split:
            if split.batch:
                split.pace.tick(time.monotonic())
            self.end_split()

    def _pass_over_split(self, name: str) -> bool:
        """Tell whether an earlier attempt has ended this train split of the resumed epoch."""
        place = self._place
        if place is None or name != TRAIN or not place.holds(self._epoch):
            return False
        if self._train_splits >= place.train_splits:
            return False
        self._train_splits += 1
        return True

    def _batches(self, name: str, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Begin a split, or go on with the one that the checkpoint was made in."""
        place = self._place
        saved = None
        if place is not None and place.split is not None and place.holds(self._epoch):
            saved = place.split if name == place.split["name"] else None
        if saved is not None:
            # From here on rows are written again; the generators follow with the first batch.
            self._leave_place()
        self.begin_split(name, length_of(loader), samples_of(loader))
        split = self._split
        assert split is not None  # begin_split has set it
        self._loaders[name] = loader
        if "torch" not in sys.modules:
            return iter(loader)
        from runstore.train.feed import Feed

        split.feed = Feed(loader, self._run.epoch)
        if saved is None or place is None:
            place_generators(name, loader, self._generators)
            return split.feed.start()
        split.load_state(saved)
        if saved["classification"] is not None:
            split.classification = _classification(None, None, 0)
            split.classification.load_state_dict(saved["classification"])
        if saved["regression"] is not None:
            split.regression = _regression()
            split.regression.load_state_dict(saved["regression"])
        self._generators.pop(name, None)
        self._run.note_loader(loader)
        return split.feed.resume(saved["feed"], place.restore, split.batch)

    def _title(self, split: Split) -> str:
        if self._epoch is None:
            return split.name
        total = f"/{self._epochs}" if self._epochs else ""
        return f"epoch {self._epoch.number}{total} {split.name}"

    def _begin_batch(self, split: Split) -> None:
        if split.batch:
            split.pace.tick(time.monotonic())
        split.batch += 1
        if split.display is not None:
            split.display.advance(split.batch, split.latest)
        self._run.touch()

    def _end_batch(self, split: Split) -> None:
        """Between two batches: what the last one left open, and whatever waits for such a moment.

        Before the next batch is fetched: that may draw random numbers.
        """
        self._settle_splits()
        if split.name != TRAIN:
            self._run.boundaries.after_evaluation_batch()
        elif self._split is split:
            self._write_step_row()
            self._run.boundaries.after_batch()

    # ---- stage calls -----------------------------------------------------------------------------

    def begin_epoch(self, epochs: Any = None) -> int:
        """Open the next epoch."""
        self.settle()
        total = self._size("begin_epoch(epochs=…)", epochs)
        if self._epoch is not None:
            expected = "end_split()" if self._split else "end_epoch()"
            raise StageError(
                f"begin_epoch() came inside epoch {self._epoch.number}; {expected} was expected"
            )
        if self._split is not None:
            raise StageError(
                f"begin_epoch() came inside the split {self._split.name!r}; "
                "end_split() was expected"
            )
        self._run.check_registered()
        place = self._place
        if place is not None:
            self._passed = max(self._passed, place.epochs_done)
            if place.split is None:
                # Explicit calls have no loop that could be passed over.
                self._arrive()
        self._passed += 1
        number = self._run.epoch = self._passed
        self._epoch = Epoch(number, time.monotonic())
        if place is not None and place.holds(self._epoch):
            self._epoch.load_state(place.epoch)
        self._train_splits = 0
        reset_peaks()
        self._epochs = total if total is not None else self._epochs
        self._run.write_event("epoch_start", epoch=number, epochs=self._epochs, step=self._run.step)
        self._run.touch()
        return number

    def begin_split(self, name: str, batches: Any, samples: Any) -> None:
        """Open a split."""
        self.settle()
        batches = self._size("begin_split(batches=…)", batches)
        samples = self._size("begin_split(samples=…)", samples)
        outer = self._split
        if outer is not None and (outer.name != TRAIN or name == TRAIN):
            raise StageError(
                f"begin_split({name!r}) came inside the split {outer.name!r}; "
                "end_split() was expected (only an evaluation may come inside of a train split)"
            )
        if not name or name.startswith("_") or "/" in name:
            raise StageError(f"begin_split({name!r}): a split's name has no / and no leading _")
        if name == TRAIN and self._place is not None:
            self._give_up_place("explicit stages do not lead into the middle of an epoch")
        now = time.monotonic()
        if outer is not None:
            outer.pace.stop(now)
        pace = self._paces.setdefault(name, Pace())
        pace.start(now)
        self._splits += (Split(name, batches, now, pace, meters=Meters(_device_sums)),)
        self._run.write_event(
            "split_start",
            split=name,
            epoch=self._run.epoch,
            step=self._run.step,
            batches=batches,
            samples=samples,
        )
        self._run.touch()

    def _size(self, name: str, size: object) -> int | None:
        """A size that is no count only costs the progress its end, not the training."""
        if size is None:
            return None
        try:
            count = as_index(name, size)
        except BadValueError:
            count = -1
        if count >= 0:
            return count
        self._run.complain(
            name, f"{name} is {shown_as_text(size)}, expected a number of them; none is shown"
        )
        return None

    def track(self, values: Mapping[str, Any], n: Any, tokens: Any = None) -> None:
        """Add a batch to the open split, and write its row when it is time."""
        split = self._open_split("track()")
        numbers = self._run.numbers(split.name, values)
        if split.display is None:
            # Explicit calls: no loop of ours counts the batches, so each call is one.
            split.batch += 1
            split.pace.tick(time.monotonic())
        samples = self._samples(n)
        self._guard_device("track()", lambda: split.meters.add(split.batch, numbers, samples))
        if tokens is not None:
            self._count_tokens(split, tokens)
        self._note_latest(split, numbers)
        self._run.touch()
        if split.name != TRAIN:
            return
        if self._run.has_stepper:
            self._add_to_step_row(split, numbers, samples)
            return
        self._count_step(split)
        if numbers and self._run.step % self._run.log_every == 0:
            self._run.write_row("metrics", numbers)

    def _add_to_step_row(
        self, split: Split, numbers: Mapping[str, float], samples: float | None
    ) -> None:
        self._step_row.add(numbers, samples)
        if split.display is None and self._step_row.is_taken:
            self._write_step_row()

    def note_step(self, facts: Mapping[str, float]) -> None:
        """Note that the optimizer step was taken: `lr`, `grad_norm`, …

        Inside a loop of ours the row is written behind the batch, so that it does not matter
        whether `track` comes before `step` or after it.
        """
        split = self._split
        self._step_row.note(facts)
        if split is None or split.name != TRAIN or split.display is None:
            self._write_step_row()

    def _write_step_row(self) -> None:
        if not self._step_row.is_taken:
            return
        values = self._step_row.take()
        if self._run.step % self._run.log_every == 0:
            self._run.note(self._run.write_row("metrics", values))

    def train_position(self) -> tuple[int, int | None] | None:
        """Return the open train split's batch, from 1, and how many it has; None outside of one."""
        split = self._split
        if split is None or split.name != TRAIN or split.left is not None:
            return None
        # Explicit calls count a batch when it is tracked, which comes behind the step.
        return (split.batch, split.batches) if split.display is not None else None

    def _guard_device(self, what: str, action: Callable[[], object]) -> None:
        """A fault of the accelerator costs what it held, not the training."""
        try:
            action()
        except Exception as error:  # noqa: BLE001  # torch tells an earlier kernel's fault here
            self._run.complain("device", f"{what}: values on the device are lost ({error})")

    def _note_latest(self, split: Split, numbers: Mapping[str, Any]) -> None:
        """Show the latest values; those on an accelerator now and then, when they have come."""
        if all(type(value) is float for value in numbers.values()):
            split.latest = numbers
        elif split.display is not None and time.monotonic() >= split.next_look:
            split.next_look = time.monotonic() + LOOK_INTERVAL_S
            self._run.when_known(numbers, split.show)

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

    def _tokens(self, split: Split) -> float:
        try:
            tokens = as_float("tokens", split.meters.tokens)
        except BadValueError as error:
            self._run.complain("tokens", f"{error}; no tokens per second of {split.name}")
            return 0.0
        return tokens if math.isfinite(tokens) else 0.0

    def _count_step(self, split: Split) -> None:
        """One optimizer step per batch, however often the batch is tracked."""
        if split.counted != split.batch:
            self._run.count_step()
        split.counted = split.batch

    def track_classification(
        self,
        predictions: Any,
        targets: Any,
        target_names: Iterable[str] | None,
        labels: Iterable[int] | None,
        zero_division: float,
    ) -> None:
        """Count a batch of classifications in the open split."""
        split = self._open_split("track_classification()")

        def add() -> None:
            if split.classification is None:
                split.classification = _classification(target_names, labels, zero_division)
            split.classification.add(predictions, targets)

        self._track("track_classification", add)

    def track_regression(self, predictions: Any, targets: Any) -> None:
        """Add a batch of regressions in the open split."""
        split = self._open_split("track_regression()")

        def add() -> None:
            if split.regression is None:
                split.regression = _regression()
            split.regression.add(predictions, targets)

        self._track("track_regression", add)

    def _track(self, call: str, add: Callable[[], object]) -> None:
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

    def end_split(self) -> dict[str, float]:
        """Close the open split; an evaluation split's means become a metrics row."""
        split = self._open_split("end_split()", settle=False)
        if split.name == TRAIN:
            self._run.boundaries.finish_windows()
            self._write_step_row()
            self._train_splits += 1
        self._run.settle_rows()
        self._splits = self._splits[:-1]
        left = split.left or time.monotonic()
        duration_s = left - split.started
        split.pace.stop(left)
        if self._split is not None:
            self._split.pace.start(left)
        self._guard_device(f"the end of {split.name}", split.meters.settle)
        # Also after a fault: the other processes wait for this one.
        self._guard_device(f"the end of {split.name}", lambda: _reduce(split))
        means = split.meters.values()
        means |= self._report(split)
        means |= self._regression(split)
        summary = means | self._split_facts(split, duration_s)
        if split.name != TRAIN and means:
            self._run.write_row("metrics", means)
        self._run.write_event(
            "split_end",
            split=split.name,
            epoch=self._run.epoch,
            step=self._run.step,
            batches=split.batch,
            duration_s=duration_s,
        )
        if self._epoch is not None and self._place is None:
            self._epoch.summary |= summary
        if split.display is not None:
            split.display.close(summary_line(self._title(split), means, duration_s))
        self._run.touch()
        return summary

    def _split_facts(self, split: Split, duration_s: float) -> dict[str, float]:
        facts = {f"{split.name}/duration_s": duration_s}
        if split.meters.samples and duration_s > 0:
            facts[f"{split.name}/samples_per_s"] = split.meters.samples / duration_s
        tokens = self._tokens(split)
        if tokens > 0 and duration_s > 0:
            facts[f"{split.name}/tokens_per_s"] = tokens / duration_s
        if split.meters.nonfinite_batches:
            count = split.meters.nonfinite_batches
            facts[f"{split.name}/nonfinite"] = float(count)
            self._run.write_event(
                "warning",
                message=f"{count} of {split.meters.batches} {split.name} batches were not finite",
                epoch=self._run.epoch,
                step=self._run.step,
            )
        return facts

    def _report(self, split: Split) -> dict[str, float]:
        """Write the report row of a split that tracked classifications."""
        if split.classification is None:
            return {}
        try:
            report = split.classification.report()
            outside = split.classification.outside
        except (ImportError, ValueError, RuntimeError) as error:
            self._run.complain("report", f"no report of {split.name}: {error}")
            return {}
        self._warn_left_out(split, "classes", outside, "samples of classes that the scores lack")
        self._run.write_row("reports", {}, split=split.name, **report.to_record())
        return _untracked(split, report.headline())

    def _regression(self, split: Split) -> dict[str, float]:
        """Return the errors of a split that tracked regressions."""
        found: dict[str, float] = {}
        if split.regression is not None:
            regression = split.regression
            self._guard_device("regression", lambda: found.update(regression.values()))
            self._warn_left_out(split, "pairs", regression.left_out, "pairs that are not finite")
        return _untracked(split, found)

    def _warn_left_out(self, split: Split, key: str, count: int, what: str) -> None:
        if count:
            self._run.complain(f"{split.name} {key}", f"{split.name}: {count} {what} are left out")

    def end_epoch(self) -> dict[str, Any]:
        """Close the open epoch and write its row."""
        self._settle_splits()
        self._run.settle_rows()
        if self._split is not None:
            raise StageError(
                f"end_epoch() came inside the split {self._split.name!r}; end_split() was expected"
            )
        epoch = self._epoch
        if epoch is None:
            raise StageError("end_epoch() came outside of an epoch; begin_epoch() was expected")
        if self._place is not None and self._place.holds(epoch):
            self._give_up_place(f"epoch {epoch.number} ended without the split it was made in")
        duration_s = (epoch.left or time.monotonic()) - epoch.started
        row = self._run.write_row(
            "epochs", {**epoch.logged, **epoch.summary, **peaks()}, duration_s=duration_s
        )
        self._durations.add(duration_s)
        self._note_best(epoch)
        self._epoch = None
        return row

    def _note_best(self, epoch: Epoch) -> None:
        value = {**epoch.logged, **epoch.summary}.get(self._best_metric)
        if value is None or not math.isfinite(value):
            return
        if self.best is None or self._best_sign * value < self._best_sign * self.best.value:
            self.best = Best(epoch.number, self._best_metric, value)

    def _open_split(self, call: str, *, settle: bool = True) -> Split:
        splits = self._splits
        if splits and splits[-1].left is None:
            return splits[-1]  # as nearly always; it comes with each batch
        if settle:
            self._settle_splits()
        if self._split is None:
            raise StageError(
                f"{call} came outside of a split; begin_split() was expected "
                "(or a loop over run.train(…), run.val(…), run.test(…))"
            )
        return self._split

    # ---- checkpoints -----------------------------------------------------------------------------

    @property
    def in_loop(self) -> bool:
        """Whether one of our loops will see what is asked of it, between two batches or epochs."""
        looping = (split.display is not None and split.left is None for split in self._splits)
        return self._in_epochs or any(looping)

    @property
    def is_behind(self) -> bool:
        """Whether the loops are not yet where the checkpoint was made."""
        return self._place is not None

    def state(self, kind: PlaceKind) -> dict[str, Any]:
        """Return what a resumed run goes on with: numbers, strings and tensors.

        Args:
            kind: `batch` between two batches of the open train split, `epoch` between two epochs,
                `manual` wherever the script called.
        """
        best = self.best
        state: dict[str, Any] = {
            "kind": kind,
            "epochs_done": self._passed - (self._epoch is not None),
            "train_splits": self._train_splits,
            "best": [best.epoch, best.metric, best.value] if best else None,
            "durations": [self._durations.epochs, self._durations.total_s],
            "generators": {name: generator_states(item) for name, item in self._loaders.items()},
        }
        if kind == "batch":
            split = self._split
            assert split is not None  # the caller is its loop
            state["epoch"] = self._epoch.state() if self._epoch is not None else None
            state["split"] = split.state()
        return state

    def load_state(self, state: dict[str, Any], restore: Callable[[], None]) -> None:
        """Go on where `state` was taken; `restore` puts the random generators back."""
        if state["best"] is not None:
            self.best = Best(*state["best"])
        self._durations = EpochDurations(*state["durations"])
        self._generators = state["generators"]
        place = Place(
            state["epochs_done"],
            state["train_splits"],
            state.get("epoch"),
            state.get("split"),
            restore,
        )
        self._place = place
        if state["kind"] == "manual":
            self._passed, self._run.epoch = place.epochs_done, place.epochs_done or None
            self._arrive()

    def _arrive(self) -> None:
        """The loops are where the checkpoint was made: rows are written again."""
        place = self._place
        self._leave_place()
        if place is not None:
            place.restore()

    def _leave_place(self) -> None:
        self._place = None
        self._run.unmute()

    def _give_up_place(self, why: str) -> None:
        self._run.note_inexact(f"the script did not come to where the checkpoint was made: {why}")
        self._arrive()

    def note_logged(self, row: Mapping[str, Any]) -> None:
        """Remember what was logged inside the open epoch: its row has the last value of each."""
        epoch = self.noted_epoch()
        if epoch is not None:
            epoch.note(row)

    def noted_epoch(self) -> Epoch | None:
        """Return the epoch whose row has what is logged now, or None."""
        epoch = self._epoch
        return epoch if epoch is not None and epoch.left is None else None

    # ---- what was left ---------------------------------------------------------------------------

    def settle(self) -> None:
        """End the stages whose loop was left by `break`: the run goes on, so it was no error."""
        self._settle_splits()
        if self._epoch is not None and self._epoch.left is not None and self._split is None:
            self.end_epoch()

    def _settle_splits(self) -> None:
        while self._split is not None and self._split.left is not None:
            self.end_split()

    def open_stages(self) -> dict[str, Any]:
        """Return where the run stands, for its `end` event, when it ends inside a stage."""
        found: dict[str, Any] = {}
        if self._epoch is not None:
            found["open_epoch"] = self._epoch.number
        if self._split is not None:
            found |= {"open_split": self._split.name, "batch": self._split.batch}
        return found

    def unfinished(self) -> str:
        """Say in words inside which epoch or split the run ends; empty when in none."""
        if self._epoch is None:
            return f"inside the split {self._split.name!r}" if self._split else ""
        return f"inside epoch {self._epoch.number}" + (
            f" of {self._epochs}" if self._epochs else ""
        )

    # ---- position --------------------------------------------------------------------------------

    def run_duration_s(self) -> float:
        """Seconds since the attempt began."""
        return time.monotonic() - self._started

    def position(self) -> dict[str, Any]:
        """Return what `progress.json` shows. Called by the writer's thread: reads only."""
        split = self._split
        position: dict[str, Any] = {
            "epoch": self._run.epoch,
            "epochs": self._epochs,
            "duration_s": self.run_duration_s(),
            "eta_s": self._eta_s(),
        }
        best = self.best
        if best is not None:
            position["best"] = {"epoch": best.epoch, "metric": best.metric, "value": best.value}
        if split is not None and split.left is None:
            position |= {
                "split": split.name,
                "batch": split.batch,
                "batches": split.batches,
                "it_per_s": split.pace.it_per_s,
            }
        return {key: value for key, value in position.items() if value is not None}

    def _eta_s(self) -> float | None:
        """Seconds until the last epoch ends."""
        if self._epochs is None:
            return None
        epoch = self._epoch
        done = (epoch.number - 1) if epoch else (self._run.epoch or 0)
        in_epoch_s = time.monotonic() - epoch.started if epoch else 0.0
        train = next((split for split in self._splits if split.name == TRAIN), None)
        return self._durations.eta_s(self._epochs - done, in_epoch_s, train)


def _device_sums() -> Sums:
    from runstore.train.device_sums import DeviceSums

    return DeviceSums()


def _reduce(split: Split) -> None:
    """Have the split's sums over all processes that train together."""
    if "torch" not in sys.modules:
        return
    from runstore.train.ranks import is_distributed

    if is_distributed():
        from runstore.train.reduce import reduce_split

        split.classification, split.regression = reduce_split(
            split.meters, split.classification, split.regression
        )


def _untracked(split: Split, found: Mapping[str, float]) -> dict[str, float]:
    """Return metrics of a split by their whole names; one that was tracked itself comes first."""
    named = {f"{split.name}/{key}": value for key, value in found.items()}
    return {key: value for key, value in named.items() if key not in split.meters.means}


def _regression() -> Regression:
    from runstore.train.regression import Regression

    return Regression()


def _classification(
    target_names: Iterable[str] | None, labels: Iterable[int] | None, zero_division: float
) -> Classification:
    from runstore.train.classification import Classification

    return Classification(
        target_names=list(target_names) if target_names is not None else None,
        labels=list(labels) if labels is not None else None,
        zero_division=zero_division,
    )


def parse_best(best: str) -> tuple[str, float]:
    """Return the metric and 1.0 (lowest is best) or -1.0 (highest) of `val/accuracy:max`.

    Raises:
        ValueError: the direction is neither `min` nor `max`.
    """
    metric, colon, direction = best.rpartition(":")
    if not colon or not metric or direction not in ("min", "max"):
        raise ValueError(f"best is {best!r}, expected METRIC:min or METRIC:max")
    return metric, -1.0 if direction == "max" else 1.0
