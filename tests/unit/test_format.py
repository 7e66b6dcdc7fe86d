"""Format 1 as docs/format.md and its schemas state it: what the library writes, and the fixture."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

import runstore
from runstore.cli import cli
from runstore.errors import FormatError
from runstore.files.paths import StreamFile, looks_like_run_id
from runstore.metrics.reports import MAX_CELLS
from runstore.run.run import Run
from runstore.runs.notes import read_notes
from runstore.state.progress import Progress
from runstore.writer.parts import PART_BYTES
from runstore.writer.writer import RunWriter

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests/fixtures/format-1/20261120-120000-fixture-k3x7qa27"
EXEC_FIXTURE = FIXTURE.with_name("20261121-120000-exec-k3x7qb27")
NOTES_FIXTURE = FIXTURE.with_name("20261129-120000-notes-k3x7qc27")
WRITTEN = ("run", "events", "metrics", "epochs", "reports", "system", "progress")
SCHEMAS = (*WRITTEN, "exec", "note", "tags")
VALUE_STREAMS = ("metrics", "epochs", "system")


@cache
def validator(kind: str) -> Draft202012Validator:
    schema = json.loads((ROOT / "docs/format" / f"{kind}.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def reject_constant(word: str) -> float:
    raise AssertionError(f"{word} is not JSON")


def strictly(text: str) -> dict[str, Any]:
    """Parse one JSON object as the RFC has it, unlike Python: no NaN, no key twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), f"a key comes twice in {text[:100]}"
        return dict(pairs)

    record = json.loads(text, parse_constant=reject_constant, object_pairs_hook=unique)
    assert isinstance(record, dict)
    return record


def records(run_dir: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (schema's name, place, object) for every line and document of a run."""
    for name in ("run", "progress"):
        yield name, f"{name}.json", strictly((run_dir / f"{name}.json").read_text("utf-8"))
    for path in sorted(run_dir.glob("notes/*.json")):
        yield "note", f"notes/{path.name}", strictly(path.read_text("utf-8"))
    for path in sorted(run_dir.glob("*.jsonl")):
        file = StreamFile.parse(path.name)
        assert file is not None
        text = path.read_bytes().decode("utf-8")
        assert text.endswith("\n")
        for number, line in enumerate(text.split("\n")[:-1], start=1):
            yield file.stream, f"{path.name}:{number}", strictly(line)


def faults(run_dir: Path) -> list[str]:
    """Return what in a run the schemas, and the rules no schema can state, do not allow."""
    found = []
    for kind, place, record in records(run_dir):
        found += [f"{place}: {e.message}" for e in validator(kind).iter_errors(record)]
        if kind in VALUE_STREAMS:
            found += [f"{place}: {fault}" for fault in value_faults(record)]
    return found


def value_faults(row: dict[str, Any]) -> Iterator[str]:
    """Yield the values that are written as integers, and the nulls without their word."""
    notes = row.get("_nonfinite", {})
    for key, value in row.items():
        if key not in ("step", "epoch") and not key.startswith("_"):
            if type(value) is int:
                yield f"{key} is the integer {value}"
            if (value is None) != (key in notes):
                yield f"{key} is {value} and _nonfinite is {notes}"
    yield from (f"{key} is only in _nonfinite" for key in notes if key not in row)


def write_everything(root: Path) -> Run:
    """Write a run with whatever the library can write, and return it."""
    np = pytest.importorskip("numpy")
    pytest.importorskip("torch")
    params = {"lr": 1e-3, "limit": math.inf, "path": Path("data"), "layers": (8, 8), "none": None}
    with runstore.init(params, root=root, name="Every thing ☃", tags=["a"], log_every=2) as run:
        for _ in run.epochs(2):
            for batch in run.train(range(4)):
                loss = [0.5, math.nan, math.inf, -math.inf][batch]
                run.track(loss=loss, count=batch, n=2)
            run.log({"lr": 1, "flag": True, "np": np.float32(0.5), "epoch": 7, "nan": math.nan})
            for _ in run.val([0]):
                run.track(loss=math.nan)
                run.track_classification([[0.9, 0.1], [0.2, 0.8]], [0, 1], target_names=["a", "b"])
        for _ in run.test([0]):
            run.track(accuracy=1)
        run.log({"\x7f\x9b\u202e\u2028": 1, "\ud800": 2, 'quote" \\': 3}, step=100)
        run.log({"word": "no number"})
        run.log({})
        # Until there are system metrics for the end to sample.
        time.sleep(0.6)
    return run


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_valid_and_refuses_an_empty_object(name: str) -> None:
    assert not validator(name).is_valid({})


def test_everything_the_library_writes_fits_the_schemas(tmp_path: Path) -> None:
    run = write_everything(tmp_path)
    assert faults(run.path) == []
    kinds = {kind for kind, _, _ in records(run.path)}
    assert kinds == set(WRITTEN)


def test_nan_and_infinities_are_read_back_as_logged(tmp_path: Path) -> None:
    run = write_everything(tmp_path)
    rows = runstore.load(run.path).metrics()
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert [str(loss) for loss in losses] == ["nan", "-inf", "nan", "-inf"]
    assert [str(row["nan"]) for row in rows if "nan" in row] == ["nan", "nan"]


@pytest.mark.parametrize("error", [ValueError("a\x1b[31m secret"), KeyboardInterrupt()])
def test_run_that_ends_early_fits_the_schemas(tmp_path: Path, error: BaseException) -> None:
    run = runstore.init(root=tmp_path)
    with pytest.raises(type(error)), run:
        for _ in run.epochs(3):
            for _ in run.train(range(3)):
                run.track(loss=1.0)
                raise error
    assert faults(run.path) == []
    assert last_event(run.path, "end").keys() >= {"open_epoch", "open_split", "batch"}


def test_second_attempt_and_its_cuts_fit_the_schemas(tmp_path: Path) -> None:
    first = runstore.init(root=tmp_path)
    first.log({"loss": 1.0}, step=1)
    first.finish()
    second = runstore.init(resume=first.path)
    second.log({"loss": 2.0}, step=1)
    second.finish()
    writer = RunWriter(first.path, 3, opening={"cuts": {"metrics-0002.jsonl": 0}})
    writer.event("cut", {"file": "metrics-0001.jsonl", "bytes": 0})
    writer.end({"status": "finished"})
    assert faults(first.path) == []
    assert runstore.load(first.path).metrics() == []


def last_event(run_dir: Path, kind: str) -> dict[str, Any]:
    events = [record for name, _, record in records(run_dir) if name == "events"]
    return [event for event in events if event["event"] == kind][-1]


# ---- the fixture: it never changes, and every later version reads it so ------------------------


def test_fixture_fits_the_schemas() -> None:
    assert faults(FIXTURE) == []


def test_fixture_is_as_it_was_written() -> None:
    """Its own `end` events say so: rows, bytes and CRC-32 of every file."""
    ends = [r for kind, _, r in records(FIXTURE) if kind == "events" and r["event"] == "end"]
    tallies = {name: tally for end in ends for name, tally in end["files"].items()}
    found = {path.name: tally_of(path) for path in FIXTURE.glob("*-000?.jsonl")}
    assert tallies == {name: tally for name, tally in found.items() if "events" not in name}
    assert len(tallies) == 6


def tally_of(path: Path) -> dict[str, int | str]:
    data = path.read_bytes()
    return {"rows": data.count(b"\n"), "bytes": len(data), "crc32": f"{zlib.crc32(data):08x}"}


def test_fixture_reads_to_the_same_state() -> None:
    run = runstore.load(FIXTURE)
    assert (run.status, run.reason) == ("finished", "")
    assert (run.id, run.state.name, run.state.tags) == (FIXTURE.name, "fixture", ["a", "β"])
    assert (run.state.attempt, run.state.epoch, run.state.epochs, run.state.step) == (2, 4, 4, 16)
    assert run.params["optimizer"] == {"name": "adam", "betas": [0.9, 0.999]}
    assert run.params["note"] == "naïve ☃"
    assert run.best is not None
    assert (run.best.epoch, run.best.metric, run.best.value) == (4, "val/loss", 0.125)
    assert [a.ended and a.ended["status"] for a in run.state.attempts.values()] == [
        "interrupted",
        "finished",
    ]
    assert run.state.warnings == [
        "2 of 4 train batches were not finite",
        "'loss' is 'three', expected a number; log scalars, not str; it is left out",
    ]


def test_fixture_of_notes_fits_the_schemas_and_is_read_in_order() -> None:
    assert faults(NOTES_FIXTURE) == []
    assert runstore.load(NOTES_FIXTURE).status == "finished"
    found = read_notes(NOTES_FIXTURE)
    assert [note.text for note in found.notes] == [
        "first try, lr too high?",
        "naïve ☃\nsecond line\\x1b[31m",
    ]
    assert {(note.user, note.host) for note in found.notes} == {("ada", "node7")}
    assert (found.problems, found.left_out) == ((), 0)


def test_fixture_of_exec_fits_the_schemas_and_is_as_it_was_written() -> None:
    assert faults(EXEC_FIXTURE) == []
    told = [r for kind, _, r in records(EXEC_FIXTURE) if r.get("event") in ("end", "exit")]
    tallies = {name: tally for end in told for name, tally in end["files"].items()}
    names = ("metrics-0001.jsonl", "metrics-0002.jsonl", "metrics-0002.1.jsonl")
    assert tallies.keys() == {*names, "epochs-0002.jsonl"}
    assert tallies == {name: tally_of(EXEC_FIXTURE / name) for name in tallies}


def test_fixture_of_exec_reads_to_the_same_state() -> None:
    """The first attempt was killed; in the second an `init` joined, and exit status 3 came last."""
    run = runstore.load(EXEC_FIXTURE)
    assert (run.status, run.reason) == ("finished", "then exit status 3")
    assert (run.state.name, run.state.tags, run.params) == ("exec", ["a", "b"], {"lr": 0.1})
    assert [row["loss"] for row in run.metrics()] == pytest.approx(
        [0.5, math.nan, 0.25, 0.125], nan_ok=True
    )
    first = run.state.attempts[1].execution
    assert first is not None
    assert first.ended is not None
    assert first.ended["reason"] == "killed by SIGKILL"
    assert run.best is not None
    assert (run.best.epoch, run.best.metric) == (2, "loss")


def test_fixture_reads_to_the_same_epochs() -> None:
    rows = runstore.load(FIXTURE).epochs()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["step"] for row in rows] == [4, 8, 12, 16]
    assert [row["val/loss"] for row in rows] == [0.5, 0.25, 0.5 / 3, 0.125]
    assert [row["lr"] for row in rows] == [0.001, 0.0005, 0.001 / 3, 0.00025]
    assert [row.get("train/nonfinite") for row in rows] == [None, 2.0, None, None]
    assert [row.get("grad_norm") for row in rows] == [None, None, 2.0, 2.0]


def test_fixture_reads_to_the_same_values() -> None:
    rows = runstore.load(FIXTURE).metrics()
    losses = [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row]
    expected = [(step, 1.0 / step) for step in range(1, 17)]
    expected[5:7] = [(6, math.nan), (7, math.inf)]
    assert [str(pair) for pair in losses] == [str(pair) for pair in expected]
    odd = [key for row in rows for key in row if key.startswith("a name")]
    assert odd == ["a name\twith\x1b[31m\u202eodd\u2028characters"]


def test_rows_of_the_fixture_behind_its_cut_are_superseded() -> None:
    everything = CliRunner().invoke(cli, ["cat", str(FIXTURE), "metrics", "--all"]).stdout
    superseded = [row for row in map(strictly, everything.splitlines()) if "_superseded" in row]
    assert [(row["step"], row["train/loss"]) for row in superseded] == [(9, 9.0), (10, 9.0)]
    assert len(everything.splitlines()) == 28


def test_fixture_reads_to_the_same_report() -> None:
    report = runstore.load(FIXTURE).reports()[-1]
    assert report["labels"] == ["cat", "dog", "owl"]
    assert report["report"]["dog"] == {
        "precision": 1.0,
        "recall": 0.75,
        "f1-score": 0.8571428571428571,
        "support": 4.0,
    }
    assert report["confusion"] == [[0, 0, 2], [1, 1, 3], [1, 2, 1], [2, 2, 2]]


# ---- other readers: what they see are the values that were logged --------------------------------


def with_jq(path: Path) -> list[dict[str, Any]]:
    done = subprocess.run(["jq", "-c", ".", path], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def with_json(path: Path) -> list[dict[str, Any]]:
    return [strictly(line) for line in path.read_text("utf-8").splitlines()]


def with_duckdb(path: Path) -> list[dict[str, Any]]:
    duckdb = pytest.importorskip("duckdb")
    query = "SELECT * FROM read_json(?, format='newline_delimited', sample_size=-1)"
    found = duckdb.execute(query, [str(path)])
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def with_polars(path: Path) -> list[dict[str, Any]]:
    polars = pytest.importorskip("polars")
    rows: list[dict[str, Any]] = polars.read_ndjson(path, infer_schema_length=None).to_dicts()
    return rows


def with_pyarrow(path: Path) -> list[dict[str, Any]]:
    pytest.importorskip("pyarrow")
    from pyarrow import json as arrow_json

    rows: list[dict[str, Any]] = arrow_json.read_json(path).to_pylist()
    return rows


READERS = [
    pytest.param(with_jq, marks=pytest.mark.needs_tool("jq")),
    with_json,
    with_duckdb,
    with_polars,
    with_pyarrow,
]


@pytest.mark.parametrize("read", READERS)
def test_other_readers_see_the_logged_values(
    tmp_path: Path, read: Callable[[Path], list[dict[str, Any]]]
) -> None:
    logged = [2.0, 0.1, math.nan, 1e-300, math.inf, -math.inf, 1 / 3, 1e300, -0.25]
    with runstore.init(root=tmp_path) as run:
        for step, value in enumerate(logged):
            late = {"late/metric": 7} if step > 5 else {}
            run.log({"train/loss": value, **late}, step=step)
    rows = read(run.path / "metrics-0001.jsonl")
    values = [restored(row, "train/loss") for row in rows]
    assert [repr(value) for value in values] == [repr(value) for value in logged]
    assert [row.get("late/metric") for row in rows] == [None] * 6 + [7.0] * 3
    assert [row["step"] for row in rows] == list(range(9))


def restored(row: dict[str, Any], key: str) -> float:
    """Put NaN and the infinities back as docs/format.md says."""
    value = row[key]
    return float(row["_nonfinite"][key] if value is None else value)


# ---- what readers tolerate ---------------------------------------------------------------------


def damage(run_dir: Path, change: Callable[[bytes], bytes]) -> None:
    path = run_dir / "metrics-0001.jsonl"
    path.write_bytes(change(path.read_bytes()))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A finished run of three rows."""
    with runstore.init(root=tmp_path) as run:
        for step in (1, 2, 3):
            run.log({"loss": 1.0 / step}, step=step)
    return run.path


@pytest.mark.parametrize(
    ("change", "steps", "bad"),
    [
        (lambda data: data[:-5], [1, 2], 0),
        (lambda data: b"garbage\n" + data, [1, 2, 3], 1),
        (lambda data: data + b"[1]\n\n" + b"\0" * 30 + b"\n", [1, 2, 3], 3),
        (lambda data: data + b'{"step":4,"loss":1}\n', [1, 2, 3, 4], 0),
        (lambda data: data + b'{"step":4,"time":1.5,"new":{"a":[1]},"_x":2}\n', [1, 2, 3, 4], 0),
        (lambda data: data + b'{"x":"' + b"y" * (1 << 20) + b'"}\n', [1, 2, 3], 1),
    ],
    ids=["torn", "garbage", "no-objects", "integers", "unknown-keys", "over-1-MiB"],
)
def test_reader_tolerates(
    run_dir: Path, change: Callable[[bytes], bytes], steps: list[int], bad: int
) -> None:
    damage(run_dir, change)
    run = runstore.load(run_dir)
    assert [row["step"] for row in run.metrics()] == steps
    assert run.state.bad_line_count == bad
    assert run.status == "finished"


def test_unknown_events_and_files_are_ignored(run_dir: Path) -> None:
    events = run_dir / "events-0001.jsonl"
    first, rest = events.read_bytes().split(b"\n", 1)
    events.write_bytes(first + b'\n{"event":"from the future","time":1.0}\n' + rest)
    (run_dir / "surprise-0001.jsonl").write_text("no JSON\n")
    run = runstore.load(run_dir)
    assert (run.status, run.state.bad_line_count) == ("finished", 0)


def test_newer_format_is_refused_in_one_line(run_dir: Path) -> None:
    document = json.loads((run_dir / "run.json").read_text())
    (run_dir / "run.json").write_text(json.dumps({**document, "format": 2}))
    with pytest.raises(FormatError, match="format 2, this runstore reads up to 1"):
        runstore.load(run_dir)


def test_attempt_without_cuts_hides_from_its_first_step(tmp_path: Path) -> None:
    first = runstore.init(root=tmp_path)
    for step in range(1, 6):
        first.log({"loss": 1.0}, step=step)
    first.finish()
    second = runstore.init(resume=first.path)
    second.log({"loss": 2.0}, step=4)
    second.finish()
    run = runstore.load(first.path)
    assert [(r["step"], r["loss"]) for r in run.metrics()] == [(1, 1), (2, 1), (3, 1), (4, 2)]
    assert any("inferred" in warning for warning in run.state.warnings)


# ---- the page ----------------------------------------------------------------------------------


def test_page_names_every_key_and_limit(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "format.md").read_text("utf-8")
    run = write_everything(tmp_path)
    keys: set[str] = set()
    for kind, _, record in records(run.path):
        keys |= record.keys() if kind not in VALUE_STREAMS else set()
        keys |= {record["event"]} if kind == "events" else set()
    keys |= set(Progress.__dataclass_fields__)
    assert keys - set(re.findall(r"`(\w+)`", page)) == set()
    assert f"{1 << 20:,} bytes (1 MiB)" in page
    assert f"at most {MAX_CELLS:,} cells" in page
    assert f"{PART_BYTES >> 20} MiB" in page


def test_schemas_name_every_key_of_the_library(tmp_path: Path) -> None:
    """Rows aside, a key that the schema does not know would be checked by nobody."""
    run = write_everything(tmp_path)
    for kind in ("run", "progress", "reports"):
        schema = validator(kind).schema
        for found, place, record in records(run.path):
            if found == kind:
                assert record.keys() <= schema["properties"].keys(), place


def test_writer_of_the_standard_library(tmp_path: Path) -> None:
    source = ROOT / "examples" / "stdlib_writer.py"
    text = source.read_text("utf-8")
    imported = re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)
    assert set(imported) <= sys.stdlib_module_names
    assert len(text.splitlines()) <= 30
    subprocess.run([sys.executable, "-I", str(source)], cwd=tmp_path, check=True)
    (found,) = (tmp_path / "runs").iterdir()
    assert looks_like_run_id(found.name)
    (found / "progress.json").write_text('{"beat": 1, "attempt": 1, "time": 0.5}')
    assert faults(found) == []
    run = runstore.load(found)
    assert (run.status, run.state.step, run.state.name) == ("finished", 100, "stdlib")
    assert math.isnan(run.metrics()[49]["train/loss"])
    shown = CliRunner().invoke(cli, ["show", "latest", "--root", str(tmp_path / "runs")])
    assert shown.exit_code == 0
    assert "status    finished" in shown.stdout
