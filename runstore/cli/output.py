"""Printing: aligned tables, numbers and times for people, JSON for programs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import click
import orjson

from runstore.cli.progress import hide
from runstore.files.records import escape_controls, without_surrogates
from runstore.text import printable

NARROWEST = 40
ROWS_AT_ONCE = 100
"""Each print is flushed, which costs more than most rows."""
LONG_ROW_BYTES = 64 << 10


def print_json(value: Any) -> None:
    """Print one JSON document, indented."""
    click.echo(json_text(value))


def print_json_array(values: Iterable[Any]) -> None:
    """Print one JSON array, an element as soon as it is there: none of them is kept."""
    sys.stdout.flush()
    mark = b"["
    for value in values:
        click.echo(mark + b"\n" + json_text(value), nl=False)
        mark = b","
    click.echo(b"[]" if mark == b"[" else b"\n]")


def json_text(value: Any) -> bytes:
    """Return one JSON document, indented, that any terminal and any encoding can take."""
    # A directory's name need not be UTF-8, and then orjson refuses it.
    clean = without_surrogates(value)
    return escape_controls(orjson.dumps(clean, option=orjson.OPT_INDENT_2))


def print_rows(rows: Iterable[bytes]) -> None:
    """Print JSON lines; other writers may have left characters in them that terminals obey."""
    batch: list[bytes] = []
    for row in rows:
        # A carriage return between two values is JSON, and hides what stands before it.
        batch.append(escape_controls(row).replace(b"\r", b" "))
        if len(batch) == ROWS_AT_ONCE or len(row) > LONG_ROW_BYTES:
            click.echo(b"\n".join(batch))
            batch.clear()
    if batch:
        click.echo(b"\n".join(batch))


def say(message: str) -> None:
    """Print a line that is not data."""
    hide()
    click.echo(f"runstore: {printable(message)}", err=True)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines, some at a time."""
    remaining = iter(lines)
    while batch := list(islice(remaining, ROWS_AT_ONCE)):
        click.echo("\n".join(batch))


def table(rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> Iterator[str]:
    """Yield rows as aligned lines; on a terminal, cut at its width.

    Args:
        rows: cells; the first row is the header. Cells are made printable. They are gone through
            twice, and none is kept.
        right: columns that are aligned to the right.
    """
    widths: list[int] = []
    for row in rows:
        sizes = [len(printable(cell)) for cell in row]
        widths = list(map(max, widths, sizes)) if widths else sizes
    width = max(NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
    for row in rows:
        line = "  ".join(_pad([printable(cell) for cell in row], widths, right)).rstrip()
        yield line if width is None or len(line) <= width else f"{line[: width - 1]}…"


def _pad(row: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> list[str]:
    return [
        cell.rjust(width) if index in right else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
