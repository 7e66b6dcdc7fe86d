"""What two hosts see of each other through one directory: `doctor --fs DIR --wait SECONDS`.

Both sides do the same at the same time. Each has a directory of its own and only reads the other's;
what they have to say stands in `said.jsonl`, which the other side opens anew on every look: that is
when an NFS client asks the server. Each thing that is measured has a file or directory of its own,
because a look at one by its path refreshes what a held descriptor of the same file shows.
"""

from __future__ import annotations

import fcntl
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from runstore.doctor.file_system import (
    CLOCK_APART_S,
    PREFIX,
    Check,
    apart,
    clock_difference,
    span_ms,
    sync_data,
)
from runstore.doctor.findings import Severity
from runstore.doctor.lines import open_regular
from runstore.errors import RunStoreError
from runstore.files.records import JsonObject, RecordError, decode, encode, number

ROUNDS = 10
ROUND_S = 0.5
LOOK_S = 0.02
BEAT_S = 0.2
LONGEST_LAG_S = 90.0
"""NFS serves attributes of a quiet file for up to 60 s."""
LOST_S = 100.0
"""Nothing heard of the other side for so long: it is gone."""

CHANNELS = ("row_reopened", "row_held", "new_file", "rename")
"""What the other side may see late: rows, in a file that is opened anew or held open; a new name in
a directory; a document that was replaced."""


class OtherSideError(RunStoreError):
    """The other side did not come, or went away."""


class Voice:
    """What this side says: lines of a file that only it writes."""

    def __init__(self, place: Path) -> None:
        self._descriptor = os.open(
            place / "said.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644
        )

    def say(self, **facts: object) -> None:
        """Say one thing."""
        os.write(self._descriptor, encode(facts))
        sync_data(self._descriptor)

    def close(self) -> None:
        """Say no more."""
        os.close(self._descriptor)


class Ear:
    """What another side has said so far."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._offset = 0
        self.facts: JsonObject = {}
        """The newest of each."""
        self.beats = 0
        """How often there was something new."""

    def listen(self) -> None:
        """Take in what is new."""
        data = read_from(self.place / "said.jsonl", self._offset)
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            try:
                self.facts.update(decode(line))
            except RecordError:
                continue
        self.beats += bool(whole)


def read_from(path: Path, offset: int) -> bytes:
    """Return what a file has behind `offset`, at most 1 MiB; nothing when it is not there."""
    try:
        descriptor = open_regular(path)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, 1 << 20, offset)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def meet(directory: Path, place: Path, voice: Voice, wait_s: float) -> Ear:
    """Wait for the other side and agree with it; a directory that nobody beats in is passed over.

    Raises:
        OtherSideError: nobody came.
    """
    deadline = time.monotonic() + wait_s
    ears: dict[str, Ear] = {}
    chosen: str | None = None
    beat = 0
    while time.monotonic() < deadline:
        beat += 1
        _change(directory / f"{place.name}.look")
        voice.say(beat=beat, partner=chosen)
        for name in _others(directory, place):
            ear = ears.setdefault(name, Ear(directory / name))
            ear.listen()
        chosen = _choose(ears, place.name)
        if chosen is not None and ears[chosen].facts.get("partner") == place.name:
            voice.say(partner=chosen)
            return ears[chosen]
        time.sleep(BEAT_S)
    raise OtherSideError(
        f"{directory}: nobody else came within {wait_s:g} s; run `runstore doctor --fs DIR --wait "
        "SECONDS` on the other host at the same time, on the same directory"
    )


def _change(path: Path) -> None:
    """Change a directory, which makes an NFS client look at it anew."""
    try:
        path.touch()
    finally:
        path.unlink(missing_ok=True)


def _others(directory: Path, place: Path) -> list[str]:
    names = (name for name in os.listdir(directory) if name.startswith(PREFIX))
    return sorted(
        name
        for name in names
        if name != place.name
        and (directory / name).is_dir()
        and not (directory / name).is_symlink()
    )


def _choose(ears: dict[str, Ear], own: str) -> str | None:
    """The first one that lives, which two looks show, and that has nobody else."""
    for name in sorted(ears):
        if ears[name].beats > 1 and ears[name].facts.get("partner") in (None, own):
            return name
    return None


@dataclass(slots=True)
class Watch:
    """When each round of one channel was seen."""

    look: Callable[[], int]
    """Return how many rounds are visible."""
    seen: list[float] = field(default_factory=list)
    """Unix seconds of this host's clock, by round."""

    def take(self) -> None:
        """Look once."""
        now = time.time()
        visible = min(self.look(), ROUNDS)
        self.seen += [now] * (visible - len(self.seen))

    @property
    def complete(self) -> bool:
        """Whether all rounds were seen."""
        return len(self.seen) >= ROUNDS


class Stage:
    """The files of one side that the other side watches."""

    def __init__(self, place: Path, closing: ExitStack) -> None:
        self._place = place
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        self._path = os.open(place / "by-path", flags, 0o644)
        self._held = os.open(place / "by-descriptor", flags, 0o644)
        self._lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        for descriptor in (self._path, self._held, self._lock):
            closing.callback(os.close, descriptor)
        (place / "new").mkdir()
        (place / "document").write_bytes(b"0")
        self.done: dict[str, list[float]] = {name: [] for name in CHANNELS}
        """Unix seconds of this host's clock at which each round was durable."""

    def hold_lock(self) -> bool:
        """Take the lock that the other side tries."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def play(self, round_: int) -> None:
        """Do each thing once; rounds are counted from 1."""
        for name, descriptor in (("row_reopened", self._path), ("row_held", self._held)):
            os.write(descriptor, b"x\n")
            sync_data(descriptor)
            self.done[name].append(time.time())
        (self._place / "new" / str(round_)).touch()
        self.done["new_file"].append(time.time())
        beside = self._place / "document.tmp"
        with beside.open("wb") as file:
            file.write(b"%d" % round_)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._place / "document")
        self.done["rename"].append(time.time())


def _watches(other: Path, closing: ExitStack) -> dict[str, Watch]:
    held = open_regular(other / "by-descriptor")
    closing.callback(os.close, held)
    return {
        "row_reopened": Watch(lambda: len(read_from(other / "by-path", 0)) // 2),
        "row_held": Watch(lambda: os.fstat(held).st_size // 2),
        "new_file": Watch(lambda: len(os.listdir(other / "new"))),
        "rename": Watch(lambda: _number_in(other / "document")),
    }


def _number_in(path: Path) -> int:
    text = read_from(path, 0)
    return int(text) if text.isdigit() else 0


def _lock_is_held(path: Path) -> bool | None:
    """Tell whether this host sees the other's lock; None where there are no locks."""
    try:
        with path.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def measure(directory: Path, place: Path, wait_s: float) -> tuple[str, list[Check]]:
    """Measure with the other side; return its host's name, and what was found.

    Raises:
        OtherSideError: it did not come, or went away.
        OSError: the directory does not do what is needed.
    """
    with ExitStack() as closing:
        stage = Stage(place, closing)
        locks = stage.hold_lock()
        voice = Voice(place)
        closing.callback(voice.close)
        ahead_s, within_s = clock_difference(place)
        facts = {"host": socket.gethostname(), "locks": locks}
        voice.say(**facts, server_ahead_s=ahead_s, within_s=within_s)
        ear = meet(directory, place, voice, wait_s)
        watches = _watches(ear.place, closing)
        sees_lock = _lock_is_held(ear.place / "lock")
        voice.say(ready=True)
        _hear(ear, "ready", voice)
        _play(stage, watches)
        voice.say(done=stage.done)
        _watch_the_rest(watches, ear, voice)
        said = _hear(ear, "done", voice)
        checks = [
            *_lags(watches, said, ahead_s, ear.facts),
            _lock_check(sees_lock, ear.facts),
            _clock_check(ahead_s, within_s, ear.facts),
        ]
        voice.say(bye=True)
        with suppress(OtherSideError):
            # Whoever hears it first tidies up, and is gone for the other one.
            _hear(ear, "bye", voice)
    return str(ear.facts.get("host", "the other host")), checks


def _hear(ear: Ear, what: str, voice: Voice) -> JsonObject:
    """Wait until the other side has said something."""
    for _ in _while_alive(ear, voice):
        if what in ear.facts:
            break
        time.sleep(LOOK_S)
    return ear.facts


def _while_alive(ear: Ear, voice: Voice) -> Iterator[None]:
    """Listen again and again, and let the other side know that one is there."""
    heard, beats, said = time.monotonic(), ear.beats, time.monotonic()
    while True:
        ear.listen()
        now = time.monotonic()
        if ear.beats != beats:
            heard, beats = now, ear.beats
        if "bye" in ear.facts:
            yield
            return
        if now - heard > LOST_S or not ear.place.is_dir():
            raise OtherSideError(f"{ear.place}: the other side went away before it was done")
        if now - said > BEAT_S:
            voice.say(beat=0)
            said = now
        yield


def _play(stage: Stage, watches: dict[str, Watch]) -> None:
    for round_ in range(1, ROUNDS + 1):
        stage.play(round_)
        until = time.monotonic() + ROUND_S
        while time.monotonic() < until:
            _look(watches)


def _watch_the_rest(watches: dict[str, Watch], ear: Ear, voice: Voice) -> None:
    """Look until everything was seen, or will not be."""
    deadline = time.monotonic() + LONGEST_LAG_S
    for _ in _while_alive(ear, voice):
        _look(watches)
        if all(watch.complete for watch in watches.values()) or time.monotonic() > deadline:
            return


def _look(watches: dict[str, Watch]) -> None:
    for watch in watches.values():
        try:
            watch.take()
        except OSError:
            # ESTALE of a file that was replaced: the next look finds the new one.
            continue
    time.sleep(LOOK_S)


def _lags(
    watches: dict[str, Watch], said: JsonObject, ahead_s: float, other: JsonObject
) -> Iterator[Check]:
    """How long until this host saw what the other did, on the file server's clock."""
    other_ahead_s = number(other, "server_ahead_s") or 0.0
    done = said.get("done")
    for name in CHANNELS:
        times = done.get(name) if isinstance(done, dict) else None
        began = [t for t in times if isinstance(t, float)] if isinstance(times, list) else []
        lags = [
            max(0.0, (seen + ahead_s) - (then + other_ahead_s))
            for seen, then in zip(watches[name].seen, began, strict=False)
        ]
        yield _lag_check(f"lag_{name}", lags)


def _lag_check(name: str, lags: list[float]) -> Check:
    missed = ROUNDS - len(lags)
    severity: Severity | None = "error" if missed else None
    words = [f"{missed} of {ROUNDS} not seen within {LONGEST_LAG_S:g} s"] if missed else []
    middle, most = (statistics.median(lags), max(lags)) if lags else (None, None)
    if middle is not None and most is not None:
        words.insert(0, f"{span_ms(middle)} in the middle, {span_ms(most)} at most")
    values = {"p50_s": middle, "max_s": most, "seen": len(lags)}
    return Check(name, severity, "; ".join(words), values)


def _lock_check(sees: bool | None, other: JsonObject) -> Check:
    host = other.get("host")
    if sees and other.get("locks") is True:
        return Check("lock_between_hosts", None, f"the lock of {host} is seen", {"works": True})
    found = f"the lock of {host} is not seen: whether its runs are dead cannot be told from here"
    return Check("lock_between_hosts", "warning", found, {"works": False})


def _clock_check(ahead_s: float, within_s: float, other: JsonObject) -> Check:
    other_ahead_s = number(other, "server_ahead_s") or 0.0
    difference_s = ahead_s - other_ahead_s
    within_s += number(other, "within_s") or 0.0
    severity: Severity | None = "warning" if abs(difference_s) > CLOCK_APART_S else None
    found = f"{other.get('host')} is {apart(difference_s)} this host (within {span_ms(within_s)})"
    return Check(
        "clock_between_hosts",
        severity,
        found,
        {"other_ahead_s": difference_s, "within_s": within_s},
    )
