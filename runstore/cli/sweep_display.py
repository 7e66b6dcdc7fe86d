"""What `runstore sweep` shows: the plan, how far it is, and what has not finished."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from runstore.cli.output import say, table
from runstore.cli.progress import strip
from runstore.numbers import duration, metric
from runstore.sweeps.cells import Action, Task
from runstore.sweeps.devices import Slot
from runstore.sweeps.document import Cell, Sweep
from runstore.sweeps.search import Search
from runstore.sweeps.standing import Ended, Standing
from runstore.text import printable, shell_word

ROWS = 40
"""Cells of a plan that is carried out at once; with --dry-run all are shown."""
TOLD = 10
"""Cells that have not finished, by name."""
_PLAIN = re.compile(r"[\w@%+=:./-]*(?:\{[\w.-]+\}[\w@%+=:./-]*)*")
_WORDS = {
    Action.RUN: "to run",
    Action.RESUME: "to resume",
    Action.WAIT: "alive",
    Action.DONE: "finished",
    Action.FAILED: "failed",
    Action.UNKNOWN: "unknown",
}


def plan_lines(
    sweep: Sweep,
    tasks: Sequence[Task],
    where: str,
    trials: int | None,
    *,
    is_whole: bool,
) -> Iterator[str]:
    """Yield the lines of a plan: what there is to do, `where`, and for which cells."""
    counts = Counter(task.action for task in tasks)
    parts = [f"{counts[action]:,} {word}" for action, word in _WORDS.items() if counts[action]]
    if sweep.search and trials and trials > len(tasks):
        parts.append(f"{trials - len(tasks):,} to be chosen")
    yield f"sweep {printable(str(sweep.path))}: {', '.join(parts) or 'nothing to do'}"
    yield f"{where}: {printable(_command(sweep))}"
    shown = tasks if is_whole or len(tasks) <= ROWS else tasks[:ROWS]
    if shown:
        yield ""
        yield from table([("DO", "CELL", "STATUS"), *map(_row, shown)])
    if len(shown) < len(tasks):
        yield f"… and {len(tasks) - len(shown):,} more (--dry-run shows all)"
    if any(task.action is Action.FAILED for task in tasks):
        yield "(--retry starts those again that have failed)"


def _command(sweep: Sweep) -> str:
    """Return the command as it may be typed; no shell takes the braces of a placeholder amiss."""
    words = [word if _PLAIN.fullmatch(word) else shlex.quote(word) for word in sweep.command]
    return " ".join(words)


def _row(task: Task) -> tuple[str, str, str]:
    do = {Action.DONE: "–", Action.FAILED: "–", Action.UNKNOWN: "–"}
    return do.get(task.action, task.action.value), task.cell.id, task.why


def in_places(places: Sequence[Slot]) -> str:
    """Say how many cells run here at a time, and on which devices."""
    at_once = f"{len(places)} at a time"
    devices = list(dict.fromkeys(slot.devices for slot in places if slot.gpus))
    if not devices:
        return at_once
    shared = " each, shared" if len(devices) < len(places) else " each"
    named = [f"GPU {one}" for one in devices]
    return f"{at_once}, {' or '.join(named)}{shared if len(named) > 1 or shared != ' each' else ''}"


class Display:
    """Says what happens, line by line, and knows the line that is drawn below."""

    def __init__(self, total: int, sweep_dir: Path) -> None:
        """Know of `total` cells in a directory."""
        self._path = sweep_dir
        self._standing = Standing(total, 0, 0, 0, 0, None)

    def started(self, cell: Cell, slot: Slot) -> None:
        """Say that a cell was started."""
        say(f"{cell.id} started{f' on GPU {slot.devices}' if slot.gpus else ''}")

    def waits(self, task: Task) -> None:
        """Say that a cell is alive elsewhere."""
        say(f"{task.cell.id} is {task.why}; waiting for it")

    def stalls(self, task: Task) -> None:
        """Say that a cell gets on no more, and how it can be ended."""
        where = shell_word(self._path / task.cell.id)
        say(f"{task.cell.id} is {task.why}; to end it: runstore cancel {where}")

    def ended(self, ended: Ended) -> None:
        """Say how a cell has ended."""
        took = "" if ended.duration_s is None else f" after {duration(ended.duration_s)}"
        left_s = self._standing.left_s
        left = (
            ""
            if left_s is None or left_s < 1 or not ended.is_finished
            else f"; {duration(left_s)} left"
        )
        say(f"{ended.cell.id} {_told(ended, took)}{left}")

    def stands(self, standing: Standing) -> None:
        """Keep what is drawn."""
        self._standing = standing

    def stops(self, running: int, *, is_hard: bool) -> None:
        """Say what becomes of the cells that run."""
        cells = "1 cell" if running == 1 else f"{running} cells"
        if is_hard:
            say(f"{cells} killed")
        else:
            say(f"{cells} asked to save and end; again kills" if running else "stopped")

    def line(self) -> str:
        """Return the line that is drawn."""
        now = self._standing
        done = now.finished + now.ended
        parts = [
            f"{strip(done / now.total if now.total else 1.0)} {done:,}/{now.total:,} cells",
            f"{now.running} running",
            f"{now.waited} waited for" if now.waited else "",
            f"{now.ended} not finished" if now.ended else "",
            _stalled(now.stalled),
            f"{duration(now.left_s)} left" if now.left_s is not None else "",
        ]
        return "  ".join(filter(None, parts))


def _stalled(cells: Sequence[tuple[str, str]]) -> str:
    """Name one cell, and since when it has stalled."""
    if not cells:
        return ""
    cell, reason = cells[0]
    more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
    return f"{printable(cell)}{more} stalled ({reason})"


def _told(ended: Ended, took: str) -> str:
    reason = f": {ended.reason}" if ended.reason else ""
    printed = f" ({ended.printed})" if ended.printed else ""
    return f"{ended.status}{took}{reason}{printed}"


def tell_end(
    sweep: Sweep, ended: Sequence[Ended], search: Search | None, signal: int | None
) -> int:
    """Say what has finished and what has not; return the exit status."""
    others = [one for one in ended if not one.is_finished]
    finished = len(ended) - len(others)
    # After Ctrl-C nobody asks why.
    for one in others[:TOLD] if signal is None else ():
        say(f"{shell_word(sweep.run_dir(one.cell))}: {_told(one, '')}")
    if len(others) > TOLD and signal is None:
        say(f"… and {len(others) - TOLD:,} more")
    if search is not None and search.problem:
        say(f"the search has ended early: {search.problem}")
    if search is not None and search.best is not None:
        cell, value = search.best
        say(f"best: {metric(value)} of {cell.id}")
    is_whole = finished == len(sweep.cells)
    # The same call would start none of these.
    is_left_alone = len(ended) == len(sweep.cells) and {one.status for one in others} == {"failed"}
    on = _how_on(sweep, is_whole) + (" --retry" if is_left_alone else "")
    say(f"{finished:,} of {len(sweep.cells):,} cells have finished{on}")
    if signal is not None:
        return 128 + signal
    return 0 if is_whole and not (search and search.has_failed) else 1


def _how_on(sweep: Sweep, is_whole: bool) -> str:
    where = f" --root {shell_word(sweep.path.parent)}" if str(sweep.path.parent) != "runs" else ""
    if is_whole:
        return f"; compare: runstore compare {shell_word(sweep.path)}/*/"
    return f"; on: runstore sweep --name {shell_word(sweep.id)}{where}"
