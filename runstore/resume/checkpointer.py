"""What a run saves of the training, and when.

PyTorch is imported when the first object is registered or the first checkpoint is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from runstore.errors import CheckpointError, RunStoreError
from runstore.files.checkpoints import ResumePoint
from runstore.resume.registered import Registered
from runstore.resume.save_rules import SaveClock, SaveRules
from runstore.stages.replay import PlaceKind

if TYPE_CHECKING:
    from pathlib import Path

    from runstore.train.checkpoint import CheckpointStore
    from runstore.train.ranks import Agreement


class Saved(Protocol):
    """The run, as far as checkpoints need it."""

    path: Path
    attempt: int
    step: int
    epoch: int | None
    rank: int

    def sync_rows(self) -> dict[str, int]:
        """Write and sync every row; return each stream file's size."""

    def stage_state(self, kind: PlaceKind) -> dict[str, Any]:
        """Return where the loops are."""

    def write_event(self, event: str, **fields: Any) -> None:
        """Write a lifecycle event."""

    def warn(self, message: str) -> None:
        """Say what went wrong, each time."""

    def warn_once(self, key: str, message: str) -> None:
        """Say what went wrong, once per key."""

    def now(self) -> float:
        """Return Unix seconds."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """What `init` was told of checkpoints, and what it found."""

    rules: SaveRules = field(default_factory=SaveRules)
    point: ResumePoint | None = None
    """The checkpoint that this attempt goes on from."""
    exact: bool = False
    """Refuse to go on when it cannot be exact."""
    world_size: int = 1
    """How many processes train together and must agree."""


class Checkpointer:
    """Saves the registered objects of one run when it is time, on all ranks at once."""

    def __init__(self, run: Saved, objects: Registered, checkpoints: Checkpoints) -> None:
        """Have nothing to save until there are `objects`."""
        self._run = run
        self._objects = objects
        self._rules = checkpoints.rules
        self._store: CheckpointStore | None = None
        self._kept_best: float | None = None
        """The value by `keep_best`, times its sign, of the best epoch that a checkpoint has."""
        self._new_best: float | None = None
        """That of the epoch that the next checkpoint is of, when it is better."""
        self._agreement: Agreement | None = None
        if checkpoints.world_size > 1:
            from runstore.train.ranks import Agreement

            self._agreement = Agreement()
        self.has_saved = self.has_tried = False
        """Whether this attempt has written a checkpoint, and whether it has come to try."""
        self._clock = SaveClock(self._rules.every, run.step)
        self._is_asked = False
        """Somebody wants a checkpoint at the next opportunity."""
        self._is_asked_best = False

    @property
    def is_active(self) -> bool:
        """Whether there is anything to save."""
        return bool(self._objects)

    def load_kept_best(self, kept_best: float | None) -> None:
        """Compare with the best value of the attempts before."""
        self._kept_best = kept_best

    # ---- what is due -----------------------------------------------------------------------------

    def ask(self, *, best: bool = False) -> None:
        """Want a checkpoint at the next opportunity."""
        self._is_asked = True
        self._is_asked_best = self._is_asked_best or best

    def is_due(self, *, by_clock: bool = True) -> bool:
        """Tell whether a checkpoint is to be written now: asked for, or by `save_every`."""
        if not self._objects:
            return False
        return self._is_asked or (by_clock and self._clock.is_due(self._run.step))

    def wants_attention(self, *, stop: bool, by_clock: bool = True) -> bool:
        """Tell whether to look closer between two batches: cheap, and the same on every rank."""
        if self._agreement is None:
            return stop or self.is_due(by_clock=by_clock)
        if self._agreement.is_due():
            return True
        # Every rank counts the same steps; what else is due here, the others do not know of.
        by_steps = by_clock and self._rules.every.steps is not None and bool(self._objects)
        return by_steps and self._clock.is_due(self._run.step)

    def agree(self, *, stop: bool, by_clock: bool = True) -> tuple[bool, bool]:
        """Tell whether the run is to stop, and to save: whatever any rank wants, all do.

        The answer holds, not what comes in while the ranks vote: that may be news to this one only.
        """
        due = self.is_due(by_clock=by_clock)
        if self._agreement is None:
            return stop, stop or due
        stop, due, best = self._agreement.reach(stop, due, self._is_asked_best)
        self._is_asked_best = best
        return stop, stop or due

    def note_epoch(self, row: Mapping[str, Any], *, is_last: bool) -> None:
        """An epoch has ended: the best one and the last one are saved, whatever the clock says."""
        self._clock.note_epoch()
        self._new_best = self._better_value(row)
        best = self._new_best is not None
        if self._objects and (best or is_last):
            self.ask(best=best)

    def _better_value(self, epoch_row: Mapping[str, Any]) -> float | None:
        """Return what `keep_best` makes of an epoch that is better than the one that is kept."""
        rule = self._rules.keep_best
        # Rank 0, which writes, is the only one to know what is kept; the ranks vote at each epoch.
        if rule is None or not self._objects or self._run.rank != 0:
            return None
        value = epoch_row.get(rule[0])
        if not isinstance(value, float) or value != value:
            return None
        signed = rule[1] * value
        return signed if self._kept_best is None or signed < self._kept_best else None

    # ---- saving ----------------------------------------------------------------------------------

    def save(self, kind: PlaceKind, reason: str, *, best: bool = False) -> bool:
        """Write a checkpoint; tell whether it is there. A fault of the disk is a warning."""
        best = best or self._is_asked_best
        self._is_asked = self._is_asked_best = False
        self.has_tried = True
        try:
            self._save(kind, reason, best)
            self.has_saved = True
            self._kept_best = self._best_to_keep()
        except OSError as error:
            # Each time: a full disk may have room again, and who frees it wants to know.
            told = error.strerror or error
            if not self._run.path.exists():
                told = "the run's directory was deleted"
            self._run.warn(f"no checkpoint at step {self._run.step} ({told}); training goes on")
            return False
        except RunStoreError as error:
            message = f"no checkpoint at step {self._run.step} ({error}); training goes on"
            self._run.warn_once(f"checkpoint {error}", message)
            return False
        finally:
            self._clock.note_save(self._run.step)
            self._new_best = None
        return True

    def _best_to_keep(self) -> float | None:
        """Return what is the best once the next checkpoint is there; not before, it may fail."""
        return self._kept_best if self._new_best is None else self._new_best

    def _save(self, kind: PlaceKind, reason: str, best: bool) -> None:
        from runstore.train import ranks
        from runstore.train.checkpoint import FORMAT, frozen_parameters, own_buffers
        from runstore.train.rng import get_rng_state
        from runstore.train.where import where_trained

        run = self._run
        # The rows first: what they log is part of where the stages are.
        cuts, problem = self._sync_rows()
        own: dict[str, Any] = {
            "problem": problem,
            "rng": get_rng_state(),
            "stages": run.stage_state(kind),
            "buffers": own_buffers(self._objects.named),
            "cuts": cuts,
        }
        everyone = ranks.gather_objects(own)
        problems = [one["problem"] for one in everyone if one["problem"]]
        if problems:
            raise CheckpointError(problems[0])
        if run.rank != 0:
            return
        things = self._objects.everything()
        payload = {
            "format": FORMAT,
            "step": run.step,
            "epoch": run.epoch,
            "objects": {name: _state(name, thing) for name, thing in things.items()},
            "ranks": [{key: one[key] for key in ("rng", "stages", "buffers")} for one in everyone],
            "frozen": frozen_parameters(self._objects.named),
            "where": where_trained(list(self._objects.named.values())),
            "kept_best": self._best_to_keep(),
        }
        cuts = {name: size for one in everyone for name, size in one["cuts"].items()}
        split = own["stages"].get("split")
        facts = {
            "time": run.now(),
            "epoch": run.epoch,
            "batch": split["batch"] if split else None,
            "kind": kind,
            "reason": reason,
        }
        row = self._open_store().write(payload, cuts, best=best, facts=facts)
        told = {key: row.facts.get(key) for key in ("step", "epoch", "batch", "reason", "bytes")}
        run.write_event(
            "checkpoint", file=row.file, best=best, duration_s=row.facts["duration_s"], **told
        )

    def _sync_rows(self) -> tuple[dict[str, int], str | None]:
        """Return the files' sizes, or why there are none: the other ranks wait for either."""
        try:
            return self._run.sync_rows(), None
        except (OSError, CheckpointError) as error:
            return {}, str(error)

    def _open_store(self) -> CheckpointStore:
        from runstore.train.checkpoint import CheckpointStore

        run = self._run
        # The directory may have been moved since the last one.
        if self._store is None or self._store.run_dir != run.path:
            self._store = CheckpointStore(run.path, run.attempt, keep_last=self._rules.keep_last)
        return self._store


def _state(name: str, thing: Any) -> Any:
    """Return a registered object's state.

    Raises:
        CheckpointError: its own `state_dict` failed.
    """
    from runstore.train.checkpoint import state_of

    try:
        return state_of(name, thing)
    except Exception as error:
        raise CheckpointError(f"{name}: its state_dict() raised {error!r:.200}") from error
