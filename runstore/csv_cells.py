"""Values as cells of a CSV that a spreadsheet opens."""

from __future__ import annotations

import re
from typing import Any

import orjson

from runstore.records import escape_controls
from runstore.text import printable

CELL_CHARS = 32_767
"""As many as a cell of a spreadsheet holds."""
# A spreadsheet takes a cell that begins with one of these for a formula, some also behind blanks,
# and some take their wide forms of East Asian keyboards.
_FORMULA = re.compile("\\s*[=+@\uff1d\uff0b\uff0d\uff20-]|[\t\r]")


def csv_cell(value: Any) -> str:
    """Return a value of a JSON document as a cell; None is an empty one, NaN is `nan`."""
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        text = printable(value, limit=CELL_CHARS)
        return f"'{text}" if _FORMULA.match(value) else text
    return str(value) if isinstance(value, int) else escape_controls(orjson.dumps(value)).decode()
