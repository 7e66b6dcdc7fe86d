"""`runstore note`: what people write about a run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from runstore.cli.manual import ROOT_VARIABLE, Manual, ManualCommand
from runstore.cli.options import root_option, run_argument
from runstore.cli.progress import watched
from runstore.errors import RunStoreError
from runstore.files.limits import NOTE_TEXT_BYTES
from runstore.runs.lookup import find
from runstore.runs.notes import add_note, refuse_foreign, refuse_pulled
from runstore.text import printable

SCISSORS = "# ------------------------ >8 ------------------------"

MANUAL = Manual(
    examples={
        "A line": 'runstore note latest "the loss explodes at 3k steps: lower the rate"',
        "In an editor": "runstore note digits",
        "What another program says": "git log -1 --format=%B | runstore note latest -",
    },
    statuses={
        "0": "written; its file is printed",
        "1": "no such run, nothing to write, or a run that takes no notes",
    },
    variables={
        **ROOT_VARIABLE,
        "VISUAL, EDITOR": "the editor that opens without a TEXT",
    },
    see=("runstore journal", "runstore tag", "docs/format.md"),
)


@click.command("note", cls=ManualCommand, manual=MANUAL)
@run_argument
@click.argument("words", metavar="[TEXT]", nargs=-1)
@root_option
def command(run: str, words: tuple[str, ...], root: Path) -> None:
    """Write a note about RUN, at any time: while it runs, or long after.

    Without a TEXT your editor opens; - reads standard input. The note is a small file of its own in
    RUN/notes/, with the time, your name and the host, so that any number of people may write at the
    same time. Removing that file takes it back. `runstore journal`, `runstore show` and the monitor
    show notes.
    """
    ref = find(run, root, watched, around=False)
    # Before somebody has written a page.
    refuse_foreign(ref.path, "a note")
    refuse_pulled(ref.path, "a note")
    text = " ".join(words) if words else _edited(ref.name)
    if words == ("-",):
        text = _from_input()
    click.echo(printable(str(add_note(ref.path, text))))


def _from_input() -> str:
    """Return what is on standard input; of what is too long only enough to see that."""
    data = sys.stdin.buffer.read(NOTE_TEXT_BYTES + 1)
    return data.decode(errors="replace")


def _edited(name: str) -> str:
    """Return what the user's editor gave.

    Raises:
        RunStoreError: there is no terminal, or nothing was saved.
    """
    if not sys.stdin.isatty():
        raise RunStoreError(
            "there is no text, and no terminal for an editor; give the text, or - to read "
            "standard input"
        )
    template = (
        f"\n\n{SCISSORS}\n# A note about {printable(name)}; this line and those below stay out.\n"
    )
    found = click.edit(template, extension=".md")
    if found is None:
        raise RunStoreError("nothing was saved: no note was written")
    return found.partition(SCISSORS)[0]
