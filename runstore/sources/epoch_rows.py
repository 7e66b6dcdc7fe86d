"""Rows of the table of epochs, out of logs that write training and validation in rows apart.

Which row of such a log is an epoch's last shows only when the next epoch comes. So each evaluation
adds to the row of its epoch what is new, and a state joins the rows of one epoch, the later values
on top: the table has each epoch's last evaluation, the best epoch is that of the best one.
"""

from __future__ import annotations

from runstore.files.records import RESERVED_KEYS, JsonObject

EVALUATED = "val/"
FINAL = "final/"
"""In place of `EVALUATED` what is no point of a curve: an evaluation behind the training, of the
model that is kept, which may be an earlier one."""
_MEAN = "_epoch"
"""Lightning writes `train_loss_epoch` beside …"""
_OF_A_BATCH = "_step"
"""… `train_loss_step`, whose last value says nothing of the epoch."""
_LEFT_OUT, _KEPT, _OF_AN_EPOCH = range(3)


class EpochRows:
    """Learns from a log's metrics rows, in order, what the rows of its epochs are."""

    def __init__(self) -> None:
        """Know of no epoch."""
        self._epoch: int | None = None
        self._values: JsonObject = {}
        """The last values of the epoch that are in no row of it yet."""
        self._kinds: dict[str, int] = {}

    def take(self, row: JsonObject) -> JsonObject | None:
        """Return what a metrics row tells of its whole epoch, and what came in it since the last.

        None for a row of a step in the middle of the training.
        """
        epoch = row.get("epoch")
        if type(epoch) is not int:
            return None
        if epoch != self._epoch:
            self._epoch, self._values = epoch, {}
        values, kinds, most = self._values, self._kinds, _LEFT_OUT
        for name, value in row.items():
            kind = kinds.get(name)
            if kind is None:
                kind = kinds[name] = _kind(name)
            if kind:
                values[name] = value
                most = max(most, kind)
        if most != _OF_AN_EPOCH:
            return None
        self._values = {}
        return {key: row[key] for key in row if key in RESERVED_KEYS} | values


def _kind(name: str) -> int:
    if name in RESERVED_KEYS or name.startswith(FINAL) or name.endswith(_OF_A_BATCH):
        return _LEFT_OUT
    return _OF_AN_EPOCH if name.startswith(EVALUATED) or name.endswith(_MEAN) else _KEPT


def final_name(name: str) -> str:
    """Return `final/loss` for `val/loss`; other names as they are."""
    return FINAL + name.removeprefix(EVALUATED) if name.startswith(EVALUATED) else name
