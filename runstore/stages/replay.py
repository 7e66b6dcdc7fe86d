"""How a resumed run comes to where its checkpoint was made.

It executes its script from the beginning: what an earlier attempt has done is passed over, and
nothing is written, until the loops are there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from runstore.stages.open_stages import TRAIN, Epoch, Split

if TYPE_CHECKING:
    from runstore.run.run import Run
    from runstore.train.generators import LoaderGenerators

Batch = TypeVar("Batch")
EXHAUSTED = -1
PlaceKind = Literal["batch", "epoch", "step", "manual"]
"""Between two batches of a train split; between two epochs; inside of an epoch, behind a step in a
loop of the script's own; wherever the script called."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the loops a checkpoint was made."""

    epochs_done: int
    """Epochs that had ended."""
    train_splits: int
    """Train splits that had ended in the epoch that was open."""
    epoch: dict[str, Any] | None
    """The epoch that was open."""
    split: dict[str, Any] | None
    """The train split that was open; None between epochs."""
    restore: Callable[[], None]
    """Puts the random generators back as they were."""
    own_loop: int | None = None
    """The epoch that was open when a loop of the script's own was in it, which begins again."""

    def holds(self, epoch: Epoch | None) -> bool:
        """Tell whether this is the epoch that was open, or no epoch was and none is."""
        if self.split is None:
            return False
        if self.epoch is None:
            return epoch is None
        return epoch is not None and epoch.number == self.epoch["number"]


class Replay:
    """Counts what the loops have done, and passes over what an earlier attempt did."""

    def __init__(self, run: Run) -> None:
        """Begin before the first epoch, with nothing to pass over."""
        self._run = run
        self._place: Place | None = None
        """Where the checkpoint was made, until the loops are there."""
        self.epochs_begun = 0
        """The number of the last epoch that was begun, or passed over."""
        self._train_splits = 0
        """Train splits that have ended in the open epoch, or since the last one."""
        self._loops: list[int] = []
        """Of each loop over epochs that is over: after how many `break` left it, or EXHAUSTED."""
        self._earlier_loops: list[int] = []
        """The same of the attempts before."""
        self._loop_began = 0
        """The epochs before the newest loop."""
        self._generators: LoaderGenerators | None = None
        """The loaders' own, once PyTorch is loaded."""

    @property
    def is_behind(self) -> bool:
        """Whether the loops are not yet where the checkpoint was made."""
        return self._place is not None

    # ---- epochs ----------------------------------------------------------------------------------

    def begin_loop(self, epochs: int) -> int:
        """Begin a loop over `epochs`; return how many it has, if an earlier attempt has left it."""
        self._loop_began = self.epochs_begun
        number = len(self._loops)
        left = self._earlier_loops[number] if number < len(self._earlier_loops) else EXHAUSTED
        return epochs if left == EXHAUSTED else min(left, epochs)

    @property
    def was_left(self) -> bool:
        """Whether `break` had left the last loop that an earlier attempt had ended."""
        return bool(self._earlier_loops) and self._earlier_loops[-1] != EXHAUSTED

    def end_loop(self, *, is_left: bool = False) -> None:
        """The newest loop is over; with `is_left` by `break`, as early stopping does."""
        number = len(self._loops)
        again = number < len(self._earlier_loops) and self._earlier_loops[number] != EXHAUSTED
        done = self.epochs_begun - self._loop_began
        self._loops.append(done if is_left or again else EXHAUSTED)

    def pass_over_epoch(self) -> bool:
        """Tell whether an earlier attempt has done the next epoch, and count it."""
        place = self._place
        if place is None or self.epochs_begun >= place.epochs_done:
            return False
        self.epochs_begun += 1
        self._train_splits = 0
        self._run.epoch = self.epochs_begun
        if self.epochs_begun == place.epochs_done and place.split is None:
            self._arrive()
        return True

    def begin_epoch(self) -> Epoch:
        """Return the next epoch; the one that was open at the checkpoint has what it had there."""
        place = self._place
        if place is not None:
            self.epochs_begun = max(self.epochs_begun, place.epochs_done)
            if place.split is None:
                # Explicit calls have no loop that could be passed over.
                self._arrive()
        self.epochs_begun += 1
        self._train_splits = 0
        epoch = Epoch(self.epochs_begun, time.monotonic())
        if place is not None and place.holds(epoch):
            epoch.load_state(place.epoch)
        return epoch

    def end_epoch(self, epoch: Epoch) -> None:
        """Go on inexactly if the epoch was open at the checkpoint and its split never came."""
        self._train_splits = 0
        if self._place is not None and self._place.holds(epoch):
            self._give_up(f"epoch {epoch.number} ended without the split it was made in")

    # ---- splits ----------------------------------------------------------------------------------

    def pass_over_split(self, name: str, epoch: Epoch | None, loader: Iterable[Any]) -> bool:
        """Tell whether an earlier attempt has ended this train split."""
        place = self._place
        if place is None or name != TRAIN:
            return False
        # As a warm-up before the epochs, or between two of them.
        is_before = epoch is None and (
            self.epochs_begun < place.epochs_done or place.epoch is not None
        )
        if not is_before and not place.holds(epoch):
            return False
        if not is_before and self._train_splits >= place.train_splits:
            return False
        self._train_splits += 1
        generators = self._own_generators()
        if generators is not None:
            generators.note(name, loader, self._run.epoch, is_drawn=False)
        return True

    def arrive_in_split(self, name: str, epoch: Epoch | None) -> Place | None:
        """Return the place if the checkpoint was made in this split, and have rows written again.

        The random generators follow with the split's first batch.
        """
        place = self._place
        if place is None or place.split is None or not place.holds(epoch):
            return None
        if name != place.split["name"]:
            return None
        self._leave_place()
        return place

    def begin_split(self, name: str) -> None:
        """Go on inexactly if a train split begins before the loops came to the checkpoint's."""
        if name == TRAIN and self._place is not None:
            self._give_up("explicit stages do not lead into the middle of an epoch")

    def end_split(self, name: str) -> None:
        """Count a train split."""
        if name == TRAIN:
            self._train_splits += 1

    def batches(
        self, split: Split, loader: Iterable[Batch], place: Place | None
    ) -> Iterator[Batch]:
        """Return the batches of a split that was just begun.

        Args:
            split: gets its feed, when PyTorch is loaded.
            loader: what the batches are drawn from.
            place: where to go on, if it was in this split; see `arrive_in_split`.
        """
        generators = self._own_generators()
        if generators is None:
            return iter(loader)
        from runstore.train.feed import Feed

        generators.note(split.name, loader, self._run.epoch)
        self._run.note_loader(loader, inside=place is not None)
        split.feed = Feed(loader, self._run.epoch)
        if place is None or place.split is None:
            if not self.is_behind:
                generators.put_back(loader, inside=False)
            return split.feed.start()
        split.load_state(place.split)

        def restore() -> None:
            place.restore()
            # Another split may have drawn from them since this one began.
            generators.put_back(loader, inside=True)

        return split.feed.resume(place.split["feed"], restore, split.batch)

    def _own_generators(self) -> LoaderGenerators | None:
        if self._generators is None and sys.modules.get("torch") is not None:
            from runstore.train.generators import LoaderGenerators

            self._generators = LoaderGenerators(self._run.note_inexact)
        return self._generators

    # ---- checkpoints -----------------------------------------------------------------------------

    def state(self, kind: PlaceKind, epoch: Epoch | None, split: Split | None) -> dict[str, Any]:
        """Return where the loops are.

        Args:
            kind: what kind of place that is.
            epoch: the epoch that is open.
            split: the innermost split that is open.
        """
        generators = self._own_generators()
        state: dict[str, Any] = {
            "kind": kind,
            "epochs_done": self.epochs_begun - (epoch is not None),
            "train_splits": self._train_splits,
            "loops": list(self._loops),
            "generators": generators.state() if generators is not None else [],
        }
        if kind == "step" and epoch is not None:
            state["own_loop"] = epoch.number
        if kind == "batch":
            assert split is not None  # the caller is its loop
            state["epoch"] = epoch.state() if epoch is not None else None
            state["split"] = split.state()
        return state

    def load_state(self, state: Mapping[str, Any], restore: Callable[[], None]) -> None:
        """Pass over what was done before `state`; `restore` puts the random generators back."""
        generators = self._own_generators()
        if generators is not None:
            generators.load_state(state["generators"])
        place = Place(
            state["epochs_done"],
            state["train_splits"],
            state.get("epoch"),
            state.get("split"),
            restore,
            state.get("own_loop"),
        )
        self._place = place
        if place.split is None:
            # For loops of the script's own, which ask where they are.
            self._run.epoch = place.epochs_done or None
        if state["kind"] != "manual":
            self._earlier_loops = list(state.get("loops", []))
        else:
            self.epochs_begun = place.epochs_done
            self._arrive()

    def _arrive(self) -> None:
        """The loops are where the checkpoint was made: rows are written again."""
        place = self._place
        self._leave_place()
        if place is not None:
            place.restore()
            if place.own_loop is not None:
                self._run.note_inexact(
                    f"the checkpoint was made inside of epoch {place.own_loop}, in a loop of the "
                    "script's own; the epoch begins again"
                )

    def _leave_place(self) -> None:
        self._place = None
        self._run.unmute()

    def _give_up(self, why: str) -> None:
        self._run.note_inexact(f"the script did not come to where the checkpoint was made: {why}")
        self._arrive()
