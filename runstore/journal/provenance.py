"""Where a run comes from: its command and code, and what it ran on. Read back from `run.json`.

A run directory may come from anywhere, so each fact has the type that it should, or is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runstore.files.paths import RunPaths
from runstore.files.records import integer, whole
from runstore.sources.formats import MLFLOW, NATIVE
from runstore.sources.silent import is_silent
from runstore.state.run_state import RunState

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
SHORT_COMMIT = 10
"""Digits of a commit that people are shown."""


@dataclass(frozen=True, slots=True)
class Code:
    """The state of the git checkout that a run was started in."""

    commit: str = ""
    """In hexadecimal digits; empty where none is on record."""
    branch: str = ""
    remote: str = ""
    prefix: str | None = None
    """The command's directory below the top of the checkout; None where it is not on record."""
    dirty: bool = False
    untracked: int = 0
    """Files and directories that git did not track: of these nothing is on record."""
    patch_redacted: bool = False
    patch_truncated: bool = False
    patch: Path | None = None
    """The file with the changes since the commit, if there is one."""

    @property
    def is_changed(self) -> bool:
        """Whether the code was not just that of the commit."""
        return self.patch is not None or self.dirty

    @property
    def short(self) -> str:
        """`1a2b3c4d5e`, `1a2b3c4d5e +patch`; empty without a commit."""
        if not self.commit:
            return ""
        # Files that git does not track make a checkout dirty too, but are in no patch.
        more = " +patch" if self.patch else " +untracked" if self.untracked else ""
        return self.commit[:SHORT_COMMIT] + more


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a run comes from."""

    command: tuple[str, ...] | None
    """That of the first attempt; None where none is on record."""
    command_redacted: bool
    """Secrets were taken out of it."""
    has_arguments: bool
    """Its arguments are on record, if it had any."""
    cwd: str
    host: str
    user: str
    python: str
    platform: str
    versions: Mapping[str, str]
    environment: Mapping[str, str]
    """Of the variables those that are recorded."""
    code: Code
    handed: Mapping[str, Any]
    """Parameters that a launcher handed to the run: no command line need have them."""
    newest_command: tuple[str, ...] | None = None
    """That of the newest attempt, where it is another one."""
    exec_options: tuple[str, ...] | None = None
    """Those of `runstore exec`, where it has started the command."""

    def as_typed(self, command: Sequence[str]) -> list[str]:
        """Return a command as it was started: by `runstore exec`, or itself.

        Without it, a command that is no run by itself would leave none.
        """
        if self.exec_options is None:
            return list(command)
        return ["runstore", "exec", *self.exec_options, "--", *command]

    @property
    def needs_handing(self) -> bool:
        """Whether the command alone would not have the parameters that a launcher handed over."""
        command = self.command or ()
        return not all(_is_in(command, value) for value in self.handed.values())


def provenance(state: RunState) -> Provenance:
    """Return where a run comes from, of a state with its whole `run.json` (`known_state`)."""
    first = state.attempts.get(1)
    # Without a run.json the first attempt's launcher tells some of it.
    facts = {**((first.begun if first else None) or {}), **state.info}
    command = _words(facts.get("command"))
    if command and state.source != NATIVE.name and command[0].endswith(".py"):
        # W&B and MLflow note the script, not who reads it.
        command = ("python", *command)
    begun = state.newest.begun if state.newest and state.attempt > 1 else None
    newest = _words((begun or {}).get("command"))
    return Provenance(
        command=command,
        command_redacted=facts.get("command_redacted") is True,
        has_arguments=state.source != MLFLOW.name,
        cwd=_text(facts, "cwd"),
        host=_text(facts, "host"),
        user=_text(facts, "user"),
        python=_text(facts, "python"),
        platform=_text(facts, "platform"),
        versions=_texts(facts.get("versions")),
        environment=_texts(facts.get("environment")),
        code=_code(state.git, None if is_silent(state) else RunPaths(state.path).patch),
        handed=_handed(state),
        newest_command=newest if newest != command else None,
        exec_options=_exec_options(facts) if first is not None and first.execution else None,
    )


def _handed(state: RunState) -> Mapping[str, Any]:
    params = state.info.get("params")
    if state.source != NATIVE.name or not state.info or not isinstance(params, dict):
        return {}
    first = state.attempts.get(1)
    own = integer((first.opened if first else None) or {}, "pid")
    planner = integer(state.info, "pid")
    if planner is None:
        # Who only plans a run is no process of it: its first attempt tells how it was started. The
        # cell of a function has no command that would be it alone.
        begun = (first.begun if first else None) or {}
        is_launched = "command" in state.info and (first is None or "command" in begun)
    else:
        is_launched = own is not None and planner != own
    return params if is_launched else {}


def _exec_options(facts: Mapping[str, Any]) -> tuple[str, ...]:
    name, tags = _text(facts, "name"), facts.get("tags")
    told = [str(tag) for tag in tags] if isinstance(tags, list) else []
    options = [f"--name={name}"] if name else []
    return (*options, *(f"--tag={tag}" for tag in told))


def _code(git: Any, patch: Path | None) -> Code:
    facts = git if isinstance(git, dict) else {}
    commit = _text(facts, "commit")
    prefix = facts.get("prefix")
    return Code(
        commit=commit if _COMMIT.fullmatch(commit) else "",
        branch=_text(facts, "branch"),
        remote=_text(facts, "remote"),
        prefix=prefix if isinstance(prefix, str) and _stays_inside(prefix) else None,
        dirty=facts.get("dirty") is True,
        untracked=max(0, whole(facts.get("untracked")) or 0),
        patch_redacted=facts.get("patch_redacted") is True,
        patch_truncated=facts.get("patch_truncated") is True,
        patch=patch if patch is not None and _is_regular(patch) else None,
    )


def _stays_inside(prefix: str) -> bool:
    """Tell whether a relative path leads nowhere else."""
    return not prefix.startswith("/") and ".." not in prefix.split("/") and "\0" not in prefix


def _is_regular(path: Path) -> bool:
    try:
        return path.is_file() and not path.is_symlink()
    except OSError:
        return False


def _is_in(command: Sequence[str], value: Any) -> bool:
    """Tell whether a value is a word of a command, or stands behind the `=` of one."""
    text = value if isinstance(value, str) else json.dumps(value)
    return any(text in (word, word.partition("=")[2]) for word in command)


def _words(command: Any) -> tuple[str, ...] | None:
    return tuple(map(str, command)) if isinstance(command, list) and command else None


def _text(facts: Mapping[str, Any], key: str) -> str:
    value = facts.get(key)
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> dict[str, str]:
    found = value if isinstance(value, dict) else {}
    return {name: text for name, text in found.items() if isinstance(text, str)}
