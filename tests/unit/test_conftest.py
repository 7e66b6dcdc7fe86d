"""The promises of tests/conftest.py, seen from the outside: pytest run on a file made here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PREFIX = [
    sys.executable,
    "-m",
    "pytest",
    "-q",
    "-rs",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:randomly",
]
NEEDS_MISSING_TOOL = """
import pytest

@pytest.mark.needs_tool("no-such-program")
def test_with_it():
    raise AssertionError("ran without its program")
"""


def run_pytest(folder: Path, source: str, repo_root: Path, **env: str) -> str:
    """Run pytest on one file beside a copy of our conftest.py and return what it printed."""
    shutil.copy(repo_root / "tests" / "conftest.py", folder)
    (folder / "test_made_here.py").write_text(source)
    command = [*PREFIX, "-c", str(repo_root / "pyproject.toml"), f"--rootdir={folder}", str(folder)]
    environment = {**os.environ, **env}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_missing_tool_skips_with_the_reason(tmp_path: Path, repo_root: Path) -> None:
    printed = run_pytest(tmp_path, NEEDS_MISSING_TOOL, repo_root)
    assert "1 skipped" in printed
    assert "no-such-program is not installed" in printed


def test_missing_tool_fails_where_tools_are_required(tmp_path: Path, repo_root: Path) -> None:
    printed = run_pytest(tmp_path, NEEDS_MISSING_TOOL, repo_root, RUNSTORE_REQUIRE_TOOLS="1")
    assert "1 error" in printed
    assert "no-such-program is not installed, and RUNSTORE_REQUIRE_TOOLS=1" in printed


def test_environment_of_the_user_does_not_reach_a_test(tmp_path: Path, repo_root: Path) -> None:
    source = """
import os
from pathlib import Path

def test_is_clean():
    assert not [n for n in os.environ if n.startswith(("RUNSTORE_", "SLURM_", "XDG_"))]
    assert list(Path.home().iterdir()) == []
"""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".config").touch()
    printed = run_pytest(
        tmp_path, source, repo_root, HOME=str(home), RUNSTORE_ROOT="/x", XDG_CONFIG_HOME="/y"
    )
    assert "1 passed" in printed


def test_wait_until_fails_at_its_deadline(tmp_path: Path, repo_root: Path) -> None:
    source = """
def test_waits(wait_until):
    wait_until(lambda: 0, 0.05, what="the first row")
"""
    printed = run_pytest(tmp_path, source, repo_root)
    assert "waited 0.05 s for the first row; last value: 0" in printed
