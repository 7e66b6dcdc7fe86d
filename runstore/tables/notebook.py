"""What a notebook shows of a run: small tables of HTML, whatever the run holds.

Without colours of their own, so that they follow the notebook's theme, light or dark. Every text is
escaped, and nothing is shown in full that could be long.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runstore.files.records import integer
from runstore.metrics.ranking import telling_metrics
from runstore.nested import flattened
from runstore.numbers import NOTHING, count, exact, metric, of_total
from runstore.text import printable

if TYPE_CHECKING:
    from runstore.state.pieces import Best

EPOCHS_SHOWN = 10
EPOCH_METRICS = 6
PARAMS_SHOWN = 20
LAST_SHOWN = 12
TEXT_CHARS = 80
"""Of a name or value; the rest is in the files."""
_LEFT = ' style="text-align:left"'
_RIGHT = ' style="text-align:right"'


def position(epoch: int | None, epochs: int | None, step: int | None) -> list[str]:
    """Return where a run stands in words, as `epoch 3/10` and `step 6,200`."""
    words = [f"epoch {of_total(epoch, epochs)}"] if epoch is not None else []
    return [*words, f"step {count(step)}"] if step is not None else words


def run_page(
    name: str,
    facts: Mapping[str, str],
    params: Mapping[str, Any],
    last: Mapping[str, float],
    epochs: Sequence[Mapping[str, Any]],
    best: Best | None,
) -> str:
    """Return what is shown of one run.

    Args:
        name: what it is called.
        facts: what is said of it in words.
        params: the hyperparameters; the first are shown.
        last: the newest value of each metric; those that people look at first are shown.
        epochs: the newest epochs' rows, in order.
        best: the best epoch.
    """
    shown = {**facts, "parameters": _some(dict(flattened(params)), PARAMS_SHOWN)}
    if best is not None:
        shown["best"] = f"epoch {best.epoch}, {best.metric} {exact(best.value)}"
    telling = {name: exact(last[name]) for name in telling_metrics(last)}
    shown["latest"] = _some(telling, LAST_SHOWN)
    rows = "".join(
        f"<tr><th{_LEFT}>{text(fact)}</th><td{_LEFT}>{text(words, limit=2000)}</td></tr>"
        for fact, words in shown.items()
        if words and words != NOTHING
    )
    below = _epochs(epochs, best) if epochs else ""
    return f"<div><strong>{text(name)}</strong><table><tbody>{rows}</tbody></table>{below}</div>"


def _some(values: Mapping[str, Any], most: int) -> str:
    """Return the first of some values in words, and how many more there are."""
    names = list(values)[:most]
    words = [f"{_short(name)} {_short(values[name])}" for name in names]
    more = len(values) - len(names)
    return ", ".join([*words, f"and {more:,} more"] if more > 0 else words)


def _short(value: object) -> str:
    if isinstance(value, list) and len(value) > EPOCH_METRICS:
        return f"[{len(value):,} values]"
    return printable(str(value), limit=TEXT_CHARS)


def _epochs(epochs: Sequence[Mapping[str, Any]], best: Best | None) -> str:
    found = {name for row in epochs for name, value in row.items() if isinstance(value, float)}
    names = telling_metrics(found - {"time"})[:EPOCH_METRICS]
    lines = []
    for row in epochs:
        epoch = integer(row, "epoch")
        mark = "★ " if best is not None and epoch == best.epoch else ""
        values = [metric(row.get(name)) for name in names]
        lines.append([f"{mark}{of_total(epoch, None)}", *values])
    return rows_page(["epoch", *names], lines)


def rows_page(
    header: Sequence[str], lines: Iterable[Sequence[str]], *, left: int = 0, note: str = ""
) -> str:
    """Return a table of a few lines; the first `left` columns are texts, the others numbers."""
    head = _cells(header, "th", left)
    body = "".join(f"<tr>{_cells(line, 'td', left)}</tr>" for line in lines)
    below = f"<p>{text(note)}</p>" if note else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def _cells(line: Sequence[str], tag: str, left: int) -> str:
    return "".join(
        f"<{tag}{_LEFT if at < left else _RIGHT}>{text(cell)}</{tag}>"
        for at, cell in enumerate(line)
    )


def text(words: str, *, limit: int = TEXT_CHARS) -> str:
    """Return a text for HTML, on one line and not too long."""
    return html.escape(printable(words, limit=limit))
