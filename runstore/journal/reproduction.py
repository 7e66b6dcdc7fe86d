"""A run once more: its commit, its patch and its command, in a directory of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from runstore.environment.facts import facts
from runstore.environment.repository import Repository, apply_patch, distrust
from runstore.errors import RunStoreError
from runstore.files.paths import new_run_id
from runstore.journal.differences import patch_of, repository_with
from runstore.journal.patches import FilePatch, file_patches
from runstore.journal.provenance import SHORT_COMMIT, Provenance, provenance
from runstore.launch.attempts import ATTEMPT_VARIABLE, PARAMS_VARIABLE, RUN_VARIABLE
from runstore.redaction.secret_shapes import REDACTED
from runstore.runs.store import name_in
from runstore.state.run_state import RunState
from runstore.text import command_line, printable

DECIDING = ("PYTHONHASHSEED", "CUBLAS_WORKSPACE_CONFIG", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
"""Recorded variables that can change what is computed, or on which device."""
NAMES_TOLD = 3


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that is missing for an exact repetition."""

    what: str
    """In one line."""
    of_code: bool = True
    """Without it the code is another one; otherwise something beside it may be."""
    is_fatal: bool = False
    """Without it there is no code at all."""


@dataclass(slots=True)
class Reproduction:
    """How to run a run again."""

    state: RunState
    origin: Provenance
    repository: Repository | None
    """One at hand that has the commit."""
    into: Path
    """Where the code goes: a directory that is not there yet."""
    new_id: str
    """The new run's, where it is handed one."""
    lacks: list[Lack] = field(default_factory=list)
    parts: list[FilePatch] = field(default_factory=list)
    """Of the patch those that can be applied."""
    is_part_of_patch: bool = False
    """Some of it cannot."""

    @property
    def cwd(self) -> Path:
        """Where the command runs in the new directory."""
        return self.into / (self.origin.code.prefix or "")

    @property
    def assignments(self) -> dict[str, str]:
        """The variables that the command gets."""
        recorded = self.origin.environment
        known = {n: recorded[n] for n in DECIDING if n in recorded and recorded[n] != REDACTED}
        handed = self.origin.handed
        if handed:
            known[RUN_VARIABLE] = str(self.cwd / "runs" / self.new_id)
            known[PARAMS_VARIABLE] = orjson.dumps(handed).decode()
        return known

    @property
    def command(self) -> list[str] | None:
        """The command; a program that was named from where it ran, and is not in git, in full."""
        if self.origin.command is None:
            return None
        program, *arguments = self.origin.command
        if "/" in program and not program.startswith("/") and self.origin.cwd:
            there = Path(self.origin.cwd) / program
            # As `.venv/bin/python`, which is in no commit.
            if there.is_file():
                program = str(there)
        return self.origin.as_typed([program, *arguments])

    @property
    def is_whole(self) -> bool:
        """Whether the code will be what it was, as far as anybody knows."""
        return not any(lack.of_code for lack in self.lacks)


def reproduction(
    state: RunState, *, repository: Path | None = None, into: Path | None = None
) -> Reproduction:
    """Return how to run a run again, and what is missing for that.

    Args:
        state: the run, after a glance.
        repository: a directory in a repository that has the commit; the default is the one that the
            run was started in, or else the current one.
        into: where the code goes; the default is beside the repository.

    Raises:
        RunStoreError: there is no repository at `repository`.
    """
    origin = provenance(state)
    found = _repository(origin, repository)
    commit = origin.code.commit[:SHORT_COMMIT]
    beside = (found.top if found else Path.cwd()).resolve()
    default = beside.with_name(f"{beside.name}-{commit or 'again'}")
    new_id = new_run_id(name_in(state.path.name))
    place = into or default
    # Its own name as it is: what is there already is not to be followed.
    where = place.parent.resolve() / place.name
    plan = Reproduction(state, origin, found, where, new_id)
    plan.lacks = [*_lacks_of_commit(plan, repository), *_lacks_of_patch(plan), *_others(plan)]
    return plan


def _repository(origin: Provenance, named: Path | None) -> Repository | None:
    if named is not None and Repository.around(named) is None:
        why = distrust(named) or "no git repository; --repo names a checkout or a clone"
        raise RunStoreError(f"{named}: {why}")
    recorded = [Path(origin.cwd)] if origin.cwd else []
    places = [named] if named is not None else [*recorded, Path.cwd()]
    return repository_with([origin.code.commit], places) if origin.code.commit else None


def _lacks_of_commit(plan: Reproduction, named: Path | None) -> Iterator[Lack]:
    code = plan.origin.code
    if not code.commit:
        yield Lack(
            "no commit is on record: the run was not started in a git checkout with one",
            is_fatal=True,
        )
    elif plan.repository is None:
        searched = str(named or plan.origin.cwd or Path.cwd())
        if why := distrust(Path(searched)) or distrust(Path.cwd()):
            yield Lack(
                f"commit {code.commit[:SHORT_COMMIT]} was not looked for: {why}", is_fatal=True
            )
            return
        remote = f" of {code.remote}" if code.remote else ""
        yield Lack(
            f"commit {code.commit[:SHORT_COMMIT]} is not in {searched}: name a clone{remote} that "
            "has it with --repo, or fetch it",
            is_fatal=True,
        )


def _lacks_of_patch(plan: Reproduction) -> Iterator[Lack]:
    code = plan.origin.code
    parts = file_patches(patch_of(plan.origin))
    if code.patch_truncated:
        yield Lack("patch.diff was cut at 1 MiB: later changes are not on record")
        parts = parts[:-1]
    if code.patch_redacted:
        yield Lack(f"secrets were taken out of patch.diff: {REDACTED} stands in their place")
    binary = [part.name for part in parts if part.is_binary_without_content]
    if binary:
        more = ", …" if len(binary) > NAMES_TOLD else ""
        yield Lack(
            "patch.diff does not have the content of changed binary files: "
            f"{', '.join(binary[:NAMES_TOLD])}{more}"
        )
    if code.dirty and not parts and not code.untracked and not code.patch_truncated and not binary:
        yield Lack("the checkout had changes, and patch.diff is not there")
    plan.parts = [part for part in parts if not part.is_binary_without_content]
    plan.is_part_of_patch = bool(binary) or code.patch_truncated


def _others(plan: Reproduction) -> Iterator[Lack]:
    code, origin = plan.origin.code, plan.origin
    if code.untracked:
        files = "1 entry" if code.untracked == 1 else f"{code.untracked:,} entries"
        yield Lack(
            f"{files} of the checkout that git did not track: nothing of them is on record",
            of_code=False,
        )
    if code.commit and code.prefix is None:
        yield Lack(
            "where in the checkout the command ran is not on record: its top is taken",
            of_code=False,
        )
    if origin.command is None:
        yield Lack("no command is on record", of_code=False)
    elif origin.command_redacted:
        yield Lack(
            f"secrets were taken out of the command: {REDACTED} stands in their place",
            of_code=False,
        )


# ---- as lines ----------------------------------------------------------------------------------


def bash_lines(plan: Reproduction) -> Iterator[str]:
    """Yield what to do, as lines for bash that can be pasted; what is missing as comments."""
    state = plan.state
    said = ": ".join(filter(None, (state.status.word, state.status.reason)))
    yield f"# {printable(state.id)}, {printable(said)}"
    if there := _recorded_on(plan.origin):
        yield f"# {printable(there)}"
    yield from (f"# missing: {printable(lack.what)}" for lack in plan.lacks)
    mark = "# " if any(lack.is_fatal for lack in plan.lacks) else ""
    into = command_line([plan.into])
    if plan.origin.code.commit:
        top = command_line([plan.repository.top if plan.repository else "REPOSITORY"])
        commit = plan.origin.code.commit
        yield f"{mark}git -C {top} worktree add --detach {into} {commit}"
    if plan.parts:
        yield mark + _apply_line(plan, into)
    yield from _command_lines(plan, mark)


def _apply_line(plan: Reproduction, into: str) -> str:
    patch = plan.origin.code.patch
    assert patch is not None  # it has parts
    path = command_line([patch.resolve()])
    if plan.is_part_of_patch:
        return f"# {path}: `runstore reproduce --into` applies what is whole of it"
    return f"git -C {into} apply --whitespace=nowarn {path}"


def _command_lines(plan: Reproduction, mark: str) -> Iterator[str]:
    command = plan.command
    if command is None:
        return
    assignments = [f"{n}={command_line([value])}" for n, value in plan.assignments.items()]
    where = f"cd {command_line([plan.cwd])} && " if not mark else ""
    line = where + " ".join([*assignments, command_line(command)])
    yield f"# {line}" if plan.origin.command_redacted or mark else line


def _recorded_on(origin: Provenance) -> str:
    """Return what it ran on, where it differs with what is here behind it."""
    here = facts()
    versions = {"python": (origin.python, str(here["python"]))}
    versions |= {
        name: (version, str(here["versions"].get(name, "not installed")))
        for name, version in origin.versions.items()
    }
    told = [
        f"{name} {there}" + (f" (here {now})" if there != now else "")
        for name, (there, now) in versions.items()
        if there
    ]
    host = f"ran on {origin.host} with " if origin.host else "ran with "
    return host + ", ".join(told) if told else ""


# ---- done --------------------------------------------------------------------------------------


def check_out(plan: Reproduction, *, anyway: bool = False) -> None:
    """Make the directory with the code of the run.

    Args:
        plan: how.
        anyway: also where the code cannot be just that.

    Raises:
        RunStoreError: something is missing, the directory is there, or git refuses. Then there is
            none.
    """
    for lack in plan.lacks:
        if lack.is_fatal or (lack.of_code and not anyway):
            more = "" if lack.is_fatal else "; --anyway goes on without"
            raise RunStoreError(f"{plan.state.id}: {lack.what}{more}")
    repository = plan.repository
    assert repository is not None  # that would have been fatal
    _check_place(plan.into, repository)
    repository.add_worktree(plan.into, plan.origin.code.commit)
    if not plan.parts:
        return
    try:
        apply_patch(plan.into, b"".join(part.data for part in plan.parts))
    except BaseException as error:
        repository.remove_worktree(plan.into)
        if isinstance(error, RunStoreError):
            raise RunStoreError(
                f"{plan.state.id}: patch.diff does not apply to its commit ({error}); "
                f"{plan.into} was removed again"
            ) from None
        raise


def _check_place(into: Path, repository: Repository) -> None:
    if os.path.lexists(into):
        raise RunStoreError(f"{into}: is there already; --into names a new directory")
    if not into.parent.is_dir():
        raise RunStoreError(f"{into.parent}: no such directory, so nothing can be made in it")
    if into.resolve().is_relative_to(repository.top.resolve()):
        raise RunStoreError(
            f"{into}: lies in the working tree {repository.top}, which is left alone; name a "
            "directory outside of it"
        )


def check_command(plan: Reproduction) -> Sequence[str]:
    """Return the command, to be run in `plan.cwd`.

    Raises:
        RunStoreError: none is on record, or not all of it.
    """
    command = plan.command
    if command is None:
        raise RunStoreError(f"{plan.state.id}: no command is on record")
    if plan.origin.command_redacted:
        raise RunStoreError(
            f"{plan.state.id}: secrets were taken out of the command, so it cannot be run: "
            f"{command_line(command)}"
        )
    return command


def environment(plan: Reproduction) -> dict[str, str]:
    """Return the variables of the command: ours, with those that are recorded."""
    # A launcher's, of another run.
    others = {RUN_VARIABLE, PARAMS_VARIABLE, ATTEMPT_VARIABLE}
    own = {name: value for name, value in os.environ.items() if name not in others}
    return own | plan.assignments
