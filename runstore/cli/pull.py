"""`runstore pull`: a copy of the runs on another machine, once or again and again."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from runstore.cli.manual import Manual, ManualCommand
from runstore.cli.output import say
from runstore.cli.progress import watched
from runstore.completion.parameters import DIRECTORY
from runstore.errors import RunStoreError
from runstore.hosts.remote import Remote, refuse_hosts_like_options
from runstore.hosts.ssh import Link
from runstore.numbers import count
from runstore.pull import Pull, crontab, default_place
from runstore.pull.loop import keep_up
from runstore.pull.session import Pass
from runstore.text import shell_word

CRON_S = 300.0
ENDING = (signal.SIGTERM, signal.SIGHUP)

MANUAL = Manual(
    examples={
        "The runs of a cluster, once": "runstore pull hpc1:/scratch/me/runs",
        "Into a directory, every half minute": "runstore pull hpc1:runs copies/hpc1 --every 30s",
        "Then look at them": "runstore-tui pulled",
        "By cron, every ten minutes": "runstore pull hpc1:runs --every 10min --crontab",
    },
    statuses={
        "0": "the copy is up to date",
        "1": "it is not, or not all of it: one line says why; what was here stays; or HOST is no "
        "name of a host",
        "128+N": "ended by signal N; 130 is Ctrl-C",
    },
    see=("runstore-tui", "docs/machines.md"),
)


class _Place(click.ParamType):  # type: ignore[type-arg]  # click before 8.5 takes none
    """A directory on another machine."""

    name = "place"
    about = "[user@]host:path, as scp takes it; a path without / is below your home there"


class _Command(ManualCommand):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse hosts that look like options in the same line as all that are no hosts."""
        refuse_hosts_like_options(args)
        return super().parse_args(ctx, args)


class _Interval(click.ParamType):  # type: ignore[type-arg]  # click before 8.5 takes none
    """A length of time, in seconds."""

    name = "interval"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(s|sec|m|min|h)?", str(value).strip())
        seconds = 0.0
        if match is not None:
            seconds = float(match[1]) * {"m": 60, "min": 60, "h": 3600}.get(match[2], 1)
        if not 1 <= seconds <= 86400:
            self.fail(f"{value!r} is no time from 1s to 24h, such as 30s, 5min or 2h", param, ctx)
        return seconds


@click.command("pull", cls=_Command, manual=MANUAL)
@click.argument("source", metavar="HOST:PATH", type=_Place())
@click.argument("dest", metavar="[DEST]", required=False, type=DIRECTORY)
@click.option(
    "--every",
    "every_s",
    metavar="TIME",
    type=_Interval(),
    show_default="once",
    help="Go on until Ctrl-C, so often: 30s, 5min, 2h. Less often while the link is gone.",
)
@click.option("--checkpoints", is_flag=True, help="Copy checkpoints too.")
@click.option("--crontab", "as_crontab", is_flag=True, help="Print a line for crontab, and exit.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something is wrong.")
def command(
    source: str,
    dest: Path | None,
    every_s: float | None,
    checkpoints: bool,
    as_crontab: bool,
    quiet: bool,
) -> None:
    """Copy the runs below PATH on HOST into DEST, or bring that copy up to date.

    By rsync over ssh, with your own ssh configuration. Rows and documents, printed output, image
    samples and other tools' logs are copied while they grow; checkpoints only with --checkpoints.
    Nothing is deleted in DEST, and nothing is written on HOST. A login that asks for a password or
    a code asks here, once.

    DEST is a directory of its own, by default pulled/HOST/PATH; it is printed.
    """
    remote = Remote.parse(source)
    place = dest or default_place(remote)
    if as_crontab:
        _print_crontab(remote, place, every_s, checkpoints=checkpoints)
        return
    with _ended_by_signals():
        _pull(remote, place, every_s, checkpoints=checkpoints, quiet=quiet)


def _pull(
    source: Remote, place: Path, every_s: float | None, *, checkpoints: bool, quiet: bool
) -> None:
    link = Link(source.host)
    pull: Pull | None = None
    try:
        link.open(ask=_is_somebody_there())
        pull = Pull(link, source, place, checkpoints=checkpoints)
        done = _first(pull)
        if not quiet:
            click.echo(str(place))
            say(f"{source.host}: {_told(done)}")
        if every_s is None:
            if done.problem is not None:
                raise done.problem
            return
        if done.problem is not None:
            say(str(done.problem))
        for turn in watched(keep_up(pull, link, every_s), f"pulls from {source.host}"):
            if turn.news:
                say(turn.news)
    finally:
        if pull is not None:
            pull.close()
        link.close()


def _first(pull: Pull) -> Pass:
    """Pull once, with a bar that tells that it goes on."""
    (done,) = (pull.whole() for _ in watched([pull], f"pulling from {pull.source.host}"))
    return done


def _told(done: Pass) -> str:
    files = len(done.brought.files)
    if not files:
        return "nothing new"
    changed = f"{count(files)} file{'' if files == 1 else 's'} new or longer"
    return f"{changed}, {_size(done.brought.received_bytes)} received"


def _size(size_bytes: int) -> str:
    """Return `340 B`, `12.4 KiB`, `3.1 GiB`."""
    size, units = float(size_bytes), iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while size >= 1024 and (larger := next(units, None)):
        size, unit = size / 1024, larger
    return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"


def _is_somebody_there() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End with what was begun tidied up, and 128 and the number of the signal as exit status."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in ENDING:
        signal.signal(number, leave)
    try:
        yield
    except KeyboardInterrupt:
        say("stopped; what has come stays, and the next pull goes on from there")
        raise SystemExit(128 + signal.SIGINT) from None


def _print_crontab(
    source: Remote, place: Path, every_s: float | None, *, checkpoints: bool
) -> None:
    asked_s = CRON_S if every_s is None else every_s
    program = Path(sys.argv[0]).absolute()
    if not os.access(program, os.X_OK):
        raise RunStoreError("the program `runstore` is not known by a path; call it by its name")
    words = [str(program), "pull", "--quiet", *(["--checkpoints"] if checkpoints else [])]
    words += [str(source), str(place.absolute())]
    click.echo(crontab.line(asked_s, words))
    if crontab.step_s(asked_s) != asked_s:
        say("cron knows whole minutes that divide an hour, and hours that divide a day")
    say(
        "add it with `crontab -e`; cron has no agent and no terminal, so the login needs a key "
        f"without a passphrase: try ssh -oBatchMode=yes {shell_word(source.host)} true"
    )
