"""What the user has chosen, and finds again the next time: no run is known here. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

MARK_LETTERS = "ABCDEFGH"
"""Of marked runs, in the order of marking; further ones have none and are not drawn."""


@dataclass(slots=True)
class Session:
    """The choices of one user for one set of roots."""

    view: str = "runs"
    filter: str = ""
    sort: str = ""
    """The column that the list is sorted by; empty: the newest run first."""
    reverse: bool = False
    columns: list[str] = field(default_factory=list)
    """Metrics and `params.NAME` in the list; empty: what fits, the most telling first."""
    marks: list[str] = field(default_factory=list)
    """Keys of marked runs in the order of marking."""
    grouped: bool = False
    """Runs that differ in nothing but their seed are one row."""
    by_folder: bool = False
    """The runs of one folder are one row; only where they are not `grouped`."""
    errors_only: bool = False
    """Runs that failed, crashed or have a value that is no number."""
    axis: str = "step"
    """What the horizontal axis of charts counts."""
    log_x: bool = False
    log_y: list[str] = field(default_factory=list)
    """Charts with a logarithmic value axis."""
    smoothing: float = 0.0
    """Of curves; 0: not smoothed."""
    robust: bool = True
    """Outliers do not stretch the value axis."""

    def toggle_mark(self, key: str) -> None:
        """Mark a run, or take its mark away."""
        if key in self.marks:
            self.marks.remove(key)
        else:
            self.marks.append(key)

    def letter(self, key: str) -> str:
        """Return the letter of a marked run; empty when it has none."""
        at = self.marks.index(key) if key in self.marks else len(MARK_LETTERS)
        return MARK_LETTERS[at] if at < len(MARK_LETTERS) else ""
