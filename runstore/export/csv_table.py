"""One table of comma-separated values."""

from __future__ import annotations

import csv
from typing import IO

from runstore.export.cells import csv_cell
from runstore.export.rows import Rows, Written
from runstore.files.limits import EXPORT_COLUMNS


def write_csv(rows: Rows, out: IO[str]) -> Written:
    """Write a table with a header.

    NaN and infinities are `nan`, `inf` and `-inf`; a value that a row lacks is an empty cell.
    """
    columns, more = rows.columns()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([csv_cell(column) for column in columns])
    places = {column: place for place, column in enumerate(columns)}
    count = 0
    for row in rows:
        cells = [""] * len(columns)
        for key, value in row.items():
            if key in places:
                cells[places[key]] = csv_cell(value)
        writer.writerow(cells)
        count += 1
    left_out = f"there are more metrics: only the first {EXPORT_COLUMNS:,} columns are written"
    return Written(count, left_out if more else "")
