"""The views as SQL text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from runstore.files.records import RESERVED_KEYS
from runstore.sql.rows import RUNS_COLUMNS, Column, unique_names

INTERNAL = "_runstore"
"""The schema of what is not for users."""
_FILE = "_file"
_NONFINITE = "_nonfinite"
PLACE = [
    Column("step", "BIGINT", "step"),
    Column("epoch", "BIGINT", "epoch"),
    Column("time", "DOUBLE", "time"),
]
REPORTS_COLUMNS = [
    *PLACE,
    Column("split", "VARCHAR", "split"),
    Column("labels", "VARCHAR[]", "labels"),
    Column("classes", "BIGINT[]", "classes"),
    Column("report", "JSON", "report"),
    Column("confusion", "BIGINT[][]", "confusion"),
    Column("omitted", "BIGINT", "omitted"),
]
SUPERSEDED = Column("superseded", "BOOLEAN", "")
STANDARD = {
    "runs": RUNS_COLUMNS,
    "params": [Column("run", "VARCHAR", "run")],
    "metrics": PLACE,
    "epochs": PLACE,
    "reports": REPORTS_COLUMNS,
}
"""What each view has always; behind `run`, where that is not a key of the lines."""


def metric_columns(keys: Iterable[str], *, everything: bool) -> tuple[list[Column], list[str]]:
    """Return the columns of metrics, and the keys that can be none.

    To DuckDB keys that differ only in case are the same: the first is read.
    """
    seen, columns, left_out = set(RESERVED_KEYS), [], []
    taken = ["run", *([SUPERSEDED.name] if everything else [])]
    for key, name in unique_names(keys, taken).items():
        if key.lower() in seen:
            left_out.append(key)
            continue
        seen.add(key.lower())
        columns.append(Column(name, "DOUBLE", key))
    return columns, left_out


def define_stream(
    view: str,
    columns: Sequence[Column],
    metrics: Sequence[Column],
    paths: Sequence[str],
    *,
    everything: bool,
    has_hidden: bool,
    has_rewritten: bool,
) -> str:
    """Return the statement that defines `metrics`, `epochs` or `reports`.

    Args:
        view: which.
        columns: the standard columns; `step` among them.
        metrics: those of metrics, in which NaN and infinities are put back.
        paths: the files; the table `files` in the schema INTERNAL tells of each.
        everything: superseded rows are not left out, but marked.
        has_hidden: of some files rows are superseded from a step on.
        has_rewritten: some files were written for this, and have whole rows only.
    """
    # A line that is damaged is a row of NULLs, whose step no whole row of a native run lacks.
    is_whole = "r.step IS NOT NULL"
    conditions = [f"({is_whole} OR f.rewritten)" if has_rewritten else is_whole]
    hidden = "coalesce(r.step >= f.hidden_from, false)"
    selected = ["f.run", *(_as(f"r.{quoted(column.key)}", column) for column in columns)]
    if everything:
        selected.append(_as(f"f.superseded OR {hidden}", SUPERSEDED))
    elif has_hidden:
        conditions.append(f"NOT {hidden}")
    selected += [_as(_put_back(column.key), column) for column in metrics]
    types = {column.key: column.type for column in (*columns, *metrics)}
    if metrics:
        types[_NONFINITE] = "JSON"
    return (
        f"CREATE OR REPLACE VIEW {view} AS SELECT {', '.join(selected)} "
        f"FROM {reading(paths, types)} r JOIN {INTERNAL}.files f ON f.path = r.{_FILE} "
        f"WHERE {' AND '.join(conditions)}"
    )


def _put_back(key: str) -> str:
    """Return a value; of NaN and infinities what the side note says.

    Hardly any row has a note: it is asked for first, and taken apart only where there is one.
    """
    value = f"r.{quoted(key)}"
    noted = f"TRY_CAST(r.{_NONFINITE} AS MAP(VARCHAR, DOUBLE))[{literal(key)}]"
    return f"CASE WHEN r.{_NONFINITE} IS NULL THEN {value} ELSE coalesce({value}, {noted}) END"


def define_table(view: str, columns: Sequence[Column], path: str) -> str:
    """Return the statement that defines `runs` or `params`, of which one file has all lines."""
    names = ", ".join(_as(quoted(column.key), column) for column in columns)
    source = reading([path], {column.key: column.type for column in columns})
    return f"CREATE OR REPLACE VIEW {view} AS SELECT {names} FROM {source}"


def define_empty(view: str, columns: Iterable[Column]) -> str:
    """Return the statement that defines a view without rows."""
    names = [_as(f"CAST(NULL AS {column.type})", column) for column in columns]
    if view not in ("runs", "params"):
        names.insert(0, "CAST(NULL AS VARCHAR) AS run")
    return f"CREATE OR REPLACE VIEW {view} AS SELECT {', '.join(names)} LIMIT 0"


def reading(paths: Sequence[str], types: Mapping[str, str], options: str = "") -> str:
    """Return what reads JSON lines; each row has its file's path as `_file`."""
    names = ", ".join(literal(path) for path in paths)
    columns = ", ".join(f"{literal(key)}: {literal(kind)}" for key, kind in types.items())
    return (
        f"read_json([{names}], columns={{{columns}}}, format='newline_delimited', "
        f"{options or 'records=true'}, ignore_errors=true, hive_partitioning=false, "
        f"filename={literal(_FILE)})"
    )


def select_keys(paths: Sequence[str]) -> str:
    """Return the statement that gives every key that any row of some files has."""
    source = reading(paths, {"row": "JSON"}, "records=false")
    keys = f"SELECT DISTINCT json_keys(row) AS keys FROM {source}"
    return f"SELECT DISTINCT unnest(keys) AS key FROM ({keys}) ORDER BY key"


def _as(expression: str, column: Column) -> str:
    return f"{expression} AS {quoted(column.name)}"


def quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"
