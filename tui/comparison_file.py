"""A comparison as a file in the current directory, and as the command that prints the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from runstore.export.comparison_table import csv_lines, markdown_lines
from runstore.files.regular import why_unreadable
from runstore.runs.comparison import Comparison
from runstore.sources import NATIVE, RunRef
from runstore.text import printable, shell_word

_WRITERS = {".csv": (csv_lines, "--csv"), ".md": (markdown_lines, "--markdown")}

WRITTEN = "written to"
"""How the line begins that tells where a file is."""


def problem_with(name: str) -> str:
    """Return why a comparison cannot be written under a name, in words; empty when it can."""
    if not name:
        return "nothing written: no name was given"
    if "/" in name or "\0" in name:
        return f"{printable(name)}: name a file in the current directory, without /"
    if Path(name).suffix.lower() not in _WRITERS:
        return f"{printable(name)}: end the name in .md for Markdown or .csv for CSV"
    return ""


def write(comparison: Comparison, name: str, *, all_params: bool) -> str:
    """Write a new file into the current directory; return in one line what came of it.

    Args:
        comparison: The runs.
        name: Of the file; `problem_with` finds nothing wrong with it.
        all_params: Write also parameters in which no run differs.
    """
    lines = _WRITERS[Path(name).suffix.lower()][0](comparison, all_params)
    try:
        directory = Path.cwd()
        _write_new(directory / name, lines)
    except FileExistsError:
        return f"{printable(name)} is there already, and was left as it is; give another name"
    except OSError as error:
        return f"{printable(name)}: {why_unreadable(error)}"
    return f"{WRITTEN} {printable(name)} in {printable(str(directory))}"


def _write_new(path: Path, lines: Iterable[str]) -> None:
    """Write a new file, or none: half of one would keep its name from the next try."""
    file = path.open("x", encoding="utf-8")
    try:
        with file:
            file.writelines(f"{line}\n" for line in lines)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def command(refs: Sequence[RunRef], *, all_params: bool, sort: str = "", name: str = "") -> str:
    """Return the command that prints the comparison of some runs.

    Runs of runstore in one folder are named by their ids, others by their paths.

    Args:
        refs: The runs.
        all_params: Show also parameters in which no run differs.
        sort: The metric by which the best is first; empty: in the order of `refs`.
        name: A file that it is to write; empty: it prints a table.
    """
    parents = {ref.path.parent for ref in refs}
    words = ["runstore", "compare"]
    if len(parents) == 1 and all(ref.source is NATIVE for ref in refs):
        words += [shell_word(ref.name) for ref in refs]
        words += ["--root", shell_word(next(iter(parents)))]
    else:
        words += [shell_word(ref.path) for ref in refs]
    words += ["--all-params"] if all_params else []
    words += ["--sort", shell_word(sort)] if sort else []
    if name:
        words += [_WRITERS[Path(name).suffix.lower()][1], ">", shell_word(name)]
    return printable(" ".join(words), limit=100_000)
