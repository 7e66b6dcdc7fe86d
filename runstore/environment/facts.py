"""What was run, where, with which versions and which code: the facts in `run.json`."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import platform
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from runstore.environment.process import current_process
from runstore.environment.repository import distrust, output_of
from runstore.files.records import without_surrogates
from runstore.redaction.redact import redact_command, redact_source, redact_text, redact_value

PATCH_BYTES = 1 << 20
GIT_TIMEOUT_S = 10.0
PACKAGES = ("runstore", "torch", "numpy", "scikit-learn", "lightning", "transformers", "jax")
# Only these are recorded: an environment is full of secrets under harmless names.
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
    "CUBLAS_WORKSPACE_CONFIG",
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "CONDA_DEFAULT_ENV",
    "VIRTUAL_ENV",
)
# Whatever the user's settings, a patch that `git apply` takes.
_PATCH = (
    *("-c", "diff.noprefix=false", "-c", "diff.mnemonicPrefix=false", "-c", "diff.relative=false"),
    *("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short"),
)
VARIABLE_PREFIXES = ("SLURM_", "TORCH_", "NCCL_", "RUNSTORE_")


@dataclass(frozen=True, slots=True)
class Code:
    """The state of the git checkout that was run from."""

    facts: dict[str, Any]
    """`commit`, `prefix`, `branch`, `remote`, `dirty`; empty outside a checkout."""
    patch: bytes
    """Changes since the commit, without secrets; empty when there are none."""
    distrust: str = ""
    """Why git did not tell, where it could have; in words."""


def facts(command: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the facts about this process and machine, secrets taken out.

    Args:
        command: the command line; default this process's own.
    """
    command = _command() if command is None else list(command)
    cleaned = redact_command(command)
    found = {
        "command": cleaned,
        "command_redacted": cleaned != command,
        "cwd": str(Path.cwd()),
        "host": current_process().host,
        "pid": os.getpid(),
        "user": user_name(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": dict(_versions()),
        "environment": _environment(),
    }
    cleaned_facts: dict[str, Any] = without_surrogates(found)
    return cleaned_facts


def _command() -> list[str]:
    """Return the command line that starts the training: torchrun's, where that started us."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        import psutil

        with suppress(psutil.Error):
            agent = psutil.Process().parent()
            if agent is not None and agent.cmdline():
                return list(agent.cmdline())
    return list(sys.orig_argv)


def output_files() -> dict[str, str]:
    """Return which files `stdout` and `stderr` of this process go to, where they go to files.

    As of a job of Slurm, or behind `nohup` and `>`. Known on Linux only.
    """
    found = {}
    # Python's own, which are None where they were closed: the numbers are other files' then.
    for name, stream in (("stdout", sys.__stdout__), ("stderr", sys.__stderr__)):
        # ValueError: closed since.
        with suppress(OSError, ValueError):
            if stream is None:
                continue
            descriptor = stream.fileno()
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_nlink:
                found[name] = str(Path(f"/proc/self/fd/{descriptor}").readlink())
    cleaned: dict[str, str] = without_surrogates(found)
    return cleaned


def user_name() -> str:
    """Return the name of whoever runs this, or the number where there is no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a uid that has no name.
        return str(os.getuid())


@lru_cache(maxsize=1)
def _versions() -> tuple[tuple[str, str], ...]:
    """The installed versions, from their metadata: nothing is imported for it."""
    found = []
    for package in PACKAGES:
        try:
            found.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(found)


def _environment() -> dict[str, str]:
    return {
        name: redact_value(name, value)
        for name, value in sorted(os.environ.items())
        if name in VARIABLES or name.startswith(VARIABLE_PREFIXES)
        # Recorded as `params`, and there by name, so that secrets among them are taken out.
        if name != "RUNSTORE_PARAMS"
    }


@lru_cache(maxsize=4)
def code(directory: Path) -> Code:
    """Return the state of the git checkout that holds `directory`; read once per process.

    The code that a process runs was imported already, so one reading holds for all its runs.
    """
    told = _git(directory, "rev-parse", "HEAD", "--show-prefix")
    if told is None:
        return Code({}, b"", distrust(directory))
    commit, _, prefix = told.partition("\n")
    patch = _git(directory, *_PATCH, "HEAD") or ""
    changes = (_git(directory, "status", "--porcelain") or "").splitlines()
    whole = patch.encode("utf-8", "surrogateescape")
    # Redaction takes time, so what cannot be kept is cut before it; twice, as it shortens lines.
    read = _cut_at_line(whole, 2 * PATCH_BYTES)
    cleaned = redact_source(read.decode("utf-8", "surrogateescape")).encode(
        "utf-8", "surrogateescape"
    )
    remote = _git(directory, "remote", "get-url", "origin")
    found = {
        "commit": commit.strip(),
        "prefix": prefix.removesuffix("\n"),
        "branch": (_git(directory, "rev-parse", "--abbrev-ref", "HEAD") or "").strip(),
        "remote": redact_text(remote.strip()) if remote else None,
        "dirty": bool(changes),
        "untracked": sum(line.startswith("??") for line in changes),
        "patch_redacted": cleaned != read,
        "patch_truncated": len(read) < len(whole) or len(cleaned) > PATCH_BYTES,
    }
    return Code(found, _cut_at_line(cleaned, PATCH_BYTES))


def _cut_at_line(text: bytes, limit: int) -> bytes:
    return text if len(text) <= limit else text[: text.rfind(b"\n", 0, limit) + 1]


def _git(directory: Path, *arguments: str) -> str | None:
    """Return what git prints, or None: no git, no checkout, or an answer that takes too long."""
    command = ("git", "--no-optional-locks", "-C", str(directory), *arguments)
    return output_of(command, GIT_TIMEOUT_S)
