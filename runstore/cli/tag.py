"""`runstore tag`: words to find runs by, given and taken away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from runstore.cli.manual import ROOT_VARIABLE, Manual, ManualCommand
from runstore.cli.options import root_option
from runstore.cli.output import say
from runstore.cli.progress import watched
from runstore.completion.parameters import RUN
from runstore.errors import RunNotFoundError, RunStoreError
from runstore.runs.lookup import find
from runstore.runs.notes import refuse_foreign, refuse_pulled
from runstore.runs.tagging import change_tags, checked_tag
from runstore.sources import RunRef
from runstore.sources.glances import glanced
from runstore.text import printable

TAKEN = "\0"
"""Stands before a tag that is to be taken away until the options were read."""

MANUAL = Manual(
    examples={
        "One more, one less": "runstore tag latest +paper -draft",
        "All runs of a sweep": "runstore tag runs/sweep/* +paper",
        "Which it has": "runstore tag latest",
        "Those that have it": "runstore ls --filter tag:paper",
    },
    statuses={
        "0": "done, also where nothing had to be changed",
        "1": "no such run, no tag, or a run that takes none: then nothing was changed",
    },
    variables=ROOT_VARIABLE,
    see=("runstore note", "runstore journal", "runstore ls", "docs/format.md"),
)


class TagCommand(ManualCommand):
    """Takes `-draft` for a tag, not for the options -d, -r, -a, …"""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments."""
        return super().parse_args(ctx, list(_without_dashes(args, ctx.help_option_names)))


def _without_dashes(args: Sequence[str], helping: Iterable[str]) -> Iterator[str]:
    """Yield arguments in which nothing but an option looks like one."""
    end = args.index("--") if "--" in args else len(args)
    for place, arg in enumerate(args):
        is_value = place > 0 and args[place - 1] == "--root"
        # Behind `--` there are no options: so can a tag `h` be taken away.
        is_option = place < end and (arg in helping or arg.startswith("--"))
        is_tag = len(arg) > 1 and arg.startswith("-") and place != end
        yield f"{TAKEN}{arg[1:]}" if is_tag and not is_value and not is_option else arg


@click.command("tag", cls=TagCommand, manual=MANUAL)
@click.argument("words", metavar="RUN... [+TAG | -TAG]...", nargs=-1, required=True, type=RUN)
@root_option
def command(words: tuple[str, ...], root: Path) -> None:
    """Give tags to runs (+TAG) and take them away (-TAG), and print which they have then.

    Tags are words to filter by: `tag:paper` in the monitor, `ls --filter` and `journal --filter`.
    Each change is a small file of its own in RUN/tags/, so that any number of people may make them
    at any time; run.json, which has the tags that the script gave, stays as it is.
    """
    runs, added, removed = _sorted_out(words)
    refs = [_found(run, root, has_changes=bool(added or removed)) for run in runs]
    if added or removed:
        # All of them first: a run that takes no tag is no reason to leave half of them changed.
        for ref in refs:
            refuse_foreign(ref.path, "a tag")
            refuse_pulled(ref.path, "a tag")
    for ref in refs:
        tags = _change(ref, added, removed)
        label = f"{ref.name}: " if len(refs) > 1 else ""
        if len(refs) > 1:
            click.echo(printable(label + " ".join(tags)))
        else:
            for tag in tags:
                click.echo(printable(tag))


def _sorted_out(words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the runs, the tags to give, and those to take away."""
    added = [checked_tag(word[1:]) for word in words if word.startswith("+")]
    removed = [checked_tag(word[1:]) for word in words if word.startswith(TAKEN)]
    if both := [tag for tag in added if tag in removed]:
        raise click.UsageError(f"+{both[0]} and -{both[0]}: which of them?")
    runs = [word for word in words if not word.startswith(("+", TAKEN))]
    if not runs:
        raise click.UsageError("no RUN is named; tags are given with +TAG")
    return list(dict.fromkeys(runs)), added, removed


def _found(run: str, root: Path, *, has_changes: bool) -> RunRef:
    try:
        return find(run, root, watched, around=False)
    except RunNotFoundError as error:
        if has_changes:
            raise
        raise RunStoreError(f"{error}; if it is meant as a tag: +{run}") from None


def _change(ref: RunRef, added: Sequence[str], removed: Sequence[str]) -> list[str]:
    """Make the changes that a run needs, and return its tags."""
    before = _tags(ref)
    add = [tag for tag in added if tag not in before]
    remove = [tag for tag in removed if tag in before]
    for tag in removed:
        if tag not in before:
            say(f"{ref.name} has no tag {tag!r}")
    if not add and not remove:
        # What is wrong with the change itself is told in any case.
        return before
    change_tags(ref.path, add, remove)
    return _tags(ref)


def _tags(ref: RunRef) -> list[str]:
    (reader,) = glanced([ref])
    return reader.state.tags
