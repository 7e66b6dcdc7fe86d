"""A run as training code sees it: its loops, its checkpoints, its end. `Recording` has its rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, SupportsIndex, TypeVar

from runstore.console import say
from runstore.environment.process import ProcessIdentity
from runstore.errors import CheckpointError
from runstore.files.checkpoints import ResumePoint
from runstore.files.paths import RunPaths
from runstore.metrics.reports import ReportOptions
from runstore.metrics.values import as_float, is_late
from runstore.resume.checkpointer import Checkpointer, Checkpoints
from runstore.resume.registered import Registered
from runstore.resume.restorer import Restorer
from runstore.run import exits
from runstore.run.boundaries import Boundaries, Windowed
from runstore.run.recording import Number, Recording
from runstore.run.step_counting import StepCounting
from runstore.run.stops import Requests, Stop
from runstore.several import let_collectives_go
from runstore.stages.replay import PlaceKind
from runstore.stages.stages import Stages
from runstore.state.pieces import Best
from runstore.tables.notebook import position, run_page
from runstore.text import printable, shell_word
from runstore.writer.rank_writer import RankWriter

Batch = TypeVar("Batch")
"""Whatever a loader yields: it is handed on as it is."""
DYING_S = 1.0
FINISH_WAIT_S = 60.0
"""How long `finish` waits for values that are still on an accelerator."""


class Run(Recording):
    """One attempt of one run, open for logging.

    Made by `runstore.init` or `RunManager.begin_run`; as a context manager it calls `finish`. After
    it is made, no call raises for a fault of the disk, nor for a bad value unless `strict=True`.
    What raises: a wrong order of stage calls (StageError), and a checkpoint that does not fit, in
    `register` and in the loops (CheckpointError). A run that is asked to stop leaves the loops by
    SystemExit; by KeyboardInterrupt if that was Ctrl-C.
    """

    def __init__(
        self,
        path: Path,
        params: dict[str, Any],
        *,
        attempt: int = 1,
        log_every: int = 1,
        strict: bool = False,
        best: str = "val/loss:min",
        system_interval_s: float | None = None,
        opening: Mapping[str, Any] | None = None,
        checkpoints: Checkpoints | None = None,
        rank: int = 0,
        all_ranks: bool = False,
    ) -> None:
        """Claim `attempt` of the run directory `path`; see `runstore.init` for the rest.

        On another rank than 0 nothing is claimed, and nothing written but how its machine does, and
        what `all_ranks` asks.
        """
        if log_every < 1:
            raise ValueError(f"log_every is {log_every}, expected 1 or more")
        checkpoints = checkpoints or Checkpoints()
        point, keep_best = checkpoints.point, checkpoints.rules.keep_best
        super().__init__(
            path,
            params,
            attempt=attempt,
            strict=strict,
            step=point.row.step if point else 0,
            rank=rank,
            muted=point is not None,
        )
        self.log_every = log_every
        self._counting = StepCounting()
        self._stages = Stages(self, self._position, best, keep_best[0] if keep_best else None)
        self._status = "running"
        # Re-entrant: SIGTERM may come while the main thread is inside.
        self._end_lock = threading.RLock()
        self._processes: list[dict[str, Any]] = []
        self._requests = Requests()
        self._registered = Registered()
        self._checkpointer = Checkpointer(self, self._registered, checkpoints)
        self._restorer = Restorer(self, self._registered, self._checkpointer, checkpoints)
        self.boundaries = Boundaries(self, self._checkpointer)
        self._open(
            opening=opening,
            progress=self._progress,
            system_interval_s=system_interval_s,
            all_ranks=all_ranks,
        )
        exits.watch(self)

    @property
    def summary(self) -> dict[str, float]:
        """What the splits of the newest epoch came to so far: `summary["val/loss"]`.

        By `split/name`, the sample-weighted means of what was tracked, with `val/accuracy`,
        `val/f1_macro`, `val/mse` and the like, from the end of each split's loop on; NaN where no
        value was finite. With several processes the same on each of them. A copy.
        """
        return dict(self._stages.summary)

    # ---- the stages ------------------------------------------------------------------------------

    def epochs(self, n: SupportsIndex) -> Iterator[int]:
        """Yield the epochs 1 to `n`, and write one epoch row behind each.

        A second call goes on counting: `n` further epochs. A `break` ends the epoch like its normal
        end; an exception leaves it open. A resumed run begins at the epoch of its checkpoint.

        Args:
            n: how many epochs; 0 for none.

        Yields:
            The number of the open epoch, from 1.

        Raises:
            StageError: it came inside of an open epoch or split.
            CheckpointError: the run is resumed from a checkpoint, and nothing is registered.
            SystemExit, KeyboardInterrupt: the run was asked to stop, and has saved.
        """
        return self._stages.epochs(n)

    def train(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of `loader` as the split `train`: progress, rate, ETA, durations.

        Between two batches the run saves, and stops when it was asked to. A resumed run passes over
        the batches that its checkpoint had seen. The split's end adds `train/duration_s` and
        `train/samples_per_s` to the epoch's row, and the means of what was tracked.

        Args:
            loader: any iterable of batches; one with `len()` has progress and an ETA. Of a
                `DataLoader` with a `ResumableSampler` the run sets the epoch and the place.

        Yields:
            The batches, unchanged.

        Raises:
            StageError: it came inside of a split of `RunManager.begin_split`.
            CheckpointError: the run is resumed from a checkpoint, and nothing is registered.
            SystemExit, KeyboardInterrupt: the run was asked to stop, and has saved.
        """
        return self._stages.split("train", loader)

    def val(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of `loader` as the split `val`: inside, after or without epochs.

        It may also come inside of a loop over `train`, every so many steps; the epoch's row then
        has the last one. The split's end writes a metrics row with its means.

        Args:
            loader: any iterable of batches; one with `len()` has progress and an ETA.

        Yields:
            The batches, unchanged.

        Raises:
            StageError: it came inside of an evaluation of `RunManager.begin_split`.
            CheckpointError: the run is resumed from a checkpoint, and nothing is registered.
            SystemExit, KeyboardInterrupt: the run was asked to stop, and has saved.
        """
        return self._stages.split("val", loader)

    def test(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of `loader` as the split `test`, inside or after the epochs; as `val`.

        Args:
            loader: any iterable of batches; one with `len()` has progress and an ETA.

        Yields:
            The batches, unchanged.

        Raises:
            StageError: it came inside of an evaluation of `RunManager.begin_split`.
            CheckpointError: the run is resumed from a checkpoint, and nothing is registered.
            SystemExit, KeyboardInterrupt: the run was asked to stop, and has saved.
        """
        return self._stages.split("test", loader)

    def track(
        self, *, n: Number | None = None, tokens: Number | None = None, **values: Number
    ) -> None:
        """Track a batch of the open split: `run.track(loss=loss, accuracy=acc, n=len(y))`.

        Adds to the split's sample-weighted means (`train/loss`, …). In a train split the batch is
        one step, and every `log_every` steps the values become a metrics row. Tensors on a GPU are
        summed there and not waited for. With the values v and counts n of its batches, on all
        ranks, a split's mean is Σ n·v / Σ n. Values that are not finite are left out of it, counted
        in `SPLIT/nonfinite`, and kept in the rows.

        Args:
            n: how many samples the values are the mean of, 0 or more. Without it every batch weighs
                the same, and there are no samples per second.
            tokens: how many tokens were in the batch, a number or a tensor; the epoch row has the
                split's tokens per second.
            values: the batch means, scalars or tensors of one element, by metric name without the
                split.

        Raises:
            StageError: no split is open.
            BadValueError: a value or a count is no number, and the run is strict.
        """
        self._stages.track(values, n, tokens)

    def track_classification(
        self,
        predictions: Any,
        targets: Any,
        *,
        target_names: Iterable[str] | None = None,
        labels: Iterable[int] | None = None,
        zero_division: float = 0,
    ) -> None:
        """Count a batch of classifications; the split's end writes a report row.

        The numbers are those of scikit-learn's `classification_report(…, output_dict=True)`, bit
        for bit, and `SPLIT/accuracy` and `SPLIT/f1_macro` join the split's means. Nothing waits for
        a GPU. Needs torch.

        Args:
            predictions: scores or logits, float [n, k] with k of 2 or more, whose largest is the
                predicted class; or predicted classes, integer [n]. Tensors, arrays or lists.
            targets: true classes, integer [n], 0 to k - 1; -100 marks a sample to leave out, as in
                PyTorch's `ignore_index`.
            target_names: the names of `labels`, or of all k classes, in their order.
            labels: the classes to report on; default those that occur, or all when they are named.
            zero_division: 0, 1 or NaN: the score of a class where there is nothing to divide by;
                the averages leave NaN out.

        Raises:
            StageError: no split is open.
            BadValueError: shapes or labels do not fit, and the run is strict.
        """
        options = ReportOptions(target_names, labels, zero_division)
        self._stages.track_classification(predictions, targets, options)

    def track_regression(self, predictions: Any, targets: Any) -> None:
        """Add a batch of regressions; the split's end has their `mse`, `mae` and `r2`.

        With predictions p and targets t of all batches, as in scikit-learn and in float64: `mse` is
        the mean of (p - t)², `mae` of |p - t|, and `r2` is 1 - Σ(p - t)² / Σ(t - mean of t)². Pairs
        that are not finite are left out and counted. Nothing waits for a GPU. Needs torch.

        Args:
            predictions: any shape and real dtype; each element is a sample. Tensors, arrays, lists.
            targets: as many elements, in the same order.

        Raises:
            StageError: no split is open.
            BadValueError: the numbers of elements differ, and the run is strict.
        """
        self._stages.track_regression(predictions, targets)

    def begin_epoch(self, epochs: SupportsIndex | None = None) -> int:
        """Open the next epoch and return its number; `epochs` is how many there will be."""
        return self._stages.begin_epoch(epochs)

    def begin_split(
        self,
        split: str,
        *,
        batches: SupportsIndex | None = None,
        samples: SupportsIndex | None = None,
    ) -> None:
        """Open a split (`train`, `val`, `test`, or any name), with its size when known.

        Any other than `train` may be opened inside of an open `train`.
        """
        self._stages.begin_split(split, batches, samples)

    def end_split(self) -> dict[str, float]:
        """Close the open split and return its means."""
        return self._stages.end_split()

    def end_epoch(self) -> dict[str, Any]:
        """Close the open epoch, write its row, and return it; save if it is time."""
        return self._stages.leave_epoch()

    # ---- checkpoints -----------------------------------------------------------------------------

    def register(self, **objects: Any) -> None:
        """Name what a checkpoint holds: `run.register(model=model, optimizer=optimizer, …)`.

        Anything with `state_dict` and `load_state_dict`, and torch.Generator. In a resumed run
        each object gets its state back at once, so call it before the loops, with the model on its
        device. With anything registered, checkpoints are written as `init` was told, and hold the
        states of Python's, numpy's and torch's random generators too.

        Args:
            objects: by the name that the checkpoint has for each; the same names when it resumes.

        Raises:
            TypeError: an object has no state.
            CheckpointError: the checkpoint does not fit the objects, or `exact=True` and the resume
                would not be exact.
        """
        self._registered.add(objects)
        self._restorer.restore(objects)
        if not self._restorer.awaits_objects and not self._stages.is_behind:
            self.unmute()

    def save(self, *, is_best: bool = False) -> None:
        """Ask for a checkpoint; without registered objects there is one warning and none.

        Inside of `run.train`, and between epochs, it is written when the optimizer step, or the
        epoch's body, is done: only there a resumed run can go on exactly. In an epoch whose batches
        come from a loop of your own it is written before a `Stepper`'s next step, or at once, and
        the resumed run begins the epoch again. Elsewhere it is written at once, and the script
        itself must lead back to where it was, by `run.step` and `run.epoch`.

        Args:
            is_best: also name it `checkpoints/best.pt`, and keep it.

        Raises:
            BadValueError: nothing is registered, and the run is strict.
        """
        if not self._checkpointer.is_active:
            self.complain("save", "save(): nothing is registered; call run.register(…) first")
            return
        if self._ended:
            self.warn_once("save", f"save(): {self._why_ended}; nothing is written")
            return
        self._checkpointer.ask(best=is_best)
        if not self._stages.in_loop:
            self._checkpointer.save(self._stages.place_kind, "asked for")

    @property
    def resumed_from(self) -> int | None:
        """The optimizer step of the checkpoint that this attempt goes on from.

        None when it began anew, as the first attempt does.
        """
        return self._restorer.resumed_from

    # ---- what steppers, signals and requests call ------------------------------------------------

    def add_stepper(self, stepper: Windowed) -> None:
        """Let `stepper` count the optimizer steps, if it is the first one: see `StepCounting`."""
        steppers = self.boundaries.steppers
        self._counting.note_added(len(steppers))
        steppers.append(stepper)
        self._restorer.restore_late(self._registered.add_stepper(stepper))
        self._steps_are_tracked = True

    def is_counting(self, stepper: Windowed) -> bool:
        """Tell whether this stepper's step, which it has just taken, is one of the run's."""
        return self._counting.note_step(self.boundaries.steppers.index(stepper))

    @property
    def has_stepper(self) -> bool:
        """Whether optimizer steps are counted by a `Stepper`, not by tracked batches."""
        return bool(self.boundaries.steppers)

    def begin_step(self) -> None:
        """A stepper begins a window behind the one before: saves and stops in own loops."""
        self._stages.begin_step()

    def train_position(self) -> tuple[int, int | None] | None:
        """Return the open train split's batch, from 1, and how many there are, or None."""
        return self._position.train_batch()

    def note_step(self, facts: Mapping[str, Number]) -> None:
        """Note what is known of the optimizer step just taken; it joins the step's row."""
        known = {key: v if is_late(v) else as_float(key, v) for key, v in facts.items()}
        self._stages.note_step(known)

    def check_registered(self) -> None:
        """Refuse to train on from a checkpoint that nobody has loaded.

        Raises:
            CheckpointError: the attempt resumes, and nothing is registered.
        """
        self._restorer.check_registered()

    @property
    def can_stop(self) -> bool:
        """Whether a loop of ours is running that will see the wish to stop."""
        return self._stages.in_loop and not self._ended

    @property
    def stop(self) -> Stop | None:
        """What asks the run to stop."""
        return self.boundaries.stop

    def ask_to_stop(self, stop: Stop) -> None:
        """Stop when the optimizer step is done and saved; called by signal handlers and threads."""
        self.boundaries.ask_to_stop(stop)
        if not stop.number and not self._stages.in_loop:
            exits.leave_from_thread(self)

    def ask_to_save(self) -> None:
        """Save at the next opportunity; called by the writer's thread."""
        self.boundaries.ask_to_save()

    # ---- what the stages and checkpoints call ----------------------------------------------------

    def count_step(self) -> None:
        """Count one optimizer step of a plain loop."""
        self._steps_are_tracked = True
        self.step += 1

    def unmute(self) -> None:
        """The script is where the checkpoint was made: what it logs is new."""
        self._muted = False
        self._counting.go_on()

    def sync_rows(self) -> dict[str, int]:
        """Write and sync every row; return each stream file's size.

        Raises:
            CheckpointError: rows wait in memory for a disk that does not take them. A checkpoint
                now would have them written behind its cut.
        """
        self._stages.write_step_row()
        # A resumed run does not log again what came before its checkpoint.
        self._images.flush()
        positions = self._writer.sync()
        if self._rows.mirror is not None:
            self._rows.mirror.flush()
        if self._writer.degraded:
            raise CheckpointError("the disk does not take the rows before it")
        return positions

    def stage_state(self, kind: PlaceKind) -> dict[str, Any]:
        """Return where the loops are, for a checkpoint."""
        return {
            **self._stages.state(kind),
            "steps_are_tracked": self._steps_are_tracked,
            "counting": self._counting.state(),
        }

    def load_stage_state(self, state: dict[str, Any], restore: Callable[[], None]) -> None:
        """Lead the loops to where a checkpoint was made."""
        self._steps_are_tracked = state["steps_are_tracked"]
        self._counting.load_state(state.get("counting", (0, False)))
        self._stages.load_state(state, restore)

    def note_loader(self, loader: Iterable[Any], *, inside: bool) -> None:
        """Note what a split is drawn from; with `inside` it goes on in the middle of a pass."""
        from runstore.train.loaders import lacks_seeds, resumes_exactly

        if lacks_seeds(loader):
            self.warn_once(
                "seeds", "SeededDataset has no effect here: it needs sampler=ResumableSampler(…)"
            )
        if self.resume_point is None or self._muted:
            return
        why = resumes_exactly(loader, inside=inside)
        if why and why not in self._complained:
            self._complained.add(why)
            self.note_inexact(why)

    @property
    def resume_point(self) -> ResumePoint | None:
        """The checkpoint that this attempt goes on from."""
        return self._restorer.point

    def note_ranks(self, processes: list[dict[str, Any]]) -> None:
        """Record who trains together; at a bad end the run tells which of them is gone."""
        self._processes = processes
        self.write_event("ranks", world_size=len(processes), processes=processes)

    def note_inexact(self, why: str) -> None:
        """Record that what follows is not what an uninterrupted run would have done."""
        self._restorer.note_inexact(why)

    def _progress(self) -> dict[str, Any]:
        self._requests.take(self, RunPaths(self.path).requests)
        idle_s = max(0.0, self.now() - self._active)
        return {
            "step": self.step,
            "idle_s": round(idle_s, 3),
            "longest_gap_s": round(self._longest_gap_s, 3),
            **self._position.progress(self.epoch, self.best),
        }

    # ---- the end ---------------------------------------------------------------------------------

    @property
    def best(self) -> Best | None:
        """The best epoch so far."""
        return self._stages.best

    def finish(self) -> None:
        """End the run as `finished`. Called by the `with` statement; a second call does nothing.

        It waits up to 60 s for values that are still on a GPU. A disk that takes nothing does not
        keep it: what could not be written is counted and told. An exception that leaves the `with`
        block ends the run as `failed`, Ctrl-C and SIGTERM as `interrupted`.
        """
        if not self._ended:
            self._stages.settle()
            self._tell_what_was_not_done()
            self.end("finished", self.unfinished())

    def _tell_what_was_not_done(self) -> None:
        """Before the end: rows, epochs and checkpoints that somebody may miss."""
        nothing_left = self._stages.nothing_left
        if self._muted and (self._muted_rows or not nothing_left):
            self.warn(
                f"the script ended before it came to where the checkpoint was made; "
                f"{self._muted_rows:,} rows were not written"
            )
        self._rows.settle(FINISH_WAIT_S)
        if nothing_left:
            if self.rank == 0:
                say(f"runstore: {nothing_left}")
        elif self._checkpointer.is_active and not (
            self._checkpointer.has_tried or self.resume_point
        ):
            self.warn_once(
                "never saved",
                "objects are registered, and no checkpoint was written: loops that are not "
                "run.epochs(…) or run.train(…) call run.save() themselves",
            )

    @property
    def ended(self) -> bool:
        """Whether the run has its end."""
        return self._ended

    def unfinished(self) -> str:
        """Say in words inside which epoch or split the run is; empty when it is in none."""
        return self._position.unfinished()

    def end(self, status: str, reason: str = "", **facts: Any) -> None:
        """End the run with one of the words finished, failed and interrupted, and a reason."""
        # Before the end: what goes wrong with them is an event.
        self._images.close()
        best = self._stages.best
        lost = self._lost_ranks(status) if status != "finished" else []
        if lost:
            reason = f"{reason}; rank {', '.join(map(str, lost))} is gone"
            facts["lost_ranks"] = lost
        with self._end_lock:
            already, self._ended = self._ended, True
            self._status = status
            try:
                if self._sampler is not None:
                    self._sampler.stop()
            finally:
                # Also when Ctrl-C interrupts the wait for the last sample.
                self._writer.end(
                    {
                        "status": status,
                        "reason": reason,
                        "duration_s": self._position.duration_s,
                        "step": self.step,
                        **self._position.open_stages(),
                        **(
                            {"best": {"epoch": best.epoch, best.metric: best.value}} if best else {}
                        ),
                        **({"dropped_values": self.dropped_values} if self.dropped_values else {}),
                        **(
                            {"dropped_images": self._images.dropped} if self._images.dropped else {}
                        ),
                        **facts,
                    }
                )
                if self._rows.mirror is not None:
                    self._rows.mirror.close(status)
            if not already:
                self._say_end(status, reason)
                let_collectives_go()
        # Last: a signal in the middle of the above leaves the rest to the end of the process.
        exits.forget(self)

    def _lost_ranks(self, status: str) -> list[int]:
        """Return the ranks whose processes on this machine are not there any more.

        A process that is killed closes its connections a moment before it is gone: what fails by
        that waits for it.
        """
        found = [(one["rank"], ProcessIdentity.from_record(one)) for one in self._processes]
        deadline = time.monotonic() + (DYING_S if status == "failed" and found else 0.0)
        while True:
            lost = [rank for rank, one in found if one and one.is_local() and not one.is_alive()]
            if lost or time.monotonic() >= deadline:
                return lost
            time.sleep(0.02)

    def _say_end(self, status: str, reason: str) -> None:
        """One line in any batch log; the run's last split may have had none."""
        if self.rank != 0:
            if self._writer.lost:
                say(f"runstore: rank {self.rank}: {self._writer.lost}")
            return
        self._stages.say_last()
        best = self._stages.best
        told = f"; best epoch {best.epoch}: {best.metric} {best.value:.4g}" if best else ""
        because = f" ({reason})" if reason else ""
        duration = f"{self._position.duration_s:.1f} s, step {self.step}"
        unwritten = "" if self._writer.end_is_written else "; its end could not be written"
        say(f"runstore: {status}{because} after {duration}{told}{unwritten}")
        if self._writer.lost:
            say(f"runstore: {self._writer.lost}")
        if self._images.dropped:
            say(f"runstore: images of {self._images.dropped:,} calls were not written")
        if status != "finished" and self._checkpointer.has_saved:
            say(f"runstore: go on with: runstore resume {shell_word(self.path)}")

    def forget_in_child(self) -> None:
        """A forked child does not write: every file has one writer."""
        self._ended = True
        self._why_ended = "this is a forked process and the run belongs to its parent"
        self._images.forget_in_child()
        # A RunWriter does so by itself: `runstore exec` has one without a run.
        if isinstance(self._writer, RankWriter):
            self._writer.forget_in_child()
        if self._rows.mirror is not None:
            self._rows.mirror.forget_in_child()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
        else:
            exits.end_by_exception(self, error)

    def __reduce__(self) -> NoReturn:
        """Refuse to be sent to another process, as to a worker that is spawned.

        Raises:
            TypeError: always; a forked worker has the run, and what it logs is ignored.
        """
        raise TypeError(
            "a runstore.Run belongs to the process that opened it and cannot be sent to another; "
            "log there, and keep the run out of datasets and of arguments of workers"
        )

    def __repr__(self) -> str:
        """Return `<runstore.Run 2026…-digits-… running, epoch 3/10, step 120>`."""
        stands = position(self.epoch, self._position.epochs, self.step)
        return printable(f"<runstore.Run {self.id} {', '.join([self._status, *stands])}>")

    def _repr_html_(self) -> str:
        """Return what a notebook shows: where the run stands, and what it came to so far."""
        stands = position(self.epoch, self._position.epochs, self.step)
        facts = {
            "status": self._status,
            "position": ", ".join(stands),
            "directory": str(self.path),
        }
        return run_page(self.id, facts, self.params, self.summary, (), self.best)
