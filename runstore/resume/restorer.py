"""How an attempt goes on from the checkpoint of the one before it.

The registered objects get their states back at once, and again when the loops have come to where
the checkpoint was made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from runstore.errors import CheckpointError
from runstore.files.paths import RunPaths
from runstore.resume.checkpointer import Checkpointer, Checkpoints
from runstore.resume.registered import Registered

if TYPE_CHECKING:
    from pathlib import Path


class Restored(Protocol):
    """The run, as far as going on needs it."""

    path: Path
    rank: int

    def load_stage_state(self, state: dict[str, Any], restore: Callable[[], None]) -> None:
        """Lead the loops there again."""

    def write_event(self, event: str, **fields: Any) -> None:
        """Write a lifecycle event."""

    def warn(self, message: str) -> None:
        """Say what went wrong, each time."""

    def warn_once(self, key: str, message: str) -> None:
        """Say what went wrong, once per key."""


class Restorer:
    """Gives one run the states of the checkpoint that it goes on from, if there is one."""

    def __init__(
        self,
        run: Restored,
        objects: Registered,
        checkpointer: Checkpointer,
        checkpoints: Checkpoints,
    ) -> None:
        """Load nothing yet; the `checkpointer` is told the best value of the attempts before."""
        self._run = run
        self._objects = objects
        self._checkpointer = checkpointer
        self.point = checkpoints.point
        """The checkpoint that this attempt goes on from."""
        self._exact = checkpoints.exact
        self._payload: dict[str, Any] | None = None
        self._is_there = False
        """Whether the loops are where the checkpoint was made, and the states were taken."""
        self._has_compared = False

    @property
    def awaits_objects(self) -> bool:
        """Whether this attempt goes on from a checkpoint that nobody has loaded yet."""
        return self.point is not None and self._payload is None

    @property
    def resumed_from(self) -> int | None:
        """The step of the checkpoint that the attempt goes on from."""
        return self.point.row.step if self.point else None

    # ---- the states ------------------------------------------------------------------------------

    def restore(self, objects: Mapping[str, Any]) -> None:
        """Give objects that were just registered the checkpoint's states, if there is one.

        Raises:
            CheckpointError: the checkpoint does not fit the objects, or would not be exact.
        """
        if self.point is None or self._is_there:
            return
        first = self._payload is None
        payload = self._load()
        self._fill(payload["objects"], objects)
        if first:
            self._lead_back(payload)

    def restore_late(self, objects: Mapping[str, Any]) -> None:
        """Give states to what a stepper holds that was made behind `register`."""
        if self._payload is not None:
            states = self._payload["objects"]
            self._fill(states, {name: one for name, one in objects.items() if name in states})

    def _load(self) -> dict[str, Any]:
        from runstore.train.checkpoint import read_payload

        assert self.point is not None  # the caller has looked
        if self._payload is None:
            path = RunPaths(self._run.path).checkpoints / self.point.row.file
            self._payload = read_payload(path)
        return self._payload

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
        from runstore.train.checkpoint import freeze
        from runstore.train.ranks import world_size
        from runstore.train.rng import set_rng_state

        mine = self._own_part()
        state = rescaled(mine["stages"], len(payload["ranks"]), world_size())
        self._checkpointer.load_kept_best(payload["kept_best"])

        def restore() -> None:
            # Once more: on its way here the script may have stepped a scheduler, as it did then.
            known = payload["objects"]
            held = self._objects.everything()
            things = {name: one for name, one in held.items() if name in known}
            self._fill(known, things)
            for name, frozen in payload.get("frozen", {}).items():
                if name in things:
                    freeze(things[name], frozen)
            set_rng_state(mine["rng"])
            if state["kind"] != "manual":
                self._is_there = True
                # The states are in the objects now; a second copy of the model is not kept.
                payload["objects"] = {}

        self._run.load_stage_state(state, restore)

    # ---- whether it is exact ---------------------------------------------------------------------

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
        if self._objects:
            self._tell_what_is_not_held()
        if self._payload is None or self._has_compared:
            return
        self._compare(self._payload)
        held = self._objects.everything()
        # Those with names of ours are of steppers that the script may make later.
        missing = [name for name in self._payload["objects"] if name not in held and name[0] != "_"]
        if missing:
            self._run.warn(
                f"the checkpoint has a state of {', '.join(missing)}, which is not registered now"
            )

    def _tell_what_is_not_held(self) -> None:
        for kind, why in self._objects.not_held().items() if self._run.rank == 0 else ():
            self._run.warn_once(
                f"without state {kind}",
                f"the Stepper's {kind} is not in the checkpoints, so a resume is not exact: {why}; "
                "register an object that holds its state",
            )

    def _compare(self, payload: dict[str, Any]) -> None:
        """Record whether what follows is what an uninterrupted run would have done.

        Not before the training begins: which devices it is on only the registered models tell.
        """
        from runstore.train.where import differences, where_trained

        assert self.point is not None
        self._has_compared = True
        row = self.point.row
        different = differences(payload["where"], where_trained(list(self._objects.named.values())))
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

    def note_inexact(self, why: str) -> None:
        """Record that what follows is not what an uninterrupted run would have done.

        Raises:
            CheckpointError: the run was told to be exact.
        """
        if self._exact:
            raise CheckpointError(f"exact=True, but the resume is not exact: {why}")
        self._run.write_event("resume_not_exact", reason=why)
        self._run.warn(f"the resume is not exact: {why}")


def rescaled(stages: dict[str, Any], then: int, now: int) -> dict[str, Any]:
    """Return a rank's place for another number of ranks: the same share of the epoch is done."""
    split = stages.get("split")
    if split is None or then == now:
        return stages
    return {**stages, "split": {**split, "batch": split["batch"] * then // now}}
