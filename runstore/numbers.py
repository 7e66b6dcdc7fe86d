"""Numbers, durations and times as people read them."""

from __future__ import annotations

import math
import time
from datetime import datetime

NOTHING = "–"
"""Shown where there is no value; zero is a value."""
OUT_OF_RANGE = "at no time of any calendar"
"""Shown for a time that is a number, but none that a clock could have."""


def metric(value: object) -> str:
    """Return a metric in four or five significant digits, always with two decimals or more.

    0.31 → "0.3100", 12 → "12.00", 1234.5 → "1234.50", 3e-04 → "3.0e-04", nan → "nan".
    Only numbers are metrics; anything else gives `NOTHING`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return NOTHING
    number = float(value)
    if math.isnan(number):
        return "nan"
    if math.isinf(number):
        return "inf" if number > 0 else "-inf"
    size = abs(number)
    if size == 0:
        return "0.00"
    if size < 1e-3:
        return f"{number:.1e}"
    if size < 10:
        return f"{number:.4f}"
    if size < 1e6:
        return f"{number:.2f}"
    return f"{number:.2e}"


def exact(value: object) -> str:
    """Return a value for a place with room: five significant digits, at least two decimals."""
    if isinstance(value, float) and math.isfinite(value) and 1e-3 <= abs(value) < 1e5:
        short = f"{value:.5g}"
        return short if len(short.partition(".")[2]) >= 2 else f"{value:.2f}"
    return f"{value:.4e}" if isinstance(value, float) and 0 < abs(value) < 1e-3 else metric(value)


def count(value: int | float | None) -> str:
    """Return a whole number with thousands separators: 18331204 → "18,331,204"."""
    return NOTHING if value is None else f"{int(value):,}"


def of_total(done: int | None, total: int | None) -> str:
    """Return a position: 7 of 30 → "7/30", 7 of unknown → "7", nothing yet → `NOTHING`."""
    if done is None:
        return NOTHING
    return str(done) if total is None else f"{done}/{total}"


def short_count(value: float) -> str:
    """Return a step for an axis: 950, 1.5k, 15k, 1.2M, 3.4G."""
    size = abs(value)
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def rate(value: float | None) -> str:
    """Return iterations per second in about three digits: 412, 41.2, 0.41; slower as s/it."""
    if value is None or not math.isfinite(value) or value <= 0:
        return NOTHING
    if value < 0.1:
        return f"{1 / value:.0f}s/it"
    if value < 10:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Return a duration: 0.4s, 41s, 02:41, 5h12m, 3d04h; `NOTHING` when unknown."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return NOTHING
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest_s = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes:02d}:{rest_s:02d}"
    hours, minutes = divmod(minutes, 60)
    if hours < 100:
        return f"{hours}h{minutes:02d}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02d}h"


def span(seconds: float) -> str:
    """Return a length of time in words: `12 s`, `3 min`, `2 h`, `4 d`."""
    for limit, unit_s, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def age(seconds: float | None) -> str:
    """Return how long ago something was, in one unit: "3s ago", "5m ago", "2d ago"."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    seconds = max(0.0, seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit} ago"
    return f"{int(seconds)}s ago"


def clock(unix_s: object) -> str:
    """Return the local time of day of a Unix time, or blanks of the same width."""
    if isinstance(unix_s, (int, float)) and not isinstance(unix_s, bool):
        try:
            return datetime.fromtimestamp(unix_s).strftime("%H:%M:%S")
        except (OverflowError, OSError, ValueError):
            return "??:??:??"
    return " " * 8


def utc(unix_s: float) -> str:
    """Return a moment as `2026-11-20 14:15:02 UTC`."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_s))
    except (OverflowError, OSError, ValueError):
        return OUT_OF_RANGE


def local_time(unix_s: float | None) -> str:
    """Return a moment in the time zone of whoever looks: `2026-11-20 14:15`."""
    if unix_s is None:
        return NOTHING
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(unix_s))
    except (OverflowError, OSError, ValueError):
        return OUT_OF_RANGE


def size(size_bytes: int) -> str:
    """Return a size: 812 bytes, 4.0 KiB, 3.1 GiB."""
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    value = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 999.5:
            return f"{value:.1f} {unit}" if value < 99.5 else f"{value:.0f} {unit}"
    return f"{value / 1024:,.1f} TiB"


def times(count: int) -> str:
    """Return `once`, `twice` or `3 times`."""
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def percent(fraction: float) -> str:
    """Return a share as a whole percentage; never 100% before the end."""
    shown = math.floor(fraction * 100 + 1e-9)
    return f"{max(0, min(100, shown))}%"
