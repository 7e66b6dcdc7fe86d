"""What the screen says about a run, taken from its state in one place.

The list, the detail panes and `--once` all show these facts, so they cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from runstore.files.paths import short_id
from runstore.metrics.ranking import SPLITS, is_bookkeeping, rank_metrics, split_metric
from runstore.nested import flattened
from runstore.slurm.jobs import JOBS, SlurmJobs
from runstore.sources import NATIVE
from runstore.state.job_facts import job_facts
from runstore.state.progress import Progress
from runstore.state.run_state import RunState
from runstore.tables.pool import Packed, Pool

from .text import from_file

GLYPHS = {
    "planned": "·",
    "pending": "○",
    "running": "▶",
    "stalled": "◌",
    "finished": "✓",
    "failed": "✗",
    "interrupted": "■",
    "crashed": "✗",
    "unknown": "?",
}
STATUS_ROLES = {
    "running": "good",
    "finished": "done",
    "stalled": "warn",
    "interrupted": "warn",
    "failed": "bad",
    "crashed": "bad",
}
WORDS = tuple(GLYPHS)
UNDER_WAY = frozenset({"running", "stalled"})
"""Of runs whose position can still move."""


class CopyFacts(NamedTuple):
    """What is known of how a copy is kept."""

    at: float
    """When it was brought up to date last, Unix seconds; 0 when it was never whole."""
    is_gone: bool = False
    """The original was removed."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One row of the run list."""

    name: str
    word: str
    reason: str
    epoch: int | None
    epochs: int | None
    fraction: float | None
    """How much of the whole run is done, 0 to 1; None when the run never said how long it is."""
    it_per_s: float | None
    eta_s: float | None
    duration_s: float | None
    last: Mapping[str, float]
    damaged: bool
    """Lines or files of it could not be read, or cannot be written."""
    id: str = ""
    source: str = NATIVE.name
    """Whose files they are: `native`, `tensorboard`, `wandb` …"""
    params: Mapping[str, str] = field(default_factory=dict)
    job_end: float | None = None
    """When the time limit of its Slurm job is over, Unix seconds; None without one."""
    is_nan: bool = False
    """One of the newest values is NaN or infinite, perhaps one that has no column."""
    copy: CopyFacts | None = None
    """Of a run of another machine."""
    best: float | None = None
    """Of the best epoch so far, in the metric that decides it."""
    best_epoch: int | None = None
    """None also where several runs are one row: their mean is of several epochs."""
    apart: tuple[str, str] = ("", "")
    """What tells it from shown runs of the same name: `lr=0.1 seed=2`, and shorter, `0.1 2`."""


def facts_of(state: RunState) -> Facts:
    """Return the facts of a run; file strings are safe to draw."""
    progress, best = live_progress(state), state.best
    return Facts(
        name=from_file(state.name),
        word=state.status.word,
        reason=from_file(state.status.reason),
        epoch=state.epoch,
        epochs=state.epochs,
        fraction=run_fraction(state),
        it_per_s=progress.it_per_s if progress else None,
        eta_s=progress.eta_s if progress else None,
        duration_s=state.duration_s,
        last=state.last,
        damaged=bool(state.bad_line_count or state.torn_lines or state.problems or state.degraded),
        id=from_file(state.id),
        source=state.source,
        params={from_file(key): from_file(short(value)) for key, value in flattened(state.params)},
        job_end=job_end(state),
        is_nan=bool(diverged(state.last)),
        best=best.value if best else None,
        best_epoch=best.epoch if best else None,
    )


def packed(facts: Facts, pool: Pool, metrics: Collection[str]) -> Facts:
    """Return the same facts, of the latest values only those of `metrics`, in less memory."""
    return replace(
        facts,
        name=facts.id if facts.name == facts.id else pool.share(facts.name),
        reason=pool.share(facts.reason),
        last=Packed({name: facts.last[name] for name in metrics if name in facts.last}, pool),
        params=Packed({key: pool.share(value) for key, value in facts.params.items()}, pool),
    )


def tell_apart(shown: Sequence[Facts]) -> Iterator[Facts]:
    """Give runs that share a name what they differ in: their parameters, or else their ids."""
    several = _Namesakes(shown)
    return (replace(facts, apart=several.difference(facts)) for facts in shown)


class _Namesakes:
    """The parameters in which runs of the same name differ; in time that grows as their number."""

    def __init__(self, shown: Iterable[Facts]) -> None:
        self._first: dict[str, Facts] = {}
        """Of each name."""
        self._differing: dict[str, set[str]] = {}
        """Of each name that runs of several ids have."""
        for facts in shown:
            first = self._first.setdefault(facts.name, facts)
            if facts.id != first.id:
                self._differing.setdefault(facts.name, set())
            if facts is not first:
                self._note(first, facts)

    def _note(self, first: Facts, other: Facts) -> None:
        for key in {*first.params, *other.params}:
            if first.params.get(key) != other.params.get(key):
                self._differing.setdefault(other.name, set()).add(key)

    def difference(self, facts: Facts) -> tuple[str, str]:
        """Return what tells a run from its namesakes, and shorter; nothing where it has none."""
        keys = self._differing.get(facts.name)
        return ("", "") if keys is None else _difference(facts, keys)


def _difference(facts: Facts, keys: Collection[str]) -> tuple[str, str]:
    differing = {key: value for key, value in facts.params.items() if key in keys}
    if not differing:
        tail = short_id(facts.id).rpartition("-")[2] if facts.id != facts.name else ""
        return tail, tail
    long = " ".join(f"{key}={value}" for key, value in differing.items())
    return long, " ".join(differing.values())


def short(value: object) -> str:
    """Return a parameter's value in few characters."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def live_progress(state: RunState) -> Progress | None:
    """Return the position inside the epoch, only while it can still move.

    That of a stalled run has no speed and no time left: its heartbeat repeats those of before.
    """
    if state.status.word not in UNDER_WAY or state.progress is None:
        return None
    if state.status.word == "stalled":
        return replace(state.progress, it_per_s=None, eta_s=None)
    return state.progress


def epoch_fraction(progress: Progress | None) -> float | None:
    """Return how much of the open split is done, 0 to 1."""
    if progress is None or not progress.batches or progress.batch is None:
        return None
    return min(1.0, progress.batch / progress.batches)


def job_end(state: RunState, jobs: SlurmJobs = JOBS) -> float | None:
    """Return when the time limit of a live run's Slurm job is over, Unix seconds.

    None where it is in no job, the job has no limit, or Slurm was not asked yet.
    """
    facts = job_facts(state, jobs) if state.status.is_proven_alive else None
    return facts.limit_end if facts else None


def run_fraction(state: RunState) -> float | None:
    """Return how much of the whole run is done, 0 to 1.

    Finished epochs count as wholes and an open training split as a part; validation does not
    count, its share of an epoch is not known.
    """
    epochs = state.epochs
    if not epochs or epochs <= 0:
        return 1.0 if state.status.word == "finished" else None
    rows = state.epoch_rows
    last = rows[-1].get("epoch") if rows else 0
    done = float(last) if isinstance(last, (int, float)) else float(len(rows))
    progress = live_progress(state)
    if progress and progress.epoch is not None and progress.epoch > done:
        done = progress.epoch - 1.0
        done += 1.0 if progress.split in SPLITS[1:] else epoch_fraction(progress) or 0.0
    return max(0.0, min(1.0, done / epochs))


def chart_groups(names: Iterable[str]) -> Mapping[str, list[str]]:
    """Return the metrics of each chart: `loss` has `train/loss` and `val/loss`; ranked."""
    return _chart_groups(tuple(names))


@lru_cache(maxsize=4)
def _chart_groups(names: tuple[str, ...]) -> Mapping[str, list[str]]:
    """Remembers the last ones: a chart is drawn often, and ranks thousands of names each time."""
    groups: dict[str, list[str]] = {}
    for name in rank_metrics(names):
        groups.setdefault(split_metric(name)[1], []).append(name)
    return groups


@lru_cache(maxsize=8)
def ranked(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return metrics as `rank_metrics` does, and remember the last ones: they are drawn often."""
    return tuple(rank_metrics(names))


def finite(value: object) -> float | None:
    """Return a number that can be compared, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def diverged(last: Mapping[str, float]) -> list[str]:
    """Return the metrics whose newest value is NaN or infinite, in the order of their names.

    Not those about the training loop, nor the sizes of gradients: mixed precision makes these
    infinite now and then, skips the step and goes on.
    """
    return sorted(
        name
        for name, value in last.items()
        if value - value != 0.0 and not is_bookkeeping(name) and "grad" not in name.lower()
    )


def status_counts(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return (word, how many) for the words that occur, the live ones first."""
    order = ("running", "stalled", "pending", "planned", "failed", "crashed", "interrupted")
    ordered = (*order, "finished", "unknown")
    return [(word, counts[word]) for word in ordered if counts.get(word)]


def run_count(number: int) -> str:
    """Return `1,000 runs` or `1 run`."""
    return f"{number:,} run{'' if number == 1 else 's'}"
