"""Verdicts, and the table of them: on the terminal and as markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.lab.scenarios import Scenario, Trial

HEADINGS = (
    "fault",
    "file system",
    "trials",
    "rows acknowledged",
    "rows lost",
    "oldest lost row",
    "measured",
    "verdict",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario and its trials."""

    scenario: Scenario
    trials: Sequence[Trial]

    @property
    def problems(self) -> list[str]:
        """Return what goes against a promise, in words; empty when all is kept."""
        if self.scenario.control:
            seen = any(_lost_too_old(self.scenario, trial) for trial in self.trials)
            return [] if seen else ["nothing too old was lost: the lab does not see it"]
        return [problem for trial in self.trials for problem in _broken(self.scenario, trial)]

    def cells(self) -> tuple[str, ...]:
        """Return the row's texts, in the order of `HEADINGS`."""
        ages = [trial.oldest_s for trial in self.trials if trial.oldest_s is not None]
        figures = [trial.figure for trial in self.trials if trial.figure is not None]
        return (
            self.scenario.fault,
            self.scenario.file_system,
            f"{len(self.trials)}",
            f"{sum(trial.acknowledged for trial in self.trials):,}",
            f"{sum(trial.lost for trial in self.trials):,}",
            f"{max(ages):.1f} s" if ages else "–",
            self.scenario.measures.format(max(figures)) if figures else "",
            self._verdict(),
        )

    def _verdict(self) -> str:
        if self.problems:
            return "BROKEN"
        if self.scenario.control:
            return "broken, as it must be"
        allowed_s = self.scenario.allowed_s
        return f"kept: at most {allowed_s:g} s" if allowed_s else "kept: none lost"


def _broken(scenario: Scenario, trial: Trial) -> list[str]:
    problems = list(trial.problems)
    if _lost_too_old(scenario, trial):
        promise = f"{scenario.allowed_s:g} s" if scenario.allowed_s else "none"
        problems.append(
            f"{trial.lost:,} rows lost, up to {trial.oldest_s:.2f} s; {promise} allowed"
        )
    if trial.figure is not None and trial.figure > scenario.most:
        problems.append(f"{scenario.measures.format(trial.figure)}; {scenario.most:g} allowed")
    if not trial.acknowledged:
        problems.append("no row was acknowledged: nothing was tried")
    return problems


def _lost_too_old(scenario: Scenario, trial: Trial) -> bool:
    # The last row of all is lost at the age of 0 s.
    oldest_s, allowed_s = trial.oldest_s, scenario.allowed_s
    return oldest_s is not None and (not allowed_s or oldest_s > allowed_s)


def plain(rows: Sequence[Row]) -> str:
    """Return the table for a terminal."""
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join(lines)


def markdown(rows: Sequence[Row]) -> str:
    """Return the table for docs/reliability.md."""
    ruler = ["---"] * len(HEADINGS)
    cells: list[Sequence[str]] = [HEADINGS, ruler, *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"
