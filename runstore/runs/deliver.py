"""A note, or a request, put into a run's directory on the machine where the run is.

A small script of a POSIX shell does over ssh what `notes` and `requests` do here: a file of its own
beside the others, made whole before it gets its name. runstore need not be there.
"""

from __future__ import annotations

import posixpath
import shlex
import socket
import time

from runstore.environment.facts import user_name
from runstore.errors import RunStoreError
from runstore.files.paths import new_run_id
from runstore.files.records import encode
from runstore.hosts.remote import checked_path
from runstore.hosts.ssh import Link
from runstore.runs.notes import checked_text
from runstore.runs.requests import Kind, Request

# No link is followed out of the run, and nothing that is there is written over.
_SCRIPT = """
set -e
unset CDPATH
run={run} folder={folder} name={name}
cd -- "$run" 2>/dev/null || {{ echo 'there is no such run any more' >&2; exit 3; }}
ls run.json events-*.jsonl exec-*.jsonl 2>/dev/null | grep -q . || {{
  echo 'there is no run of runstore any more' >&2; exit 3
}}
test -d "$folder" || mkdir "$folder"
test ! -h "$folder" || {{ echo "$folder is a symbolic link" >&2; exit 3; }}
cd "$folder"
trap 'rm -f ".$name.tmp"' EXIT
printf %s {text} > ".$name.tmp"
ln ".$name.tmp" "$name" 2>/dev/null || mv ".$name.tmp" "$name"
"""


def add_note(link: Link, run_dir: str, text: str) -> str:
    """Write a note about a run over there; return the name of its file.

    Args:
        link: how its host is reached.
        run_dir: the run's directory there.
        text: as `runstore.runs.notes.add_note` takes it.

    Raises:
        RunStoreError: nothing or too much was written, or it cannot be put there.
    """
    now = time.time()
    facts = {
        "time": now,
        "text": checked_text(text),
        "user": user_name(),
        "host": socket.gethostname(),
    }
    name = f"{new_run_id(None, now=now)}.json"
    _put(link, run_dir, "notes", name, encode(facts).decode(), "a note")
    return name


def ask(link: Link, run_dir: str, kind: Kind) -> Request:
    """Ask a run over there to stop, or for a checkpoint, which `requests.check` has let pass.

    Raises:
        RunStoreError: it cannot be put there.
    """
    request = Request(kind, f"{kind}-{new_run_id(None)}", time.time())
    _put(link, run_dir, "requests", request.name, "", "a request")
    return request


def place_of(root: str, below: str) -> str:
    """Return a run's directory over there, from the root's and the path below it."""
    return checked_path(posixpath.join(root, below) if below not in ("", ".") else root)


def _put(link: Link, run_dir: str, folder: str, name: str, text: str, what: str) -> None:
    words = {"run": run_dir, "folder": folder, "name": name, "text": text}
    script = _SCRIPT.format(**{key: shlex.quote(word) for key, word in words.items()})
    answer = link.run(script)
    if answer.status != 0:
        why = answer.errors or f"status {answer.status}"
        raise RunStoreError(f"{link.host}: {what} cannot be written there: {why}")
