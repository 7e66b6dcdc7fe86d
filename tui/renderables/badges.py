"""What stands out about a run, worked out by the viewer: a word, a sign, and the figures behind it.

The rules are in docs/monitor.md ("Badges"), each with its window and its threshold. They are about
medians of blocks of epochs, never about one epoch against the next: one noisy epoch is no badge.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from runstore.files.records import JsonObject, integer, number
from runstore.metrics.ranking import split_metric
from runstore.numbers import count, metric
from runstore.runs.comparison import direction_of
from runstore.state.run_state import RunState

from .facts import diverged
from .text import Line, Span, from_file, hanging, line

SAMPLED_EPOCHS = 320
"""Of more epochs every second, third, … is looked at: the rules compare eighths of a run."""
BLOCKS = 8
PLATEAU_EPOCHS, PLATEAU_GAIN, PLATEAU_NOISE = 20, 0.01, 1.0
OVERFIT_EPOCHS, OVERFIT_RISE, OVERFIT_NOISE = 12, 0.05, 2.0
SLOW_EPOCHS, SLOW_FOR, SLOW_BELOW = 7, 3, 0.7
_SPEEDS = ("train/samples_per_s", "train/tokens_per_s")


@dataclass(frozen=True, slots=True)
class Badge:
    """One thing that stands out."""

    word: str
    """`nan`, `stall`, `overfit`, `plateau` or `slow`."""
    glyph: str
    role: str
    why: str
    """With the figures, safe to draw."""


def of(state: RunState, *, whole: bool) -> list[Badge]:
    """Return the badges of a run, the most serious first.

    Args:
        state: the run.
        whole: its history was read; without it only what the newest values and the status tell.
    """
    found = [_nan(state), _stall(state)]
    if whole:
        rows = _sampled(state.epoch_rows)
        best_metric, _, direction = state.best_rule.rpartition(":")
        overfit = _overfit(rows, state.epoch_rows)
        found += [overfit, None if overfit else _plateau(rows, best_metric, direction)]
        found.append(_slow(rows))
    return [badge for badge in found if badge is not None]


def short(state: RunState, *, whole: bool = False) -> Span:
    """Return the most serious badge in at most nine cells, for a list; an empty span for none."""
    found = of(state, whole=whole)
    return Span(f"{found[0].glyph} {found[0].word}", found[0].role) if found else Span("")


def lines(badges: Sequence[Badge], width: int) -> list[Line]:
    """Return sign, word and figures of each badge, in as many lines as the figures need."""
    rows: list[Line] = []
    for badge in badges:
        head = Span(f"{badge.glyph} {badge.word:<8}", f"{badge.role}-strong")
        rows += hanging(line(head), badge.why, width)
    return rows


def _nan(state: RunState) -> Badge | None:
    last = state.last
    names = diverged(last)
    if not names:
        return None
    value = metric(last[names[0]])
    more = f", and {len(names) - 1} more" if len(names) > 1 else ""
    since = _since(state, names[0])
    return Badge("nan", "!", "bad", f"the newest {from_file(names[0])} is {value}{since}{more}")


def _since(state: RunState, name: str) -> str:
    """Return from which step on a metric has been NaN or infinite; empty where it is not known."""
    pieces = state.series.get(name) or ()
    breaks = pieces[-1].breaks if pieces else ()
    return f" since step {count(breaks[-1][0])}" if breaks else ""


def _stall(state: RunState) -> Badge | None:
    if state.status.word != "stalled":
        return None
    return Badge("stall", "◌", "warn", from_file(state.status.reason))


def _sampled(rows: Sequence[JsonObject]) -> Sequence[JsonObject]:
    """Return the rows, of very many every second, third, …, the newest always among them."""
    every = -(-len(rows) // SAMPLED_EPOCHS) or 1
    return rows[(len(rows) - 1) % every :: every] if every > 1 else rows


def _column(rows: Sequence[JsonObject], name: str) -> list[tuple[int, float]]:
    """Return (place, value) of the epochs in which a metric is finite."""
    values = ((at, number(row, name)) for at, row in enumerate(rows))
    return [(at, v) for at, v in values if v is not None and math.isfinite(v)]


def _blocks(values: Sequence[float], at_least: int) -> list[Sequence[float]]:
    """Cut values into eighths of `at_least` values each, the newest block whole."""
    size = max(at_least, math.ceil(len(values) / BLOCKS))
    first = len(values) % size
    return [values[at : at + size] for at in range(first, len(values), size)]


def _plateau(rows: Sequence[JsonObject], name: str, direction: str) -> Badge | None:
    """The last two of the blocks brought less than 1 % of all gain, by medians and by bests."""
    sign = -1.0 if direction == "max" else 1.0
    column = _column(rows, name)
    values = [sign * value for _, value in column]
    if len(values) < PLATEAU_EPOCHS:
        return None
    blocks = _blocks(values, 5)
    recent = 2 * len(blocks[-1])
    medians = _medians(blocks)
    gain = PLATEAU_GAIN * (medians[0] - min(medians))
    by_median = min(medians[:-2]) - min(medians[-2:])
    by_best = min(values[:-recent]) - min(values[-recent:])
    if by_median > gain or by_best > gain + PLATEAU_NOISE * _spread(blocks[-1]):
        return None
    first = integer(rows[column[-recent][0]], "epoch")
    since = f" since epoch {first}" if first is not None else ""
    return Badge("plateau", "═", "warn", f"{from_file(name)} hardly better{since}")


def _overfit(rows: Sequence[JsonObject], every: Sequence[JsonObject]) -> Badge | None:
    """The losses of training and validation part ways, by more than their noise.

    Args:
        rows: the sample of epochs that is looked at.
        every: all of them, for the lowest value.
    """
    names = [key for key in rows[-1] if split_metric(key)[0] == "train"] if rows else []
    for name in sorted(names, key=lambda key: (key != "train/loss", key)):
        base = split_metric(name)[1]
        if base.rpartition("_")[2] == "loss" and direction_of(name) == "min":
            for split in ("val", "valid", "validation", "eval"):
                found = _gap(rows, every, name, f"{split}/{base}")
                if found is not None:
                    return found
    return None


def _gap(
    rows: Sequence[JsonObject], every: Sequence[JsonObject], train: str, val: str
) -> Badge | None:
    val_at = dict(_column(rows, val))
    pairs = [(value, val_at[at]) for at, value in _column(rows, train) if at in val_at]
    if len(pairs) < OVERFIT_EPOCHS:
        return None
    train_blocks = _blocks([pair[0] for pair in pairs], 4)
    val_blocks = _blocks([pair[1] for pair in pairs], 4)
    trains, vals = _medians(train_blocks), _medians(val_blocks)
    low = min(range(len(vals)), key=vals.__getitem__)
    rise, fall = min(vals[-2:]) - vals[low], trains[low] - trains[-1]
    noise = max(_spread(val_blocks[low]), _spread(val_blocks[-1]))
    if rise <= max(OVERFIT_RISE * abs(vals[low]), OVERFIT_NOISE * noise):
        return None
    if fall <= OVERFIT_NOISE * max(_spread(train_blocks[low]), _spread(train_blocks[-1])):
        return None
    # Not the medians, which are nowhere on screen: the two values of the epoch table.
    lowest, newest = min(value for _, value in _column(every, val)), pairs[-1][1]
    told = f"{metric(newest)}, lowest {metric(lowest)}"
    share = f" ({(newest - lowest) / abs(lowest):+.0%})" if lowest else ""
    why = f"{from_file(val)} {told}{share}; {from_file(train)} still falls"
    return Badge("overfit", "⋎", "warn", why)


def _medians(blocks: Iterable[Sequence[float]]) -> list[float]:
    return [median(block) for block in blocks]


def _spread(values: Sequence[float]) -> float:
    """Return the median distance from the median."""
    middle = median(values)
    return median(abs(value - middle) for value in values)


def _slow(rows: Sequence[JsonObject]) -> Badge | None:
    """Each of the last three epochs ran at less than 70 % of the speed that was usual."""
    for name in _SPEEDS:
        # The first epoch warms up: caches fill, kernels are compiled.
        speeds = [value for at, value in _column(rows, name) if at and value > 0]
        if len(speeds) < SLOW_EPOCHS:
            continue
        usual, now = median(speeds[:-SLOW_FOR]), max(speeds[-SLOW_FOR:])
        if now < SLOW_BELOW * usual:
            unit = "tokens/s" if "tokens" in name else "samples/s"
            why = f"{metric(now)} {unit}, {1 - now / usual:.0%} below the usual {metric(usual)}"
            return Badge("slow", "↓", "warn", why)
    return None
