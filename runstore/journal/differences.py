"""What was different between two runs: parameters, surroundings, code. From a glance at each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runstore.environment.repository import Commit, Repository
from runstore.files.limits import DOCUMENT_BYTES
from runstore.files.records import JsonObject
from runstore.files.regular import read_regular
from runstore.journal.patches import differing_lines
from runstore.journal.provenance import Provenance, provenance
from runstore.runs.comparison import Comparison, compared
from runstore.state.run_state import RunState
from runstore.text import command_line

Pair = list[Any]
"""The value of the first run, and that of the second; None where one has none."""


@dataclass(frozen=True, slots=True)
class Commits:
    """Which commits one of two runs had and the other had not."""

    first: list[Commit]
    """Those of the first run, the newest first; at most 20."""
    second: list[Commit]


class Differences:
    """What was different between two runs."""

    def __init__(self, first: RunState, second: RunState, names: tuple[str, str]) -> None:
        """Compare two runs that were looked at, and are called by these names."""
        self.states, self.names = (first, second), names
        self.origins = provenance(first), provenance(second)

    @property
    def params(self) -> dict[str, Pair]:
        """The parameters that differ; nested names are joined by a point."""
        runs = [compared(state, name) for state, name in zip(self.states, self.names, strict=True)]
        return {name: [run.params.get(name) for run in runs] for name in Comparison(runs).differing}

    @property
    def missing_params(self) -> list[set[str]]:
        """The names of the parameters that each run does not have."""
        first, second = (set(compared(state, "").params) for state in self.states)
        return [second - first, first - second]

    @property
    def environment(self) -> dict[str, Pair]:
        """Command, place, versions and recorded variables, those that differ."""
        return _differing(*map(_surroundings, self.origins))

    @property
    def code(self) -> dict[str, Pair]:
        """`commit`, `branch`, `remote`, and `patch` with its size, those that differ."""
        found = _differing(*map(_code, self.origins))
        if self.patches[0] != self.patches[1]:
            found["patch"] = [f"{len(patch):,} bytes" if patch else None for patch in self.patches]
        return found

    @property
    def patches(self) -> tuple[bytes, bytes]:
        """Both patches; empty where there is none."""
        first, second = map(patch_of, self.origins)
        return first, second

    def patch_lines(self) -> list[str]:
        """Return how the patches differ; nothing where they do not."""
        first, second = self.patches
        if first == second:
            return []
        names = [f"{name}/patch.diff" for name in self.names]
        return list(differing_lines(first, second, (names[0], names[1])))

    def commits(self, here: Path) -> Commits | None:
        """Return the commits between both; None where no repository at hand has them both.

        Args:
            here: a directory in whose repository to look, after those where the runs were started.
        """
        first, second = (origin.code.commit for origin in self.origins)
        if not first or not second or first == second:
            return None
        repository = repository_with([first, second], self._places(here))
        if repository is None:
            return None
        return Commits(repository.commits(second, first), repository.commits(first, second))

    def _places(self, here: Path) -> list[Path]:
        return [here, *(Path(origin.cwd) for origin in self.origins if origin.cwd)]

    def as_json(self, here: Path) -> JsonObject:
        """Return what `diff --json` prints (docs/json.md)."""
        commits = self.commits(here)
        return {
            "runs": [
                {"id": name, "path": str(state.path), "status": state.status.word}
                for name, state in zip(self.names, self.states, strict=True)
            ],
            "params": self.params,
            "environment": self.environment,
            "code": self.code,
            "commits": commits and [_listed(commits.first), _listed(commits.second)],
            "patch": "".join(f"{line}\n" for line in self.patch_lines()),
        }


def repository_with(commits: list[str], places: list[Path]) -> Repository | None:
    """Return the first repository around some places that has these commits."""
    for place in dict.fromkeys(places):
        repository = Repository.around(place)
        if repository is not None and all(map(repository.has, commits)):
            return repository
    return None


def patch_of(origin: Provenance) -> bytes:
    """Return the recorded changes of the working tree; nothing where there are none."""
    if origin.code.patch is None:
        return b""
    try:
        return read_regular(origin.code.patch, DOCUMENT_BYTES)
    except OSError:
        return b""


def _surroundings(origin: Provenance) -> dict[str, Any]:
    facts = {
        "command": command_line(origin.command) if origin.command else None,
        "cwd": origin.cwd or None,
        "host": origin.host or None,
        "user": origin.user or None,
        "python": origin.python or None,
        "platform": origin.platform or None,
    }
    return {**facts, **origin.versions, **{f"${k}": v for k, v in origin.environment.items()}}


def _code(origin: Provenance) -> dict[str, Any]:
    code = origin.code
    facts = {"commit": code.commit, "branch": code.branch, "remote": code.remote}
    return {name: value or None for name, value in facts.items()}


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Pair]:
    names = dict.fromkeys((*first, *second))
    pairs = {name: [first.get(name), second.get(name)] for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _listed(commits: list[Commit]) -> list[JsonObject]:
    return [{"commit": one.id, "subject": one.subject} for one in commits]


def sections(differences: Differences) -> Iterator[tuple[str, dict[str, Pair]]]:
    """Yield what differs in parts that have a title each; without those in which nothing does."""
    for title, pairs in (
        ("params", differences.params),
        ("environment", differences.environment),
        ("code", differences.code),
    ):
        if pairs:
            yield title, pairs
