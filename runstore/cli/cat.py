"""`runstore cat`: a stream's rows as JSON lines, the clean view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import orjson

from runstore.cli.manual import READ_VARIABLES, Manual, ManualCommand
from runstore.cli.options import map_option, root_option, run_argument
from runstore.cli.output import print_rows, say
from runstore.cli.progress import watched
from runstore.errors import UnreadableFileError
from runstore.files.paths import STREAMS, Stream
from runstore.runs.lookup import find
from runstore.sources import open_run
from runstore.sources.reading import RowLine

MANUAL = Manual(
    examples={
        "The epoch table of the newest run": "runstore cat latest epochs",
        "Steps and losses": "runstore cat digits metrics | jq -r '[.step, .\"train/loss\"] | @tsv'",
        "What happened, in order": "runstore cat latest events | jq -c '[.event, .step]'",
    },
    statuses={
        "0": "the rows were printed, also when there are none",
        "1": "no such run, or one of its files cannot be read",
    },
    variables=READ_VARIABLES,
    see=("runstore tail", "runstore export", "docs/format.md"),
)


@click.command("cat", cls=ManualCommand, manual=MANUAL)
@run_argument
@click.argument("stream", type=click.Choice(STREAMS))
@click.option("--all", "everything", is_flag=True, help="Add superseded rows, marked _superseded.")
@root_option
@map_option
def command(run: str, stream: Stream, everything: bool, root: Path) -> None:
    """Print STREAM of RUN as JSON lines: what counts, in order, over all attempts.

    STREAM is one of metrics (a row per logged step), epochs (a row per finished epoch), reports
    (classification reports), events (what happened to the run), system (CPU, memory, GPUs), exec
    (what `runstore exec` notes of its command).

    Rows that a later attempt has replaced are left out, and so are damaged lines, which are
    counted on standard error.
    """
    bad: list[RowLine] = []
    ref = find(run, root, watched)
    rows = open_run(ref, patient=False).rows(stream)
    print_rows(_lines(watched(rows, "printing rows", prints=True), everything, bad))
    unread = [line for line in bad if not line.number]
    bad = [line for line in bad if line.number]
    if bad:
        lines = "1 bad line" if len(bad) == 1 else f"{len(bad):,} bad lines"
        number = f":{bad[0].number}" if bad[0].number > 0 else ""
        say(f"{lines} left out, first {bad[0].file}{number}: {bad[0].error}")
    for line in unread:
        raise UnreadableFileError(ref.path / line.file, line.error or "")


def _lines(rows: Iterable[RowLine], everything: bool, bad: list[RowLine]) -> Iterator[bytes]:
    """Yield the lines to print, and collect the damaged ones in `bad`."""
    for line in rows:
        if line.row is None:
            bad.append(line)
        elif not line.superseded:
            yield line.line
        elif everything:
            yield orjson.dumps({**line.row, "_superseded": True})
