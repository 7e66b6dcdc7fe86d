"""What earlier attempts left torn, put right by the one that goes on with the run.

Only where the process that wrote a file is proven to be gone: a writer that lives on another
machine, out of sight, would go on in the middle of a line.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from runstore.environment.process import ProcessIdentity
from runstore.files.paths import LIFECYCLE, RunPaths, Stream, StreamFile
from runstore.files.records import JsonObject
from runstore.files.seal import Sealed, seal, torn_tail
from runstore.launch.requeued import is_earlier_start
from runstore.sources.native import NativeReader
from runstore.state.attempt_facts import Attempt
from runstore.state.evidence import is_proven_gone

_BY_THE_ATTEMPT: tuple[Stream, ...] = ("events", "metrics", "epochs", "reports", "system", "exec")
"""The streams whose rank 0 files are written by the processes that `open` events name."""


def torn_files(run_dir: Path) -> list[Path]:
    """Return the stream files, and the manifest, that do not end with a newline.

    Raises:
        OSError: the directory cannot be read.
    """
    names = sorted(name for name in os.listdir(run_dir) if StreamFile.parse(name))
    return [
        path for path in (*(run_dir / n for n in names), _manifest(run_dir)) if _may_be_torn(path)
    ]


def seal_left_files(
    run_dir: Path, *, own_attempt: int | None = None
) -> tuple[list[Sealed], list[str]]:
    """Seal the torn files whose writers are gone.

    Args:
        run_dir: the run's directory.
        own_attempt: the caller's, which is alive, and has not written to the manifest yet.

    Returns:
        What was moved aside, `file` and `torn` as paths from the run's directory, and in words
        what could not be. A file whose writer may be alive is in neither.
    """
    try:
        torn = torn_files(run_dir)
    except OSError as error:
        return [], [f"torn ends of earlier attempts' files may stay there ({error.strerror})"]
    if not torn:
        return [], []
    writers = _Writers(run_dir, own_attempt)
    sealed: list[Sealed] = []
    problems: list[str] = []
    for path in torn:
        name = str(path.relative_to(run_dir))
        if not writers.are_gone(path):
            if writers.unseen:
                problems.append(f"the torn end of {name} stays there ({writers.unseen})")
            continue
        try:
            done = seal(path, may=writers.nobody_came)
        except OSError as error:
            problems.append(f"the torn end of {name} stays there ({error.strerror})")
            continue
        if done is not None:
            kept = str(path.with_name(done.torn).relative_to(run_dir))
            sealed.append(replace(done, file=name, torn=kept))
    return sealed, problems


def _claims(run_dir: Path) -> set[str]:
    """Return the files by which attempts are claimed, before anything else of them is there."""
    try:
        files = [StreamFile.parse(name) for name in os.listdir(run_dir)]
    except OSError:
        return set()
    return {file.name for file in files if file and file.stream in LIFECYCLE}


def seal_and_tell(
    run_dir: Path,
    attempt: int,
    *,
    event: Callable[..., object],
    warn: Callable[[str], object],
) -> None:
    """Let the files of dead attempts end with a whole line, now that the run is this attempt's.

    Args:
        run_dir: the run's directory.
        attempt: the caller's, just claimed.
        event: writes an event, given its name and fields.
        warn: told what could not be sealed.
    """
    if attempt == 1:
        return
    sealed, problems = seal_left_files(run_dir, own_attempt=attempt)
    for one in sealed:
        event("sealed", file=one.file, bytes=one.bytes, torn=one.torn)
    for problem in problems:
        warn(problem)


def _manifest(run_dir: Path) -> Path:
    return RunPaths(run_dir).manifest


def _may_be_torn(path: Path) -> bool:
    try:
        return torn_tail(path) is not None
    except FileNotFoundError:
        return False
    except OSError:
        # `seal` will say why it cannot be put right.
        return True


class _Writers:
    """Who wrote the files of a run, and whether they are gone."""

    def __init__(self, run_dir: Path, own_attempt: int | None) -> None:
        self._own_attempt = own_attempt
        # Before the look: an attempt that is claimed in between is not missed.
        self._claims = _claims(run_dir)
        self._reader = NativeReader(run_dir, patient=False)
        self._reader.glance()
        self._paths = RunPaths(run_dir)

    @property
    def unseen(self) -> str:
        """Say why the evidence cannot be read; empty when it can."""
        state = self._reader.state
        problems = sorted(state.problems.items())
        found = [f"{name}: {why}" for name, why in problems if name.startswith("events")]
        return found[0] if found else "" if state.attempts else state.status.reason

    def nobody_came(self) -> bool:
        """Tell whether no attempt has begun since this was made."""
        return _claims(self._paths.run_dir) == self._claims

    def are_gone(self, path: Path) -> bool:
        """Tell whether everybody who may write to a file is proven to be gone."""
        file = StreamFile.parse(path.name)
        if file is None:
            return self._all_are_over()
        attempt = self._reader.state.attempts.get(file.attempt)
        if attempt is None or file.stream not in _BY_THE_ATTEMPT:
            return False
        return self._is_over(attempt) and (not file.rank or self._rank_is_gone(file))

    def _all_are_over(self) -> bool:
        """Tell whether nobody will append to the manifest, as one attempt after another does."""
        claims = [file for name in self._claims if (file := StreamFile.parse(name))]
        earlier = {file.attempt for file in claims if file.attempt != self._own_attempt}
        return bool(earlier) and all(map(self._has_passed, earlier))

    def _has_passed(self, number: int) -> bool:
        """Tell whether an attempt is over, or was claimed by one who died before he opened it."""
        attempt = self._reader.state.attempts.get(number)
        return self._never_opened(number) if attempt is None else self._is_over(attempt)

    def _never_opened(self, number: int) -> bool:
        try:
            claims = [self._paths.stream(stream, number) for stream in LIFECYCLE]
            return not any(path.lstat().st_size for path in claims if path.name in self._claims)
        except OSError:
            return False

    def _is_over(self, attempt: Attempt) -> bool:
        """Tell whether the attempt's process is gone, and `runstore exec`, where that began it."""
        execution = attempt.execution
        if execution is None:
            return self._is_gone(attempt, "events", attempt.opened, attempt.ended)
        is_left = self._is_gone(attempt, "exec", execution.opened, execution.ended)
        # By the file's name: its `open` may be out of sight, and its writer alive.
        is_joined = self._paths.stream("events", attempt.number).name in self._claims
        return is_left and (
            not is_joined or self._is_gone(attempt, "events", attempt.opened, attempt.ended)
        )

    def _is_gone(
        self, attempt: Attempt, stream: Stream, opened: JsonObject | None, ended: JsonObject | None
    ) -> bool:
        if ended is not None or opened is None:
            return ended is not None
        return is_earlier_start(opened, self._reader.state.info) or is_proven_gone(
            opened, self._paths.stream(stream, attempt.number)
        )

    def _rank_is_gone(self, file: StreamFile) -> bool:
        """Other ranks are processes of their own, which the `ranks` event names."""
        for line in self._reader.rows("events"):
            named = StreamFile.parse(line.file)
            row = line.row or {}
            if named is None or named.attempt != file.attempt or row.get("event") != "ranks":
                continue
            processes = row.get("processes")
            for one in processes if isinstance(processes, list) else ():
                if isinstance(one, dict) and one.get("rank") == file.rank:
                    identity = ProcessIdentity.from_record(one)
                    return identity is not None and identity.is_gone()
        return False
