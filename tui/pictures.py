"""The thread that lists and decodes image samples, and what it keeps of them.

The screen asks for what it shows and draws what is there; it never waits. A file server may never
answer, and no call in Python can be given up: a thread that is silent for long is left behind.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from runstore.images.pictures import (
    Decoded,
    PictureError,
    framing,
    open_picture,
    pixels_of,
)
from runstore.patience import ANSWER_S
from runstore.state.samples import SampleFolder, Samples
from runstore.threads import start_daemon

from .renderables.tiles import Picture

LIST_EVERY_S = 1.0
"""How often the folders of the run on screen are listed."""
LIST_SHARE = 0.05
"""Largest share of the time that listing may take: where it is slow it is rarer."""
DECODED_BYTES = 64 << 20
"""Whole images that are kept, to be shown in another size at once; a larger one is kept alone."""
DRAWN_BYTES = 16 << 20
"""Images in the size of the screen: some thousand of 80 x 40 pixels."""
STAMP_S = 0.5
"""How long what a file was found to be holds."""
STAMPS_KEPT = 256
MOST_STUCK = 4
"""So many threads may wait for file servers; then nothing is decoded any more."""

Stamp = tuple[int, int, int]
"""Inode, time of change and size of a file: it is another one when they differ."""
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image file as it is to be shown (see `framing`)."""

    path: str
    room: tuple[int, int]
    """Pixels: as wide as the cells, twice as high."""
    zoom: float = 1.0
    centre: tuple[float, float] = (0.5, 0.5)
    frame: int = 0
    """Of an animation."""


class Kept(Generic[Value]):
    """The values that were used last, as many as a number of bytes holds, and at least one."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held = 0
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        """Return a value, or None when it is not kept."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, value: Value, size_bytes: int) -> None:
        """Keep a value, and let the oldest go."""
        old = self._values.pop(key, None)
        self._held += size_bytes - (old[1] if old else 0)
        self._values[key] = value, size_bytes
        while self._held > self._most and len(self._values) > 1:
            self._let_go()

    def make_room(self) -> None:
        """Let the oldest go until half of the room is free: what comes may be large."""
        while self._held > self._most // 2:
            self._let_go()

    def _let_go(self) -> None:
        _, (_, freed) = self._values.popitem(last=False)
        self._held -= freed


Place = tuple[Path, str]
"""A run's directory, and the name of its log's source."""


class _Listed:
    """The samples of one run, as they were found last."""

    def __init__(self, place: Place) -> None:
        self.folder = SampleFolder(*place)
        self.samples: Samples | None = None
        self.due_at = 0.0


class Pictures:
    """Lists and decodes what was asked for last, in a thread of its own.

    Made on the screen's thread, which calls `show` and `get`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._listed: dict[Place, _Listed] = {}
        self._wanted: tuple[Wanted, ...] = ()
        self._shown: Kept[tuple[Stamp | None, Picture]] = Kept(DRAWN_BYTES)
        """What each request came to, and of which file; guarded by the lock."""
        self._decoded: Kept[Decoded] = Kept(DECODED_BYTES)
        self._stamps: dict[str, tuple[float, Stamp | None]] = {}
        """Of files, and when they were looked at; both are used by the thread alone."""
        self._reader = 0
        """The number of the thread that works now; earlier ones are left behind, or ended."""
        self._busy_since: float | None = None
        self._stopped = True

    def show(self, places: Sequence[Place]) -> list[Samples | None]:
        """Follow the samples of some runs, and of no others.

        Returns:
            Those found last of each, None before the first look.
        """
        with self._lock:
            known = self._listed
            if list(known) != list(places):
                known = {place: known.get(place) or _Listed(place) for place in places}
                self._listed, self._wanted = known, ()
            samples = [known[place].samples for place in places]
            due = any(self._clock() >= one.due_at for one in known.values())
        if due:
            self._go_on()
        return samples

    def ask(self, wanted: Sequence[Wanted]) -> None:
        """Have images decoded, the first one first, in place of those asked for before."""
        with self._lock:
            self._wanted = tuple(wanted)
        self._go_on()

    def get(self, wanted: Wanted) -> Picture | None:
        """Return an image; None until it is decoded."""
        with self._lock:
            found = self._shown.get(wanted)
        return None if found is None else found[1]

    def stop(self) -> None:
        """End the thread after what it does now; the next request starts another one."""
        self._stopped = True
        self._reader += 1
        self._wake.set()

    def _go_on(self) -> None:
        since = self._busy_since
        silent = since is not None and self._clock() - since > ANSWER_S
        if self._stopped or (silent and self._reader < MOST_STUCK):
            self._stopped, self._busy_since = False, None
            self._reader += 1
            self._decoded = Kept(DECODED_BYTES)
            number = self._reader
            start_daemon(lambda: self._run(number), "runstore-pictures")
        self._wake.set()

    def _run(self, number: int) -> None:
        decoded = self._decoded
        while self._reader == number:
            self._wake.wait()
            self._wake.clear()
            self._busy_since = self._clock()
            self._list_if_due()
            with self._lock:
                wanted = self._wanted
            for one in wanted:
                self._busy_since = self._clock()
                self._look(one, decoded)
                if self._reader != number or self._wanted is not wanted:
                    break  # the screen shows something else by now, and has set the event again
            if self._reader == number:
                self._busy_since = None

    def _list_if_due(self) -> None:
        with self._lock:
            listed = list(self._listed.values())
        for one in listed:
            begun = self._clock()
            if begun < one.due_at:
                continue
            self._busy_since = begun
            samples = _guarded_look(one.folder)
            now = self._clock()
            with self._lock:
                one.samples = samples
                one.due_at = now + max(LIST_EVERY_S, (now - begun) / LIST_SHARE)

    def _look(self, wanted: Wanted, decoded: Kept[Decoded]) -> None:
        """Decode an image unless that was done and its file is still the same."""
        stamp = self._stamp(wanted.path)
        with self._lock:
            known = self._shown.get(wanted)
        if known is not None and (stamp is None or known[0] == stamp):  # without one it is gone
            return
        picture = _draw(wanted, stamp, decoded)
        size = 1000 if picture.pixels is None else 1000 + len(picture.pixels.rgb)
        with self._lock:
            self._shown.put(wanted, (stamp, picture), size)

    def _stamp(self, path: str) -> Stamp | None:
        """Return the stamp of a file, which frames of an animation do not ask for each time."""
        now = self._clock()
        known = self._stamps.get(path)
        if known is not None and now - known[0] < STAMP_S:
            return known[1]
        if len(self._stamps) >= STAMPS_KEPT:
            self._stamps = {}
        self._stamps[path] = now, _stamp(path)
        return self._stamps[path][1]


def _guarded_look(folder: SampleFolder) -> Samples:
    try:
        return folder.look()
    except Exception as error:  # noqa: BLE001 - the boundary of the thread
        return Samples(problem=f"{type(error).__name__}: {error}")


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _draw(wanted: Wanted, stamp: Stamp | None, decoded: Kept[Decoded]) -> Picture:
    try:
        found = decoded.get((wanted.path, stamp))
        if found is None:
            decoded.make_room()
            found = open_picture(wanted.path)
            decoded.put((wanted.path, stamp), found, found.size_bytes)
        at = min(wanted.frame, len(found.frames) - 1)
        size = found.frames[at].size
        frame = framing(size, wanted.room, wanted.zoom, wanted.centre)
        pixels = pixels_of(found.frames[at], frame)
        return Picture(
            pixels, size, frame.box, frame.scale, at, found.ends_s, has_all=found.is_whole
        )
    except PictureError as error:
        return Picture(problem=str(error))
    except Exception as error:  # noqa: BLE001 - the boundary of the thread
        return Picture(problem=f"{type(error).__name__}: {error}")
