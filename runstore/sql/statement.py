"""What a statement names: views, columns, and whether it takes all columns of a view.

DuckDB parses it; its syntax tree, as `json_serialize_sql` gives it, is read here. What is found may
be too much, which costs time, and is never too little.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from runstore.errors import RunStoreError
from runstore.sql import engine

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

VIEWS = ("runs", "params", "metrics", "epochs", "reports")
ONLY_READS = "a query only reads: one SELECT (or FROM, WITH, PIVOT, DESCRIBE, SUMMARIZE …)"
_READING = ("SELECT", "MULTI")
"""Kinds of statements; the second is a PIVOT whose columns are looked for first."""


@dataclass(slots=True)
class Statement:
    """One statement that only reads."""

    text: str
    views: set[str] = field(default_factory=set)
    """The views that it reads."""
    whole: set[str] = field(default_factory=set)
    """Those of which it may take every column."""
    names: set[str] = field(default_factory=set)
    """What may be names of columns, as they are written."""

    def wants(self, view: str, column: str) -> bool:
        """Tell whether the statement may use a column; SQL's names have no case."""
        return view in self.whole or column.lower() in self._lower

    _lower: set[str] = field(default_factory=set)

    def note_names(self, names: list[str]) -> None:
        """Note what may be a column."""
        self.names.update(names)
        self._lower.update(name.lower() for name in names)


def parse(connection: DuckDBPyConnection, text: str) -> Statement:
    """Return what a statement names.

    Raises:
        RunStoreError: it is none, several, or one that does more than read.
        duckdb.Error: it is not SQL.
    """
    statements = connection.extract_statements(text)
    if len(statements) != 1:
        found = f"{len(statements)} statements" if statements else "no statement"
        raise RunStoreError(f"{found} found; {ONLY_READS}")
    kind = statements[0].type.name
    if kind not in _READING or _writes(text):
        raise RunStoreError(f"{'COPY' if kind in _READING else kind} is refused; {ONLY_READS}")
    statement = Statement(statements[0].query)
    tree = _tree(connection, statement.text)
    if tree is None:
        words = set(re.findall(r"\w+", text.lower()))
        statement.views = statement.whole = words.intersection(VIEWS)
    else:
        _Reading(statement).node(tree, _Scope())
    return statement


def _writes(text: str) -> bool:
    """Tell whether COPY is among the words: a SELECT can hold it, and it writes files."""
    duckdb = engine.load()
    data = text.encode("utf-8", "replace")
    return any(
        kind == duckdb.token_type.keyword and data[at : at + 4].lower() == b"copy"
        for at, kind in duckdb.tokenize(text)
    )


def _tree(connection: DuckDBPyConnection, text: str) -> Any:
    """Return the syntax tree; None where DuckDB gives none, as for a PIVOT."""
    found = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchone()
    tree = orjson.loads(found[0]) if found else {"error": True}
    return None if tree.get("error") else tree.get("statements")


@dataclass(slots=True)
class _Scope:
    """One SELECT: which views stand in its FROM."""

    views: set[str] = field(default_factory=set)
    called: dict[str, str] = field(default_factory=dict)
    """What views are called there, in lower case; those of outer SELECTs too."""


class _Reading:
    """Goes through the tree."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement

    def node(self, node: Any, scope: _Scope) -> None:
        """Note what a part of the tree names."""
        if isinstance(node, list):
            for one in node:
                self.node(one, scope)
        elif isinstance(node, dict):
            self._object(node, scope)

    def _object(self, node: dict[str, Any], scope: _Scope) -> None:
        if _is_order_by_all(node):
            return
        match node.get("type"):
            case "SELECT_NODE":
                scope = self._select(node, scope)
            case "STAR" | "PIVOT":
                self._statement.whole |= scope.views
            case "COLUMN_REF":
                self._column(node.get("column_names") or [], scope)
            case "JOIN" if node.get("ref_type") == "NATURAL":
                self._statement.whole |= scope.views
            case "SHOW_REF":
                # `SHOW metrics`, with the quotes that DuckDB puts around the name.
                shown = {str(node.get("table_name", "")).strip('"').lower()}.intersection(VIEWS)
                self._statement.views |= shown
                self._statement.whole |= shown
            case "TABLE_FUNCTION" if self._function_of(node).startswith("query"):
                # Its text is SQL of its own, or the name of a table.
                self._statement.views |= set(VIEWS)
                self._statement.whole |= set(VIEWS)
        self._statement.note_names(list(node.get("using_columns") or ()))
        for value in node.values():
            if isinstance(value, (dict, list)):
                self.node(value, scope)

    def _select(self, node: dict[str, Any], outer: _Scope) -> _Scope:
        tables = list(_tables(node.get("from_table")))
        views = {view for view, _ in tables}
        self._statement.views |= views
        return _Scope(views, outer.called | {name: view for view, name in tables})

    def _column(self, path: list[str], scope: _Scope) -> None:
        self._statement.note_names(path)
        # `SELECT m FROM metrics m` is a struct of all columns.
        view = scope.called.get(path[-1].lower()) if path else None
        if view is not None:
            self._statement.whole.add(view)

    @staticmethod
    def _function_of(node: dict[str, Any]) -> str:
        return str((node.get("function") or {}).get("function_name", "")).lower()


def _is_order_by_all(node: dict[str, Any]) -> bool:
    """`ORDER BY ALL` is about the columns of the result."""
    star = node.get("expression") if "null_order" in node else None
    return isinstance(star, dict) and star.get("type") == "STAR" and star.get("expr") is None


def _tables(node: Any) -> Iterator[tuple[str, str]]:
    """Yield each view that a FROM names itself, and what it is called there."""
    if isinstance(node, list):
        for one in node:
            yield from _tables(one)
    if not isinstance(node, dict) or node.get("type") in ("SELECT_NODE", "SUBQUERY"):
        return
    if node.get("type") == "BASE_TABLE":
        view = str(node.get("table_name", "")).lower()
        if view in VIEWS:
            yield view, str(node.get("alias") or view).lower()
    for value in node.values():
        yield from _tables(value)
