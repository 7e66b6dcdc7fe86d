"""`runstore diff`: what was different between two runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from runstore.cli.manual import READ_VARIABLES, Manual, ManualCommand
from runstore.cli.options import json_option, map_option, root_option
from runstore.cli.output import print_json, print_lines, say, table
from runstore.cli.progress import watched
from runstore.completion.parameters import RUN
from runstore.environment.repository import COMMITS_TOLD, Commit
from runstore.errors import RunStoreError
from runstore.journal.differences import Commits, Differences, sections
from runstore.runs.comparison import MISSING
from runstore.runs.lookup import find
from runstore.runs.reader import known_state
from runstore.sources.glances import glanced
from runstore.tables.columns import text_of
from runstore.tables.labels import labels
from runstore.text import printable

CELL_CHARS = 60

MANUAL = Manual(
    examples={
        "Why did this one work?": "runstore diff digits-a digits-b",
        "The parameters, for a script": "runstore diff A B --json | jq .params",
        "How they came out": "runstore compare digits-a digits-b",
    },
    statuses={"0": "told, whether they differ or not", "1": "no such run"},
    variables=READ_VARIABLES,
    see=("runstore compare", "runstore reproduce", "docs/journal.md", "docs/json.md"),
)


@click.command("diff", cls=ManualCommand, manual=MANUAL)
@click.argument("first", metavar="A", type=RUN)
@click.argument("second", metavar="B", type=RUN)
@json_option
@root_option
@map_option
def command(first: str, second: str, as_json: bool, root: Path) -> None:
    """Show what was different between the runs A and B: parameters, environment, commits, patch.

    Of commits those are listed that one had and the other had not, where the repository of the
    current directory, or of the one that a run was started in, has both. Of the recorded changes to
    the code a unified diff is printed, without files in which both are the same. What came of it
    all is a matter of `runstore compare`.
    """
    refs = [find(run, root, watched) for run in (first, second)]
    states = [known_state(reader) for reader in glanced(refs)]
    if refs[0].path.resolve() == refs[1].path.resolve():
        raise RunStoreError(f"{first!r} and {second!r} are the same run, {refs[0].place}")
    names = labels(refs, root)
    differences = Differences(states[0], states[1], (names[0], names[1]))
    if as_json:
        print_json(differences.as_json(Path.cwd()))
        return
    print_lines(_page(differences))
    if not any(True for _ in sections(differences)):
        say("nothing that is on record differs")


def _page(differences: Differences) -> Iterator[str]:
    first, second = (printable(name) for name in differences.names)
    yield from (f"A  {first}", f"B  {second}")
    lacking = differences.missing_params
    for title, pairs in sections(differences):
        yield ""
        rows = [[title, "A", "B"]]
        for name, pair in pairs.items():
            is_param = title == "params"
            lacks = [
                name in lacking[place] if is_param else value is None
                for place, value in enumerate(pair)
            ]
            rows.append([f"  {name}", *map(_cell, pair, lacks)])
        yield from table(rows)
    if commits := differences.commits(Path.cwd()):
        yield ""
        yield from _commits(commits)
    if lines := differences.patch_lines():
        yield ""
        yield from map(printable, lines)


def _cell(value: Any, is_missing: bool) -> str:
    # A parameter may be None; of all else there is none then.
    if is_missing:
        return MISSING
    text = text_of(value)
    return text if len(text) <= CELL_CHARS else f"{text[: CELL_CHARS - 1]}…"


def _commits(commits: Commits) -> Iterator[str]:
    for name, listed in (("A", commits.first), ("B", commits.second)):
        if listed:
            more = f" (the newest {COMMITS_TOLD})" if len(listed) == COMMITS_TOLD else ""
            yield f"commits of {name} alone{more}"
            yield from map(_commit, listed)


def _commit(commit: Commit) -> str:
    return printable(f"  {commit.id} {commit.subject}")
