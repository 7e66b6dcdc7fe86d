"""`runstore rm`: runs removed for good."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from runstore.cli.manual import ROOT_VARIABLE, Manual, ManualCommand
from runstore.cli.options import root_option, runs_argument
from runstore.cli.output import say
from runstore.cli.progress import watched
from runstore.errors import RemovalError, RunStoreError
from runstore.numbers import duration, local_time, of_total, size
from runstore.runs.lookup import find
from runstore.runs.removal import (
    LEFT,
    Contents,
    Doomed,
    doomed,
    doomed_left,
    is_left,
    left_beside,
    remove,
)
from runstore.state.run_state import RunState
from runstore.text import printable, shell_word

NAMES_SHOWN = 5

MANUAL = Manual(
    examples={
        "One, after a look at what would be lost": "runstore rm latest",
        "A whole sweep, without being asked": "runstore rm --yes runs/sweep/*",
    },
    statuses={
        "0": "removed",
        "1": "no such run, one that is not to be removed, or no yes: then none was removed",
    },
    variables=ROOT_VARIABLE,
    see=("runstore ls", "runstore doctor", "docs/journal.md"),
)


@click.command("rm", cls=ManualCommand, manual=MANUAL)
@runs_argument
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--even-unknown",
    is_flag=True,
    help="Also a run of which nobody can tell from here that it is dead: unknown, pending, "
    "planned. Never one that is seen to be alive.",
)
@root_option
def command(runs: tuple[str, ...], yes: bool, even_unknown: bool, root: Path) -> None:
    """Remove runs, after telling what would be lost and how large it is.

    Never a run that is alive, nor one of another tool, and nothing that a link leads to. When one
    of several is refused, none is removed. The directory first gets the name .removed-RUN, so that
    an interrupted removal leaves nothing that passes for a run; `runstore rm` takes that name too,
    to remove what is left.
    """
    found = _all_or_none(runs, root, even_unknown)
    for one in found:
        click.echo(printable(_line(one)), err=True)
    total = sum(one.contents.size_bytes for one in found)
    what = "1 run" if len(found) == 1 else f"{len(found):,} runs"
    if not yes and not _agrees(f"Remove {what}, {size(total)}, for good?"):
        raise RunStoreError("nothing was removed")
    _remove_all(found, even_unknown)
    _tell_what_is_left(one.path.parent for one in found)


def _all_or_none(runs: Sequence[str], root: Path, even_unknown: bool) -> list[Doomed]:
    """Return all that may be removed; where one may not, tell which ones and remove none."""
    found: dict[Path, Doomed] = {}
    refused: list[str] = []
    for run in watched(runs, "looking at runs", len(runs)):
        try:
            one = _doomed(run, root, even_unknown)
            found.setdefault(one.path, one)
        except RunStoreError as error:
            refused.append(str(error))
    for problem in refused[:-1]:
        say(problem)
    if refused:
        more = "; none of the others was removed either" if found else ""
        raise RunStoreError(refused[-1] + more)
    return list(found.values())


def _doomed(run: str, root: Path, even_unknown: bool) -> Doomed:
    for place in (Path(run), root / run):
        if place.name.startswith(LEFT) and is_left(place):
            return doomed_left(place, root)
    return doomed(find(run, root, around=False), root, even_unknown=even_unknown)


def _line(one: Doomed) -> str:
    inside = one.contents
    lost = f"{size(inside.size_bytes)} in {_count(inside.files, 'file') or 'no file'}"
    told = _of_run(one.state) if one.state else ["left of a removal that was interrupted"]
    return f"{one.path}: {', '.join([*told, lost])}{_parts(inside)}"


def _of_run(state: RunState) -> Iterator[str]:
    yield state.status.word
    if state.epoch is not None:
        yield f"epoch {of_total(state.epoch, state.epochs)}"
    if state.duration_s is not None:
        yield duration(state.duration_s)
    if state.created is not None:
        yield f"of {local_time(state.created)}"
    if state.tags:
        yield f"tags {' '.join(state.tags)}"


def _parts(inside: Contents) -> str:
    parts = [
        _count(inside.checkpoints, "checkpoint", f" of {size(inside.checkpoint_bytes)}"),
        _count(inside.samples, "sample"),
        _count(inside.notes, "note"),
        _others(inside.others),
        *inside.problems[:1],
    ]
    told = ", ".join(filter(None, parts))
    return f": {told}" if told else ""


def _count(number: int, what: str, more: str = "") -> str:
    return f"{number:,} {what}{'s' * (number != 1)}{more}" if number else ""


def _others(names: Sequence[str]) -> str:
    """Tell what is there that no run has by itself: whoever put it there may want it."""
    if not names:
        return ""
    shown = ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")
    return f"and what is not runstore's: {shown}"


def _agrees(question: str) -> bool:
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        # Ctrl-C, or nobody there to answer.
        click.echo(err=True)
        if not sys.stdin.isatty():
            raise RunStoreError(
                "nothing was removed: nobody answered; --yes does not ask"
            ) from None
        return False


def _remove_all(found: Sequence[Doomed], even_unknown: bool) -> None:
    failed: list[RemovalError] = []
    for one in watched(found, "removing runs", len(found)):
        try:
            remove(one, even_unknown=even_unknown)
            click.echo(printable(f"removed {one.path}"))
        except RemovalError as error:
            failed.append(error)
    for problem in failed[:-1]:
        say(str(problem))
    if failed:
        raise failed[-1]


def _tell_what_is_left(folders: Iterable[Path]) -> None:
    for path in left_beside(folders):
        say(f"{path} is left of a removal that was interrupted: runstore rm {shell_word(path)}")
