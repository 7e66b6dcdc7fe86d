"""Every file of a run, read by five other programs: the values are those that were logged."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars
import pyarrow.json
import pytest

import runstore

LOSSES = [
    2.5, math.nan, 1.0, math.inf, -math.inf, -0.0, 2.0**53, 2.0**53 + 2, 1e-320, 1e308,
    0.1, 1 / 3, -1.5, 3.0,
]  # fmt: skip
NAMES = ["train/loss", "größe/µ", "日本/精度", 'quote"d', "emoji/🔥", "esc/\x1b[31m\u202e"]
Row = dict[str, Any]
Reader = Callable[[Path], list[Row]]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has everything: non-finite values, odd names, a late metric, two attempts."""
    root = tmp_path_factory.mktemp("root")
    with runstore.init({"lr": 0.1, "µ": "ü\u2028"}, root=root, tags=["🔥"]) as run:
        for epoch in run.epochs(2):
            for loss in run.train(LOSSES):
                run.track(loss=loss, n=3)
                values = dict.fromkeys(NAMES, loss)
                run.log(values | ({"late/metric": loss} if epoch == 2 else {}))
            for prediction in run.val([0, 1, 2]):
                run.track(loss=0.5)
                run.track_classification([prediction], [1], target_names=["a", "ü", "c"])
        run.log({"bad": "no number"})
    with runstore.init(root=root, resume=run.path) as again:
        again.log({"train/loss": 0.25, "late/metric": math.nan}, step=run.step + 1)
    return run.path


def files(run_dir: Path) -> Iterator[Path]:
    found = sorted(run_dir.glob("*.jsonl"))
    streams = {p.name.split("-")[0] for p in found}
    # A run that takes long enough has system metrics too.
    assert streams - {"system"} == {"events", "metrics", "epochs", "reports"}
    yield from found


def by_json(path: Path) -> list[Row]:
    def refuse(constant: str) -> float:
        raise ValueError(constant)

    text = path.read_text("utf-8")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def by_jq(path: Path) -> list[Row]:
    done = subprocess.run(["jq", "-c", ".", str(path)], capture_output=True, check=True)
    # jq has one kind of number, and prints -0.0 as -0, which as an integer would lose its sign.
    return [json.loads(line, parse_int=float) for line in done.stdout.splitlines()]


def by_duckdb(path: Path) -> list[Row]:
    query = "select * from read_json(?, format='newline_delimited', sample_size=-1)"
    with duckdb.connect() as connection:
        table = connection.execute(query, [str(path)])
        columns = [column[0] for column in table.description or []]
        return [dict(zip(columns, row, strict=True)) for row in table.fetchall()]


def by_polars(path: Path) -> list[Row]:
    return polars.read_ndjson(path, infer_schema_length=None).to_dicts()


def by_pyarrow(path: Path) -> list[Row]:
    rows: list[Row] = pyarrow.json.read_json(path).to_pylist()
    return rows


READERS = [
    *(by_json, by_duckdb, by_polars, by_pyarrow),
    pytest.param(by_jq, marks=pytest.mark.needs_tool("jq")),
]


def same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float) and a == b:
        return math.copysign(1, a) == math.copysign(1, b)
    return a == b


@pytest.mark.parametrize("read", READERS)
def test_metrics_have_the_values_that_were_logged(run_dir: Path, read: Reader) -> None:
    rows = [
        row for row in read(run_dir / "metrics-0001.jsonl") if row.get(NAMES[1], ...) is not ...
    ]
    tracked = [row for row in rows if row.get("emoji/🔥") is not None or _notes(row, "emoji/🔥")]
    assert len(tracked) == 2 * len(LOSSES)
    for index, row in enumerate(tracked):
        loss = LOSSES[index % len(LOSSES)]
        names = [*NAMES, "late/metric"] if index >= len(LOSSES) else NAMES
        for name in names:
            if math.isfinite(loss):
                assert same(float(row[name]), loss)
            else:
                assert row[name] is None
                assert _notes(row, name) == str(loss)


def _notes(row: Row, name: str) -> Any:
    return (row.get("_nonfinite") or {}).get(name)


@pytest.mark.parametrize("read", READERS)
def test_every_file_reads_as_python_reads_it(run_dir: Path, read: Reader) -> None:
    for path in files(run_dir):
        expected, found = by_json(path), read(path)
        assert len(found) == len(expected)
        if path.name.startswith("events"):
            assert [row["event"] for row in found] == [row["event"] for row in expected]
            continue
        for row, other in zip(expected, found, strict=True):
            for key, value in row.items():
                if isinstance(value, float):
                    assert same(other[key], value), (path.name, key)
                elif isinstance(value, (int, str, list, type(None))):
                    assert other[key] == value, (path.name, key)


@pytest.mark.parametrize("read", [by_json, by_duckdb, by_polars, by_pyarrow])
def test_every_metric_is_a_column_of_floats(run_dir: Path, read: Reader) -> None:
    for path in files(run_dir):
        if path.name.startswith(("metrics", "epochs")):
            for row in read(path):
                for key, value in row.items():
                    if key not in ("step", "epoch", "_nonfinite"):
                        assert value is None or type(value) is float, (path.name, key)
                assert type(row["step"]) is int


def test_load_puts_the_nonfinite_values_back(run_dir: Path) -> None:
    rows = runstore.load(run_dir).metrics()
    logged = [row["emoji/🔥"] for row in rows if "emoji/🔥" in row]
    assert [str(value) for value in logged] == [str(loss) for loss in LOSSES * 2]
    assert all("_nonfinite" not in row for row in rows)


def test_data_frame_has_the_rows(run_dir: Path) -> None:
    data = runstore.load(run_dir)
    frame = data.to_pandas()
    assert len(frame) == len(data.metrics())
    assert frame["late/metric"].dropna().iloc[0] == LOSSES[0]
    assert list(data.to_pandas("epochs")["epoch"]) == [1, 2]


@pytest.mark.needs_tool("grep")
def test_grep_finds_a_row_by_its_name_and_step(run_dir: Path) -> None:
    done = subprocess.run(
        ["grep", "-c", '"step":3,', str(run_dir / "metrics-0001.jsonl")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) >= 2


def test_no_file_holds_a_byte_that_drives_a_terminal(run_dir: Path) -> None:
    for path in run_dir.rglob("*.json*"):
        text = path.read_text("utf-8")
        assert not [c for c in text if (c < " " and c != "\n") or "\x7f" <= c <= "\x9f"]
        assert "\u202e" not in text
        assert "\u2028" not in text
