"""One table as a Parquet file, by pyarrow, which is imported when a file is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from runstore.export.rows import Rows, Written
from runstore.files.limits import EXPORT_COLUMNS
from runstore.tables.columns import Column, Columns, Kind
from runstore.tables.frames import require

GROUP_ROWS = 512
"""At least; a group of very many columns costs most by their number."""
GROUP_CELLS = 1 << 20
"""Values of a row group, about 10 MB and as much again in Arrow: what is in memory at once."""


def write_parquet(rows: Rows, out: IO[bytes]) -> Written:
    """Write a table in row groups; the columns are those of all rows, late ones too.

    `step` and `epoch` are int64, numbers double, in which NaN is NaN and a value that a row lacks
    is null. `out` need not be seekable.

    Raises:
        MissingPackageError: pyarrow is not installed.
    """
    require("pyarrow", "--format parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    found, more = rows.columns()
    kinds = {name: kind for name, kind in found.items() if kind is not None}
    schema = pa.schema([(name, _type(kind)) for name, kind in kinds.items()])
    at_once = max(GROUP_ROWS, GROUP_CELLS // len(kinds))
    count = 0
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for columns in _groups(rows, kinds, at_once):
            arrays = [_array(column) for column in columns.finish().values()]
            writer.write_table(pa.table(arrays, schema=schema), row_group_size=at_once)
            count += columns.rows
    left_out = f"there are more metrics: only the first {EXPORT_COLUMNS:,} columns are written"
    return Written(count, left_out if more else "")


def _groups(rows: Rows, kinds: Mapping[str, Kind], at_once: int) -> Any:
    columns = Columns(kinds, grows=False)
    for row in rows:
        columns.add(row)
        if columns.rows == at_once:
            yield columns
            columns = Columns(kinds, grows=False)
    if columns.rows:
        yield columns


def _type(kind: Kind) -> Any:
    import pyarrow as pa

    types = {"number": pa.float64(), "integer": pa.int64(), "flag": pa.bool_(), "text": pa.string()}
    return types[kind]


def _array(column: Column) -> Any:
    """Return a column as an array of Arrow; numbers are not copied."""
    import pyarrow as pa

    if column.kind == "text":
        return pa.array(column.values, pa.string())
    rows = len(column.values)
    valid = None if 0 not in column.valid else _bits(column.valid)
    if column.kind == "flag":
        return pa.Array.from_buffers(pa.bool_(), rows, [valid, _bits(column.values)])
    return pa.Array.from_buffers(_type(column.kind), rows, [valid, pa.py_buffer(column.values)])


def _bits(flags: Any) -> Any:
    """Return bytes of 0 and 1 as Arrow's bits."""
    import pyarrow as pa

    whole = pa.Array.from_buffers(pa.int8(), len(flags), [None, pa.py_buffer(flags)])
    return whole.cast(pa.bool_()).buffers()[1]
