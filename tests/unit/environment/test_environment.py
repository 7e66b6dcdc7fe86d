"""The facts about a run: its code, its machine, and no secrets."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from runstore.environment import facts as environment
from runstore.redaction.secret_shapes import REDACTED
from tests.conftest import WithinCpuS


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout with one commit."""
    path = tmp_path / "code"
    path.mkdir()
    (path / "train.py").write_text("lr = 0.1\n")
    git(path, "init", "-q", "-b", "main")
    git(path, "add", ".")
    git(path, "commit", "-q", "-m", "first")
    return path


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-C", str(directory), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.needs_tool("git")
def test_clean_checkout_has_a_commit_and_no_patch(checkout: Path) -> None:
    state = environment.code(checkout)
    assert state.patch == b""
    assert state.facts["commit"] == git(checkout, "rev-parse", "HEAD")
    assert (state.facts["branch"], state.facts["dirty"]) == ("main", False)


@pytest.mark.needs_tool("git")
def test_changes_are_a_patch_that_applies(checkout: Path) -> None:
    (checkout / "train.py").write_text("lr = 0.2\n")
    (checkout / "new.py").write_text("x\n")
    state = environment.code(checkout)
    assert (state.facts["dirty"], state.facts["untracked"]) == (True, 1)
    (checkout / "patch.diff").write_bytes(state.patch)
    git(checkout, "checkout", "-q", "train.py")
    git(checkout, "apply", "patch.diff")
    assert (checkout / "train.py").read_text() == "lr = 0.2\n"


@pytest.mark.needs_tool("git")
def test_large_patch_is_cut_behind_a_line(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PATCH_BYTES", 500)
    (checkout / "train.py").write_text("".join(f"line {n}\n" for n in range(500)))
    state = environment.code(checkout)
    assert 400 < len(state.patch) <= 500
    assert state.patch.endswith(b"\n")
    assert state.facts["patch_truncated"] is True


@pytest.mark.needs_tool("git")
def test_secret_in_a_patch_that_is_cut_twice_is_taken_out(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "PATCH_BYTES", 500)
    text = "".join(f"API_KEY_{n} = 'planted-{n}-h7Kq2x'\n" for n in range(500))
    (checkout / "train.py").write_text(text)
    state = environment.code(checkout)
    assert b"planted" not in state.patch
    assert state.facts["patch_redacted"] is True
    assert state.facts["patch_truncated"] is True


@pytest.mark.needs_tool("git")
def test_long_line_in_a_patch_takes_no_time_to_speak_of(
    checkout: Path, within_cpu_s: WithinCpuS
) -> None:
    (checkout / "train.py").write_text(f"weights = '{'a1' * 500_000}'\n")
    with within_cpu_s(10):
        assert environment.code(checkout).facts["patch_redacted"] is False


@pytest.mark.needs_tool("git")
def test_file_that_is_no_utf8_is_in_the_patch_as_it_is(checkout: Path) -> None:
    (checkout / "train.py").write_bytes(b"name = 'caf\xe9'\n")
    assert b"caf\xe9" in environment.code(checkout).patch


@pytest.mark.needs_tool("git")
@pytest.mark.parametrize("make", [False, True])
def test_no_commit_to_speak_of_is_no_fault(tmp_path: Path, make: bool) -> None:
    if make:
        git(tmp_path, "init", "-q")
    assert environment.code(tmp_path) == environment.Code({}, b"")


def test_no_git_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.code(tmp_path) == environment.Code({}, b"")


def test_git_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(environment, "GIT_TIMEOUT_S", 0.1)
    assert environment.code(tmp_path) == environment.Code({}, b"")


def test_environment_is_an_allow_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    monkeypatch.setenv("SLURM_JWT_TOKEN", "planted-1-secret")
    monkeypatch.setenv("HARMLESS_NAME", "planted-2-secret")
    monkeypatch.setenv("RUNSTORE_PARAMS", '{"key": "planted-3-secret"}')
    found = environment.facts()["environment"]
    assert found["SLURM_JOB_ID"] == "42"
    assert found["SLURM_JWT_TOKEN"] == REDACTED
    assert "planted" not in str(found)


def test_command_is_that_of_the_process() -> None:
    found = environment.facts()
    assert "python" in found["command"][0]
    assert found["command_redacted"] is False
