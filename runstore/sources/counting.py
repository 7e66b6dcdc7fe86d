"""How the rows of a log count: by steps, by steps within each epoch, or by epochs alone."""

from __future__ import annotations

from runstore.files.paths import Stream
from runstore.files.records import JsonObject


class Counting:
    """Learns from one log's rows, in order, how they count."""

    def __init__(self, *, is_known_by_epochs: bool = False) -> None:
        """Know nothing yet, or that the log is a table of epochs."""
        self._by_epochs = is_known_by_epochs
        self._epochs = 0
        self._repeats = 0
        self._epoch: dict[str, int] = {}
        """Split to the epoch of its last row."""
        self._before = 0
        """Steps of the epochs before this one, where each begins anew, …"""
        self._last = 0
        """… and the last one of this epoch."""
        self.contradicted = False
        """Rows that were taken for whole epochs are none: the log has to be read again."""

    def place(self, row: JsonObject, split: str) -> Stream:
        """Return the stream that a row belongs to; makes a step of one epoch one of the run.

        Args:
            row: the row, which is changed where its step begins anew with each epoch.
            split: the split that the row names in a column, or nothing.
        """
        epoch = row.get("epoch")
        if epoch is None:
            return self._of_evaluation(row) if self.is_evaluation(row) else "metrics"
        if "step" not in row:
            return self._of_epochs(epoch, split)
        self._count_on(row, epoch, split)
        return "metrics"

    def is_evaluation(self, row: JsonObject) -> bool:
        """Tell whether a row is the evaluation of the epoch that is open, which is its step.

        MMEngine's rows of batches name both, those of validations only `step`.
        """
        epoch = self._epoch.get("train")
        is_open = epoch is not None and row.get("step") == epoch and "epoch" not in row
        return is_open and row["step"] < self._last

    def _of_evaluation(self, row: JsonObject) -> Stream:
        row["epoch"], row["step"] = row["step"], self._before + self._last
        return "epochs"

    def _of_epochs(self, epoch: int, split: str) -> Stream:
        """A row with an epoch and no step is a whole epoch, unless there are many of them in it."""
        if self._by_epochs:
            return "epochs"
        if self.contradicted:
            return "metrics"
        if self._epoch.get(split) == epoch:
            self._repeats += 1
            # A training that was resumed repeats an epoch now and then.
            self.contradicted = self._repeats > 2 + self._epochs // 2
        else:
            self._epochs += 1
            self._epoch[split] = epoch
        return "epochs"

    def _count_on(self, row: JsonObject, epoch: int, split: str) -> None:
        """Where the epoch grows and the step does not, it is a step within the epoch."""
        step = row["step"]
        if split in ("", "train"):
            known = self._epoch.get("train")
            if known is not None and epoch > known and step <= self._last:
                self._before += self._last
            elif known is not None and epoch < known and self._before:
                # Resumed at an earlier epoch: how many steps that had is not known any more.
                self._before = self._before * max(0, epoch - 1) // max(1, known - 1)
            self._epoch["train"], self._last = epoch, step
        elif self._epoch.get("train") == epoch and (self._before or step < self._last):
            # mmcv counts the batches of an evaluation there.
            step = self._last
        if self._before or step != row["step"]:
            row["step"] = self._before + step
