"""Tags that people gave a run and took away since it began: a JSON document each in `tags/`.

`run.json`, which has the first ones, is written once. So a change is a file of its own, that is
never written again, and what counts of a tag is the newest word on it (docs/format.md, "tags").
"""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runstore.files.limits import TAG_BYTES_KEPT, TAG_CHANGE_BYTES, TAG_CHANGES_KEPT, TAG_CHARS
from runstore.files.paths import RunPaths, id_order
from runstore.files.records import JsonObject, RecordError, decode_document, number
from runstore.files.regular import read_regular, why_unreadable
from runstore.text import printable


@dataclass(frozen=True, slots=True)
class TagChange:
    """What one file in `tags/` says."""

    name: str
    """The file's."""
    time: float | None
    """When it was written, in Unix seconds UTC; None where the file does not say."""
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    size_bytes: int = 0
    """Of the file."""


@dataclass(frozen=True, slots=True)
class TagChanges:
    """The changes of a run's tags, the oldest first."""

    changes: tuple[TagChange, ...] = ()
    problems: Mapping[str, str] | None = None
    """`tags/NAME.json` to why it is no change, safe to print."""
    left_out: int = 0
    """How many older ones were not read."""

    @property
    def newest(self) -> str:
        """The name of the newest one without its ending; empty without any."""
        return self.changes[-1].name.removesuffix(".json") if self.changes else ""


NO_CHANGES = TagChanges()


def effective(tags: Iterable[str], changes: Iterable[TagChange]) -> list[str]:
    """Return tags as changes have left them, the oldest change first."""
    left = dict.fromkeys(tags)
    for change in changes:
        for tag in change.remove:
            left.pop(tag, None)
        left.update(dict.fromkeys(change.add))
    return list(left)


def read_tag_changes(run_dir: Path, known: TagChanges = NO_CHANGES) -> TagChanges:
    """Return the changes of a run's tags, the oldest first; of very many the newest.

    What cannot be read is told in `problems` and is no reason to fail.

    Args:
        run_dir: the run's directory.
        known: what an earlier call returned, so that only what came since is read.
    """
    directory = RunPaths(run_dir).tags
    try:
        if not stat.S_ISDIR(directory.lstat().st_mode):
            return TagChanges(problems={directory.name: "not a directory"})
        names = [name for name in os.listdir(directory) if _is_change(name)]
    except FileNotFoundError:
        return NO_CHANGES
    except OSError as error:
        return TagChanges(problems={directory.name: why_unreadable(error)})
    read = {change.name: change for change in known.changes}
    changes: list[TagChange] = []
    problems: dict[str, str] = {}
    bytes_left = TAG_BYTES_KEPT
    for name in heapq.nlargest(TAG_CHANGES_KEPT, names, key=_order):
        if bytes_left <= 0:
            break
        try:
            change = read.get(name) or _read(directory / name)
            bytes_left -= change.size_bytes
            changes.append(change)
        except (OSError, RecordError) as error:
            why = why_unreadable(error) if isinstance(error, OSError) else str(error)
            problems[printable(f"{directory.name}/{name}")] = why
    left_out = len(names) - len(changes) - len(problems)
    found = TagChanges(tuple(reversed(changes)), problems, left_out)
    return known if found == known else found


def _is_change(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")


def _order(name: str) -> str:
    """Return what sorts changes by the time in their names."""
    return id_order(name.removesuffix(".json"))


def _read(path: Path) -> TagChange:
    data = read_regular(path, TAG_CHANGE_BYTES)
    document = decode_document(data, TAG_CHANGE_BYTES)
    add, remove = _tags(document, "add"), _tags(document, "remove")
    return TagChange(path.name, number(document, "time"), add, remove, len(data))


def _tags(document: JsonObject, key: str) -> tuple[str, ...]:
    tags = document.get(key, [])
    if not isinstance(tags, list):
        raise RecordError(f"its {key!r} is no list")
    return tuple(tag[:TAG_CHARS] for tag in tags if isinstance(tag, str) and tag)
