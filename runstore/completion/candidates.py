"""What the beginning of a run's name may become; quick, whatever the root and its file system."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from runstore.errors import RunStoreError
from runstore.files.paths import looks_like_run_id
from runstore.numbers import local_time
from runstore.patience import Patience
from runstore.runs.lookup import find
from runstore.runs.store import name_in, path_below, sort_newest_first, walk
from runstore.sources import NATIVE, RunRef
from runstore.state.samples import SampleFolder
from runstore.text import printable

ANSWER_S = 0.7
"""So long runs are looked for: whoever presses Tab waits. What was found by then counts."""
LATEST = "latest"
MOST = 1000
"""So many are offered: a shell takes seconds to lay out more, and nobody reads them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One word that RUN may become."""

    value: str
    about: str = ""
    """Shown beside it where a shell does that: known from names alone, no run is opened."""


class _Named(NamedTuple):
    """A run, and the shortest word that means it and no other one."""

    ref: RunRef
    word: str


def run_candidates(typed: str, root: Path, *, answer_s: float = ANSWER_S) -> list[Candidate]:
    """Return the words that `typed` may become: `latest`, ids with the newest first, and names.

    A name that several runs have becomes their ids once it is typed in full. What nothing begins
    with is looked for inside of ids. What is not safe on a command line is left out.

    Args:
        typed: the beginning of the word, without quotes.
        root: the directory of runs; without one, or with an unreadable one, there is nothing.
        answer_s: seconds until what was found by then is returned.
    """
    runs = _named(_refs_below(root, answer_s))
    offered = list(_beginning_with(typed, runs, root))
    if typed and not offered:
        offered = [_of_run(run) for run in runs if typed.lower() in run.word.lower()]
    return _few([one for one in offered if _is_safe(one.value)])


def sample_candidates(typed: str, run: str, root: Path) -> list[Candidate]:
    """Return the names of a run's image samples that begin with `typed`.

    Args:
        typed: the beginning of the word, without quotes.
        run: the run, as it was typed.
        root: the directory of runs.
    """
    found: list[str] = []

    def look() -> None:
        ref = find(run, root)
        found.extend(SampleFolder(ref.path, ref.source.name).look().by_name)

    patience = Patience(ANSWER_S)
    with suppress(RunStoreError, OSError):
        patience.do(look)
    patience.end()
    names = list(found)
    return _few([Candidate(name) for name in names if name.startswith(typed) and _is_safe(name)])


def _refs_below(root: Path, answer_s: float) -> list[RunRef]:
    """Return the runs that are found in time, the newest first."""
    found: list[RunRef] = []

    def look() -> None:
        for ref in walk([root]):
            found.append(ref)  # so that what is there so far can be taken

    patience = Patience(answer_s)
    with suppress(RunStoreError, OSError):
        patience.do(look)
    patience.end()
    # A copy: the thread may be at it still.
    refs = list(found)
    sort_newest_first(refs, lambda ref: ref)
    return refs


def _named(refs: Sequence[RunRef]) -> list[_Named]:
    times = Counter(ref.name for ref in refs)
    # Of copies the id names several; what begins with a dash would be taken for an option.
    is_enough = (times[ref.name] == 1 and not ref.name.startswith("-") for ref in refs)
    return [
        _Named(ref, ref.name if enough else ref.place)
        for ref, enough in zip(refs, is_enough, strict=True)
    ]


def _beginning_with(typed: str, runs: Sequence[_Named], root: Path) -> Iterator[Candidate]:
    if runs and LATEST.startswith(typed):
        yield Candidate(LATEST, runs[0].ref.name)
    for run in runs:
        if run.ref.name.startswith(typed):
            yield _of_run(run)
        elif "/" in typed and (below := path_below(run.ref, root)).startswith(typed):
            yield Candidate(below, _about(run.ref))
    if typed:
        yield from _names(runs, typed)


def _names(runs: Sequence[_Named], typed: str) -> Iterator[Candidate]:
    having: defaultdict[str, list[_Named]] = defaultdict(list)
    for run in runs:
        # Of twenty thousand most are left aside by the first look.
        if f"-{typed}" in run.ref.name and looks_like_run_id(run.ref.name):
            having[name_in(run.ref.name)].append(run)
    for name, named in having.items():
        if not name.startswith(typed):
            continue
        if len(named) == 1:
            yield Candidate(name, named[0].word)
        elif name == typed:
            yield from map(_of_run, named)
        else:
            yield Candidate(name, f"{len(named):,} runs")


def _of_run(run: _Named) -> Candidate:
    return Candidate(run.word, _about(run.ref))


def _about(ref: RunRef) -> str:
    """Return when a run was made, as far as its name tells; of another tool's, which one's."""
    if not looks_like_run_id(ref.name):
        return "" if ref.source is NATIVE else ref.source.name
    with suppress(ValueError):  # digits that are no time
        made = datetime.strptime(f"{ref.name[:15]}+0000", "%Y%m%d-%H%M%S%z")
        return local_time(made.timestamp())
    return ""


def _is_safe(word: str) -> bool:
    """Shells quote what they insert; but they show control characters as they are, split at a
    newline, and bash leaves a backtick alone behind one that was typed, which then runs a command.
    """
    return printable(word) == word and "`" not in word


def _few(offered: Sequence[Candidate]) -> list[Candidate]:
    """Return the first ones; what all begin with stays the same, since a shell inserts that."""
    words = {one.value: one for one in offered}
    few = list(words.values())[:MOST]
    if len(words) > MOST:
        few += [words[min(words)], words[max(words)]]
    return list(dict.fromkeys(few))
