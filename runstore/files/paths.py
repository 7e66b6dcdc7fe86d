"""Every file name inside a run directory is spelled here and nowhere else."""

from __future__ import annotations

import calendar
import os
import re
import time
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import quote, unquote

Stream = Literal["events", "metrics", "epochs", "reports", "system", "exec"]
"""What a run writes, one kind of rows each (docs/format.md)."""
STREAMS: tuple[Stream, ...] = get_args(Stream)
LIFECYCLE: tuple[Stream, ...] = ("exec", "events")
"""The streams of events, which tell what the others are."""

_STREAM_FILE = re.compile(
    r"(?P<stream>events|metrics|epochs|reports|system|exec)"
    r"(?:\.rank(?P<rank>[0-9]{1,9}))?-(?P<attempt>[0-9]{4,9})(?:\.(?P<part>[0-9]{1,9}))?\.jsonl"
)
_CHECKPOINT_FILE = re.compile(r"step-[0-9]{8,}-[0-9]{4,}(?:\.[0-9]+)?\.pt")
_SAMPLE_FILE = re.compile(
    r"step-(?P<step>[0-9]{1,15})(?:-epoch-(?P<epoch>[0-9]{1,9}))?(?:-(?P<attempt>[0-9]{4,9}))?"
    r"(?:\.(?P<again>[0-9]{1,9}))?\.(?:png|gif|jpg|jpeg)"
)
_RUN_ID = re.compile(r"[0-9]{8}-[0-9]{6}-(?:[a-z0-9_.+]+-)*[a-z2-7]{6,}")
_HEX_ID = re.compile(r"[0-9a-f]{32}")
# In the order in which they sort, so that the milliseconds in them do too.
_ID_ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True, order=True)
class StreamFile:
    """The meaning of a file name such as `metrics.rank3-0002.1.jsonl`."""

    attempt: int
    """From 1: which start of the run wrote it."""
    part: int
    """From 0: rotation and replay go on in the next part."""
    stream: Stream
    rank: int = 0

    @property
    def name(self) -> str:
        """The file's name inside the run directory."""
        rank = f".rank{self.rank}" if self.rank else ""
        part = f".{self.part}" if self.part else ""
        return f"{self.stream}{rank}-{self.attempt:04d}{part}.jsonl"

    @classmethod
    def parse(cls, name: str) -> StreamFile | None:
        """Return what `name` means, or None when it is not a stream file's name."""
        match = _STREAM_FILE.fullmatch(name)
        if match is None or int(match["attempt"]) == 0:
            return None
        stream: Stream = match["stream"]  # type: ignore[assignment]  # the pattern admits no other
        file = cls(int(match["attempt"]), int(match["part"] or 0), stream, int(match["rank"] or 0))
        # `metrics-00001.jsonl` must not be taken for attempt 1's file.
        return file if file.name == name else None


@dataclass(frozen=True, slots=True, order=True)
class SampleFile:
    """The meaning of a name such as `step-00001200-epoch-0003-0001.png`, in the order of time."""

    step: int
    attempt: int = 0
    """From 1; 0 where the name has none: written by hand."""
    again: int = 0
    """From 1 for the attempt's further images at the same step."""
    epoch: int | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The file's name inside the folder of its samples."""
        epoch = "" if self.epoch is None else f"-epoch-{self.epoch:04d}"
        attempt = f"-{self.attempt:04d}" if self.attempt else ""
        again = f".{self.again}" if self.again else ""
        return f"step-{self.step:08d}{epoch}{attempt}{again}.png"

    @classmethod
    def parse(cls, name: str) -> SampleFile | None:
        """Return what `name` means, or None when it is not that of an image sample."""
        match = _SAMPLE_FILE.fullmatch(name)
        if match is None:
            return None
        step, attempt, again = (int(match[key] or 0) for key in ("step", "attempt", "again"))
        return cls(step, attempt, again, int(match["epoch"]) if match["epoch"] else None)


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The file names of one run directory."""

    run_dir: Path

    @property
    def document(self) -> Path:
        """`run.json`: what the run is; written once."""
        return self.run_dir / "run.json"

    @property
    def progress(self) -> Path:
        """`progress.json`: heartbeat and position; rewritten, a hint."""
        return self.run_dir / "progress.json"

    @property
    def submission(self) -> Path:
        """`slurm.json`: the Slurm job that is to begin the next attempt."""
        return self.run_dir / "slurm.json"

    @property
    def patch(self) -> Path:
        """`patch.diff`: uncommitted changes of the working tree, at most 1 MiB."""
        return self.run_dir / "patch.diff"

    @property
    def result(self) -> Path:
        """`result.json`: what the function of a sweep has returned for this cell."""
        return self.run_dir / "result.json"

    @property
    def output(self) -> Path:
        """`output.log`: what the command of `runstore exec` printed, its newest part."""
        return self.run_dir / "output.log"

    def output_part(self, number: int) -> Path:
        """Return `output.1.log`: an earlier part, from 1."""
        return self.run_dir / f"output.{number}.log"

    @property
    def checkpoints(self) -> Path:
        """`checkpoints/`: the files of `manifest.jsonl`, and the manifest itself."""
        return self.run_dir / "checkpoints"

    @property
    def manifest(self) -> Path:
        """`checkpoints/manifest.jsonl`: one row per checkpoint that was completed."""
        return self.checkpoints / "manifest.jsonl"

    @property
    def best_checkpoint(self) -> Path:
        """`checkpoints/best.pt`: another name of the best checkpoint's file."""
        return self.checkpoints / "best.pt"

    def checkpoint(self, step: int, attempt: int, again: int = 0) -> Path:
        """Return `checkpoints/step-00001200-0001.pt`; the attempt keeps names apart for ever.

        The attempt's further ones at the same step, `again` from 1, are
        `step-00001200-0001.1.pt` and so on.
        """
        suffix = f".{again}" if again else ""
        return self.checkpoints / f"step-{step:08d}-{attempt:04d}{suffix}.pt"

    @property
    def samples(self) -> Path:
        """`samples/`: a folder of images for each name."""
        return self.run_dir / "samples"

    @property
    def requests(self) -> Path:
        """`requests/`: what people ask of a running run: `stop`, `checkpoint`."""
        return self.run_dir / "requests"

    @property
    def notes(self) -> Path:
        """`notes/`: what people wrote about the run, a file each."""
        return self.run_dir / "notes"

    @property
    def tags(self) -> Path:
        """`tags/`: which tags people gave and took away since, a file for each change."""
        return self.run_dir / "tags"

    def stream(self, stream: Stream, attempt: int, *, part: int = 0, rank: int = 0) -> Path:
        """Return the path of one stream's file."""
        return self.run_dir / StreamFile(attempt, part, stream, rank).name


@dataclass(frozen=True, slots=True)
class SweepPaths:
    """The names in the directory of a sweep, whose folders are its cells: runs."""

    sweep_dir: Path

    @property
    def document(self) -> Path:
        """`sweep.json`: the command and the cells; rewritten when cells are added."""
        return self.sweep_dir / "sweep.json"

    @property
    def lock(self) -> Path:
        """`.sweep.lock`: held by who adds cells."""
        return self.sweep_dir / ".sweep.lock"

    @property
    def slurm(self) -> Path:
        """`slurm/`: what submitit needs for the jobs, and what they print; no run."""
        return self.sweep_dir / "slurm"

    def cell(self, cell_id: str) -> Path:
        """Return the run directory of a cell."""
        return self.sweep_dir / cell_id


def is_checkpoint_name(name: str) -> bool:
    """Tell whether `name` is one that a checkpoint's file gets."""
    return _CHECKPOINT_FILE.fullmatch(name) is not None


def is_sample_leftover(name: str) -> bool:
    """Tell whether `name` is that of a sample that a killed process had not renamed yet."""
    return name.startswith(".step-") and name.endswith(".tmp")


def sample_folder(name: str) -> str:
    """Return the folder in `samples/` of a name: percent-encoded (RFC 3986), `val%2Frecon`.

    A leading dot is encoded too, because what begins with one is passed over.
    """
    folder = quote(name, safe="", errors="replace")
    return f"%2E{folder[1:]}" if folder.startswith(".") else folder


def sample_name(folder: str) -> str:
    """Return the name of the samples in a folder."""
    return unquote(folder, errors="replace")


def new_run_id(name: str | None, *, now: float | None = None) -> str:
    """Return `20261120-141502-digits-2ck3x9qa`: UTC time, slug of `name`, and 8 letters.

    Two of the letters are the milliseconds, so that runs of the same second sort too; the other
    six are 30 random bits, which keep apart the thousand processes that a Slurm array starts at
    once.
    """
    seconds = time.time() if now is None else now
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(seconds))
    thousandths = int(seconds % 1 * 1000)
    # 32 letters: each byte's low five bits are one, evenly.
    codes = (thousandths // 32, thousandths % 32, *(byte % 32 for byte in os.urandom(6)))
    last = "".join(_ID_ALPHABET[code] for code in codes)
    slug = slugify(name or "")
    return f"{stamp}-{slug}-{last}" if slug else f"{stamp}-{last}"


def id_order(run_id: str) -> str:
    """Return what sorts run ids by the time of their creation, whatever their names."""
    return f"{run_id[:15]}-{run_id.rpartition('-')[2]}"


def id_time(run_id: str) -> float | None:
    """Return when something was made, in Unix seconds UTC to the millisecond, as its id tells.

    None where the id is no such id. Without milliseconds in it, it is the whole second.
    """
    try:
        seconds = calendar.timegm(time.strptime(run_id[:15], "%Y%m%d-%H%M%S"))
    except ValueError:
        return None
    last = run_id.rpartition("-")[2]
    codes = [_ID_ALPHABET.find(letter) for letter in last[:2]]
    return seconds + (codes[0] * 32 + codes[1]) / 1000 if len(last) == 8 else float(seconds)


def is_hex_id(run_id: str) -> bool:
    """Tell whether an id is one of the 32 digits that some tools name runs by."""
    return _HEX_ID.fullmatch(run_id) is not None


def short_id(run_id: str) -> str:
    """Return the first eight of the 32 digits that some tools name runs by; others as they are."""
    return run_id[:8] if is_hex_id(run_id) else run_id


def listed_name(name: str, run_id: str) -> str:
    """Return what lists call a run: its id, or its name and enough of an id of 32 digits."""
    if not name or name == run_id or not is_hex_id(run_id):
        return run_id
    return f"{name} {short_id(run_id)}"


def slugify(name: str, *, limit: int = 40) -> str:
    """Return `name` as lower-case ASCII that is safe in a file name; may be empty."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9_.+]+", "-", ascii_name.lower()).strip("-.")
    return slug[:limit].rstrip("-.")


def looks_like_run_id(name: str) -> bool:
    """Tell whether a directory's name alone says that it is a run.

    Listing a thousand runs on a network mount must not cost a thousand directory reads.
    """
    return _RUN_ID.fullmatch(name) is not None
