"""The console script `runstore-tui`: options, checks, and then the package `tui`.

`tui` is a common name. Another distribution has it too, and a user's own folder may hold one; so
this script makes sure that it starts the one that was installed with runstore.
"""

from __future__ import annotations

import importlib.util
import math
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from runstore import monitor_settings
from runstore.cli.manual import CONTEXT, Manual, ManualCommand
from runstore.completion.parameters import DIRECTORY, RUN
from runstore.errors import RootNotFoundError, RunStoreError
from runstore.hosts.remote import is_remote, refuse_hosts_like_options
from runstore.monitor_settings import FASTEST_FPS, SLOWEST_FPS, THEMES, Settings
from runstore.text import guard_streams

if TYPE_CHECKING:
    from tui.hosts import Hosts

USAGE_ERROR = 2
COMPLETE = "_RUNSTORE_TUI_COMPLETE"
"""Set by the scripts of `runstore completion`."""


MANUAL = Manual(
    examples={
        "Watch the runs below ./runs": "runstore-tui",
        "Watch two roots, one of them on a share": "runstore-tui runs /mnt/shared/runs",
        "This machine and a cluster's in one screen": "runstore-tui hpc1:/scratch/me/runs ./runs",
        "A line per change, kept in a file too": "runstore-tui --plain | tee changes.txt",
        "The list as text, every ten seconds": "watch -n 10 runstore-tui --once",
        "The names of all runs": "runstore-tui --once --json | jq -r '.runs[].name'",
        "One run in full, for a mail": "runstore-tui --run latest | mail -s run me@example.org",
    },
    statuses={
        "0": "left with q, or printed",
        "1": "without a screen: a ROOT or a RUN is not there",
        "2": "wrong usage, settings that cannot be obeyed, or Textual is missing",
        "128+N": "ended by signal N; 130 is Ctrl-C with --plain",
    },
    variables={
        "RUNSTORE_ROOT": "the default of ROOT",
        "RUNSTORE_MAP": "the default of --map",
        "RUNSTORE_TUI_THEME": "the default of --theme; the command line comes first, then these, "
        "then the file of settings",
        "RUNSTORE_TUI_ASCII": "the default of --ascii: 1 or 0, as the next two",
        "RUNSTORE_TUI_MOUSE": "the default of --mouse",
        "RUNSTORE_TUI_BELL": "the default of --bell",
        "RUNSTORE_TUI_FPS": "the default of --fps",
        "NO_COLOR": "set to anything: no colours",
        "COLORTERM": "truecolor: the terminal has all colours; with few, the theme is terminal",
        "COLUMNS": "the width of --once where the output is no terminal, instead of 120",
        "TERM": "unset, or dumb: as with --once; linux, the console: as with --ascii",
        "XDG_CONFIG_HOME": "where runstore/tui.toml is, the file of settings, instead of ~/.config",
        "XDG_CACHE_HOME": "where runstore/hosts is, the copies of other machines' runs, instead of "
        "~/.cache",
        "XDG_STATE_HOME": "where runstore/tui.json is, what the next start finds again: view, "
        "sort, filter, columns, marks, axes of charts; instead of ~/.local/state",
    },
    see=("runstore ls", "runstore pull", "docs/monitor.md", "docs/machines.md", "docs/json.md"),
)


class _Command(ManualCommand):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # While a shell completes what comes behind `--run`, click would forget the roots before it.
        if ctx.resilient_parsing and args[-1:] == ["--run"]:
            args = args[:-1]
        try:
            refuse_hosts_like_options(args)
        except RunStoreError as error:
            if not ctx.resilient_parsing:
                _refuse(str(error))
        return super().parse_args(ctx, args)


def _a_number(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    """Refuse what is between no bounds, and which click takes for being between all."""
    if value is not None and math.isnan(value):
        raise click.BadParameter(f"{value} is not a number")
    return value


@click.command(cls=_Command, manual=MANUAL, context_settings=CONTEXT)
@click.argument("roots", nargs=-1, metavar="[ROOT]...", type=DIRECTORY)
@click.option("--once", is_flag=True, help="Print the screen as plain text and exit.")
@click.option(
    "--plain",
    is_flag=True,
    help="No screen: a line for each change, until Ctrl-C, for screen readers and logs.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="With --once, which it implies: JSON, for programs."
)
@click.option(
    "--run",
    "wanted",
    multiple=True,
    type=RUN,
    metavar="RUN",
    help="Show this run in full (a path, an id, a unique prefix or name, or latest), as with "
    "--once, which it implies; with --plain, only its changes. Repeatable.",
)
@click.option(
    "--map",
    "column_map",
    metavar="ROLE=COLUMN,…",
    show_default="$RUNSTORE_MAP",
    envvar="RUNSTORE_MAP",
    help="Columns of other tools' logs that are not known by their names: step=iter,split=mode.",
)
@click.option(
    "--theme",
    type=click.Choice(THEMES),
    show_default="dark",
    help="Colours for a dark or a light screen, or the 16 of the terminal itself.",
)
@click.option(
    "--ascii/--no-ascii",
    default=None,
    show_default="--ascii where TERM is linux",
    help="Use no character beyond ASCII.",
)
@click.option(
    "--mouse/--no-mouse",
    default=None,
    show_default="--mouse",
    help="Take clicks and the wheel; without, the terminal selects text as always.",
)
@click.option(
    "--bell/--no-bell",
    default=None,
    show_default="--no-bell",
    help="Ring when a run ends.",
)
@click.option(
    "--fps",
    type=click.FloatRange(SLOWEST_FPS, FASTEST_FPS),
    metavar="NUMBER",
    callback=_a_number,
    show_default="6.7",
    help="Look for changes so often a second; keys are answered at once.",
)
@click.option(
    "--config-path", is_flag=True, help="Print where the file of settings belongs, and exit."
)
@click.option("--screenshot", type=click.Path(path_type=Path, dir_okay=False), hidden=True)
@click.option("--size", default="160x45", hidden=True)
@click.version_option(package_name="runstore", prog_name="runstore-tui")
def command(
    roots: tuple[Path, ...],
    wanted: tuple[str, ...],
    column_map: str | None,
    config_path: bool,
    screenshot: Path | None,
    size: str,
    **said: Any,
) -> None:
    """Watch the runs below each ROOT, live.

    ROOT defaults to $RUNSTORE_ROOT, then to ./runs; it may be a run itself, or `[user@]host:path`
    on another machine, watched through a copy that ssh and rsync keep up to date. Nothing is
    written there, but for what a key notes about a run or asks of it, and no server is started.
    Without a terminal the output is that of --once. Press ? for the keys, and : for everything by
    its name.

    What is chosen, such as the view or the marked runs, is found again at the next start.
    """
    watched = roots or (Path(os.environ.get("RUNSTORE_ROOT") or "runs"),)
    if config_path:
        _print_config_path()
        return
    settings = _settings(said)
    require_own_tui()
    if column_map is not None:
        _choose_columns(column_map)
    watched, hosts = _hosts(watched)
    if screenshot is not None:
        _screenshot(watched, screenshot, size, settings)
    elif said["plain"]:
        _refuse_both(said)
        _plain(watched, wanted, settings, hosts)
    elif said["once"] or said["as_json"] or wanted or not _is_screen():
        sys.exit(_once(watched, wanted, settings, hosts, as_json=said["as_json"]))
    else:
        sys.exit(_screen(watched, settings, hosts))


def _hosts(roots: tuple[Path, ...]) -> tuple[tuple[Path, ...], Hosts | None]:
    """Return where the roots are looked at here, and the other machines that some are on."""
    if not any(is_remote(str(root)) for root in roots):
        return roots, None
    from tui.main import hosts_of

    try:
        places, hosts = hosts_of(roots)
    except RunStoreError as error:
        _refuse(str(error))
    return tuple(places), hosts


def _log_in(hosts: Hosts | None, *, patient: bool = False) -> None:
    if hosts is None:
        return
    from tui.main import log_in

    try:
        log_in(hosts, patient=patient)
    except KeyboardInterrupt:
        hosts.stop()
        sys.exit(128 + signal.SIGINT)


def _settings(said: Mapping[str, Any]) -> Settings:
    """Return what the command line and the environment say, and then the file."""
    on_line = Settings(**{key: said[key] for key in monitor_settings.KEYS})
    try:
        in_environment = monitor_settings.settings_in(os.environ, besides=on_line)
        in_file = monitor_settings.read_settings(monitor_settings.config_path())
    except RunStoreError as error:
        _refuse(str(error))
    return on_line.over(in_environment).over(in_file)


def _print_config_path() -> None:
    path = monitor_settings.config_path()
    if path is None:
        _refuse("there is no home directory, so no file of settings; set $XDG_CONFIG_HOME")
    click.echo(str(path))


def _refuse_both(said: Mapping[str, Any]) -> None:
    for name in ("once", "json"):
        if said["as_json" if name == "json" else name]:
            raise click.UsageError(f"--plain goes on, --{name} prints once: give one of them")


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


def _refuse(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(USAGE_ERROR)


def _is_screen() -> bool:
    dumb = os.environ.get("TERM", "") in ("dumb", "")
    # Textual draws on standard error and reads standard input.
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)) and not dumb


def _once(
    roots: tuple[Path, ...],
    wanted: tuple[str, ...],
    settings: Settings,
    hosts: Hosts | None,
    *,
    as_json: bool,
) -> int:
    from tui.main import print_once, print_once_json

    pulled = _pulled_once(hosts)
    there, missing = _there(roots)
    problems = [*pulled, *missing]
    with _until_pipe_closes():
        if there and as_json:
            print_once_json(there, wanted)
        elif there:
            print_once(there, wanted, settings, hosts)
        for problem in problems:
            click.echo(str(problem), err=True)
    return 1 if problems else 0


def _pulled_once(hosts: Hosts | None) -> list[RunStoreError]:
    """Bring the copies of other machines' runs up to date; return what went wrong."""
    if hosts is None:
        return []
    try:
        _log_in(hosts, patient=True)
        return hosts.pull_once()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        hosts.stop()


def _there(roots: tuple[Path, ...]) -> tuple[list[Path], list[RootNotFoundError]]:
    """Return the roots that can be looked into, and what is wrong with the others."""
    from runstore.runs.store import root_problem

    found = {root: root_problem(root) for root in roots}
    return (
        [root for root, problem in found.items() if problem is None],
        [RootNotFoundError(root, problem) for root, problem in found.items() if problem],
    )


def _plain(
    roots: tuple[Path, ...], wanted: tuple[str, ...], settings: Settings, hosts: Hosts | None
) -> None:
    from tui.main import print_changes

    _log_in(hosts)
    with _until_pipe_closes():
        sys.exit(print_changes(roots, wanted, settings, hosts))


@contextmanager
def _until_pipe_closes() -> Iterator[None]:
    """Refuse in one line what runstore refuses; who closes the pipe has read enough (`| head`)."""
    try:
        yield
    except RunStoreError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.stdout = None
        sys.exit(0)
    except OSError as error:  # a full disk
        sys.stdout = None
        click.echo(f"runstore-tui: {error.filename or 'output'}: {error.strerror}", err=True)
        sys.exit(1)


def _screen(roots: tuple[Path, ...], settings: Settings, hosts: Hosts | None) -> int:
    if importlib.util.find_spec("textual") is None:
        _refuse("runstore-tui needs Textual: pip install 'textual>=8.2.8,<9'")
    from tui.main import run_screen

    _log_in(hosts)
    return run_screen(roots, settings, hosts)


def _screenshot(roots: tuple[Path, ...], target: Path, size: str, settings: Settings) -> None:
    from tui.main import save_screenshot

    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise click.BadParameter("expected WIDTHxHEIGHT, such as 160x45", param_hint="--size")
    save_screenshot(roots, target, (int(width), int(height)), settings)


if __name__ == "__main__":
    main()
