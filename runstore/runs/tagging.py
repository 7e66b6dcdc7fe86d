"""Tags are given to a run, and taken away, by anybody at any time: a new file in `tags/` each."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from pathlib import Path

from runstore.environment.facts import user_name
from runstore.errors import NotWritableError, RunStoreError
from runstore.files.atomic import write_document
from runstore.files.limits import TAG_CHANGE_BYTES, TAG_CHARS
from runstore.files.paths import RunPaths, id_order, id_time, new_run_id
from runstore.files.records import encode, without_surrogates
from runstore.runs.notes import make_folder, refuse_foreign, refuse_pulled
from runstore.state.tags import read_tag_changes
from runstore.text import printable


def change_tags(
    run_dir: Path,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    *,
    now: float | None = None,
) -> Path:
    """Write that a run gets some tags and loses others, and return the file that says so.

    Args:
        run_dir: the run's directory.
        add: tags of at most 200 characters on one line; blank ends are cut off.
        remove: the same.
        now: Unix seconds UTC; the default is this moment.

    Raises:
        RunStoreError: a tag is none, one is in both, or the run is another tool's.
        NotWritableError: the directory takes no file.
    """
    added, removed = (list(dict.fromkeys(map(checked_tag, tags))) for tags in (add, remove))
    if both := [tag for tag in added if tag in removed]:
        raise RunStoreError(f"the tag {both[0]!r} is to be given and taken away: which of them?")
    refuse_foreign(run_dir, "a tag")
    refuse_pulled(run_dir, "a tag")
    seconds = time.time() if now is None else now
    facts = {
        "time": seconds,
        "add": added,
        "remove": removed,
        "user": user_name(),
        "host": socket.gethostname(),
    }
    data = encode(facts)
    if len(data) > TAG_CHANGE_BYTES:
        raise RunStoreError(f"these are {len(added) + len(removed):,} tags: too many at once")
    directory = RunPaths(run_dir).tags
    path = directory / f"{_name_behind(read_tag_changes(run_dir).newest, seconds)}.json"
    try:
        make_folder(directory)
        write_document(path, data)
    except OSError as error:
        raise NotWritableError(directory, "a tag", error) from error
    return path


def checked_tag(text: str) -> str:
    """Return a tag without blank ends.

    Raises:
        RunStoreError: it is empty, too long, or has characters that are none.
    """
    tag = str(without_surrogates(text.strip()))
    if not tag:
        raise RunStoreError("a tag needs a text")
    if len(tag) > TAG_CHARS:
        raise RunStoreError(
            f"the tag {printable(tag, limit=30)!r} has {len(tag):,} characters, the most is "
            f"{TAG_CHARS}; runstore note takes long texts"
        )
    if printable(tag) != tag:
        raise RunStoreError(f"the tag {tag!r} has characters that cannot be shown on one line")
    return tag


def _name_behind(newest: str, seconds: float) -> str:
    """Return the name of a file that is later than the newest one, also when the clock is not.

    The newest word counts, and hosts that share a directory differ in their clocks.
    """
    name = new_run_id(None, now=seconds)
    if id_order(name) > id_order(newest):
        return name
    known = id_time(newest)
    return name if known is None else new_run_id(None, now=round(known + 0.001, 3) + 0.0001)
