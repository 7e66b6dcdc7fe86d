"""`runstore show`: one run on a page."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from runstore.cli.manual import READ_VARIABLES, Manual, ManualCommand
from runstore.cli.options import json_option, map_option, root_option, run_argument
from runstore.cli.output import print_json, table
from runstore.cli.progress import watched
from runstore.exec.output_log import last_lines
from runstore.files.paths import RunPaths
from runstore.files.records import JsonObject, integer, metric_values, number
from runstore.hosts.pulled import origin_of
from runstore.journal.journal import note_lines
from runstore.metrics.ranking import is_bookkeeping, rank_metrics
from runstore.metrics.reports import text_report
from runstore.numbers import duration, local_time, metric, of_total
from runstore.runs.lookup import find
from runstore.runs.reader import read_whole
from runstore.runs.summary import full_summary, newest_report, notes_of
from runstore.state.run_state import RunState
from runstore.text import printable

EPOCHS_SHOWN = 20
OUTPUT_LINES_SHOWN = 10
NOTES_CHARS = 200


MANUAL = Manual(
    examples={
        "The newest run": "runstore show latest",
        "A run of somebody else": "runstore show /mnt/shared/runs/by-hand",
        "Its best epoch, for a script": "runstore show latest --json | jq .best",
    },
    statuses={
        "0": "shown, whatever became of the run",
        "1": "no such run, or several of that name",
    },
    variables=READ_VARIABLES,
    see=("runstore ls", "runstore cat", "runstore-tui", "docs/stability.md"),
)


@click.command("show", cls=ManualCommand, manual=MANUAL)
@run_argument
@root_option
@map_option
@json_option
def command(run: str, root: Path, as_json: bool) -> None:
    """Show RUN: status, parameters, position, epochs, the newest report, notes, warnings.

    The last 20 epochs are shown, the best one marked *; --json has all of them. Of a command of
    `runstore exec` there are also its exit status and its last lines.
    """
    state = read_whole(find(run, root, watched), watched).state
    if as_json:
        print_json(full_summary(state))
        return
    for line in page(state):
        click.echo(line)


def page(state: RunState) -> list[str]:
    """Return the page's lines."""
    sections = [_facts(state), _last(state), _epochs(state), _report(state), _output(state)]
    sections += [list(note_lines(notes_of(state))), _warnings(state)]
    return [line for section in sections if section for line in [*section, ""]][:-1]


def _facts(state: RunState) -> list[str]:
    status = f"{state.status.word}: {state.status.reason}".removesuffix(": ")
    best = state.best
    command = state.info.get("command")
    facts = {
        "run": state.id,
        "name": "" if state.name == state.id else state.name,
        "path": str(state.path),
        "source": "" if state.source == "native" else state.source,
        "pulled": _pulled(state),
        "status": status,
        "degraded": state.degraded,
        "params": "  ".join(f"{key}={value}" for key, value in state.params.items()),
        "tags": " ".join(state.tags),
        "notes": _one_line(state.info.get("notes")),
        "created": local_time(state.created) if state.created else "",
        "duration": duration(state.duration_s) if state.duration_s is not None else "",
        "attempt": str(state.attempt) if state.attempt > 1 else "",
        "exit": _exit(state),
        "epoch": "" if state.epoch is None else of_total(state.epoch, state.epochs),
        "step": "" if state.step is None else f"{state.step:,}",
        "best": f"epoch {best.epoch}, {best.metric} {metric(best.value)}" if best else "",
        "command": shlex.join(map(str, command)) if isinstance(command, list) else "",
        "": "secrets were taken out of the command" if state.info.get("command_redacted") else "",
        "commit": _commit(state.git, state.path) if state.git else "",
    }
    return [f"{key:9} {printable(value)}" for key, value in facts.items() if value]


def _pulled(state: RunState) -> str:
    origin = origin_of(state.path)
    return f"from {origin.source}, {origin.told().partition(', ')[2]}" if origin else ""


def _one_line(notes: object) -> str:
    """Return what a person wrote about the run, the beginning of a long text."""
    text = " ".join(notes.split()) if isinstance(notes, str) else ""
    return text if len(text) <= NOTES_CHARS else f"{text[: NOTES_CHARS - 2]} …"


def _exit(state: RunState) -> str:
    """Return what `runstore exec` has on record of the newest attempt's end."""
    execution = state.newest.execution if state.newest else None
    exited = execution.ended if execution else None
    if exited is None:
        return ""
    code, name = integer(exited, "code"), exited.get("signal")
    ended = f"status {code}" if code is not None else str(name or "")
    core = "core dumped" if exited.get("core") is True else ""
    oom = "the kernel killed for memory" if exited.get("oom_kill") is True else ""
    rss, took = number(exited, "max_rss_gib"), number(exited, "duration_s")
    cpu_s = (number(exited, "user_s") or 0.0) + (number(exited, "system_s") or 0.0)
    told = [
        ended,
        core,
        oom,
        f"{duration(took)}, {duration(cpu_s)} of CPU time" if took is not None else "",
        f"at most {rss:.3g} GiB" if rss is not None else "",
    ]
    return ", ".join(filter(None, told))


def _output(state: RunState) -> list[str]:
    """Return the last lines that the command of `runstore exec` has printed."""
    if not any(attempt.execution for attempt in state.attempts.values()):
        return []
    lines = last_lines(state.path, OUTPUT_LINES_SHOWN)
    title = f"output (the end of {RunPaths(state.path).output.name})"
    return [title, *(f"  {printable(text)}" for text in lines)] if lines else []


def _commit(git: JsonObject, run_dir: Path) -> str:
    commit = str(git.get("commit") or "")[:12]
    if not commit or not git.get("dirty"):
        return commit
    # Files that git does not track make a checkout dirty too, but are in no patch.
    where = "patch.diff" if RunPaths(run_dir).patch.is_file() else "untracked files only"
    return f"{commit} with changes ({where})"


def _last(state: RunState) -> list[str]:
    names = [name for name in rank_metrics(state.last) if not is_bookkeeping(name)]
    if not names:
        return []
    last = state.last
    return [f"latest    {'  '.join(f'{printable(n)} {metric(last[n])}' for n in names)}"]


def _epochs(state: RunState) -> list[str]:
    rows = state.epoch_rows
    if not rows:
        return []
    shown = rows[-EPOCHS_SHOWN:]
    found = rank_metrics(key for row in shown for key in metric_values(row))
    names = [name for name in found if not is_bookkeeping(name)]
    best = state.best.epoch if state.best else None
    lines = table(
        [["EPOCH", *names, "DURATION"], *(_epoch_row(row, names, best) for row in shown)],
        right=range(len(names) + 2),
    )
    hidden = len(rows) - len(shown)
    return [f"epochs (the last {len(shown)} of {len(rows)})" if hidden else "epochs", *lines]


def _epoch_row(row: JsonObject, names: list[str], best: int | None) -> list[str]:
    values = metric_values(row)
    epoch = integer(row, "epoch")
    mark = "*" if epoch is not None and epoch == best else ""
    cells = [metric(values.get(name)) for name in names]
    return [f"{mark}{epoch}", *cells, duration(values.get("duration_s"))]


def _report(state: RunState) -> list[str]:
    row = newest_report(state)
    if row is None:
        return []
    title = f"report of {row.get('split')}, epoch {row.get('epoch')}, step {row.get('step')}"
    omitted = integer(row, "omitted")
    note = [f"({omitted:,} classes of small support are left out)"] if omitted else []
    return [printable(title), *(printable(line) for line in text_report(row)), *note]


def _warnings(state: RunState) -> list[str]:
    lines = [f"warning   {printable(warning)}" for warning in state.warnings]
    if state.bad_line_count:
        first = state.bad_lines[0]
        lines.append(
            f"bad lines {state.bad_line_count}, first {printable(first.place)}: "
            f"{printable(first.reason)}"
        )
    return lines
