"""The files of rows: against each other, against the cuts, against what the end says of them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from runstore.doctor.attempts import AttemptFacts, Cut, Opener
from runstore.doctor.findings import Findings, missing_numbers
from runstore.doctor.lines import LineFile, ends_line, first_line
from runstore.doctor.rows import RowCheck, Times
from runstore.files.checkpoints import CheckpointRow
from runstore.files.paths import LIFECYCLE, Stream, StreamFile
from runstore.files.records import JsonObject, integer

_WITH_STEPS = ("metrics", "epochs", "reports")
"""Streams whose steps go up, and whose files a resume cuts."""


def check_streams(
    run_dir: Path,
    files: Sequence[StreamFile],
    attempts: Mapping[int, AttemptFacts],
    cuts: Mapping[str, int],
    findings: Findings,
    checked: Opener,
) -> dict[int, Times]:
    """Read every file of rows, and return the moments of each attempt's rows."""
    times: dict[int, Times] = {}
    rows = sorted(
        (file for file in files if file.stream not in LIFECYCLE),
        key=lambda file: (file.attempt, file.stream, file.rank, file.part),
    )
    for (attempt, stream, _), group in groupby(
        rows, key=lambda file: (file.attempt, file.stream, file.rank)
    ):
        parts = list(group)
        check = RowCheck(
            findings, times.setdefault(attempt, Times()), has_steps=stream in _WITH_STEPS
        )
        facts = attempts.get(attempt)
        for part, after in zip(parts, [*parts[1:], None], strict=True):
            check.next_first = first_line(run_dir / after.name) if after else None
            if facts and "exec" in facts.told:
                # The launcher's rows end where the command has a run of its own.
                check.begin_again()
            tally = ((facts.tallies if facts else None) or {}).get(part.name)
            _check_part(check, part, tally, cuts.get(part.name), findings, checked)
    return times


def _check_part(
    check: RowCheck,
    part: StreamFile,
    tally: JsonObject | None,
    cut: int | None,
    findings: Findings,
    checked: Opener,
) -> None:
    file = checked(part)
    expected = integer(tally or {}, "bytes")
    check.read(file, checked_bytes=expected or 0)
    if tally is not None and expected is not None:
        _compare(part.name, file.file, expected, tally, cut, findings)


def _compare(
    name: str,
    found: LineFile,
    bytes_: int,
    tally: JsonObject,
    cut: int | None,
    findings: Findings,
) -> None:
    same = f"{found.crc32:08x}" == tally.get("crc32") if found.crc32 is not None else False
    rows = integer(tally, "rows")
    # A file that was left after a failed fdatasync ends at its cut, whatever lies behind it; and
    # what is torn is told as that.
    whole = same and (found.end_of_lines == bytes_ or cut == bytes_)
    if found.size < bytes_ or (found.size > bytes_ and not whole):
        words = f"{found.size:,} bytes, expected {bytes_:,} from the end event"
        findings.add("bytes_differ", words, file=name)
    elif not same:
        words = f"its checksum is not {tally.get('crc32')}, as in the end event"
        findings.add("crc_differs", words, file=name)
    elif rows != found.rows and found.size == bytes_:
        words = f"{found.rows:,} rows, expected {rows} from the end event"
        findings.add("rows_differ", words, file=name)


def check_numbering(
    run_dir: Path,
    files: Sequence[StreamFile],
    attempts: Mapping[int, AttemptFacts],
    cuts: Mapping[str, int],
    findings: Findings,
) -> None:
    """Note files that should be there, and files that nobody says he wrote."""
    names = {file.name for file in files}
    missing: set[str] = set()
    for number, attempt in sorted(attempts.items()):
        tallies = attempt.tallies
        if tallies is None:
            continue
        for name in sorted(tallies.keys() - names):
            if StreamFile.parse(name) and os.path.lexists(run_dir / name):
                # It came after the directory was listed.
                continue
            missing.add(name)
            findings.add("missing_file", "in the end event, and not there", file=name)
        if not attempt.is_over:
            continue
        for file in files:
            mine = file.attempt == number and not file.rank and file.stream not in LIFECYCLE
            if mine and file.name not in tallies and cuts.get(file.name) != 0:
                findings.add("unlisted_file", "not in the attempt's end event", file=file.name)
    for name in sorted(_missing_parts(files) - missing):
        findings.add("missing_part", "a later part is there", file=name)


def _missing_parts(files: Iterable[StreamFile]) -> set[str]:
    parts: defaultdict[tuple[int, Stream, int], set[int]] = defaultdict(set)
    for file in files:
        parts[file.attempt, file.stream, file.rank].add(file.part)
    return {
        StreamFile(attempt, part, stream, rank).name
        for (attempt, stream, rank), present in parts.items()
        for part in missing_numbers(present, 0)
    }


def check_cuts(
    run_dir: Path,
    names: Iterable[str],
    attempts: Mapping[int, AttemptFacts],
    findings: Findings,
) -> None:
    """Note cuts that cannot be what their writer meant."""
    there = set(names)
    for attempt in attempts.values():
        for cut in attempt.cuts:
            code, found = _problem(run_dir, there, cut)
            if code:
                findings.add(code, found, file=cut.file, line=cut.line, byte=cut.byte)


def _problem(run_dir: Path, there: set[str], cut: Cut) -> tuple[str, str]:
    if StreamFile.parse(cut.of) is None or cut.of not in there:
        return "cut_missing_file", f"cuts {cut.of}, which is not there"
    path = run_dir / cut.of
    try:
        size = path.stat(follow_symlinks=False).st_size
    except OSError:
        # Told where it is read.
        return "", ""
    if cut.bytes > size:
        return "cut_beyond_end", f"cuts {cut.of} at byte {cut.bytes:,}; it has {size:,}"
    if ends_line(path, cut.bytes) is False:
        return "cut_inside_line", f"cuts {cut.of} at byte {cut.bytes:,}, inside a line"
    return "", ""


def check_resumes(
    attempts: Mapping[int, AttemptFacts],
    checkpoints: Mapping[str, CheckpointRow],
    findings: Findings,
) -> None:
    """Note attempts whose cuts are not those of the checkpoint that they went on from."""
    for number, attempt in sorted(attempts.items()):
        opened = attempt.resumed
        cuts, row = opened.get("cuts"), checkpoints.get(str(opened.get("resumed_from")))
        if row is None or not isinstance(cuts, dict):
            continue
        expected = {of: size for of, size in row.cuts.items() if _is_cut(of)}
        for of in sorted(expected.keys() | cuts.keys()):
            if cuts.get(of) != expected.get(of, 0):
                findings.add(
                    "cut_differs",
                    f"cuts {of} at {cuts.get(of)}; checkpoints/{row.file} has "
                    f"{expected.get(of, 0)}",
                    file=StreamFile(number, 0, "events").name,
                    line=1,
                )


def _is_cut(name: str) -> bool:
    file = StreamFile.parse(name)
    return file is not None and file.stream in _WITH_STEPS
