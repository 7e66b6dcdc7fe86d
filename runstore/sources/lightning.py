"""Directories of Lightning's CSVLogger: `lightning_logs/version_0/{metrics.csv,hparams.yaml}`.

Training and validation are rows of one table (lightning/fabric/loggers/csv_logs.py): its columns
are sorted, a row has cells for the metrics that it is about, `epoch` and `step`, both from 0. When
a metric is new, the whole table is written anew, in place. Fabric's logger, and a module without
hyperparameters, write no `hparams.yaml`; such a directory is known by its name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from runstore.files.records import JsonObject, RecordError
from runstore.files.regular import bytes_at
from runstore.sources.columns import Columns, canonical
from runstore.sources.counting import Counting
from runstore.sources.csv_rows import CsvFile, Table
from runstore.sources.epoch_rows import EVALUATED, EpochRows, final_name
from runstore.sources.foreign import ForeignReader
from runstore.sources.formats import LIGHTNING
from runstore.sources.hparams import HPARAMS_FILE, hparams_document
from runstore.sources.layout import Opener, names_in
from runstore.sources.log_files import Batch, ForeignRow

NAME = LIGHTNING.name
TABLE = "metrics.csv"
EVIDENCE = "a table of CSVLogger, no process on record"
PAUSE_S = 600.0
"""It writes once in a hundred steps."""
GLANCE_FIRST_BYTES = 1 << 10
"""The header is all that a glance needs of the beginning."""
GLANCE_EVALUATIONS_BYTES = 4 << 20
"""Up to so far a table is searched for evaluations, by which a glance judges the best epoch."""
LOSSES = (
    "val/loss",
    "val/loss_epoch",
    "val/loss/dataloader_idx_0",
    "val/loss_epoch/dataloader_idx_0",
)
"""The first of them that there is makes an epoch the best one."""
_VERSION = re.compile(r"version_\d+")
_LOADER = re.compile(r"(.+)(/dataloader_idx_\d+)")
_OF_A_BATCH = re.compile(r"(val|test)/.+_step(/dataloader_idx_\d+)?")
"""A value of one batch of an evaluation; its step counts those."""
Kind = Callable[[str], int | float]
_COUNTS: Mapping[str, Kind] = {"=step": int, "=epoch": int}
_PREFIXED = "-epoch"
"""`CSVLogger(prefix="a")` writes `a-epoch` and `a-loss`, and yet `step`."""


def recognises(directory: Path, names: Sequence[str]) -> bool:
    """A table beside hyperparameters, or in a directory that Lightning has named."""
    if TABLE not in names:
        return False
    name = directory.name or Path(os.path.realpath(directory)).name
    return HPARAMS_FILE in names or _VERSION.fullmatch(name) is not None


def open_run(directory: Path, *, patient: bool = True) -> ForeignReader:
    """Return a reader; nothing is read yet."""
    return ForeignReader(directory, _Layout(), patient=patient, pause_s=PAUSE_S)


class _Layout:
    """The table, and what is known of the training."""

    NAME = NAME
    EVIDENCE = EVIDENCE
    IS_ONE_SERIES = False

    def find(self, directory: Path) -> Mapping[str, Opener]:
        """Return the table, which need not be there yet, and the hyperparameters."""
        found: dict[str, Opener] = {TABLE: partial(LightningFile, directory / TABLE)}
        if HPARAMS_FILE in names_in(directory):
            found[HPARAMS_FILE] = partial(hparams_document, directory / HPARAMS_FILE)
        return found


class LightningFile(CsvFile):
    """One table; its steps are those of the run, and its rows also tell of epochs."""

    def _begin(self, counting: Counting) -> None:
        super()._begin(counting)
        self._kinds: list[tuple[int, str, Kind]] = []
        """Of each column its place, its name, and what makes a number of its cells."""
        self._epochs = EpochRows()
        self._batches: dict[str, tuple[int, int]] = {}
        """Of each value of a batch its last step, and what is added to it."""
        self._loss = -1
        """The column by which the best epoch is judged."""

    def glance(self) -> Batch:
        """Return the first rows, the last ones, and the evaluations between them."""
        return self._lines.glance(self._evaluations, first_bytes=GLANCE_FIRST_BYTES)

    def _translate(self, line: bytes, number: int, batch: Batch) -> None:
        before = self._table
        row = self._plain_row(line) if number != 1 else None
        if row is not None:
            self._take_row(row, number, batch, len(line))
            return
        super()._translate(line, number, batch)
        if self._table is not None and self._table is not before:
            loss = next((loss for loss in LOSSES if loss in self._ours), "")
            self._loss = self._ours.index(loss) if loss else -1
            batch.info |= {"best": f"{loss}:min"} if loss else {}

    def _take_header(self, table: Table) -> None:
        super()._take_header(table)
        aliases = _aliases(table.names)
        self._columns = Columns(paired=aliases.values(), aliases=aliases)
        self._ours = [self._columns.called(name) for name in table.names]
        self._kinds = _kinds(self._ours)
        self._of_a_batch = set(filter(_OF_A_BATCH.fullmatch, self._ours))
        self._behind = _BehindTraining(self._ours)
        self._epochs = EpochRows()

    def _plain_row(self, line: bytes) -> JsonObject | None:
        """Return the row of a line of numbers alone, several times as fast; None for others."""
        kinds = self._kinds
        try:
            cells = line.decode("ascii").rstrip("\r").split(",")
            if len(cells) != len(kinds) or b"_" in line:
                return None
            return {name: kind(cells[place]) for place, name, kind in kinds if cells[place]}
        except ValueError:
            return None

    def _add(
        self, record: JsonObject, number: int, batch: Batch, size_bytes: int, line: bytes = b""
    ) -> None:
        self._take_row(self._columns.row(record), number, batch, size_bytes)

    def _take_row(self, row: JsonObject, number: int, batch: Batch, size_bytes: int) -> None:
        row = self._behind.named(row)
        for name in self._of_a_batch and self._of_a_batch & row.keys():
            self._count_on(row, name)
        batch.rows.append(ForeignRow("metrics", row, number, size_bytes))
        if (epoch := self._epochs.take(row)) is not None:
            batch.rows.append(ForeignRow("epochs", epoch, number, size_bytes))

    def _count_on(self, row: JsonObject, name: str) -> None:
        """Count the batches on where they begin anew: at an evaluation behind the training."""
        step = row.get("step")
        if type(step) is int:
            last, more = self._batches.get(name, (-1, 0))
            more += last + 1 if step <= last else 0
            self._batches[name] = step, more
            row["step"] = step + more

    def _evaluations(self, start: int, end: int) -> Batch:
        """Return the rows between two places that have the value which makes an epoch the best."""
        batch, column = Batch(), self._loss
        if column < 0 or end > GLANCE_EVALUATIONS_BYTES:
            batch.passed_over = True
            return batch
        for line in bytes_at(self._path, start, end - start).split(b"\n"):
            cells = line.split(b",", column + 1)
            if len(cells) > column and cells[column].strip():
                with suppress(RecordError):  # it is told when all is read
                    self._translate(line, 0, batch)
        return batch


def _kinds(names: Sequence[str]) -> list[tuple[int, str, Kind]]:
    """Return what the cells of columns are, step and epoch first; nothing where some are not plain.

    `names` are those of `Columns.called`.
    """
    odd = [name for name in names if name.startswith("=") and name not in _COUNTS]
    if odd or len(set(names)) < len(names):
        return []
    counts = [(at, name[1:], _COUNTS[name]) for at, name in enumerate(names) if name in _COUNTS]
    values = [(at, name, float) for at, name in enumerate(names) if name not in _COUNTS]
    return [*counts, *values]


class _BehindTraining:
    """Finds evaluations that are no part of the training: `trainer.validate` behind `trainer.fit`.

    Their model may be an earlier one (`ckpt_path="best"`). They have the epoch and the step that
    would come next; an evaluation of the training has the last step of its epoch.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """Know the names of all metrics."""
        self._evaluated = {name for name in names if name.startswith(EVALUATED)}
        self._before, self._last = -1, (-1, -1)
        """The steps of the last two evaluations, of the last one its epoch first."""
        self._at: tuple[int, int] | None = None
        """The epoch and the step of the evaluations behind the training."""

    def named(self, row: JsonObject) -> JsonObject:
        """Return a row by other names where it is of such an evaluation."""
        if self._evaluated.isdisjoint(row) or "epoch" not in row or "step" not in row:
            return row
        at, (epoch, step) = (row["epoch"], row["step"]), self._last
        if at == (epoch + 1, step + 1) and step - self._before > 1:
            self._at = at
        if at == self._at:
            return {final_name(name): value for name, value in row.items()}
        if at != self._last:
            self._before, self._last = step, at
        return row


def _aliases(names: Sequence[str]) -> dict[str, str]:
    """Return under which name each column is to be taken."""
    found = [name.removesuffix("epoch") for name in names if name.endswith(_PREFIXED)]
    prefix = found[0] if found and "epoch" not in names else ""
    aliases = {}
    for name in names:
        called = name.removeprefix(prefix)
        loader = _LOADER.fullmatch(called)
        aliases[name] = canonical(loader[1]) + loader[2] if loader else called
    return aliases
