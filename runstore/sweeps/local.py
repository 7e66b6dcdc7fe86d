"""The cells of a sweep as processes of this machine, some at a time.

Each cell is a process of its own, in a session of its own, with its output in its run: neither the
end of this process nor that of the terminal is theirs. Whatever is decided is decided from the
runs' states, so that two such pools, or one after another, share the same cells.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from runstore.environment.process import ProcessIdentity
from runstore.exec.output_log import last_lines
from runstore.sources.glances import ask_scheduler
from runstore.state.run_state import RunState
from runstore.sweeps.cell_process import CellProcess
from runstore.sweeps.cells import Action, CellWatch, Task
from runstore.sweeps.devices import VISIBLE, Slot, threads_each
from runstore.sweeps.document import Cell, Sweep
from runstore.sweeps.standing import Ended, Listener, Standing, left_s

TICK_S = 0.1
LOOK_S = 2.0
"""Between two looks at runs that are alive: a look reads a few KiB of each."""
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supply(Protocol):
    """Where further cells come from, when those that were planned are under way."""

    def next_cell(self) -> tuple[Sweep, Cell] | None:
        """Return another cell, and the sweep with it; None: none now."""

    def others(self) -> list[Cell]:
        """Return the cells that another process has added since, once."""

    def took(self, cell: Cell, state: RunState) -> None:
        """A cell has ended."""


class Pool:
    """Hands out the cells of a sweep to processes."""

    def __init__(
        self,
        sweep: Sweep,
        tasks: Sequence[Task],
        slots: Sequence[Slot],
        listener: Listener,
        *,
        retry: bool = False,
        supply: Supply | None = None,
        total: int | None = None,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            sweep: it is on disk.
            tasks: what is to be done, as `look` returned it.
            slots: the places for cells.
            listener: who is told.
            retry: as for `look`.
            supply: where further cells come from.
            total: how many there will be; default as many as there are tasks.
        """
        self._sweep, self._slots, self._listener, self._supply = sweep, slots, listener, supply
        self._total = total or len(tasks)
        self._retry = retry
        self._threads = threads_each(min(len(slots), self._total), os.environ)
        self._queue = deque(task.cell for task in tasks if task.action.is_start)
        self._waited: dict[str, CellWatch] = {}
        self._started: dict[str, CellProcess] = {}
        self._taken: set[str] = set()
        """Cells that were started once: whatever becomes of them, not again in this call."""
        self._stalled: set[str] = set()
        self._next_look = 0.0
        self._next_question = 0.0
        self._next_start = 0.0
        self._asked: int | None = None
        """The signal that asked for the end."""
        self._signals: deque[int] = deque()
        self.ended: list[Ended] = []
        for task in tasks:
            if task.action is Action.WAIT:
                self._wait_for(task)
            elif not task.action.is_start:
                self._note(task.cell, task.status.word, task.status.reason)

    def run(self) -> int | None:
        """Hand out all cells and wait for them; return the signal that ended it early, if any."""
        with self._signals_taken():
            while True:
                self._take_signals()
                self._reap()
                self._look()
                self._start_what_fits()
                if not self._started and (self._asked or not (self._queue or self._waited)):
                    return self._asked
                self._listener.stands(self._standing())
                time.sleep(TICK_S)

    # ---- starting --------------------------------------------------------------------------------

    def _start_what_fits(self) -> None:
        while self._may_start and (slot := self._free_slot()) is not None:
            cell = self._next_cell()
            if cell is None:
                return
            watch = CellWatch(self._sweep, cell)
            task = watch.look(retry=self._retry)
            # Another `runstore sweep` of the same cells may have been faster.
            if task.action is Action.WAIT:
                self._wait_for(task)
            elif task.action.is_start:
                self._start(watch, slot)
            else:
                self._note(cell, task.status.word, task.status.reason, watch.state)

    @property
    def _may_start(self) -> bool:
        return self._asked is None and time.monotonic() >= self._next_start

    def _next_cell(self) -> Cell | None:
        if self._queue:
            return self._queue.popleft()
        if self._supply is None or time.monotonic() < self._next_question:
            return None
        found = self._supply.next_cell()
        # Ours too, to wait for, or to run should nobody do it.
        self._queue.extend(self._supply.others())
        if found is None:
            self._next_question = time.monotonic() + LOOK_S
            return self._queue.popleft() if self._queue else None
        self._sweep, cell = found
        return cell

    def _free_slot(self) -> Slot | None:
        taken = {one.slot.number for one in self._started.values()}
        free = [slot for slot in self._slots if slot.number not in taken]
        for watch in self._waited.values():
            # Those that a killed `runstore sweep` has left running take their places.
            if free and (devices := _place_here(watch.state)) is not None:
                same = next((slot for slot in free if slot.devices == devices), None)
                if same is not None or not any(slot.gpus for slot in free):
                    free.remove(same or free[0])
        return free[0] if free else None

    def _start(self, watch: CellWatch, slot: Slot) -> None:
        try:
            started = CellProcess.start(self._sweep, watch, slot, self._threads)
        except OSError as error:
            if not self._started:
                self._note_not_started(watch.cell, f"no process for it ({error.strerror})")
                return
            # A limit of processes, memory or descriptors: when another has ended there is room.
            self._queue.appendleft(watch.cell)
            self._next_start = time.monotonic() + LOOK_S
            return
        self._taken.add(watch.cell.id)
        self._started[watch.cell.id] = started
        self._listener.started(watch.cell, slot)

    # ---- watching --------------------------------------------------------------------------------

    def _reap(self) -> None:
        for cell_id, one in list(self._started.items()):
            if one.has_ended():
                del self._started[cell_id]
                self._settle(one, *one.reap(with_rest=self._asked is not None))

    def _settle(self, one: CellProcess, status: int, said: str) -> None:
        """Find out from its run how a cell of ours has ended."""
        task = one.watch.look()
        cell, state = one.watch.cell, one.watch.state
        if task.action is Action.WAIT:
            self._wait_for(task)
        elif state.attempt > one.attempt or task.action is Action.DONE:
            self._note(cell, task.status.word, task.status.reason, state)
        else:
            why = f"its process ended with status {status}"
            if self._asked is not None:
                why = "stopped before it had begun"
            self._note_not_started(cell, said.removeprefix("runstore: ") or why)

    def _note_not_started(self, cell: Cell, why: str) -> None:
        # What keeps this one from starting will keep the next ones.
        self._supply = None
        self._note(cell, "not started", why)

    def _look(self) -> None:
        """Look at the cells of others, and at the progress of our own."""
        if time.monotonic() < self._next_look:
            return
        for one in self._started.values():
            one.watch.look()
        for watch in self._waited.values():
            watch.look()
        ask_scheduler([watch.reader for watch in self._waited.values()])
        self._tell_stalled()
        for cell_id, watch in list(self._waited.items()):
            task = watch.task()
            if task.action is Action.WAIT:
                continue
            del self._waited[cell_id]
            if task.action.is_start and cell_id not in self._taken:
                self._queue.append(watch.cell)
            else:
                self._note(watch.cell, task.status.word, task.status.reason, watch.state)
        self._next_look = time.monotonic() + LOOK_S

    def _alive(self) -> list[CellWatch]:
        return [*(one.watch for one in self._started.values()), *self._waited.values()]

    def _at_a_standstill(self) -> list[CellWatch]:
        return [watch for watch in self._alive() if watch.state.status.word == "stalled"]

    def _tell_stalled(self) -> None:
        """Say it once, until the cell gets on again; nobody else would ever end the waiting."""
        tasks = [watch.task() for watch in self._at_a_standstill()]
        for task in tasks:
            if task.cell.id not in self._stalled:
                self._listener.stalls(task)
        self._stalled = {task.cell.id for task in tasks}

    def _wait_for(self, task: Task) -> None:
        self._waited[task.cell.id] = CellWatch(self._sweep, task.cell)
        self._waited[task.cell.id].look()
        self._listener.waits(task)

    def _note(self, cell: Cell, word: str, reason: str, state: RunState | None = None) -> None:
        duration_s = state.duration_s if state else None
        ended = Ended(cell, word, reason, duration_s, _printed(state) if state else "")
        self.ended.append(ended)
        self._next_question = 0.0
        if state is not None and self._supply is not None:
            self._supply.took(cell, state)
        if state is not None or word == "not started":
            self._listener.ended(ended)

    def _standing(self) -> Standing:
        finished = sum(one.is_finished for one in self.ended)
        return Standing(
            total=self._total,
            finished=finished,
            ended=len(self.ended) - finished,
            running=len(self._started),
            waited=len(self._waited),
            left_s=left_s(
                [one.duration_s for one in self.ended if one.is_finished and one.duration_s],
                [watch.state for watch in self._alive()],
                total=self._total - len(self.ended),
                at_once=len(self._slots),
            ),
            stalled=tuple(
                (watch.cell.id, watch.state.status.reason) for watch in self._at_a_standstill()
            ),
        )

    # ---- stopping --------------------------------------------------------------------------------

    @contextmanager
    def _signals_taken(self) -> Iterator[None]:
        def note(number: int, frame: FrameType | None) -> None:
            self._signals.append(number)

        before = {}
        for number in _STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take_signals(self) -> None:
        while self._signals:
            number = self._signals.popleft()
            if number == signal.SIGHUP and self._asked is not None:
                # A terminal that is closed behind Ctrl-C, while cells save.
                continue
            is_hard, self._asked = self._asked is not None, self._asked or number
            for one in self._started.values():
                if is_hard:
                    one.kill()
                else:
                    one.ask()
            self._listener.stops(len(self._started), is_hard=is_hard)


def _printed(state: RunState) -> str:
    """Return the last line of a command that has failed, where no `end` of a run tells why."""
    if state.status.word not in ("failed", "crashed") or state.ended is not None:
        return ""
    return next(iter(last_lines(state.path, 1)), "")


def _place_here(state: RunState) -> str | None:
    """Return the GPUs that a live run of this machine was given; None where it is not here."""
    if not state.status.is_proven_alive or state.newest is None:
        return None
    identity = ProcessIdentity.from_record(state.newest.begun or {})
    if identity is None or not identity.is_local():
        return None
    return str(state.environment.get(VISIBLE, ""))
