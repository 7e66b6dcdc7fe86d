"""Importing the library costs no heavy package: proved in a fresh interpreter per module.

The import contracts in pyproject.toml are static; only a real import sees what other packages pull
in and what a module does lazily.
"""

from __future__ import annotations

import ast
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import runstore

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    *("torch", "textual", "rich", "sklearn", "numpy", "tensorboard"),
    *("pandas", "polars", "pyarrow", "duckdb", "tui"),
)
# train/ is the one place for torch; the launcher is the one door to the screen.
EXEMPT = {"runstore.train", "runstore.tui_launcher"}


def modules_below(package: str) -> list[str]:
    """Return the dotted names of all modules of a package in this checkout."""
    paths = sorted((ROOT / package).rglob("*.py"))
    parts = [path.relative_to(ROOT).with_suffix("").parts for path in paths]
    return [".".join(p[:-1] if p[-1] == "__init__" else p) for p in parts]


def is_exempt(name: str) -> bool:
    # To import a __main__ is to run it.
    return ".".join(name.split(".")[:2]) in EXEMPT or name.endswith(".__main__")


LIGHT = [name for name in modules_below("runstore") if not is_exempt(name)]


def loaded_by(name: str) -> set[str]:
    """Import a module in a fresh interpreter and return the top-level packages it loaded."""
    code = (
        f"import json, sys, {name}; print(json.dumps([m.partition('.')[0] for m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def modules_loaded_by(*arguments: str) -> set[str]:
    """Run a command of runstore in a fresh interpreter and return the modules it loaded."""
    code = (
        "import json, sys; from runstore.cli import cli; cli(standalone_mode=False); "
        "print(json.dumps(list(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_list_of_our_runs_leaves_other_tools_formats_alone(tmp_path: Path) -> None:
    runstore.init(root=tmp_path, name="ours").finish()
    loaded = modules_loaded_by("ls", str(tmp_path))
    assert "runstore.sources.native" in loaded
    assert "runstore.sources.foreign" not in loaded


def test_query_leaves_out_what_it_does_not_need(tmp_path: Path) -> None:
    """It starts as fast as SQL by hand only without the readers and DuckDB's Python layer."""
    runstore.init(root=tmp_path, name="ours").finish()
    loaded = modules_loaded_by("query", "SELECT count(*) FROM metrics", str(tmp_path))
    assert "_duckdb" in loaded
    assert loaded.isdisjoint({"runstore.state.run_state", "runstore.sources.foreign", "duckdb"})


@pytest.mark.parametrize("name", LIGHT)
def test_module_loads_no_heavy_package(name: str) -> None:
    assert loaded_by(name).isdisjoint(HEAVY)


def test_the_list_of_modules_is_the_package() -> None:
    assert {
        "runstore",
        "runstore.state.run_state",
        "runstore.writer.writer",
        "runstore.sources",
    } <= set(LIGHT)


def test_tui_package_holds_only_a_docstring() -> None:
    """An unrelated distribution's tui/__init__.py may overwrite ours without harm."""
    body = ast.parse((ROOT / "tui" / "__init__.py").read_text("utf-8")).body
    assert [type(node) for node in body] == [ast.Expr]


def test_tui_names_itself_by_relative_imports_only() -> None:
    """Moving the package elsewhere, should its name collide, is then `git mv` plus two lines."""
    absolute = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "tui").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and not node.level and node.module
        if node.module.partition(".")[0] == "tui"
    ]
    assert absolute == []


def listed_in_layout(folder: str) -> list[str]:
    """Return the names that the layout in docs/contributing.md lists below a folder."""
    page = (ROOT / "docs" / "contributing.md").read_text("utf-8")
    lines = page.split("```")[1].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(folder)) + 1
    names, inside = [], ""
    for line in itertools.takewhile(lambda line: line.startswith("  "), lines[start:]):
        found = line.strip().partition("  ")[0].split()
        # What is set in further belongs to the folder above it.
        is_within = line.startswith("    ")
        names += [inside + name if is_within else name for name in found]
        if not is_within:
            inside = found[-1]
    return names


@pytest.mark.parametrize("folder", ["runstore/", "tui/"])
def test_layout_in_the_documents_names_only_what_exists(folder: str) -> None:
    names = listed_in_layout(folder)
    assert names
    assert [name for name in names if not (ROOT / folder / name).exists()] == []


def test_folders_of_the_layout_exist() -> None:
    page = (ROOT / "docs" / "contributing.md").read_text("utf-8")
    lines = [line for line in page.split("```")[1].splitlines()[1:] if not line.startswith(" ")]
    names = [name for line in lines for name in line.partition("  ")[0].split()]
    assert {"runstore/", "tests/unit", "docs/"} <= set(names)
    assert [name for name in names if not (ROOT / name).is_dir()] == []
