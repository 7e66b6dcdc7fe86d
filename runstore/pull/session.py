"""A copy that is brought up to date as often as wanted."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from runstore.errors import RunStoreError
from runstore.hosts import pulled
from runstore.hosts.pulled import Pulled
from runstore.hosts.remote import Remote, rsync_command
from runstore.hosts.ssh import Link
from runstore.pull.failures import PullError
from runstore.pull.place import claim
from runstore.pull.rsync import Brought, Rsync
from runstore.pull.rules import passes


class Pass(NamedTuple):
    """What came of one pull."""

    brought: Brought = Brought()
    problem: PullError | None = None
    """What cannot be read over there; everything else has come."""


class Pull:
    """One directory over there and its copy here; `stop` may come from another thread."""

    def __init__(
        self, link: Link, source: Remote, place: Path, *, checkpoints: bool = False
    ) -> None:
        """Claim the copy; nothing is copied yet.

        Args:
            link: how the host is reached; opened by whoever calls, before the first pull.
            source: the directory over there.
            place: the directory of the copy: empty, not there yet, or filled by an earlier pull.
            checkpoints: copy checkpoints too.

        Raises:
            RunStoreError: the directory holds something else, or another pull is at work in it.
        """
        self.source, self.place = source, place
        self._link, self._checkpoints = link, checkpoints
        self._lock = claim(place, source)
        self._rsync = Rsync(source.host, source.path)
        self.known = pulled.read(place) or Pulled(source)
        """Whence it comes, and when the last whole pull began."""

    def whole(self) -> Pass:
        """Bring the copy up to date, and note when.

        Raises:
            PullError: it was cut short; what was here stays.
        """
        began = time.time()
        try:
            done = self._passes(None)
        except PullError as error:
            self._note(replace(self.known, problem=error.why))
            raise
        problem = done.problem.why if done.problem else ""
        known = replace(self.known, time=began, problem=problem)
        try:
            pulled.write(self.place, known)
        except OSError as error:
            why = (
                f"{error.strerror} here; nothing that was here is lost: {self.place / pulled.NAME}"
            )
            raise PullError(self.source.host, why) from None
        self.known = known
        return done

    def only(self, paths: Collection[str]) -> Pass:
        """Bring some folders and files up to date, pictures left for the next whole pull.

        Args:
            paths: below the directory over there; one that is gone is passed over.

        Raises:
            PullError: it was cut short.
        """
        return self._passes(paths) if paths else Pass()

    def stop(self) -> None:
        """End the pull that is at work, and let none follow."""
        self._rsync.stop()

    def close(self) -> None:
        """Let others fill the directory."""
        self._rsync.stop()
        os.close(self._lock)

    def _passes(self, paths: Collection[str] | None) -> Pass:
        source = replace(self.source, path=f"{self.source.path.rstrip('/')}/")
        some = paths is not None
        listed = b"".join(f"{path}\0".encode(errors="surrogateescape") for path in paths or ())
        brought, problem = Brought(), None
        for rules in passes(checkpoints=self._checkpoints and not some, only_newest=some):
            options = (*rules, "--files-from=-", "--from0", "--ignore-missing-args")
            command = rsync_command(
                options if some else rules, source, str(self.place), self._link.options
            )
            came, left = self._rsync.call(command, listed, self._lock)
            brought, problem = brought + came, problem or left
        return Pass(brought, problem)

    def _note(self, known: Pulled) -> None:
        """Note what went wrong, as far as that is possible: the disk may be full."""
        self.known = known
        with suppress(OSError, RunStoreError):
            pulled.write(self.place, known, durable=False)
