"""The console script `runstore-tui`: options, checks, and then the package `tui`.

`tui` is a common name. Another distribution has it too, and a user's own folder may hold one; so
this script makes sure that it starts the one that was installed with runstore.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import click

from runstore.completion.parameters import DIRECTORY, RUN
from runstore.errors import RunStoreError
from runstore.manual import CONTEXT, Manual, ManualCommand
from runstore.text import guard_streams

USAGE_ERROR = 2
COMPLETE = "_RUNSTORE_TUI_COMPLETE"
"""Set by the scripts of `runstore completion`."""


MANUAL = Manual(
    examples={
        "Watch the runs below ./runs": "runstore-tui",
        "Watch two roots, one of them on a share": "runstore-tui runs /mnt/shared/runs",
        "The list as text, every ten seconds": "watch -n 10 runstore-tui --once",
        "One run in full, for a mail": "runstore-tui --run latest | mail -s run me@example.org",
    },
    statuses={
        "0": "left with q, or printed",
        "1": "with --once: a ROOT or a RUN is not there",
        "2": "wrong usage, or Textual is missing",
    },
    variables={
        "RUNSTORE_ROOT": "the default of ROOT",
        "RUNSTORE_MAP": "the default of --map",
        "NO_COLOR": "set to anything: no colours",
        "COLUMNS": "the width of --once where the output is no terminal, instead of 120",
        "TERM": "unset, or dumb: as with --once",
    },
    see=("runstore ls", "runstore show", "docs/format.md"),
)


class _Command(ManualCommand):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # While a shell completes what comes behind `--run`, click would forget the roots before it.
        if ctx.resilient_parsing and args[-1:] == ["--run"]:
            args = args[:-1]
        return super().parse_args(ctx, args)


@click.command(cls=_Command, manual=MANUAL, context_settings=CONTEXT)
@click.argument("roots", nargs=-1, metavar="[ROOT]...", type=DIRECTORY)
@click.option("--once", is_flag=True, help="Print the screen as plain text and exit.")
@click.option(
    "--run",
    "wanted",
    multiple=True,
    type=RUN,
    metavar="RUN",
    help="With --once, which it implies: show this run in full (a path, an id, a unique prefix or "
    "name, or latest); repeatable.",
)
@click.option(
    "--map",
    "column_map",
    metavar="ROLE=COLUMN,…",
    show_default="$RUNSTORE_MAP",
    envvar="RUNSTORE_MAP",
    help="Columns of other tools' logs that are not known by their names: step=iter,split=mode.",
)
@click.option("--screenshot", type=click.Path(path_type=Path, dir_okay=False), hidden=True)
@click.option("--size", default="160x45", hidden=True)
@click.version_option(package_name="runstore", prog_name="runstore-tui")
def command(
    roots: tuple[Path, ...],
    once: bool,
    wanted: tuple[str, ...],
    column_map: str | None,
    screenshot: Path | None,
    size: str,
) -> None:
    """Watch the runs below each ROOT, live.

    ROOT defaults to $RUNSTORE_ROOT, then to ./runs; it may be a run itself. Nothing is written
    there, and no server is started. Without a terminal the output is that of --once. Press ? for
    the keys.
    """
    watched = roots or (Path(os.environ.get("RUNSTORE_ROOT") or "runs"),)
    require_own_tui()
    if column_map is not None:
        _choose_columns(column_map)
    if screenshot is not None:
        _screenshot(watched, screenshot, size)
    elif once or wanted or not _is_screen():
        _once(watched, wanted)
    else:
        sys.exit(_screen(watched))


def _choose_columns(column_map: str) -> None:
    from runstore.sources import columns

    try:
        columns.choose(columns.parse_map(column_map))
    except RunStoreError as error:
        raise click.BadParameter(str(error), param_hint="--map") from None


def main() -> None:
    """Run the command."""
    guard_streams()
    if COMPLETE in os.environ:
        from runstore.completion.shells import answer_shells

        answer_shells()
    command.main(complete_var=COMPLETE, prog_name="runstore-tui")


def require_own_tui() -> None:
    """Exit with status 2 and one line when `import tui` would give somebody else's package."""
    own = Path(__file__).resolve().parent.parent / "tui" / "main.py"
    spec = importlib.util.find_spec("tui")
    found = Path(spec.origin).resolve() if spec and spec.origin else None
    if found is not None and found.parent == own.parent and own.is_file():
        return
    what = f"{found} is in its place" if found else "it is not there"
    _refuse(
        f"runstore-tui needs its own package `tui` at {own.parent}, but {what}; remove the other "
        "one (pip uninstall tui, or change PYTHONPATH) and install runstore again"
    )


def _refuse(message: str) -> None:
    click.echo(message, err=True)
    sys.exit(USAGE_ERROR)


def _is_screen() -> bool:
    dumb = os.environ.get("TERM", "") in ("dumb", "")
    # Textual draws on standard error and reads standard input.
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)) and not dumb


def _once(roots: tuple[Path, ...], wanted: tuple[str, ...]) -> None:
    from tui.main import print_once

    try:
        print_once(roots, wanted)
    except RunStoreError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    except BrokenPipeError:  # `runstore-tui --once | head`
        sys.stdout = None
        sys.exit(0)


def _screen(roots: tuple[Path, ...]) -> int:
    if importlib.util.find_spec("textual") is None:
        _refuse("runstore-tui needs Textual: pip install 'textual>=8.2.8,<9'")
    from tui.main import run_screen

    return run_screen(roots)


def _screenshot(roots: tuple[Path, ...], target: Path, size: str) -> None:
    from tui.main import save_screenshot

    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise click.BadParameter("expected WIDTHxHEIGHT, such as 160x45", param_hint="--size")
    save_screenshot(roots, target, int(width), int(height))


if __name__ == "__main__":
    main()
