"""`runstore doctor`: what is wrong with the runs below a root, and torn tails sealed."""

from __future__ import annotations

import socket
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from runstore.cli.manual import ROOT_VARIABLE, Manual, ManualCommand
from runstore.cli.options import json_option, root_option
from runstore.cli.output import print_json, say
from runstore.cli.progress import watched
from runstore.completion.parameters import DIRECTORY
from runstore.doctor import SEVERITIES, Doctor, Examined, Finding, Findings, examine_run, has_failed
from runstore.doctor.file_system import Check, probe, workplace
from runstore.doctor.repair import Repaired, repair
from runstore.doctor.two_hosts import measure
from runstore.text import printable

COLUMNS = 80
TOLD_NOTES = 10
"""A note of which there are more is told for the first ones, and counted."""


MANUAL = Manual(
    examples={
        "All runs below ./runs": "runstore doctor",
        "One run, with its checkpoints": "runstore doctor runs/by-hand --checkpoints",
        "Where runs are damaged, for a script": "runstore doctor --json | jq -r '.findings[].run'",
        "Whether a mount is fit for runs": "runstore doctor --fs /mnt/shared",
    },
    statuses={
        "0": "nothing wrong; there may be notes",
        "1": "something is wrong, or there is nothing to look at",
    },
    variables=ROOT_VARIABLE,
    see=("runstore resume", "docs/doctor.md", "docs/reliability.md"),
)


@click.command("doctor", cls=ManualCommand, manual=MANUAL)
@click.argument("path", metavar="[PATH]", required=False, type=DIRECTORY)
@root_option
@click.option("--repair", "repairs", is_flag=True, help="Seal torn tails of dead runs.")
@click.option("--checkpoints", is_flag=True, help="Compare the checkpoints' checksums too.")
@click.option(
    "--fs",
    metavar="DIR",
    type=DIRECTORY,
    help="Try out what DIR's file system can do.",
)
@click.option(
    "--wait",
    "wait_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="With --fs: measure with the same command on another host, once it comes.",
)
@json_option
def command(
    path: Path | None,
    root: Path,
    repairs: bool,
    checkpoints: bool,
    fs: Path | None,
    wait_s: float | None,
    as_json: bool,
) -> None:
    """Look for what is wrong with a run, or with the runs below PATH (default: --root).

    Damaged, torn, repeated and missing rows, checksums, cuts, clocks, checkpoints, permissions,
    room. Nothing is changed, but with --repair: that moves what stands behind the last newline of a
    dead run's file to FILE.torn beside it.

    --fs tells how a mount behaves: appends, locks, renames, sync times, clocks. Run on two hosts at
    the same time with --wait, also how long each takes to see what the other writes.
    """
    if fs is not None:
        if path is not None or repairs or checkpoints:
            raise click.UsageError("--fs DIR takes no PATH, --repair or --checkpoints")
        sys.exit(int(_file_system(fs, wait_s, as_json)))
    if wait_s is not None:
        raise click.UsageError("--wait goes with --fs DIR")
    # The text is printed run by run, the document at the end.
    watch = partial(watched, prints=not as_json)
    doctor = Doctor(path or root, hashed=checkpoints, watch=watch)
    visits = (_visit(found, repairs, checkpoints) for found in doctor.examine())
    failed = _as_json(doctor, visits) if as_json else _as_text(doctor, visits)
    sys.exit(int(failed))


_Visit = tuple[Examined, Repaired]


def _visit(found: Examined, repairs: bool, checkpoints: bool) -> _Visit:
    if not repairs:
        return found, Repaired()
    done = repair(found.ref, found.status)
    return (examine_run(found.ref, hashed=checkpoints) if done.sealed else found), done


def _as_json(doctor: Doctor, visits: Iterable[_Visit]) -> bool:
    findings: list[Finding] = []
    sealed: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for found, done in visits:
        run = str(found.ref.path)
        findings += found.findings
        sealed += [
            {"run": run, "file": one.file, "bytes": one.bytes, "torn": one.torn}
            for one in done.sealed
        ]
        refused += [{"run": run, "file": one.file, "reason": one.reason} for one in done.refused]
    findings += doctor.about_root()
    severities = Counter(one.severity for one in findings)
    print_json(
        {
            "path": str(doctor.path),
            "runs": doctor.runs,
            "errors": severities["error"],
            "warnings": severities["warning"],
            "notes": severities["note"],
            "findings": [one.to_record() for one in findings],
            "sealed": sealed,
            "refused": refused,
        }
    )
    return has_failed(findings)


class _Page:
    """Counts what is printed, for the last line."""

    def __init__(self) -> None:
        self.severities: Counter[str] = Counter()
        self.runs = 0
        self.noted: Counter[str] = Counter()

    def group(self, title: str, findings: Iterable[Finding], done: Repaired) -> Iterator[str]:
        """Yield the lines about one run; none when there is nothing to say."""
        found = list(findings)
        self.severities.update(one.severity for one in found)
        self.runs += has_failed(found)
        told = [one for one in found if not self._fold(one)]
        if told or done.sealed or done.refused:
            yield from _wrapped(title, "", "    ")
        for file in done.sealed:
            yield from _wrapped(f"sealed   {file.file}: {file.bytes:,} bytes are in {file.torn}")
        for left in done.refused:
            yield from _wrapped(f"refused  {left.file}: {left.reason}")
        for one in told:
            yield from _wrapped(_head(one))
            yield from _wrapped(f"{one.found}; {one.advice}", " " * 11, " " * 11)

    def _fold(self, one: Finding) -> bool:
        if one.severity != "note":
            return False
        self.noted[one.code] += 1
        return self.noted[one.code] > TOLD_NOTES

    def summary(self, doctor: Doctor) -> Iterator[str]:
        """Yield what was not told in full, and the last line."""
        for code, times in self.noted.items():
            if times > TOLD_NOTES:
                yield f"note     {code}: {times - TOLD_NOTES:,} more"
        runs = f"{doctor.runs:,} run{'' if doctor.runs == 1 else 's'} looked at"
        yield f"{runs}: {_numbers(self.severities) or 'nothing wrong'}"


def _numbers(severities: Counter[str]) -> str:
    """Return `2 errors, 1 note`."""
    return ", ".join(
        f"{severities[word]:,} {word}{'' if severities[word] == 1 else 's'}"
        for word in SEVERITIES
        if severities[word]
    )


def _as_text(doctor: Doctor, visits: Iterable[_Visit]) -> bool:
    page = _Page()
    for found, done in visits:
        title = f"{found.ref.path}  {found.status.word}"
        _print(page.group(title, found.findings, done))
    about: Findings = doctor.about_root()
    _print(page.group(str(doctor.path), about, Repaired()))
    _print(page.summary(doctor))
    return page.severities["error"] + page.severities["warning"] > 0


def _head(one: Finding) -> str:
    where = printable(one.place)
    if one.line is not None and one.byte is not None:
        where += f", byte {one.byte:,}"
    times = f", {one.count:,} of them" if one.count > 1 else ""
    return f"{one.severity:8} {one.code}{f'  {where}' if where else ''}{times}"


def _wrapped(text: str, first: str = "  ", further: str = " " * 11) -> list[str]:
    return textwrap.wrap(
        printable(text),
        COLUMNS,
        initial_indent=first,
        subsequent_indent=further,
        break_on_hyphens=False,
    )


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _file_system(directory: Path, wait_s: float | None, as_json: bool) -> bool:
    """Try out a directory, print what was found, and tell whether anything is wrong."""
    other: str | None = None
    with workplace(directory) as place:
        checks = probe(directory, place, watched)
        if not as_json:
            _print_checks(f"{directory} from {socket.gethostname()}", checks)
        if wait_s is not None:
            say(f"waiting up to {wait_s:g} s for the other host")
            other, more = measure(directory, place, wait_s)
            checks += more
            if not as_json:
                _print_checks(f"what {other} does, as seen from here", more)
    if as_json:
        print_json(
            {
                "path": str(directory),
                "host": socket.gethostname(),
                "other": other,
                "checks": [asdict(check) for check in checks],
            }
        )
    else:
        wrong = Counter(str(check.severity) for check in checks if check.severity)
        click.echo(f"{len(checks)} things tried: {_numbers(wrong) or 'nothing wrong'}")
    return any(check.severity in ("error", "warning") for check in checks)


def _print_checks(title: str, checks: list[Check]) -> None:
    _print(_wrapped(title, "", "    "))
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark = f"{check.severity}: " if check.severity else ""
        name = check.name.replace("_", " ")
        _print(_wrapped(f"{name:{width}}  {mark}{check.found}", further=" " * (width + 4)))
