"""What of a run can be copied: each as one text that is safe to paste."""

from __future__ import annotations

import sys
import textwrap
from typing import NamedTuple

import orjson

from runstore.files.records import escape_controls, split_nonfinite, without_surrogates
from runstore.runs.summary import measured
from runstore.sources import NATIVE
from runstore.state.run_state import RunState
from runstore.text import printable, shell_word

from .text import Line, Span, line, width_of

MOST_BYTES = 54 << 10
"""Of a text that is sent to the clipboard: terminals take some 75 kB of base64 at most."""


class Copy(NamedTuple):
    """A text and what it is."""

    what: str
    text: str


def copies(state: RunState) -> list[Copy]:
    """Return what can be copied of a run; control characters are written out."""
    found = [
        Copy("run id", _clean(state.id)),
        Copy("path", _clean(str(state.path.absolute()))),
    ]
    if state.source == NATIVE.name:
        command = f"runstore resume {shell_word(state.path.absolute())}"
        found.append(Copy("resume command", _clean(command)))
    newest = {"step": state.step, "epoch": state.epoch, **split_nonfinite(measured(state))}
    return [
        *found,
        Copy("params as JSON", _json(state.params)),
        Copy("newest values as JSON", _json(newest)),
    ]


def text_lines(text: str, width: int) -> list[Line]:
    """Return a text as lines of `width` cells without anything beside it, to be selected."""
    rows: list[str] = []
    for row in text.splitlines():
        if row.isascii():
            rows += textwrap.wrap(
                row, width, break_on_hyphens=False, drop_whitespace=False, replace_whitespace=False
            ) or [""]
        else:
            rows += _cut(row, width)
    return [line(Span(row, "value")) for row in rows]


def _cut(row: str, width: int) -> list[str]:
    """Cut a line of characters of any width."""
    rows, used = [""], 0
    for char in row:
        cells = width_of(char)
        if used + cells > width:
            rows.append("")
            used = 0
        rows[-1] += char
        used += cells
    return rows


def _clean(text: str) -> str:
    return printable(text, limit=sys.maxsize)


def _json(value: object) -> str:
    clean = without_surrogates(value)
    return escape_controls(orjson.dumps(clean, option=orjson.OPT_INDENT_2)).decode()
