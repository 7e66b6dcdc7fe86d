"""`runstore export`: every format is read back by the reader that people use for it."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from markdown_it import MarkdownIt

import runstore
from runstore.cli import cli
from runstore.errors import FormatError, RunStoreError
from runstore.export import parquet
from runstore.run.run import Run
from runstore.text import printable

accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
plugin_accumulators = pytest.importorskip(
    "tensorboard.backend.event_processing.plugin_event_accumulator"
)
COMMAND = [sys.executable, "-m", "runstore.cli", "export"]
TABULAR = ("csv", "jsonl", "parquet")


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["export", *map(str, arguments)])


def exported(*arguments: str | Path) -> bytes:
    """Return what the command writes on stdout, after asserting that it succeeds."""
    result = call(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout_bytes


def program(
    *arguments: str | Path, limit_bytes: int | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the program as a shell would, if asked with a limit for the size of files."""

    def limited() -> None:
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        preexec_fn=limited,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def train(root: Path, name: str, *, lr: float, steps: int = 3) -> Run:
    """Write a finished run with NaN, an infinity, a report, and a metric that comes late."""
    with runstore.init({"lr": lr, "opt": {"name": "sgd"}}, root=root, name=name) as run:
        for epoch in run.epochs(2):
            for batch in run.train(range(steps)):
                run.track(loss=(lr, math.nan, math.inf)[batch % 3])
            for _ in run.val([0]):
                run.track(loss=lr / epoch)
                run.track_classification([0, 1, 1], [0, 1, 0], target_names=["a|b", "dog"])
        run.log({f"late/{name}": 1 / 3}, step=99)
    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def run(root: Path) -> Run:
    return train(root, "first", lr=0.1)


@pytest.fixture
def two(run: Run, root: Path) -> list[Path]:
    """Two runs, each with a metric of its own."""
    return [run.path, train(root, "second", lr=1 / 3).path]


def rows_of(form: str, data: bytes) -> list[dict[str, Any]]:
    """Return what a reader of the format finds: rows without what is missing."""
    if form == "csv":
        read = csv.DictReader(io.StringIO(data.decode()))
        return [{k: _number(v) for k, v in row.items() if v != ""} for row in read]
    if form == "jsonl":
        return [_put_back(json.loads(line)) for line in data.splitlines()]
    frame = pl.read_parquet(io.BytesIO(data))
    return [{k: v for k, v in row.items() if v is not None} for row in frame.to_dicts()]


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _put_back(row: dict[str, Any]) -> dict[str, Any]:
    words = row.pop("_nonfinite", {})
    return {k: float(words[k]) if k in words else v for k, v in row.items()}


def same(rows: list[dict[str, Any]]) -> list[list[tuple[str, str]]]:
    """Return rows as texts that tell NaN from nothing, and 1 from 1.0."""
    return [sorted((key, repr(value)) for key, value in row.items()) for row in rows]


# ---- tables ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", TABULAR)
@pytest.mark.parametrize("stream", ["metrics", "epochs"])
def test_wide_table_has_every_value_of_every_run(
    two: list[Path], root: Path, form: str, stream: str
) -> None:
    data = exported(*two, "--root", root, "--format", form, "--table", stream)
    loaded = [(path.name, runstore.load(path)) for path in two]
    rows = [
        {"run": name, **row}
        for name, run in loaded
        for row in (run.metrics() if stream == "metrics" else run.epochs())
    ]
    assert len(rows) > 3
    assert same(rows_of(form, data)) == same(rows)


@pytest.mark.parametrize("form", TABULAR)
@pytest.mark.parametrize("stream", ["metrics", "epochs", "system"])
def test_long_table_has_a_line_for_each_value(run: Run, form: str, stream: str) -> None:
    data = exported(run.path, "--format", form, "--table", stream, "--shape", "long")
    rows = rows_of(form, data)
    place = ("run", "step", "epoch", "time")
    frame = runstore.load(run.path).to_polars(stream)  # type: ignore[arg-type]
    expected = [
        {"run": run.id, **{k: v for k, v in row.items() if k in place and v is not None}}
        | {"metric": key, "value": value}
        for row in frame.to_dicts()
        for key, value in row.items()
        if key not in place and value is not None
    ]
    assert bool(expected) is (stream != "system")
    # In the rows' own order of metrics, which a wide frame does not keep.
    order = sorted(same([{k: v for k, v in row.items() if v is not None} for row in rows]))
    assert order == sorted(same(expected))
    if form == "csv":
        assert data.splitlines()[0] == b"run,step,epoch,time,metric,value"


@pytest.mark.parametrize("form", TABULAR)
def test_reports_and_runs_are_tables_too(two: list[Path], root: Path, form: str) -> None:
    runs = runstore.load_all(root)
    wanted = runs.to_polars("reports").to_dicts()
    data = exported(*[run.path for run in runs], "--format", form, "--table", "reports")
    found = rows_of(form, data)
    assert [row["label"] for row in found] == [row["label"] for row in wanted]
    assert [row.get("f1-score") for row in found] == [row["f1-score"] for row in wanted]
    data = exported(*[run.path for run in runs], "--format", form, "--table", "runs")
    found = rows_of(form, data)
    assert [row["params.lr"] for row in found] == [1 / 3, 0.1]
    assert [row["params.opt.name"] for row in found] == ["sgd", "sgd"]
    assert [row["best.value"] for row in found] == [1 / 6, 0.05]
    assert found[0]["last.late/second"] == found[1]["last.late/first"] == 1 / 3


@pytest.mark.parametrize("form", TABULAR)
def test_fixture_and_plain_lines_are_exported_as_they_count(
    repo_root: Path, tmp_path: Path, form: str
) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "log.jsonl").write_text(
        '{"step":1,"loss":2,"note":"a"}\n{torn\n{"step":2,"loss":1.5,"run":7}\n{"step":3'
    )
    fixture = next((repo_root / "tests" / "fixtures" / "format-1").glob("*fixture*"))
    rows = rows_of(form, exported(fixture, tmp_path / "plain", "--format", form))
    # One metric of the fixture has control characters in its name, which a CSV makes visible.
    shown = printable if form == "csv" else str
    loaded = [
        {"run": fixture.name, **{shown(name): value for name, value in row.items()}}
        for row in runstore.load(fixture).metrics()
    ]
    assert same(rows[:-2]) == same(loaded)
    assert [(row["run"], row["step"], float(row["loss"])) for row in rows[-2:]] == [
        ("plain", 1, 2.0),
        ("plain", 2, 1.5),
    ]
    assert rows[-2]["note"] == "a"
    assert float(rows[-1]["run_value"]) == 7


def test_dash_is_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(tmp_path / "runs", "a", lr=0.5)
    monkeypatch.chdir(tmp_path)
    rows = exported(run.path, "--format", "csv")
    assert exported(run.path, "--format", "csv", "-o", "-") == rows
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize("form", TABULAR)
def test_runs_of_the_same_name_are_told_apart(tmp_path: Path, form: str) -> None:
    paths = [tmp_path / "runs" / folder / "version_0" for folder in ("a", "b")]
    for path in paths:
        path.mkdir(parents=True)
        (path / "metrics.jsonl").write_text('{"step":1,"loss":2.5}\n')
    data = exported(*paths, "--root", tmp_path / "runs", "--format", form)
    assert [row["run"] for row in rows_of(form, data)] == ["a/version_0", "b/version_0"]


@pytest.mark.parametrize("form", [*TABULAR, "json", "markdown"])
def test_run_of_a_newer_format_is_refused(run: Run, form: str) -> None:
    document = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**document, "format": 99}))
    result = call(run.path, "--format", form)
    assert isinstance(result.exception, FormatError)


def test_json_lines_are_a_run_that_runstore_reads(run: Run, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    call(run.path, "--format", "jsonl", "-o", tmp_path / "copy" / "metrics.jsonl")
    copy = runstore.load(tmp_path / "copy").metrics()
    assert same([{k: v for k, v in row.items() if k != "run"} for row in copy]) == same(
        runstore.load(run.path).metrics()
    )


# ---- parquet -----------------------------------------------------------------------------------


def test_parquet_has_types_and_tells_nan_from_missing(run: Run) -> None:
    frame = pl.read_parquet(io.BytesIO(exported(run.path, "--format", "parquet")))
    assert dict(list(frame.schema.items())[:4]) == {
        "run": pl.String,
        "step": pl.Int64,
        "epoch": pl.Int64,
        "time": pl.Float64,
    }
    assert set(frame.dtypes[4:]) == {pl.Float64}
    losses = frame["train/loss"].to_list()
    assert math.isnan(losses[1])
    assert losses[-1] is None
    assert pd.read_parquet(io.BytesIO(exported(run.path, "--format", "parquet"))).shape == (
        len(losses),
        frame.width,
    )


def test_parquet_is_written_in_groups_whose_columns_are_those_of_all_rows(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "GROUP_CELLS", 20)
    monkeypatch.setattr(parquet, "GROUP_ROWS", 2)
    data = exported(run.path, "--format", "parquet")
    file = pq.ParquetFile(io.BytesIO(data))
    assert file.num_row_groups > 2
    assert "late/first" in file.schema_arrow.names
    rows = [{"run": run.id, **row} for row in runstore.load(run.path).metrics()]
    assert same(rows_of("parquet", data)) == same(rows)


def test_parquet_of_no_rows_has_columns(tmp_path: Path) -> None:
    runstore.init(root=tmp_path, name="empty").finish()
    data = exported("empty", "--root", tmp_path, "--format", "parquet")
    assert pl.read_parquet(io.BytesIO(data)).columns == ["run", "step", "epoch", "time"]


def test_parquet_goes_through_a_pipe(run: Run, tmp_path: Path) -> None:
    """A pipe cannot be sought in."""
    target = tmp_path / "out.parquet"
    command = f'"$@" --format parquet | cat > "{target}"'
    subprocess.run(
        ["bash", "-o", "pipefail", "-c", command, "-", *COMMAND, str(run.path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=True,
    )
    assert pl.read_parquet(target).height == len(runstore.load(run.path).metrics())


def test_parquet_refuses_a_terminal(run: Run, on_terminal: Callable[..., tuple[int, str]]) -> None:
    status, shown = on_terminal(str(run.path), "--format", "parquet")
    assert status == 2
    assert shown.splitlines()[-1].startswith("Error: parquet is binary")
    assert "PAR1" not in shown


@pytest.fixture
def on_terminal() -> Callable[..., tuple[int, str]]:
    """Return a function that runs the command on a terminal of its own."""

    def run(*arguments: str) -> tuple[int, str]:
        main, side = os.openpty()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = subprocess.Popen(
            [*COMMAND, *arguments], env=environment, stdin=side, stdout=side, stderr=side
        )
        os.close(side)
        shown = b""
        while True:
            try:
                piece = os.read(main, 1 << 16)
            except OSError:  # Linux says EIO when the other side is closed
                break
            shown += piece
        os.close(main)
        return process.wait(), shown.decode()

    return run


def test_package_that_is_missing_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = call(run.path, "--format", "parquet", "-o", tmp_path / "out")
    assert isinstance(result.exception, RunStoreError)
    assert str(result.exception) == "--format parquet needs pyarrow: pip install pyarrow"
    assert not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    result = call(run.path, "--format", "tensorboard", "-o", tmp_path / "tb")
    assert str(result.exception).endswith("pip install tensorboard")
    assert list((tmp_path / "tb").iterdir()) == []


# ---- markdown ----------------------------------------------------------------------------------


def cells_of(data: bytes) -> list[list[str]]:
    """Return the cells of a table as a browser shows them."""
    page = MarkdownIt("gfm-like", {"linkify": False}).render(data.decode())
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    assert rows, page
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    assert not [cell for row in cells for cell in row if "<" in cell], page
    return [[html.unescape(cell) for cell in row] for row in cells]


def test_markdown_is_a_table_of_the_runs(two: list[Path]) -> None:
    header, first, second = cells_of(exported(*two, "--format", "markdown"))
    assert header[:7] == "run status epoch duration lr opt.name|best val/loss".replace(
        " ", "|", 5
    ).split("|")
    row = dict(zip(header, first, strict=True))
    assert (row["run"], row["status"], row["epoch"]) == (two[0].name, "finished", "2/2")
    assert (row["lr"], row["best val/loss"]) == ("0.1", "0.05 @2")
    assert (row["val/accuracy"], row["train/loss"]) == ("0.66667", "inf")
    assert dict(zip(header, second, strict=True))["lr"] == repr(1 / 3)
    assert len({*map(len, (header, first, second))}) == 1


def test_markdown_of_epochs_is_rounded(run: Run) -> None:
    result = call(run.path, "--format", "markdown", "--table", "epochs")
    header, *lines = cells_of(result.stdout_bytes)
    assert header[:3] == ["epoch", "step", "train/loss"]
    assert [line[:2] for line in lines] == [["1", "3"], ["2", "6"]]
    assert lines[0][header.index("val/loss")] == "0.1"
    assert result.stderr == ""


def test_markdown_says_what_is_left_out_for_want_of_width(tmp_path: Path) -> None:
    with runstore.init({f"p{n}": n for n in range(13)}, root=tmp_path, name="wide") as run:
        run.log({f"m{n}": 1.0 for n in range(11)}, step=1)
    result = call(run.path, "--format", "markdown")
    assert len(cells_of(result.stdout_bytes)[0]) == 4 + 12 + 1 + 8
    assert "left out for want of width: 1 parameter and 3 metrics; csv has all" in result.stderr


@pytest.mark.parametrize(
    "text",
    [
        "a|b",
        "`code`",
        "<script>alert(1)</script>",
        "&amp; &lt;",
        "*bold* _em_ ~~gone~~",
        "[link](http://example.org)",
        "![image](x)",
        "back\\slash\\|",
        "weight_decay __init__ a_",
        "$x$",
        "https://example.org/?a=b_c",
        "# no heading",
    ],
)
def test_markdown_shows_texts_as_they_are(tmp_path: Path, text: str) -> None:
    runstore.init({text: text}, root=tmp_path, name="x").finish()
    header, line = cells_of(exported("x", "--root", tmp_path, "--format", "markdown"))
    assert header[4] == line[4] == text


def test_markdown_cell_is_one_line(tmp_path: Path) -> None:
    runstore.init({"note": "two\nlines\r\x1b[31m"}, root=tmp_path, name="x").finish()
    data = exported("x", "--root", tmp_path, "--format", "markdown")
    assert data.count(b"\n") == 3
    assert b"\x1b" not in data
    assert cells_of(data)[1][4] == "two⏎lines␍\\x1b[31m"


# ---- tensorboard -------------------------------------------------------------------------------


def scalars(directory: Path) -> dict[str, list[tuple[int, float, float]]]:
    """Return step, value and time of all scalars by tag, as TensorBoard's reader has them."""
    events = accumulators.EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(event.step, event.value, event.wall_time) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_reads_every_value(two: list[Path], root: Path, tmp_path: Path) -> None:
    result = call(*two, "--root", root, "--format", "tensorboard", "-o", tmp_path / "tb")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "tb").iterdir()) == [path.name for path in two]
    for path in two:
        run, found = runstore.load(path), scalars(tmp_path / "tb" / path.name)
        for key, rows in (("step", run.metrics()), ("epoch", run.epochs())):
            names = {name for row in rows for name in row} - {"step", "epoch", "time"}
            assert names
            for name in names:
                tag = name if key == "step" else f"epoch/{name}"
                wanted = [
                    (row[key], float(np.float32(row[name])), row["time"])
                    for row in rows
                    if name in row
                ]
                assert list(map(repr, found[tag])) == list(map(repr, wanted))
        assert found["report/val/dog/recall"][0][1] == 1.0


def test_tensorboard_has_hyperparameters_and_the_end(run: Run, tmp_path: Path) -> None:
    api = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    call(run.path, "--format", "tensorboard", "-o", tmp_path / "tb")
    events = plugin_accumulators.EventAccumulator(str(tmp_path / "tb" / run.id)).Reload()
    contents = events.PluginTagToContent("hparams")
    start = api.HParamsPluginData.FromString(contents["_hparams_/session_start_info"])
    end = api.HParamsPluginData.FromString(contents["_hparams_/session_end_info"])
    values = start.session_start_info.hparams
    assert (values["lr"].number_value, values["opt.name"].string_value) == (0.1, "sgd")
    created = runstore.load(run.path).created
    assert start.session_start_info.start_time_secs == created
    assert end.session_end_info.status == 1
    assert end.session_end_info.end_time_secs >= (created or 0)
    assert events.FirstEventTimestamp() == created


def test_tensorboard_of_rows_without_steps_counts_them(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "log.jsonl").write_text('{"loss":2}\n{"loss":1.5}\n')
    call(tmp_path / "x", "--format", "tensorboard", "-o", tmp_path / "tb")
    assert [(s, v) for s, v, _ in scalars(tmp_path / "tb" / "x")["loss"]] == [(1, 2.0), (2, 1.5)]


def test_tensorboard_never_mixes_two_exports(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "tb"
    assert call(run.path, "--format", "tensorboard", "-o", target).exit_code == 0
    before = sorted(target.rglob("*"))
    result = call(run.path, "--format", "tensorboard", "-o", target)
    assert "is there already" in str(result.exception)
    assert sorted(target.rglob("*")) == before


def test_tensorboard_stays_below_its_directory(tmp_path: Path) -> None:
    """Two runs of the same name outside of the root are told by their whole paths."""
    paths = [tmp_path / folder / "version_0" for folder in ("a", "b")]
    for path in paths:
        path.mkdir(parents=True)
        (path / "log.jsonl").write_text('{"step":1,"loss":2}\n')
    result = call(*paths, "--format", "tensorboard", "-o", tmp_path / "tb")
    assert result.exit_code == 0, result.exception
    assert [os.listdir(path) for path in paths] == [["log.jsonl"], ["log.jsonl"]]
    assert len(list((tmp_path / "tb").rglob("events*"))) == 2


# ---- files that are whole ----------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "parquet", "markdown"])
def test_file_is_what_stdout_gets(run: Run, tmp_path: Path, form: str) -> None:
    result = call(run.path, "--format", form, "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / "out").read_bytes() == exported(run.path, "--format", form)
    assert sorted(os.listdir(tmp_path)) == ["out", "runs"]


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "parquet", "tensorboard"])
def test_failure_in_the_middle_leaves_what_was_there(root: Path, tmp_path: Path, form: str) -> None:
    """The kernel refuses to let a file grow, as a full disk does."""
    run = train(root, "long", lr=0.1, steps=3000)
    target = tmp_path / "out" / "file"
    target.parent.mkdir()
    if form != "tensorboard":
        target.write_bytes(b"old")
    done = program(run.path, "--format", form, "-o", target, limit_bytes=10_000)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"runstore: {target}")
    assert line.endswith(": File too large")
    if form == "tensorboard":
        assert [path for path in target.rglob("*") if path.is_file()] == []
        assert os.listdir(target) == []
    else:
        assert target.read_bytes() == b"old"
        assert os.listdir(target.parent) == ["file"]


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_full_device_is_one_line(run: Run, form: str) -> None:
    done = program(run.path, "--format", form, "-o", "/dev/full")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "runstore: /dev/full: No space left on device\n"


def test_unreadable_run_leaves_no_file(run: Run, tmp_path: Path) -> None:
    (run.path / "run.json").write_text('{"format":99}')
    assert call(run.path, "--format", "csv", "-o", tmp_path / "out").exit_code == 1
    assert os.listdir(tmp_path) == ["runs"]


MEASURED = """
import resource, sys
from runstore.cli import cli
from runstore.export import parquet

parquet.GROUP_CELLS = 1 << 16  # a usual group is larger than these runs
peaks = []
for run in sys.argv[3:]:
    arguments = ["export", run, "--format", sys.argv[1], "-o", sys.argv[2]]
    cli.main(arguments, standalone_mode=False)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(peaks[1] - peaks[0])
"""


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "tensorboard"])
def test_long_run_takes_no_more_memory_than_a_short_one(tmp_path: Path, form: str) -> None:
    runs = []
    for rows in (20_000, 100_000):
        run = tmp_path / f"rows-{rows}"
        run.mkdir()
        runs.append(run)
        with (run / "metrics.jsonl").open("w") as file:
            for step in range(rows):
                file.write(f'{{"step":{step},"time":1.5,"a":{step / 7},"b":{step / 3}}}\n')
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, form, str(tmp_path / "out"), *map(str, runs)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 8


# ---- usage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--format tensorboard", "name it with -o DIR"),
        ("--format csv -o .", "is a directory"),
        ("--format json --shape long", "has no --shape"),
        ("--format tensorboard --shape long -o tb", "has no --shape"),
        ("--format csv --table runs --shape long", "--shape long is for the tables metrics"),
        ("--format parquet --table reports --shape long", "is for the tables metrics"),
    ],
)
def test_what_makes_no_sense_together_is_refused(arguments: str, told: str) -> None:
    result = call("latest", *arguments.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


@pytest.mark.parametrize("name", ["metrics-0001.jsonl", "run.json", "link.csv"])
def test_log_that_is_read_is_not_replaced(root: Path, name: str) -> None:
    log = train(root, "a", lr=0.1).path
    (log / "link.csv").symlink_to("metrics-0001.jsonl")
    before = (log / name).read_bytes()
    done = call(log, "--format", "csv", "-o", log / name)
    assert (done.exit_code, "which is read: name another" in str(done.exception)) == (1, True)
    assert (log / name).read_bytes() == before
    assert call(log, "--format", "csv", "-o", log / "all.csv").exit_code == 0
    assert call(log, "--format", "csv", "-o", log / "all.csv").exit_code == 0
