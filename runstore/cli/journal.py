"""`runstore journal`: every run that was ever started, as lines that can be run again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import click

from runstore.cli.manual import READ_VARIABLES, Manual, ManualCommand
from runstore.cli.options import filter_option, json_option, map_option, root_argument, root_option
from runstore.cli.output import print_json_array, print_lines, say
from runstore.cli.progress import watched
from runstore.journal import journal
from runstore.runs.run_filter import Query
from runstore.runs.store import discover
from runstore.sources import looked_for, unread

MANUAL = Manual(
    examples={
        "What was tried, the newest last": "runstore journal",
        "Since Monday, what has not failed": "runstore journal --since 2026-11-16 "
        "--filter '-status:failed'",
        "The last ten with a tag": "runstore journal --last 10 --filter tag:paper",
        "A file of commands to run again": "runstore journal --filter status:crashed > again.sh",
        "A page for a lab book": "runstore journal --since 7d --markdown > week.md",
    },
    statuses={"0": "printed, also when there are none", "1": "ROOT is not there, or unreadable"},
    variables=READ_VARIABLES,
    see=("runstore note", "runstore tag", "runstore reproduce", "docs/journal.md"),
)


def _moment(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else journal.since_when(value, time.time())
    except ValueError as error:
        raise click.BadParameter(str(error), param=option) from None


@click.command("journal", cls=ManualCommand, manual=MANUAL)
@root_argument
@root_option
@click.option(
    "--last", metavar="N", type=click.IntRange(min=1), show_default="all", help="Only the N newest."
)
@click.option(
    "--since",
    metavar="WHEN",
    callback=_moment,
    show_default="the first run",
    help="Only those that were created since: 7d, 12h, today, yesterday, 2026-11-20, "
    "'2026-11-20 14:15'.",
)
@filter_option
@json_option
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown, by days.")
@map_option
def command(
    where: Path | None,
    root: Path,
    last: int | None,
    since: float | None,
    query: Query,
    as_json: bool,
    as_markdown: bool,
) -> None:
    """Print every run below ROOT (default: --root) as one would write it down, the newest last.

    A comment tells when it was started, what became of it, its parameters, tags, commit and notes;
    below stands the command, ready to be run again in bash, with `cd` where it ran in another
    directory than this one. Nothing is written for it at any time: it is read from the run
    directories.

    A command that secrets were taken out of is a comment. `runstore reproduce` also brings back the
    code.
    """
    if as_json and as_markdown:
        raise click.UsageError("--json and --markdown are one or the other")
    directory = where or root
    refs = discover([directory], watched)
    watch = partial(watched, prints=last is None)
    entries = journal.entries(refs, directory, query=query, since=since, last=last, watch=watch)
    if as_json:
        print_json_array(entry.as_json() for entry in entries)
        return
    if not refs:
        say(f"no runs in {directory} yet; looked for {looked_for()}{unread(directory)}")
    print_lines(_markdown(entries) if as_markdown else _bash(entries))


def _bash(entries: Iterable[journal.Entry]) -> Iterator[str]:
    here = str(Path.cwd())
    for number, entry in enumerate(entries):
        if number:
            yield ""
        yield from journal.bash_lines(entry, here)


def _markdown(entries: Iterable[journal.Entry]) -> Iterator[str]:
    day = ""
    for entry in entries:
        yield from journal.markdown_lines(entry, day)
        day = entry.day
