"""The stages of a run, run → epoch → split: their order, and the loops over them."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar

from runstore.console import LineThrottle, NoDisplay, split_display
from runstore.environment.device_memory import peaks, reset_peaks
from runstore.errors import BadValueError, StageError
from runstore.metrics.reports import ReportOptions
from runstore.metrics.values import as_index, shown_as_text
from runstore.stages.best_epoch import BestEpoch, NamedMetrics
from runstore.stages.open_stages import TRAIN, Epoch, Split, length_of, samples_of, summary_line
from runstore.stages.position import EpochDurations, Position
from runstore.stages.replay import PlaceKind, Replay
from runstore.stages.split_summary import write_summary
from runstore.stages.tracking import Tracker
from runstore.state.pieces import Best

if TYPE_CHECKING:
    from runstore.run.run import Run

Batch = TypeVar("Batch")


class Stages:
    """Keeps the order of a run's stages and writes where each of them begins and ends."""

    def __init__(
        self, run: Run, position: Position, best: str, keep_best: str | None = None
    ) -> None:
        """Begin outside of any epoch.

        Args:
            run: writes the rows and events.
            position: is told which stages are open.
            best: `metric:min` or `metric:max`, which tells the best epoch.
            keep_best: the metric by which checkpoints are kept, if any.
        """
        self._run = run
        self._position = position
        self._best = BestEpoch(best)
        self._named = NamedMetrics(best, keep_best)
        self._replay = Replay(run)
        self._tracker = Tracker(run)
        self._throttle = LineThrottle()
        self._in_epochs = False
        self._has_train_splits = False
        self.summary: dict[str, float] = {}
        """What the splits of the newest epoch came to so far; NaN where nothing was finite."""
        self._done_before = 0
        """Epochs that had ended when the checkpoint was made, if it was made between epochs."""
        self._only_passes_over = False
        """Whether the loops over epochs have come to none that was not done before."""

    @property
    def best(self) -> Best | None:
        """The best epoch so far."""
        return self._best.found

    @property
    def nothing_left(self) -> str:
        """Say in words that all epochs were done before and how to train further, if that is so."""
        done = self._done_before
        if not done or not self._only_passes_over:
            return ""
        if self._replay.was_left:
            return f"nothing was left to train: the loop was left by break in epoch {done}"
        return (
            f"nothing was left to train behind epoch {done}; for more, give run.epochs(…) a number "
            f"above {done} (not by run.params, which `runstore resume` takes from the record)"
        )

    # ---- loops -----------------------------------------------------------------------------------

    def epochs(self, n: SupportsIndex) -> Iterator[int]:
        """Yield `n` further epochs, each open and ended behind the loop's body."""
        count = operator.index(n)
        self._run.check_registered()
        # The loop before may have been left a moment ago.
        self.settle()
        total = self._replay.epochs_begun + count
        for _ in range(self._replay.begin_loop(count)):
            if self._replay.pass_over_epoch():
                self._position.epochs = total
                self._only_passes_over = True
                continue
            number = self.begin_epoch(total)
            epoch = self._position.epoch
            self._in_epochs = True
            try:
                yield number
                if self._position.epoch is epoch:
                    self._leave_loops(TRAIN)
                    self._finish_epoch(is_last=number == total)
            except BaseException:
                if epoch is not None:
                    epoch.left = time.monotonic()
                raise
            finally:
                self._in_epochs = False
        self._replay.end_loop()

    def _finish_epoch(self, *, is_last: bool) -> dict[str, Any]:
        epoch = self._position.epoch
        row = self.end_epoch()
        if epoch is not None and self._run.rank == 0 and not self.is_behind:
            for line in self._named.missing(epoch, is_last=is_last):
                self._run.warn(line)
        self._run.boundaries.after_epoch(row, is_last=is_last)
        return row

    def leave_epoch(self) -> dict[str, Any]:
        """Close the open epoch of explicit calls, and save or stop if it is time."""
        epoch = self._position.epoch
        is_last = epoch is not None and epoch.number == self._position.epochs
        return self._finish_epoch(is_last=is_last)

    def split(self, name: str, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield a loader's batches as a split."""
        self._run.check_registered()
        if self._replay.pass_over_split(name, self._position.epoch, loader):
            return
        # What was left by `break` on the way here belongs to what is passed over.
        self._leave_loops(name)
        self._settle_splits()
        place = self._replay.arrive_in_split(name, self._position.epoch)
        self.begin_split(name, length_of(loader), samples_of(loader))
        split = self._position.split
        assert split is not None  # begin_split has opened it
        batches = self._replay.batches(split, loader, place)
        title = self._position.title(split)
        split.display = (
            split_display(
                title,
                split.batches,
                self._throttle,
                is_train=name == TRAIN,
                has_bar=type(loader).__module__.partition(".")[0] == "tqdm",
            )
            if self._run.rank == 0
            else NoDisplay()
        )
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
        if self._position.split is split:
            if split.batch:
                split.pace.tick(time.monotonic())
            self.end_split()

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
        elif self._position.split is split:
            self._tracker.write_step_row()
            self._run.boundaries.after_batch()

    @property
    def in_loop(self) -> bool:
        """Whether one of our loops will see what is asked of it, between two batches or epochs."""
        splits = self._position.splits
        looping = (split.display is not None and split.left is None for split in splits)
        # A body without train splits of ours is a loop of the script's own, which may take hours:
        # only a stepper tells where it is.
        seen = self._has_train_splits or self._run.has_stepper
        return (self._in_epochs and seen) or any(looping)

    def begin_step(self) -> None:
        """A stepper is between two steps: save or stop here if the loop is the script's own."""
        self.write_step_row()
        # With train splits of ours there will be a place where the resume is exact.
        is_own = self._in_epochs and self._position.split is None and not self._has_train_splits
        if is_own and not self.is_behind:
            self._run.boundaries.between_own_steps()

    # ---- stage calls -----------------------------------------------------------------------------

    def begin_epoch(self, epochs: Any = None) -> int:
        """Open the next epoch."""
        self.settle()
        total = self._size("begin_epoch(epochs=…)", epochs)
        self._check_outside()
        self._run.check_registered()
        epoch = self._position.epoch = self._replay.begin_epoch()
        self._only_passes_over = False
        self._run.epoch = epoch.number
        self.summary = dict(epoch.summary)
        reset_peaks()
        if total is not None:
            self._position.epochs = total
        self._run.write_event(
            "epoch_start", epoch=epoch.number, epochs=self._position.epochs, step=self._run.step
        )
        self._run.touch()
        return epoch.number

    def _check_outside(self) -> None:
        """Refuse to begin an epoch inside of another, or of a split."""
        epoch, split = self._position.epoch, self._position.split
        if epoch is not None:
            expected = "end_split()" if split else "end_epoch()"
            raise StageError(
                f"begin_epoch() came inside epoch {epoch.number}; {expected} was expected"
            )
        if split is not None:
            raise StageError(
                f"begin_epoch() came inside the split {split.name!r}; end_split() was expected"
            )

    def begin_split(self, name: str, batches: Any, samples: Any) -> None:
        """Open a split."""
        self.settle()
        batches = self._size("begin_split(batches=…)", batches)
        samples = self._size("begin_split(samples=…)", samples)
        outer = self._position.split
        if outer is not None and (outer.name != TRAIN or name == TRAIN):
            raise StageError(
                f"begin_split({name!r}) came inside the split {outer.name!r}; "
                "end_split() was expected (only an evaluation may come inside of a train split)"
            )
        if not name or name.startswith("_") or "/" in name:
            raise StageError(f"begin_split({name!r}): a split's name has no / and no leading _")
        self._has_train_splits |= name == TRAIN
        self._replay.begin_split(name)
        self._position.open_split(name, batches)
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

    def end_split(self) -> dict[str, float]:
        """Close the open split; an evaluation split's means become a metrics row."""
        split = self._open_split("end_split()", settle=False)
        if split.name == TRAIN:
            self._run.boundaries.finish_windows()
            self._tracker.write_step_row()
        self._replay.end_split(split.name)
        self._run.settle_rows()
        duration_s = self._position.close_split()
        means, facts = write_summary(self._run, split, duration_s)
        self.summary |= means | facts
        epoch = self._position.epoch
        if epoch is not None and not self.is_behind:
            epoch.summary |= means | facts
        if split.display is not None:
            title = self._position.title(split)
            split.display.close(summary_line(title, means, duration_s))
        self._run.touch()
        return means | facts

    def end_epoch(self) -> dict[str, Any]:
        """Close the open epoch and write its row."""
        self._settle_splits()
        self._run.settle_rows()
        epoch, split = self._position.epoch, self._position.split
        if split is not None:
            raise StageError(
                f"end_epoch() came inside the split {split.name!r}; end_split() was expected"
            )
        if epoch is None:
            raise StageError("end_epoch() came outside of an epoch; begin_epoch() was expected")
        # Of a loop of the script's own, whose end nobody saw.
        self._run.boundaries.finish_windows()
        self._replay.end_epoch(epoch)
        duration_s = (epoch.left or time.monotonic()) - epoch.started
        row = self._run.write_row(
            "epochs", {**epoch.logged, **epoch.summary, **peaks()}, duration_s=duration_s
        )
        self._position.durations.add(duration_s)
        self._add_to_best(epoch)
        self._position.epoch = None
        return row

    def _add_to_best(self, epoch: Epoch) -> None:
        before = self._best.found
        self._best.add(epoch)
        best = self._best.found
        if before is None or best is before or best is None or self._run.rank != 0:
            return  # the first is always the best so far
        self._throttle.say_if_room(
            f"epoch {best.epoch} is the best so far: {best.metric} {best.value:.4g}"
        )

    def say_last(self) -> None:
        """At the end of the run: print the last evaluation, if it was not printed yet."""
        self._throttle.say_last()

    # ---- batches ---------------------------------------------------------------------------------

    def track(self, values: Mapping[str, Any], n: Any, tokens: Any = None) -> None:
        """Add a batch to the open split, and write its row when it is time."""
        self._tracker.track(self._open_split("track()"), values, n, tokens)

    def track_classification(self, predictions: Any, targets: Any, options: ReportOptions) -> None:
        """Count a batch of classifications in the open split."""
        split = self._open_split("track_classification()")
        self._tracker.track_classification(split, predictions, targets, options)

    def track_regression(self, predictions: Any, targets: Any) -> None:
        """Add a batch of regressions in the open split."""
        split = self._open_split("track_regression()")
        self._tracker.track_regression(split, predictions, targets)

    def note_step(self, facts: Mapping[str, float]) -> None:
        """Note that the optimizer step was taken: `lr`, `grad_norm`, …"""
        self._tracker.note_step(self._position.split, facts)

    def _open_split(self, call: str, *, settle: bool = True) -> Split:
        splits = self._position.splits
        if splits and splits[-1].left is None:
            return splits[-1]  # as nearly always; it comes with each batch
        if settle:
            self._settle_splits()
        split = self._position.split
        if split is None:
            raise StageError(
                f"{call} came outside of a split; begin_split() was expected "
                "(or a loop over run.train(…), run.val(…), run.test(…))"
            )
        return split

    def write_step_row(self) -> None:
        """Write the row of the optimizer step that was taken, if it has none yet."""
        self._tracker.write_step_row()

    # ---- checkpoints -----------------------------------------------------------------------------

    @property
    def is_behind(self) -> bool:
        """Whether the loops are not yet where the checkpoint was made."""
        return self._replay.is_behind

    @property
    def place_kind(self) -> PlaceKind:
        """What a checkpoint outside of the splits is: `epoch` where `epochs` leads back to."""
        if self._position.split is not None or not self._replay.epochs_begun:
            return "manual"
        if self._position.epoch is None:
            return "epoch"
        return "step" if self._in_epochs else "manual"

    def state(self, kind: PlaceKind) -> dict[str, Any]:
        """Return what a resumed run goes on with: numbers, strings and tensors.

        Args:
            kind: what kind of place that is.
        """
        durations = self._position.durations
        return {
            **self._replay.state(kind, self._position.epoch, self._position.split),
            "best": self._best.state(),
            "summary": dict(self.summary),
            "metrics_seen": self._named.state(),
            "durations": [durations.epochs, durations.total_s],
        }

    def load_state(self, state: dict[str, Any], restore: Callable[[], None]) -> None:
        """Go on where `state` was taken; `restore` puts the random generators back."""
        self._best.load_state(state["best"])
        self._done_before = state["epochs_done"] if state["kind"] == "epoch" else 0
        self.summary = dict(state.get("summary", {}))
        self._named.load_state(state.get("metrics_seen", []))
        self._position.durations = EpochDurations(*state["durations"])
        self._replay.load_state(state, restore)

    # ---- what was left ---------------------------------------------------------------------------

    def settle(self) -> None:
        """End the stages whose loop was left by `break`: the run goes on, so it was no error."""
        self._settle_splits()
        epoch = self._position.epoch
        if epoch is not None and epoch.left is not None and self._position.split is None:
            # Whoever breaks out of the epochs has the model that he wants; Ctrl-C may be resumed.
            self._replay.end_loop(is_left=not self._run.boundaries.was_interrupted)
            self._finish_epoch(is_last=True)

    def _leave_loops(self, name: str) -> None:
        """Leave the loops over splits in which the next one, or the epoch's end, cannot come.

        Of `bar = tqdm(run.train(loader))` nobody hears that it was left by `break`: it is kept.
        """
        for split in self._position.splits:
            is_open = split.display is not None and split.left is None
            if is_open and (name == TRAIN or split.name != TRAIN):
                split.left = time.monotonic()

    def _settle_splits(self) -> None:
        while (split := self._position.split) is not None and split.left is not None:
            self.end_split()
