"""Every run that was ever started below a root: when, with what, what became of it, and the notes.

Nothing of it is kept anywhere: it is read from the run directories, one after the other, so that it
begins to print at once, whatever the number of runs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from runstore.files.paths import listed_name
from runstore.files.records import JsonObject
from runstore.journal.provenance import Provenance, provenance
from runstore.metrics.ranking import most_telling, telling_metrics
from runstore.nested import flattened
from runstore.numbers import count, duration, local_time, metric, of_total
from runstore.runs.notes import Notes
from runstore.runs.reader import known_state
from runstore.runs.run_filter import Query, StateSubject
from runstore.runs.store import path_below
from runstore.runs.summary import measured, note_facts, notes_of, summary
from runstore.sources import NATIVE, RunRef
from runstore.sources.glances import glanced
from runstore.sources.reading import RunReader
from runstore.state.run_state import RunState
from runstore.tables.columns import text_of
from runstore.text import command_line, printable
from runstore.watching import Watch, unwatched

PARAMS_SHOWN = 60
"""Of one run; with --json there are all."""
PARAM_CHARS = 80
NEWEST_SHOWN = 3
"""Newest values of a run that has no best epoch."""
NOTE_LINES_SHOWN = 50
NOTE_CHARS = 4000
"""Of a line of a note."""
DAY_S = 86_400.0
_AGO = re.compile(r"(?P<number>[0-9]{1,6})\s*(?P<unit>m|min|h|d|w)")
_UNIT_S = {"m": 60.0, "min": 60.0, "h": 3600.0, "d": DAY_S, "w": 7 * DAY_S}


@dataclass(frozen=True, slots=True)
class Entry:
    """One run in the journal."""

    state: RunState
    place: str
    """What the run is called in the other commands: its id, or its path below the root."""
    before: float | None
    """When its directory was changed last, where the run does not say when it was created."""
    origin: Provenance
    notes: Notes

    @property
    def day(self) -> str:
        """The day of its creation, in the time zone of whoever looks: `2026-11-20`."""
        return self.when.removeprefix("before ")[:10]

    @property
    def when(self) -> str:
        """The moment of its creation, as far as it is known: `2026-11-20 14:15`."""
        if self.state.created is not None:
            return local_time(self.state.created)
        return "at an unknown time" if self.before is None else f"before {local_time(self.before)}"

    def as_json(self) -> JsonObject:
        """Return the entry as `journal --json` prints it (docs/json.md)."""
        origin, code = self.origin, self.origin.code
        return {
            **summary(self.state),
            "command": origin.command,
            "command_redacted": origin.command_redacted,
            "line": line_of(origin),
            "cwd": origin.cwd or None,
            "host": origin.host or None,
            "user": origin.user or None,
            "commit": code.commit or None,
            "branch": code.branch or None,
            "dirty": code.dirty,
            "patch": str(code.patch) if code.patch else None,
            "notes": [note_facts(note) for note in self.notes.notes],
        }


def entries(
    refs: Sequence[RunRef],
    root: Path,
    *,
    query: Query | None = None,
    since: float | None = None,
    last: int | None = None,
    watch: Watch = unwatched,
) -> Iterator[Entry]:
    """Yield the entries of some runs, the newest last.

    Args:
        refs: the runs, the newest first, as `discover` returns them.
        root: where they were found.
        query: which of them are wanted; all by default.
        since: Unix seconds UTC: only those that were created then or later.
        last: only so many of the newest.
        watch: who sees how far the reading is.
    """
    recent = refs if since is None else [ref for ref in refs if not _is_before(ref, since)]
    wanted = query or Query()
    if last is None:
        ordered: Iterable[Entry] = _read(list(reversed(recent)), root, wanted, since, watch)
    else:
        # From the newest back, as far as it takes.
        some = recent if query or since is not None else recent[:last]
        found = list(islice(_read(some, root, wanted, since, watch), last))
        ordered = reversed(found)
    yield from ordered


def _read(
    refs: Sequence[RunRef], root: Path, query: Query, since: float | None, watch: Watch
) -> Iterator[Entry]:
    readers = watch(glanced(refs), "reading runs", len(refs))
    for ref, reader in zip(refs, readers, strict=True):
        created = reader.state.created
        is_old = since is not None and created is not None and created < since
        if not is_old and query.holds(StateSubject(reader.state)):
            yield _entry(ref, reader, root)


def _entry(ref: RunRef, reader: RunReader, root: Path) -> Entry:
    state = known_state(reader)
    place = _place(ref, state, root)
    return Entry(state, place, _changed(ref), provenance(state), notes_of(state))


def _place(ref: RunRef, state: RunState, root: Path) -> str:
    """Return the path below the root, by which `lookup.find` finds it; of a root that is a run its
    own id.
    """
    below = path_below(ref, root) if ref.path.is_relative_to(root) else ref.id
    if below == ".":
        return state.id
    return listed_name(state.name, below) if below == ref.name else below


def _changed(ref: RunRef) -> float | None:
    try:
        return datetime.strptime(f"{ref.changed}+0000", "%Y%m%d-%H%M%S%z").timestamp()
    except ValueError:
        return None


def _is_before(ref: RunRef, since: float) -> bool:
    """Tell, without opening it, whether a run is older: by its name, or its last change."""
    try:
        earliest = time.strftime("%Y%m%d-%H%M%S", time.gmtime(since))
    except (OverflowError, OSError, ValueError):
        return False
    key = ref.sort_key
    return key[:1].isdigit() and key[: len(earliest)] < earliest


def since_when(text: str, now: float) -> float:
    """Return the moment that a text means, in Unix seconds UTC.

    `30m`, `12h`, `7d` and `2w` are so long before `now`. Others are in the local time zone: a date,
    a date and a time of day (ISO 8601), `today`, `yesterday`.

    Raises:
        ValueError: it is none of these.
    """
    words = text.strip().lower()
    if ago := _AGO.fullmatch(words):
        return now - int(ago["number"]) * _UNIT_S[ago["unit"]]
    if words in ("today", "yesterday"):
        midnight = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight - timedelta(days=words == "yesterday")).timestamp()
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text!r} is no time; expected 7d, 12h, 30m, today, yesterday, 2026-11-20 or "
            "'2026-11-20 14:15'"
        ) from None


# ---- as a bash file ----------------------------------------------------------------------------


def bash_lines(entry: Entry, here: str) -> Iterator[str]:
    """Yield an entry as people write it down in a file of commands: comments, and the command.

    Every line is a comment or a command that does what it did when it is pasted, and none holds
    what a terminal would obey.

    Args:
        entry: the run.
        here: the directory in which the lines are read; commands of others are preceded by `cd`.
    """
    source = "" if entry.state.source == NATIVE.name else f"  ({entry.state.source})"
    yield f"# {entry.when}  {printable(entry.place)}{source}"
    for about in (_outcome(entry.state), _params(entry.state), _code(entry.origin)):
        if about:
            yield f"# {printable(about, limit=20_000)}"
    yield from (f"# {line}" for line in note_lines(entry.notes))
    yield from _commands(entry, here)


def _commands(entry: Entry, here: str) -> Iterator[str]:
    origin = entry.origin
    line = line_of(origin, here)
    if line is None:
        yield "# no command on record"
    elif origin.command_redacted:
        yield "# secrets were taken out of the command:"
        yield f"# {line}"
    else:
        if not origin.has_arguments:
            yield "# without its arguments, which are not on record:"
        if origin.needs_handing:
            again = command_line(["runstore", "reproduce", str(entry.state.path)])
            yield f"# parameters came from a launcher; with them: {again}"
        yield line
    if origin.newest_command is not None:
        newest = command_line(origin.as_typed(origin.newest_command))
        yield f"# newest attempt: {newest}"


def line_of(origin: Provenance, here: str | None = None) -> str | None:
    """Return the command as a line for bash; None where none is on record.

    Args:
        origin: where the run comes from.
        here: without `cd`, where the command ran in this directory.
    """
    if origin.command is None:
        return None
    command = command_line(origin.as_typed(origin.command))
    if not origin.cwd or origin.cwd == here:
        return command
    # In a shell of its own, so that the next line is read where this one was.
    return f"(cd {command_line([origin.cwd])} && {command})"


def _outcome(state: RunState) -> str:
    """Return `finished after 02:41, epoch 30/30, val/loss 0.0123 @27`, and the reason behind it."""
    status, took = state.status, state.duration_s
    passed = "for" if status.is_proven_alive else "after"
    told = [status.word if took is None else f"{status.word} {passed} {duration(took)}"]
    if state.epoch is not None:
        told.append(f"epoch {of_total(state.epoch, state.epochs)}")
    elif state.step is not None:
        told.append(f"step {count(state.step)}")
    told += _values(state)
    if state.attempt > 1:
        told.append(f"{state.attempt} attempts")
    why = "" if status.word == "running" else status.reason
    return ", ".join(told) + (f": {why}" if why else "")


def _values(state: RunState) -> list[str]:
    best = state.best
    if best is not None:
        return [f"best {best.metric} {metric(best.value)} @{best.epoch}"]
    last = measured(state)
    names = telling_metrics(most_telling(last))[:NEWEST_SHOWN]
    return [f"{name} {metric(last[name])}" for name in names]


def _params(state: RunState) -> str:
    params = list(flattened(state.params))
    told = [f"{name}={_short(value)}" for name, value in params[:PARAMS_SHOWN]]
    if more := len(params) - PARAMS_SHOWN:
        told += [f"and {more:,} more"] if more > 0 else []
    tags = [f"tags: {', '.join(state.tags)}"] if state.tags else []
    return "  ".join(filter(None, (" ".join(told), *tags)))


def _short(value: object) -> str:
    text = text_of(value)
    return text if len(text) <= PARAM_CHARS else f"{text[: PARAM_CHARS - 1]}…"


def _code(origin: Provenance) -> str:
    code = origin.code
    commit = f"commit {code.short}" if code.commit else ""
    branch = f"on {code.branch}" if commit and code.branch not in ("", "HEAD") else ""
    host = f"host {origin.host}" if origin.host else ""
    return "  ".join(filter(None, (" ".join(filter(None, (commit, branch))), host)))


def note_lines(notes: Notes) -> Iterator[str]:
    """Yield notes as lines of text, each safe to print."""
    if notes.left_out:
        yield f"{notes.left_out:,} earlier notes are not shown"
    for note in notes.notes:
        first, *others = note.text.splitlines() or [""]
        who = f" {note.user}" if note.user else ""
        # What is printable in lines may still hold tabs.
        yield printable(f"note {local_time(note.time)}{who}: {first}", limit=NOTE_CHARS)
        for other in others[:NOTE_LINES_SHOWN]:
            yield printable(f"  {other}", limit=NOTE_CHARS).rstrip()
        if len(others) > NOTE_LINES_SHOWN:
            yield f"  … {len(others) - NOTE_LINES_SHOWN:,} more lines"


# ---- in Markdown -------------------------------------------------------------------------------


def markdown_lines(entry: Entry, day_before: str) -> Iterator[str]:
    """Yield an entry in Markdown, below a heading for its day where that is another one.

    Args:
        entry: the run.
        day_before: the day of the entry before.
    """
    from runstore.export.markdown import markdown

    if entry.day != day_before:
        yield from (f"## {entry.day}", "")
    yield from (f"### {entry.when.removeprefix(entry.day).strip()} {markdown(entry.place)}", "")
    for about in (_outcome(entry.state), _params(entry.state), _code(entry.origin)):
        if about:
            yield f"- {markdown(about)}"
    yield ""
    for line in note_lines(entry.notes):
        yield f"> {markdown(line)}  "
    if entry.notes.notes:
        yield ""
    # No line of it can end the block: it begins with a comment or a word of a shell.
    yield from ("```sh", *_commands(entry, ""), "```", "")
