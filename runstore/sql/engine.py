"""DuckDB's own module, without the Python layer that the package `duckdb` puts around it.

A query needs none of that layer (relations, expressions, data frames), whose import takes as long
as looking at the files of a thousand runs (benchmarks/query_sql.py). Where DuckDB keeps its module
under another name, the package does the same.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from runstore.errors import RunStoreError


def is_installed() -> bool:
    """Tell whether DuckDB can be imported."""
    return importlib.util.find_spec("duckdb") is not None


def load() -> ModuleType:
    """Return the module, which has `connect`, `Error` and `tokenize` as the package has them.

    Raises:
        RunStoreError: DuckDB is not installed.
    """
    if not is_installed():
        raise RunStoreError("DuckDB is not installed; pip install 'runstore[data]'")
    try:
        return importlib.import_module("_duckdb")
    except ImportError:
        return importlib.import_module("duckdb")
