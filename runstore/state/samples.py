"""Image samples of a run, as files: which there are, of which step, and which of them count.

The file is the record: its folder is the name, its name has step, epoch and attempt (`SampleFile`).
There is no index that could disagree with it, so a copy is whole as far as it has come.
"""

from __future__ import annotations

import math
import os
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runstore.files.limits import SAMPLE_ENTRIES, SAMPLE_NAMES, SAMPLES_PER_RUN
from runstore.files.paths import RunPaths, SampleFile, sample_name
from runstore.files.records import integer
from runstore.files.regular import why_unreadable
from runstore.state.run_state import RunState

_WANDB_IMAGES = Path("files", "media", "images")
_WANDB_FILE = re.compile(r"(?P<name>.+)_(?P<step>[0-9]{1,15})_[0-9a-f]{8,64}\.(?:png|jpg|jpeg|gif)")
_ENDINGS = (".png", ".jpg", ".jpeg", ".gif")
_WANDB_DEPTH = 3
"""Folders below `images`: W&B makes one for each `/` in a name."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image."""

    file: SampleFile
    path: str


@dataclass(frozen=True, slots=True)
class Samples:
    """All images of a run, superseded ones included."""

    by_name: Mapping[str, Sequence[Sample]] = field(default_factory=dict)
    """In the order of the alphabet; each in the order of steps, and of attempts within one."""
    left_out: str = ""
    """What is not listed, in words."""
    problem: str = ""
    """Why nothing can be listed."""


class SampleFolder:
    """Lists the samples of one run, again and again."""

    def __init__(self, run_dir: Path, source: str = "native") -> None:
        """List those of `run_dir`, whose log is of `source`: W&B has a layout of its own."""
        self._run_dir = run_dir
        self._is_wandb = source == "wandb"
        self._listed = 0
        self._samples = Samples()

    def look(self) -> Samples:
        """Return what is there now: the same object while no file came or went.

        Of a run whose directory is gone, what was there last.

        No file is opened, and no more names are read than `SAMPLE_ENTRIES`.
        """
        try:
            names = list(self._names())
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            if missing and not self._run_dir.exists():  # as a whole, and perhaps for a while
                return self._samples
            self._listed = 0
            return Samples(problem="" if missing else why_unreadable(error))
        # Asked every second; parsing ten thousand names costs more than listing them.
        listed = hash(tuple(names))
        if listed != self._listed:
            self._listed = listed
            self._samples = _sorted(self._parsed(names), len(names) >= SAMPLE_ENTRIES)
        return self._samples

    def _names(self) -> Iterator[tuple[str, str]]:
        """Yield (folder, file name)."""
        depth = _WANDB_DEPTH if self._is_wandb else 0
        top = self._run_dir / _WANDB_IMAGES if self._is_wandb else RunPaths(self._run_dir).samples
        left = SAMPLE_ENTRIES
        folders = [""] if self._is_wandb else sorted(_folders(str(top)))
        for folder in folders:
            for below, name in _files(str(top), folder, depth):
                left -= 1
                if left < 0:
                    return
                yield below, name

    def _parsed(self, names: Sequence[tuple[str, str]]) -> Iterator[tuple[str, Sample]]:
        if self._is_wandb:
            yield from _wandb_samples(str(self._run_dir / _WANDB_IMAGES), names)
            return
        top = str(RunPaths(self._run_dir).samples)
        for folder, name in names:
            file = SampleFile.parse(name)
            if file is not None:
                yield sample_name(folder), Sample(file, f"{top}/{folder}/{name}")


def _folders(top: str) -> Iterator[str]:
    with os.scandir(top) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                yield entry.name


def _files(top: str, folder: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield (folder below `top`, name) of what is in a folder, and `depth` folders below it."""
    try:
        names = sorted(os.listdir(os.path.join(top, folder)))  # noqa: PTH118 - thousands of them
    except OSError:  # it went away, or is not ours to read: the others still are
        return
    for name in names:
        below = f"{folder}/{name}" if folder else name
        if depth and not name.endswith(_ENDINGS) and _is_folder(Path(top, below)):
            yield from _files(top, below, depth - 1)
        else:
            yield folder, name


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _wandb_samples(top: str, names: Sequence[tuple[str, str]]) -> Iterator[tuple[str, Sample]]:
    """Yield W&B's images: `KEY_STEP_HASH.png`; a list that was logged at once are several."""
    seen: dict[tuple[str, int], int] = {}
    for folder, name in names:
        match = _WANDB_FILE.fullmatch(name)
        if match is not None:
            key = f"{folder}/{match['name']}" if folder else match["name"]
            step = int(match["step"])
            again = seen[key, step] = seen.get((key, step), -1) + 1
            path = f"{top}/{folder}/{name}" if folder else f"{top}/{name}"
            yield key, Sample(SampleFile(step, again=again), path)


def _sorted(found: Iterator[tuple[str, Sample]], is_cut: bool) -> Samples:
    by_name: dict[str, list[Sample]] = {}
    for name, sample in found:
        by_name.setdefault(name, []).append(sample)
    names = sorted(by_name)
    each = SAMPLES_PER_RUN // max(1, min(len(names), SAMPLE_NAMES))
    kept = {
        name: sorted(by_name[name], key=lambda sample: sample.file)[-each:]
        for name in names[:SAMPLE_NAMES]
    }
    total = sum(map(len, by_name.values()))
    beyond = total - sum(map(len, kept.values()))
    left_out = f"{beyond:,} samples are left out" if beyond else ""
    if is_cut:
        left_out = f"only the first {SAMPLE_ENTRIES:,} files are listed"
    return Samples(kept, left_out)


@dataclass(frozen=True, slots=True)
class Rewinds:
    """Where attempts went back to an earlier step: what was sampled behind it does not count."""

    starts: tuple[tuple[int, int], ...] = ()
    """(attempt, the last step that it took over from those before it)."""

    @classmethod
    def of(cls, state: RunState) -> Rewinds:
        """Return those of a run, from its `open` events, or as they were inferred."""
        starts = []
        for number in sorted(state.attempts):
            opened = state.attempts[number].opened or {}
            step = integer(opened, "step") if "cuts" in opened else None
            if step is None and number > 1:
                hidden_from = state.hidden_from(number - 1)
                step = None if hidden_from is None else hidden_from - 1
            if step is not None:
                starts.append((number, step))
        return cls(tuple(starts))

    def visible(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return the samples that count, in order; of several attempts at a step the newest's.

        One whose name tells no attempt always counts.
        """
        kept: list[Sample] = []
        for sample in samples:
            file = sample.file
            if file.attempt and file.step > self._last_step(file.attempt):
                continue
            while kept and kept[-1].file.step == file.step and _is_older(kept[-1].file, file):
                kept.pop()
            kept.append(sample)
        return kept

    def _last_step(self, attempt: int) -> float:
        return min((step for later, step in self.starts if later > attempt), default=math.inf)


def _is_older(one: SampleFile, other: SampleFile) -> bool:
    return 0 < one.attempt < other.attempt


def epoch_of(sample: Sample, state: RunState) -> int | None:
    """Return a sample's epoch: the one in its name, or the one that its step lies in."""
    if sample.file.epoch is not None:
        return sample.file.epoch
    rows = state.epoch_rows
    at = bisect_left(rows, sample.file.step, key=lambda row: integer(row, "step") or 0)
    if at < len(rows):
        return integer(rows[at], "epoch")
    last = integer(rows[-1], "epoch") if rows else 0
    open_epoch = state.epoch
    return open_epoch if open_epoch is not None and open_epoch > (last or 0) else None
