"""What must hold of a script and its runs whichever system call failed."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import runstore
from runstore.files.checkpoints import find_resume_point, read_manifest
from runstore.files.paths import Stream, StreamFile
from runstore.files.records import JsonObject
from runstore.images.pictures import PictureError, open_picture
from runstore.runs.lookup import find
from runstore.sources import open_run
from runstore.state.endings import ENDINGS
from runstore.state.samples import Rewinds, SampleFolder
from runstore.tables.run_data import RunData
from tests.faults.harness import REFUSED, Outcome


def violations(outcome: Outcome) -> list[str]:
    """Return what does not hold, in words; empty when all is well."""
    found = list(_of_training(outcome))
    for run_dir in outcome.runs:
        data = runstore.load(run_dir)
        found += [f"{run_dir.name}: {text}" for text in _of_run(outcome, data)]
    return found


def _of_training(outcome: Outcome) -> Iterator[str]:
    """I1: no exception into training. Before the run exists, `init` may refuse, in one line."""
    if "Traceback" in outcome.output or "Logging error" in outcome.output:
        yield f"I1: a traceback: {outcome.output}"
    if outcome.status == REFUSED:
        refusals = [line for line in outcome.output.splitlines() if line.startswith("refused: ")]
        if len(refusals) != 1 or len(refusals[0]) < 20:
            yield f"I1: refused without one clear line: {outcome.output}"
    elif outcome.status != 0 or not outcome.said("ended"):
        yield f"I1: exit status {outcome.status}, {outcome.acknowledged[-1:]}: {outcome.output}"


def _of_run(outcome: Outcome, data: RunData) -> Iterator[str]:
    yield from _of_rows(outcome, data)
    yield from _of_images(outcome, data)
    if data.status in ENDINGS:
        yield from _of_files(outcome, data)
    told = {event.get("event") for event in data.state.events}
    if "checkpoint" in told and find_resume_point(data.path)[0] is None:
        yield "I5: of the checkpoints that were told none is whole"
    first = min((row.attempt for row in read_manifest(data.path)), default=data.state.attempt)
    for event in data.state.events:
        if event.get("event") == "restart" and event["attempt"] > first:
            yield f"I5: attempt {event['attempt']} started over although there was a checkpoint"
    if data.status == "finished" and f"{data.id} looped" not in outcome.acknowledged:
        yield "I4: finished, but the script did not come to the end of its loops"


def _of_rows(outcome: Outcome, data: RunData) -> Iterator[str]:
    """I2: what was acknowledged is there, once and in order, or counted; I4 when it is not.

    Until an attempt has come to its end, rows that it is to log again may be superseded.
    """
    logged = [int(row["i"]) for row in data.metrics() if "i" in row]
    epochs = [row["epoch"] for row in data.epochs()]
    lost_rows = set(outcome.numbers(data.id, "log")) - set(logged)
    lost_epochs = set(outcome.numbers(data.id, "epoch")) - set(epochs)
    if data.status != "finished":
        lost_rows -= {row.get("i") for row in superseded(data, "metrics")}
        lost_epochs -= {row.get("epoch") for row in superseded(data, "epochs")}
    missing = len(lost_rows) + len(lost_epochs)
    dropped = (data.state.ended or {}).get("dropped_rows", 0)
    if missing > dropped and data.status in ENDINGS:
        yield f"I2, I4: {data.status}, {missing} rows are missing, {dropped} are counted"
    elif missing > max(dropped, _told_lost(outcome.output)):
        yield f"I2: {data.status}, {missing} rows are missing, and nothing tells: {outcome.output}"
    for name, found in (("rows", logged), ("epochs", epochs)):
        if found != sorted(set(found)):
            yield f"I2: {name} twice or out of order: {found}"


def _of_images(outcome: Outcome, data: RunData) -> Iterator[str]:
    """I3: an image that is listed is whole; I2, I4: one that was logged is there, or counted."""
    by_name = SampleFolder(data.path).look().by_name
    for sample in itertools.chain(*by_name.values()):
        try:
            open_picture(sample.path)
        except PictureError as error:
            yield f"I3: {sample.path}: {error}"
    if data.status not in ENDINGS:
        return
    steps = {one.file.step for one in Rewinds.of(data.state).visible(by_name.get("samples", ()))}
    missing = len(set(outcome.numbers(data.id, "image")) - steps)
    ends = [event for event in data.state.events if event.get("event") == "end"]
    told = re.search(r"images of ([\d,]+) calls? ", outcome.output)
    counted = max(
        sum(end.get("dropped_images", 0) for end in ends),
        int(told[1].replace(",", "")) if told else 0,
    )
    if missing > counted:
        yield f"I2, I4: {missing} images are missing, {counted} are counted: {outcome.output}"


def _told_lost(output: str) -> int:
    """Return how many rows the terminal was told of as lost, where no file took an end."""
    return sum(
        int(n.replace(",", "")) for n in re.findall(r"([\d,]+) rows? (?:was|were) lost", output)
    )


def superseded(data: RunData, stream: Stream) -> Iterator[JsonObject]:
    """Yield the rows that a later attempt has logged again, or is to."""
    lines = open_run(find(str(data.path), data.path.parent), patient=False).rows(stream)
    return (line.row for line in lines if line.superseded and line.row is not None)


def _of_files(outcome: Outcome, data: RunData) -> Iterator[str]:
    """I3: whole files of strict JSON, whose tallies are true.

    Except what an earlier attempt left torn, where it is told that it could not be sealed.
    """
    files = [
        path
        for path in (*data.path.glob("*.jsonl"), *data.path.glob("checkpoints/*.jsonl"))
        if not _told_torn(outcome, str(path.relative_to(data.path)), data.state.attempt)
    ]
    for path in files:
        try:
            check_strict_json(path)
        except ValueError as error:
            yield f"I3: {path.name}: {error}"
    if subprocess.run(["jq", "-e", ".", *files], capture_output=True, check=False).returncode:
        yield "I3: jq refuses a file"
    tallies: dict[str, dict[str, Any]] = (data.state.ended or {}).get("files", {})
    for name, tally in tallies.items():
        content = (data.path / name).read_bytes()[: tally["bytes"]]
        true = {
            "rows": content.count(b"\n"),
            "bytes": len(content),
            "crc32": f"{zlib.crc32(content):08x}",
        }
        if tally != true:
            yield f"I3: {name}: told {tally}, is {true}"


def _told_torn(outcome: Outcome, name: str, newest: int) -> bool:
    file = StreamFile.parse(name)
    earlier = file is None or file.attempt < newest
    told = f"torn end of {name} stays there", "torn ends of earlier attempts' files may stay there"
    return earlier and any(text in outcome.output for text in told)


def check_strict_json(path: Path) -> None:
    """Raise ValueError unless each line is an object of JSON without NaN, and the last is whole."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        raise ValueError(f"its last line is torn: {content[-40:]!r}")
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            row = json.loads(line, parse_constant=_refuse)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}: {line[:80]!r}") from None
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is no object: {line[:80]!r}")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
