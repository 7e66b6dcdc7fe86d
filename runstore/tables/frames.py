"""Typed columns as data frames of pandas and polars, which are imported here and when asked for."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from runstore.errors import MissingPackageError
from runstore.tables.columns import Column, Columns

if TYPE_CHECKING:
    import pandas
    import polars


def require(package: str, asked: str) -> None:
    """Check that an optional package is installed, before it is imported.

    Raises:
        MissingPackageError: it is not; the message says how to get it.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingPackageError(package, asked)


def pandas_frame(columns: Columns) -> pandas.DataFrame:
    """Return the columns as a frame of pandas; they must not change afterwards.

    Numbers are float64 with NaN for a missing one, integers int64 or, where one is missing, Int64,
    booleans likewise, texts pandas' own string type.
    """
    import pandas as pd

    found = {name: _for_pandas(column) for name, column in columns.finish().items()}
    return pd.DataFrame(found, copy=False)


def _for_pandas(column: Column) -> Any:
    import numpy as np
    import pandas as pd

    if column.kind == "text":
        # By inference: the type of strings is another one in each version of pandas.
        return pd.Series(column.values, dtype=None if column.values else "str")
    if column.kind == "number":
        return np.frombuffer(column.values)
    valid = np.frombuffer(column.valid, dtype=bool)
    values = np.frombuffer(column.values, dtype=bool if column.kind == "flag" else np.int64)
    if valid.all():
        return values
    nullable = pd.arrays.BooleanArray if column.kind == "flag" else pd.arrays.IntegerArray
    return nullable(values, ~valid)


def polars_frame(columns: Columns) -> polars.DataFrame:
    """Return the columns as a frame of polars; a missing value is null, NaN is NaN."""
    import polars as pl

    return pl.DataFrame([_for_polars(name, column) for name, column in columns.finish().items()])


def _for_polars(name: str, column: Column) -> polars.Series:
    import polars as pl

    if column.kind == "text":
        return pl.Series(name, column.values, dtype=pl.String)
    types = {"number": pl.Float64, "integer": pl.Int64, "flag": pl.Int8}
    values = pl.Series(name, column.values, dtype=types[column.kind])
    if column.kind == "flag":
        values = values.cast(pl.Boolean)
    if 0 not in column.valid:
        return values
    valid = pl.Series(column.valid, dtype=pl.Int8).cast(pl.Boolean)
    return values.set(~valid, None)
