"""One cell of a table of comma-separated values."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import orjson

from runstore.files.records import escape_controls
from runstore.text import printable

CELL_CHARS = 32_767
"""As many as a cell of a spreadsheet holds."""
# A spreadsheet takes a cell that begins with one of these for a formula, some also behind blanks,
# and some take their wide forms of East Asian keyboards.
_FORMULA = re.compile("\\s*[=+@\uff1d\uff0b\uff0d\uff20-]|[\t\r]")


def csv_cell(value: Any) -> str:
    """Return a value as a cell; a text that a spreadsheet would take for a formula is quoted."""
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return _text_cell(value)
    return str(value) if isinstance(value, int) else escape_controls(orjson.dumps(value)).decode()


@lru_cache(maxsize=4096)
def _text_cell(text: str) -> str:
    """Most are the names of runs and metrics, again and again."""
    shown = printable(text, limit=CELL_CHARS)
    return f"'{shown}" if _FORMULA.match(text) else shown
