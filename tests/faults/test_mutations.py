"""Taking out what keeps a promise makes a test fail: on a copy of the tree, one at a time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.needs_tool("strace")]


@dataclass(frozen=True)
class Mutation:
    """What is taken out, how, and the tests that must notice."""

    name: str
    pattern: str
    """Found once in the files that are looked through."""
    becomes: str
    tests: tuple[str, ...]
    files: str = "**/*.py"
    """Of the library, as a glob."""


MUTATIONS = [
    Mutation(
        "the fdatasync",
        r"(?<=\n)( +)_sync_data\([a-z_.]+\)\n",
        r"\1pass\n",
        (
            "tests/unit/writer/test_stream_writer.py::test_rows_of_a_failed_fdatasync_are_written_again",
        ),
    ),
    Mutation(
        "the handling of the remainder",
        r"put_first\(line\[written:\], torn=True\)",
        "put_first(line)",
        ("tests/unit/writer/test_stream_writer.py::test_short_write_is_finished_not_restarted",),
    ),
    Mutation(
        "the O_EXCL",
        r"(os\.O_WRONLY \| os\.O_APPEND \| os\.O_CREAT) \| os\.O_EXCL",
        r"\1",
        (
            "tests/unit/writer/test_stream_writer.py::test_somebody_elses_file_is_never_appended_to",
            "tests/unit/writer/test_writer.py::test_one_of_two_starters_wins",
        ),
        "writer/part.py",
    ),
    Mutation(
        "the sanitiser",
        r"(def _visible\(match: re\.Match\[str\]\) -> str:\n)",
        r"\1    return match.group()\n",
        (
            "tests/unit/test_text.py::test_nothing_that_drives_a_terminal_is_left",
            "tests/integration/test_odd_directories.py::test_nothing_from_a_file_drives_the_terminal",
        ),
    ),
    Mutation(
        "the cut at resume",
        r'"cuts": point\.cuts',
        '"cuts": {}',
        (
            "tests/unit/resume/test_resume.py::test_several_interruptions_leave_one_history",
            "tests/faults/test_resumes.py::test_three_kills_leave_each_step_once_and_the_rest_retrievable",
        ),
    ),
]


def mutate(tree: Path, mutation: Mutation) -> None:
    """Take the mutation's clause out of the library in `tree`."""
    found = []
    for path in sorted((tree / "runstore").glob(mutation.files)):
        text, times = re.subn(mutation.pattern, mutation.becomes, path.read_text())
        if times:
            path.write_text(text)
            found += [path] * times
    assert len(found) == 1, f"{mutation.name}: the pattern is to be brought up to date: {found}"


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_each_clause_has_a_test_that_fails_without_it(
    tmp_path: Path, repo_root: Path, mutation: Mutation
) -> None:
    for part in ("runstore", "tui", "tests", "docs", "examples", "pyproject.toml", "README.md"):
        copy = shutil.copytree if (repo_root / part).is_dir() else shutil.copy
        copy(repo_root / part, tmp_path / part)
    mutate(tmp_path, mutation)
    documented = (repo_root / "docs" / "reliability.md").read_text()
    for test in mutation.tests:
        command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", test]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, f"{test} does not fail without {mutation.name}: {done.stdout}"
        assert test.rpartition("::")[2] in documented
