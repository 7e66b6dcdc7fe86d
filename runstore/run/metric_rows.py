"""Metrics rows on their way to the disk: in order, whether or not their values are here yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from runstore.files.paths import Stream
from runstore.metrics.row_values import encode_finite, encode_row
from runstore.metrics.values import is_late
from runstore.stages.position import Position
from runstore.writer.rank_writer import RankWriter
from runstore.writer.writer import RunWriter

if TYPE_CHECKING:
    from runstore.run.tensorboard import Mirror


class MetricRows:
    """Appends the metrics rows of one attempt.

    Rows whose values are still on an accelerator hold back those behind them, so that the file is
    in the order of the calls. While nothing waits, `append` is the stream's own, and costs no look.
    """

    def __init__(
        self,
        writer: RunWriter | RankWriter,
        position: Position,
        complain: Callable[[str, str], None],
    ) -> None:
        """Append through `writer`; what is logged is noted in the epoch of `position`."""
        self._writer = writer
        self._position = position
        self._complain = complain
        self._late = writer.late
        self._late.on_change = self._divert
        self.append: Callable[[bytes], object] = writer.metrics.append
        """Append a line, behind those that wait."""
        self.note: Callable[[Mapping[str, Any]], object] = position.note_logged
        """Have the open epoch's row show the values of a row that was written."""
        self.mirror: Mirror | None = None
        """Takes the rows for TensorBoard."""
        self.lost_values = 0
        """Values whose accelerator did not hand them over."""

    def append_carefully(self, row: dict[str, Any]) -> None:
        """Append a row with names that need escaping, or values that are not finite, or not here.

        Such values are still tensors in `row`; they become floats in their turn.
        """
        late: dict[str, Any] = {}
        total = 0.0
        for key, value in row.items():
            kind = type(value)
            if kind is float or kind is int:
                total += value
            else:
                late[key] = value
        if late:
            self.when_known(late, partial(self._append_known, row))
        elif total - total == 0.0:  # finite when every value is
            self.append(encode_finite(row, self._complain))
        else:
            self.append(encode_row(row, self._complain))

    def _append_known(self, row: dict[str, Any], known: Mapping[str, float] | None) -> None:
        """Append a row whose late values are there, in whatever thread that is seen."""
        if known is None:
            return
        row |= known
        line = encode_row(row, self._writer.note_problem)
        self._writer.metrics.append(line)

    def when_known(
        self, values: Mapping[str, Any], take: Callable[[Mapping[str, float] | None], object]
    ) -> None:
        """Call `take` with `values` as floats when those on an accelerator have come.

        Nothing waits for them here. Rows that are written later wait behind; `take` is told None
        when the values were lost, and may be called in the writer's thread.
        """
        late = {key: value for key, value in values.items() if is_late(value)}
        here = {key: value for key, value in values.items() if key not in late}
        try:
            from runstore.train.host_copy import HostCopy

            copy = HostCopy(list(late.values())) if late else None
        except Exception as error:  # noqa: BLE001  # whatever torch says, of earlier faults too
            self.lost_values += len(late)
            self._complain("late", f"{', '.join(late)}: the values cannot be read ({error})")
            self._late.do(partial(take, here or None))
            return
        if copy is None:
            self._late.do(partial(take, here))
        else:
            self._late.put(copy, partial(self._take_late, take, here, tuple(late)))

    def _take_late(
        self,
        take: Callable[[Mapping[str, float] | None], object],
        here: Mapping[str, float],
        names: tuple[str, ...],
        values: list[float] | None,
    ) -> None:
        if values is None:
            self.lost_values += len(names)
            take(None)
        else:
            take({**here, **dict(zip(names, values, strict=True))})

    def _divert(self, waiting: bool) -> None:
        """Have rows wait behind those whose values are on their way, or no longer.

        By exchanging two functions, so that `log` need not ask in each row.
        """
        if waiting:
            self.append, self.note = self._append_behind, self._note_behind
        else:
            self.append = self._writer.metrics.append
            self.note = self._position.note_logged

    def _append_behind(self, line: bytes) -> None:
        self._late.do(partial(self._writer.metrics.append, line))

    def _note_behind(self, row: Mapping[str, Any]) -> None:
        noted = self._position.noted_epoch()
        if noted is not None:
            self._late.do(partial(noted.note, row))

    def mirror_row(self, stream: Stream, row: dict[str, Any]) -> None:
        """Hand a row to TensorBoard's files in the order in which it is written to ours."""
        assert self.mirror is not None  # the caller has looked
        put = partial(self.mirror.put, stream, row)
        if self._late:
            self._late.do(put)
        else:
            put()

    def settle(self, timeout_s: float | None = None) -> None:
        """Wait until every row is written whose values are still on an accelerator."""
        self._late.settle(timeout_s)
