"""runstore's own run directories (docs/format.md)."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from runstore.errors import FormatError
from runstore.files.cursor import READ_BYTES
from runstore.files.limits import (
    DOCUMENT_BYTES,
    EVENT_FIELDS,
    FILES_PER_RUN,
    LISTED_DOCUMENT_BYTES,
    TEXT_CHARS,
)
from runstore.files.paths import LIFECYCLE, RunPaths, Stream, StreamFile, looks_like_run_id
from runstore.files.records import (
    FORMAT,
    JsonObject,
    RecordError,
    check_format,
    decode_document,
    flat,
)
from runstore.files.regular import read_regular, why_unreadable
from runstore.files.tail import Tail
from runstore.slurm.submission import Submission
from runstore.sources.formats import NATIVE
from runstore.sources.reading import (
    FollowedFile,
    RowLine,
    file_rows,
    fold_chunk,
    glance_file,
    unreadable,
)
from runstore.state.liveness import Liveness
from runstore.state.progress import Progress
from runstore.state.run_state import RunState
from runstore.state.status import Status
from runstore.state.tags import NO_CHANGES, read_tag_changes

NAME = NATIVE.name


def recognises(directory: Path, names: Sequence[str]) -> bool:
    """A run has a `run.json`, or an events file of its first attempt."""
    files = ("run.json", "events-0001.jsonl", "exec-0001.jsonl")
    return any(file in names for file in files) or looks_like_run_id(directory.name)


def open_run(directory: Path, *, patient: bool = True) -> NativeReader:
    """Return a reader; nothing is read yet."""
    return NativeReader(directory, patient=patient)


class NativeReader:
    """Follows one run directory."""

    def __init__(self, directory: Path, *, patient: bool = True) -> None:
        """Follow `directory`; see `Tail` for `patient`."""
        self.state = RunState(directory, source=NAME)
        self._paths = RunPaths(directory)
        self._patient = patient
        self._liveness = Liveness()
        self._files: dict[str, FollowedFile] = {}
        self._is_known = False
        """`run.json` was read, …"""
        self._is_whole = False
        """… and all of it is kept."""
        self._progress = 0
        self._has_tags = False
        """There is a `tags/`, as of the last look."""
        self._submission = 0
        self._is_submitted = False
        self.unlisted = ""
        self._listing = 0
        """What the directory held at the last look."""
        self.refused: FormatError | None = None

    @property
    def behind(self) -> bool:
        """Whether the last poll stopped at its budget."""
        return any(file.more for file in self._files.values())

    @property
    def size_bytes(self) -> int:
        """How long all files are, as of the last look at each."""
        return sum(file.tail.size for file in self._files.values())

    def glance(self) -> bool:
        """Read a few KiB: status, position and latest values."""
        changed = self._read_documents(whole=False)
        if not self._find_files():
            return changed
        changed |= self._read_tags()
        changed |= self._read_submission()
        for file in self._in_order(LIFECYCLE):
            changed |= glance_file(self.state, file)
        self._apply_cuts()
        for file in self._in_order(("epochs", "metrics")):
            changed |= glance_file(self.state, file)
        self._apply_cuts()
        return self.judge() or changed

    def poll(self, budget: int = READ_BYTES) -> bool:
        """Read what is new, in full, about `budget` bytes at most."""
        changed = self._read_documents()
        if not self._find_files():
            return changed
        changed |= self._read_tags()
        changed |= self._read_submission()
        for streams in (LIFECYCLE, ("epochs", "metrics", "reports")):
            # Events are read first, and never wait for rows: what they cut need not be read.
            left = budget
            for file in self._in_order(streams):
                start = file.tail.offset
                changed |= self._read(file, left)
                left -= max(0, file.tail.offset - start)
            self._apply_cuts()
        return self.judge() or changed

    def files(self, stream: Stream) -> list[Path]:
        """Return the files of a stream that are there now, in order."""
        self._find_files()
        return [file.tail.path for file in self._in_order((stream,))]

    def rows(self, stream: Stream) -> Iterator[RowLine]:
        """Yield every row of a stream in file order, and tell which ones are superseded."""
        self.learn_cuts()
        if problem := self.unlisted:
            yield unreadable("", problem)
        for file in self._in_order((stream,)):
            limit = self.state.cuts.get(file.name.name) if stream not in LIFECYCLE else None
            # What happened, and how the machine did, is true whatever was trained again.
            inferred = stream not in (*LIFECYCLE, "system")
            hidden_from = self.state.hidden_from(file.name.attempt) if inferred else None
            yield from file_rows(file.tail.path, limit=limit, hidden_from=hidden_from)

    def learn_cuts(self) -> None:
        """Read the events, which name cuts, and later attempts' first rows, which imply them."""
        self._find_files()
        for file in self._in_order(LIFECYCLE):
            self._read_to_end(file)
        self._apply_cuts()
        for file in self._in_order(("metrics",)):
            if file.name.attempt > 1 and file.tail.offset == 0:
                fold_chunk(self.state, file, file.tail.poll(READ_BYTES))

    def _read_to_end(self, file: FollowedFile) -> None:
        self._read(file, READ_BYTES)
        while file.more:
            self._read(file, READ_BYTES)

    def _read(self, file: FollowedFile, budget: int) -> bool:
        if budget <= 0:
            file.more = True
            return False
        if not file.complete:
            self._restart(file)
        return fold_chunk(self.state, file, file.tail.poll(budget))

    def _restart(self, file: FollowedFile, *, is_unchanged: bool = False) -> None:
        limit = self.state.cuts.get(file.name.name)
        self.state.forget(file.name, is_unchanged=is_unchanged and file.tail.limit == limit)
        file.tail = Tail(file.tail.path, limit=limit, patient=self._patient)
        file.complete, file.more = True, True

    def _apply_cuts(self) -> None:
        """Limit files that an event has cut; read again the ones that were read further."""
        for name in self.state.take_stale():
            if name in self._files:
                file = self._files[name]
                self._restart(file, is_unchanged=file.complete)
        for name, size in self.state.cuts.items():
            cut = self._files.get(name)
            if cut is not None and cut.name.stream not in LIFECYCLE:
                cut.tail.limit = size
                if cut.tail.offset > size:
                    self._restart(cut)

    def _find_files(self) -> bool:
        """Look for new streams, attempts and parts; tell whether the directory can be read."""
        try:
            names = os.listdir(self.state.path)
        except OSError as error:
            self._unreadable(error)
            self.unlisted = why_unreadable(error)
            return False
        self.unlisted = ""
        listing = hash(tuple(names))
        if listing == self._listing:
            # Asked several times a second, and a directory may hold a hundred thousand names.
            return True
        self._listing = listing
        self._has_tags = self._paths.tags.name in names
        self._is_submitted = self._paths.submission.name in names
        found = {name: file for name in names if (file := self._stream_file(name)) is not None}
        if len(found) > FILES_PER_RUN:
            found = self._newest_files(found)
        for name, file in found.items():
            if name not in self._files:
                path = self.state.path / name
                self._files[name] = FollowedFile(file, Tail(path, patient=self._patient))
        self._forget_vanished(found.keys())
        return True

    def _stream_file(self, name: str) -> StreamFile | None:
        known = self._files.get(name)
        if known is not None:
            return known.name
        file = StreamFile.parse(name)
        return file if file is not None and file.rank == 0 else None

    def _newest_files(self, found: dict[str, StreamFile]) -> dict[str, StreamFile]:
        more = len(found) - FILES_PER_RUN
        self.state.left_out["files"] = f"{more:,} files of earlier attempts are left out"
        newest = sorted(found, key=lambda name: found[name])[-FILES_PER_RUN:]
        return {name: found[name] for name in newest}

    def _forget_vanished(self, names: Collection[str]) -> None:
        for name in [name for name in self._files if name not in names]:
            self.state.forget(self._files.pop(name).name)

    def _unreadable(self, error: OSError) -> None:
        gone = error.errno == errno.ENOENT
        reason = "the directory is gone" if gone else f"cannot be read: {error.strerror}"
        if self.state.status.reason != reason:
            self.state.version += 1
        self.state.status = Status("unknown", reason)

    def _in_order(self, streams: Sequence[str]) -> list[FollowedFile]:
        files = [file for file in self._files.values() if file.name.stream in streams]
        return sorted(files, key=lambda file: (streams.index(file.name.stream), file.name))

    def read_document(self) -> None:
        """Read all of a long `run.json` of which a glance has kept what a list shows."""
        self._read_run_document(True)

    def _read_documents(self, *, whole: bool = True) -> bool:
        return self._read_run_document(whole) | self._read_progress()

    def _read_run_document(self, whole: bool) -> bool:
        """Read `run.json` once; again when only what a list shows of it was kept."""
        if self._is_known and (self._is_whole or not whole):
            return False
        data = self._read_document(self._paths.document)
        if data is None:
            return False
        self._is_known = True
        self._is_whole = whole or len(data) <= LISTED_DOCUMENT_BYTES
        document = self._parse(self._paths.document.name, data)
        self.state.info = document if self._is_whole else listed_document(document)
        self.state.info_bytes = len(data) if self._is_whole else LISTED_DOCUMENT_BYTES
        self.state.version += 1
        return True

    def _read_progress(self) -> bool:
        data = self._read_document(self._paths.progress)
        if data is None or hash(data) == self._progress:
            return False
        self._progress = hash(data)
        document = self._parse("progress.json", data)
        # On a full disk it is rewritten in place: half of it leaves what the last one said.
        if document or self.state.progress is None:
            self.state.progress = Progress.from_record(document)
        self.state.version += 1
        return True

    def _read_tags(self) -> bool:
        """Read which tags were given and taken away since the last look."""
        before = self.state.tag_changes
        if not self._has_tags and before is NO_CHANGES:
            return False
        found = read_tag_changes(self.state.path, before)
        if found is before:
            return False
        for name in before.problems or ():
            self.state.problems.pop(name, None)
        self.state.problems.update(found.problems or {})
        if found.left_out:
            self.state.left_out["tags"] = f"{found.left_out:,} earlier changes of tags are left out"
        self.state.tag_changes = found
        self.state.version += 1
        return True

    def _read_submission(self) -> bool:
        """Read which Slurm job is to begin the next attempt, where there is such a file."""
        if not self._is_submitted:
            return False
        data = self._read_document(self._paths.submission)
        if data is None or hash(data) == self._submission:
            return False
        self._submission = hash(data)
        document = self._parse(self._paths.submission.name, data)
        self.state.submission = Submission.from_record(document)
        self.state.version += 1
        return True

    def _read_document(self, path: Path) -> bytes | None:
        problems = self.state.problems
        try:
            data = read_regular(path, DOCUMENT_BYTES)
        except FileNotFoundError:
            problems.pop(path.name, None)
            return None
        except OSError as error:
            problems[path.name] = why_unreadable(error)
            return None
        return data

    def _parse(self, name: str, data: bytes) -> JsonObject:
        self.state.problems.pop(name, None)
        try:
            document = decode_document(data, DOCUMENT_BYTES)
        except RecordError as error:
            # A heartbeat is renamed into place without fsync: empty after power loss is normal.
            if data.strip(b"\0 \n"):
                self.state.problems[name] = str(error)
            return {}
        return document if self._check(name, document) else {}

    def judge(self) -> bool:
        """Decide from what was read whether the run is alive; tell whether that changed."""
        before = self.state.status
        self._refuse_newer_attempts()
        newest = self.state.attempt
        events = self._paths.stream("events", newest) if newest else None
        if self.refused is not None:
            self.state.status = Status("unknown", str(self.refused))
        elif unread := self._why_end_is_unknown():
            self.state.status = Status("unknown", unread)
        elif not self.state.attempts and (nothing := self._why_nothing_is_known()):
            self.state.status = Status("unknown", nothing)
        else:
            self.state.status = self._judge(events)
        return self.state.status != before

    def _why_end_is_unknown(self) -> str:
        """Say which file, of those that tell how a run began and ended, cannot be read now."""
        newest = self.state.attempt or 0
        for file in self._in_order(LIFECYCLE):
            problem = self.state.problems.get(file.name.name)
            told = file.name.attempt == newest and self.state.ended is not None
            if problem and file.name.attempt >= newest and not told:
                return f"{file.name.name} cannot be read: {problem}"
        return ""

    def _why_nothing_is_known(self) -> str:
        """Say why a run without events tells nothing of itself; empty when it does."""
        if self.state.info:
            return ""
        document = self._paths.document
        if document.name in self.state.problems:
            return f"{document.name} is {self.state.problems[document.name]}"
        if self._is_known:
            return f"{document.name} is empty"
        if self._files:
            return ""
        return "an empty directory: nothing was written yet"

    def _judge(self, events: Path | None) -> Status:
        status = self._liveness.judge(self.state, events)
        if status.word != "crashed":
            return status
        # The end may have been written between the look at the events and the one at the process.
        for file in self._in_order(LIFECYCLE):
            fold_chunk(self.state, file, file.tail.poll())
        return self._liveness.judge(self.state, events)

    def _refuse_newer_attempts(self) -> None:
        """A newer version may have gone on with a run that an older one began."""
        for attempt in self.state.attempts.values():
            watched = attempt.execution.opened if attempt.execution else None
            for stream, opened in zip(LIFECYCLE, (watched, attempt.opened), strict=True):
                if opened is not None and opened.get("format") != FORMAT:
                    self._check(self._paths.stream(stream, attempt.number).name, opened)

    def _check(self, name: str, document: JsonObject) -> bool:
        try:
            check_format(self.state.path / name, document)
        except FormatError as error:
            self.refused = error
            return False
        return True


def recorded_document(directory: Path) -> JsonObject:
    """Return a run's `run.json`, all of it; empty where there is none."""
    try:
        data = read_regular(RunPaths(directory).document, DOCUMENT_BYTES)
        return decode_document(data, DOCUMENT_BYTES)
    except (OSError, RecordError):
        return {}


def recorded_name(directory: Path) -> str:
    """Return the id in a run's `run.json`; empty where there is none."""
    found = recorded_document(directory).get("id")
    return found if isinstance(found, str) else ""


def listed_document(document: JsonObject) -> JsonObject:
    """Return of a long `run.json` what a list of runs shows."""
    listed = flat(document)
    for key in ("params", "git"):
        if isinstance(found := document.get(key), dict):
            listed[key] = flat(found)
    if isinstance(tags := document.get("tags"), list):
        listed["tags"] = [tag[:TEXT_CHARS] for tag in tags[:EVENT_FIELDS] if isinstance(tag, str)]
    return listed
