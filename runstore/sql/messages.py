"""What DuckDB refuses, in one line, with the names that were perhaps meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from runstore.sql.views import quoted

NEAR = 3
_MISSING = re.compile(
    r'(?:[Rr]eferenced column|[Cc]olumn named|[Cc]olumn) "(?P<name>(?:[^"]|"")+)"'
    r"(?= not found| was not found| in \w+ list not found| does not exist|$)"
)
_PLAIN = re.compile(r"[A-Za-z_]\w*")
# What DuckDB says of the columns that it knows: those of the view that this query got.
_CANDIDATES = re.compile(r"(?:Candidate bindings|Candidate functions|Did you mean \"pg_).*")


def explain(error: Exception, columns: Sequence[str]) -> str:
    """Return why DuckDB refuses a query; `columns` are those of the views that it reads."""
    name = missing_column(error)
    if name is None:
        return _first_paragraph(error)
    near = _near(name, columns)
    if not near:
        return f"there is no column {quoted(name)}; `runstore query` without SQL lists them"
    hint = f"there is no column {quoted(name)}; did you mean {' or '.join(map(quoted, near))}?"
    if all(_PLAIN.fullmatch(one) for one in near):
        return hint
    return f"{hint} Such a name stands in double quotes"


def missing_column(error: Exception) -> str | None:
    """Return the name of the column that is not there, when that is what an error says."""
    found = _MISSING.search(_first_paragraph(error))
    return found["name"].replace('""', '"') if found else None


def is_long_line(error: Exception) -> bool:
    """Tell whether a line was too long for DuckDB."""
    return "maximum_object_size" in str(error)


def _first_paragraph(error: Exception) -> str:
    """Return what DuckDB says without its kind of error, the place and the candidates."""
    text = str(error).split("\n\n")[0]
    lines = [line.strip() for line in text.splitlines()]
    told = [line for line in lines if line and not _CANDIDATES.match(line)]
    return re.sub(r"^[A-Z][\w ]* Error: ", "", " ".join(told))


def _near(name: str, columns: Iterable[str]) -> list[str]:
    """Return up to three columns that hold a name, begin like it, or are spelled like it."""
    lower = {column.lower(): column for column in columns}
    wanted = name.lower()
    holding = [column for key, column in lower.items() if wanted in key]
    spelled = difflib.get_close_matches(wanted, lower, n=NEAR, cutoff=0.6)
    return list(dict.fromkeys([*(lower[key] for key in spelled), *holding]))[:NEAR]
