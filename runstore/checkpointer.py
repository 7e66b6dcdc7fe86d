"""What a run saves of the training, when, and how it goes on from there.

PyTorch is imported when the first object is registered or the first checkpoint is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from runstore.checkpoints import ResumePoint
from runstore.errors import CheckpointError, RunStoreError
from runstore.paths import RunPaths
from runstore.replay import PlaceKind
from runstore.save_rules import SaveClock, SaveRules

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

    def load_stage_state(self, state: dict[str, Any], restore: Callable[[], None]) -> None:
        """Lead the loops there again."""

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
    """The registered objects of one run, and the checkpoints that hold them."""

    def __init__(self, run: Saved, checkpoints: Checkpoints) -> None:
        """Hold nothing yet."""
        self._run = run
        self._rules, self.point = checkpoints.rules, checkpoints.point
        self._exact = checkpoints.exact
        self._objects: dict[str, Any] = {}
        self._of_steppers: dict[str, Any] = {}
        """Steppers, their optimizers and schedulers, under names of our own."""
        self._without_state: dict[str, tuple[Any, str]] = {}
        """Those of them that cannot be held, and why."""
        self._payload: dict[str, Any] | None = None
        self._store: CheckpointStore | None = None
        self._kept_best: float | None = None
        """The value by `keep_best`, times its sign, of the best epoch that a checkpoint has."""
        self._new_best: float | None = None
        """That of the epoch that the next checkpoint is of, when it is better."""
        self._agreement: Agreement | None = None
        if checkpoints.world_size > 1:
            from runstore.train.ranks import Agreement

            self._agreement = Agreement()
        self._is_there = False
        """Whether the loops are where the checkpoint was made, and the states were taken."""
        self._has_compared = False
        self.has_saved = False
        """Whether this attempt has written a checkpoint."""
        self._clock = SaveClock(self._rules.every, run.step)
        self._is_asked = False
        """Somebody wants a checkpoint at the next opportunity."""
        self._is_asked_best = False

    @property
    def is_active(self) -> bool:
        """Whether there is anything to save."""
        return bool(self._objects)

    @property
    def awaits_objects(self) -> bool:
        """Whether this attempt goes on from a checkpoint that nobody has loaded yet."""
        return self.point is not None and self._payload is None

    # ---- going on --------------------------------------------------------------------------------

    def register(self, objects: Mapping[str, Any]) -> None:
        """Take objects with a state, and give them the checkpoint's.

        Raises:
            TypeError: an object has no state.
            CheckpointError: the checkpoint does not fit the objects, or would not be exact.
        """
        from runstore.train import checkpoint

        for name, thing in objects.items():
            checkpoint.check_stateful(name, thing)
        self._objects |= objects
        if self.point is None or self._is_there:
            return
        first = self._payload is None
        payload = self._load()
        self._fill(payload["objects"], objects)
        if first:
            self._lead_back(payload)

    def register_stepper(self, stepper: Any) -> None:
        """Hold a stepper, its optimizer and its scheduler, which the script may not register."""
        from runstore.train.checkpoint import why_not_saved

        parts = {"stepper": stepper, "optimizer": stepper.optimizer, "scheduler": stepper.scheduler}
        for kind, thing in parts.items():
            if thing is None or any(thing is one for one in self._of_steppers.values()):
                continue
            name = f"_{kind}{sum(known.startswith(f'_{kind}') for known in self._of_steppers)}"
            why = why_not_saved(type(thing).__name__, thing)
            if why is not None:
                self._without_state[kind] = thing, why
            else:
                self._of_steppers[name] = thing
                self._fill_late(name, thing)

    def _fill_late(self, name: str, thing: Any) -> None:
        """Behind `register`, in a script that leads back to where it was by itself."""
        if self._payload is not None and name in self._payload["objects"]:
            self._fill(self._payload["objects"], {name: thing})

    def _all_objects(self) -> dict[str, Any]:
        """Return what is registered, and what the steppers have that is not."""
        registered = [id(thing) for thing in self._objects.values()]
        own = {n: thing for n, thing in self._of_steppers.items() if id(thing) not in registered}
        return self._objects | own

    def _tell_what_is_not_held(self) -> None:
        registered = [id(thing) for thing in self._objects.values()]
        for kind, (thing, why) in self._without_state.items():
            if id(thing) not in registered and self._run.rank == 0:
                self._run.warn_once(
                    f"without state {kind}",
                    f"the Stepper's {kind} is not in the checkpoints, so a resume is not exact: "
                    f"{why}; register an object that holds its state",
                )

    def _load(self) -> dict[str, Any]:
        from runstore.train.checkpoint import read_payload

        assert self.point is not None  # the caller has looked
        if self._payload is None:
            path = RunPaths(self._run.path).checkpoints / self.point.row.file
            self._payload = read_payload(path)
        return self._payload

    def _compare(self, payload: dict[str, Any]) -> None:
        """Record whether what follows is what an uninterrupted run would have done.

        Not before the training begins: which devices it is on only the registered models tell.
        """
        from runstore.train.checkpoint import differences, where_trained

        assert self.point is not None
        self._has_compared = True
        row = self.point.row
        different = differences(payload["where"], where_trained(list(self._objects.values())))
        if different and self._exact:
            raise CheckpointError(
                f"exact=True, but resuming from checkpoints/{row.file} is not exact "
                f"({'; '.join(different)})"
            )
        self._run.write_event(
            "resume",
            file=row.file,
            step=row.step,
            epoch=row.epoch,
            batch=row.batch,
            exact=not different,
            **({"not_exact": different} if different else {}),
        )
        if different:
            self._run.warn(f"the resume is not exact: {'; '.join(different)}")

    def _fill(self, states: dict[str, Any], objects: Mapping[str, Any]) -> None:
        from runstore.train.checkpoint import load_buffers, load_state

        assert self.point is not None
        for name, thing in objects.items():
            if name not in states:
                raise CheckpointError(
                    f"checkpoints/{self.point.row.file} has no {name!r}, only "
                    f"{', '.join(states)}; register the same objects as before"
                )
            load_state(name, thing, states[name])
            buffers = self._own_part()["buffers"].get(name)
            if buffers is not None:
                load_buffers(thing, buffers)

    def _own_part(self) -> dict[str, Any]:
        """Return what the checkpoint has of this process alone."""
        parts: list[dict[str, Any]] = self._load()["ranks"]
        # With more processes than before the further ones go on as the first did.
        return parts[self._run.rank] if self._run.rank < len(parts) else parts[0]

    def _lead_back(self, payload: dict[str, Any]) -> None:
        from runstore.train.ranks import world_size
        from runstore.train.rng import set_rng_state

        mine = self._own_part()
        state = rescaled(mine["stages"], len(payload["ranks"]), world_size())
        self._kept_best = payload["kept_best"]

        def restore() -> None:
            # Once more: on its way here the script may have stepped a scheduler, as it did then.
            known = payload["objects"]
            things = {name: one for name, one in self._all_objects().items() if name in known}
            self._fill(known, things)
            set_rng_state(mine["rng"])
            if state["kind"] != "manual":
                self._is_there = True
                # The states are in the objects now; a second copy of the model is not kept.
                payload["objects"] = {}

        self._run.load_stage_state(state, restore)

    @property
    def resumed_from(self) -> int | None:
        """The step of the checkpoint that the attempt goes on from."""
        return self.point.row.step if self.point else None

    def check_registered(self) -> None:
        """See to it that what the checkpoint holds was taken, before the training begins.

        Raises:
            CheckpointError: nothing is registered.
        """
        if self.awaits_objects:
            assert self.point is not None
            raise CheckpointError(
                f"this run goes on from checkpoints/{self.point.row.file}; call "
                "run.register(model=…, optimizer=…) before the loops, or start a new run with "
                "resume='never'"
            )
        if self._objects and self._without_state:
            self._tell_what_is_not_held()
        if self._payload is None or self._has_compared:
            return
        self._compare(self._payload)
        held = self._all_objects()
        missing = [name for name in self._payload["objects"] if name not in held]
        if missing:
            self._run.warn(
                f"the checkpoint has a state of {', '.join(missing)}, which is not registered now"
            )

    def note_inexact(self, why: str) -> None:
        """Record that what follows is not what an uninterrupted run would have done.

        Raises:
            CheckpointError: the run was told to be exact.
        """
        if self._exact:
            raise CheckpointError(f"exact=True, but the resume is not exact: {why}")
        self._run.write_event("resume_not_exact", reason=why)
        self._run.warn(f"the resume is not exact: {why}")

    # ---- saving ----------------------------------------------------------------------------------

    def ask(self, *, best: bool = False) -> None:
        """Want a checkpoint at the next opportunity."""
        self._is_asked = True
        self._is_asked_best = self._is_asked_best or best

    def is_due(self) -> bool:
        """Tell whether a checkpoint is to be written now."""
        if not self._objects:
            return False
        return self._is_asked or self._clock.is_due(self._run.step)

    def wants_attention(self, *, stop: bool) -> bool:
        """Tell whether to look closer between two batches: cheap, and the same on every rank."""
        if self._agreement is None:
            return stop or self.is_due()
        if self._agreement.is_due():
            return True
        # Every rank counts the same steps; what else is due here, the others do not know of.
        by_steps = self._rules.every.steps is not None and bool(self._objects)
        return by_steps and self._clock.is_due(self._run.step)

    def agree(self, *, stop: bool) -> tuple[bool, bool]:
        """Tell whether the run is to stop, and to save: whatever any rank wants, all do.

        The answer holds, not what comes in while the ranks vote: that may be news to this one only.
        """
        if self._agreement is None:
            return stop, stop or self.is_due()
        stop, due, best = self._agreement.reach(stop, self.is_due(), self._is_asked_best)
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

    def save(self, kind: PlaceKind, reason: str, *, best: bool = False) -> bool:
        """Write a checkpoint; tell whether it is there. A fault of the disk is a warning."""
        best = best or self._is_asked_best
        self._is_asked = self._is_asked_best = False
        try:
            self._save(kind, reason, best)
            self.has_saved = True
            self._kept_best = self._best_to_keep()
        except OSError as error:
            # Each time: a full disk may have room again, and who frees it wants to know.
            told = error.strerror or error
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
        from runstore.train.checkpoint import FORMAT, own_buffers, where_trained
        from runstore.train.rng import get_rng_state

        run = self._run
        # The rows first: what they log is part of where the stages are.
        cuts, problem = self._sync_rows()
        own: dict[str, Any] = {
            "problem": problem,
            "rng": get_rng_state(),
            "stages": run.stage_state(kind),
            "buffers": own_buffers(self._objects),
            "cuts": cuts,
        }
        everyone = ranks.gather_objects(own)
        problems = [one["problem"] for one in everyone if one["problem"]]
        if problems:
            raise CheckpointError(problems[0])
        if run.rank != 0:
            return
        things = self._all_objects()
        payload = {
            "format": FORMAT,
            "step": run.step,
            "epoch": run.epoch,
            "objects": {name: _state(name, thing) for name, thing in things.items()},
            "ranks": [{key: one[key] for key in ("rng", "stages", "buffers")} for one in everyone],
            "where": where_trained(list(self._objects.values())),
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

        if self._store is None:
            run = self._run
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


def rescaled(stages: dict[str, Any], then: int, now: int) -> dict[str, Any]:
    """Return a rank's place for another number of ranks: the same share of the epoch is done."""
    split = stages.get("split")
    if split is None or then == now:
        return stages
    return {**stages, "split": {**split, "batch": split["batch"] * then // now}}
