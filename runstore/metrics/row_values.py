"""The values of rows: taken as floats under their names, or left out with one warning each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from runstore.errors import BadValueError
from runstore.files.records import RESERVED_KEYS, RecordError, encode, split_nonfinite
from runstore.metrics.values import as_float, as_index, is_late

MOST_NAME_CHARS = 500


class Teller(Protocol):
    """Whose rows these are, as far as bad values need it."""

    strict: bool
    """Whether to raise on a value that is no number."""

    def warn_once(self, key: str, message: str) -> None:
        """Warn once per key."""


class RowValues:
    """Takes what users log and track, whatever it is."""

    def __init__(self, run: Teller, step_of: Callable[[int], int]) -> None:
        """Know of no name yet.

        Args:
            run: warns once per name, or is strict.
            step_of: takes a step among the values, and returns the one that the row has.
        """
        self._run = run
        self._step_of = step_of
        self.known: set[str] = set()
        """Names that were taken before and are of plain characters."""
        self.refused = 0
        """Values that were left out."""

    def add(self, row: dict[str, Any], key: object, value: Any) -> bool:
        """Put a value into a row, whatever it is; the careful half of `Run.log`.

        Return whether it can be written as it is: a finite value by a name of plain characters.

        Raises:
            BadValueError: it is no number, or its name is reserved, and the run is strict.
        """
        try:
            name = _name(key)
            if name in RESERVED_KEYS:
                self._add_reserved(row, name, value)
                return True
            late = is_late(value)
            number = value if late else as_float(name, value)
        except BadValueError as error:
            self._refuse(str(key), error)
            return True
        plain = name.isascii() and name.isprintable() and len(name) <= MOST_NAME_CHARS
        if plain:
            self.known.add(name)
        row[name] = number
        return plain and not late and number - number == 0.0

    def _add_reserved(self, row: dict[str, Any], name: str, value: object) -> None:
        index = as_index(name, value)
        row[name] = self._step_of(index) if name == "step" else index

    def tracked(self, split: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return tracked values as floats under `split/name`; what is no number is left out.

        Tensors on an accelerator are returned as they are.

        Raises:
            BadValueError: a value is no number, and the run is strict.
        """
        numbers: dict[str, Any] = {}
        for key, value in values.items():
            name = f"{split}/{key}"
            try:
                as_it_is = type(value) is float or is_late(value)
                numbers[name] = value if as_it_is else as_float(name, value)
            except BadValueError as error:
                self._refuse(name, error)
        return numbers

    def _refuse(self, key: str, error: BadValueError) -> None:
        self.refused += 1
        if self._run.strict:
            raise error
        self._run.warn_once(key, f"{error}; it is left out")


def _name(key: object) -> str:
    name = key if isinstance(key, str) else str(key)
    if not name or name.startswith("_") or name == "time":
        raise BadValueError(
            f"{name!r} is reserved, no name for a metric; use split/name, as in train/loss"
        )
    return name


def encode_row(row: dict[str, Any], complain: Callable[[str, str], object]) -> bytes:
    """Return a row of floats as a line; NaN and infinities become null and a side note.

    One that is too long keeps its reserved keys only, and `complain` is told.
    """
    row |= split_nonfinite({key: value for key, value in row.items() if type(value) is float})
    return encode_finite(row, complain)


def encode_finite(row: dict[str, Any], complain: Callable[[str, str], object]) -> bytes:
    """Return a row as a line whose values are finite, or noted."""
    try:
        return encode(row)
    except RecordError as error:
        complain("row", f"a row cannot be written: {error}")
        return encode({key: row[key] for key in RESERVED_KEYS if key in row})
