"""What is wrong with the runs below a root: looked for, put in words, and torn tails sealed."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from runstore.doctor.findings import SEVERITIES, Finding, Findings, has_failed
from runstore.doctor.run import Examined, examine_run
from runstore.doctor.surroundings import check_room
from runstore.runs.removal import left_beside
from runstore.runs.store import discover
from runstore.watching import Watch, unwatched


class Doctor:
    """Looks at a root of runs, or at one run."""

    def __init__(
        self,
        path: Path,
        *,
        now: float | None = None,
        hashed: bool = False,
        watch: Watch = unwatched,
    ) -> None:
        """Look below `path`; `watch` sees how far that is. See `examine_run` for the rest."""
        self.path = path
        self._now = now
        self._hashed = hashed
        self._watch = watch
        # Sweeps of the same parameters have cells of the same id, which were created apart.
        self._same: defaultdict[tuple[str, float | None], list[str]] = defaultdict(list)
        self._folders: dict[Path, None] = {path: None}
        """Those in which there may be runs, in order."""
        self.runs = 0
        """How many were looked at so far."""

    def examine(self) -> Iterator[Examined]:
        """Yield each run with what was found in it, newest first.

        Raises:
            RootNotFoundError: there is no such directory.
        """
        refs = discover([self.path], self._watch)
        for ref in self._watch(refs, "looking at runs", len(refs)):
            self._folders[ref.path.parent] = None
            found = examine_run(ref, now=self._now, hashed=self._hashed)
            self.runs += 1
            if found.id:
                self._same[found.id, found.created].append(str(ref.path))
            yield found

    def about_root(self) -> Findings:
        """Return what is to be said of all of them together, once they were looked at."""
        findings = Findings(None)
        for (run_id, _), paths in self._same.items():
            if len(paths) > 1:
                found = f"{len(paths)} directories have the id {run_id}: {', '.join(paths[:5])}"
                findings.add("same_id", found, file=paths[0])
        for left in left_beside(self._folders):
            found = "left of a removal that was interrupted; it is no run any more"
            findings.add("left_removal", found, file=str(left))
        try:
            check_room(self.path, os.statvfs(self.path), findings)
        except OSError:
            # It was there a moment ago; what was found stays true.
            return findings
        return findings


__all__ = ["SEVERITIES", "Doctor", "Examined", "Finding", "Findings", "examine_run", "has_failed"]
