"""What is known of one attempt of a run, from its events."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runstore.files.limits import EVENTS_KEPT, FILES_PER_RUN, TEXT_CHARS, WARNINGS_KEPT
from runstore.files.records import JsonObject, integer, number


@dataclass(slots=True)
class Execution:
    """What `runstore exec` says of an attempt: who watches which process, and how that ended."""

    opened: JsonObject | None = None
    opened_bytes: int = 0
    """How long the line of `opened` was, as long as it is kept whole."""
    started: JsonObject | None = None
    ended: JsonObject | None = None
    events: deque[JsonObject] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    warnings: deque[str] = field(default_factory=lambda: deque(maxlen=WARNINGS_KEPT))


@dataclass(slots=True)
class Attempt:
    """One start of the run, from its events."""

    number: int
    opened: JsonObject | None = None
    opened_bytes: int = 0
    """How long the line of `opened` was, as long as it is kept whole."""
    ended: JsonObject | None = None
    total_epochs: int | None = None
    epoch: int | None = None
    split: str | None = None
    events: deque[JsonObject] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    warnings: deque[str] = field(default_factory=lambda: deque(maxlen=WARNINGS_KEPT))
    """Kept apart: a long run's epochs push its early events out."""
    event_count: int = 0
    """Of all events, those that are not kept included."""
    newest_time: float = -math.inf
    compared: int = 0
    """How many events were compared with those that are kept."""

    def is_repeat(self, event: JsonObject) -> bool:
        """Tell whether an event is one that was kept: a further part may repeat the last ones.

        Later than all of them is none of them, so that a long part costs no comparison.
        """
        time = number(event, "time")
        later = time is not None and time > self.newest_time
        self.newest_time = max(self.newest_time, time or -math.inf)
        if later or self.compared >= EVENTS_KEPT:
            return False
        self.compared += 1
        return event in self.events

    execution: Execution | None = None
    """When `runstore exec` started it."""

    @property
    def begun(self) -> JsonObject | None:
        """The event that says how it was started: the command of `runstore exec`, or `open`."""
        watched = self.execution.opened if self.execution else None
        return watched or self.opened

    @property
    def all_warnings(self) -> list[str]:
        """What went wrong without ending the attempt, in words."""
        return [*(self.execution.warnings if self.execution else ()), *self.warnings]

    @property
    def all_events(self) -> list[JsonObject]:
        """The newest events of both in the order of their times."""
        if self.execution is None:
            return list(self.events)
        both = [*self.execution.events, *self.events]
        return sorted(both, key=lambda event: number(event, "time") or 0.0)


def rank_hosts(event: JsonObject) -> dict[int, str]:
    """Return the host of each rank that a `ranks` event tells, of as many as may have files."""
    processes = event.get("processes")
    listed = processes[:FILES_PER_RUN] if isinstance(processes, list) else []
    found = {integer(one, "rank"): one.get("host") for one in listed if isinstance(one, dict)}
    return {
        rank: host[:TEXT_CHARS]
        for rank, host in found.items()
        if rank is not None and isinstance(host, str)
    }


def output_files(opened: JsonObject) -> list[str]:
    """Return which files the output and the errors of an attempt go to, in words, by its `open`."""
    names = [opened.get(key) for key in ("stdout", "stderr")]
    out, errors = (name if isinstance(name, str) else "" for name in names)
    if out == errors:
        return [f"prints into {out}"] if out else []
    told = [f"prints into {out}"] if out else []
    return [*told, f"prints errors into {errors}"] if errors else told


def environment_of(opened: Mapping[str, Any], info: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the environment variables of an attempt, from its `open` event and `run.json`."""
    # The first attempt's are in run.json, with everything else that does not change.
    found = opened.get("environment") or info.get("environment")
    return found if isinstance(found, dict) else {}
