"""`runstore query`: SQL over the files of runs, compared with what the runs' reader says."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import runstore
from runstore.cli import cli
from runstore.errors import RootNotFoundError, RunStoreError
from runstore.files.records import integer, metric_values, number
from runstore.runs.reader import visible_rows
from runstore.runs.store import discover
from runstore.sql.database import query, schema
from runstore.sql.found import name_runs

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

pytest.importorskip("duckdb")

Row = dict[str, Any]


def ask(sql: str, root: Path, *, everything: bool = False) -> list[Row]:
    """Return the rows of an answer of which nothing is missing."""
    with query(sql, root, everything=everything) as answer:
        rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
        assert (answer.problems, answer.notes) == ([], [])
    return rows


def one(sql: str, root: Path) -> Any:
    """Return the only value of the only row."""
    ((value,),) = [row.values() for row in ask(sql, root)]
    return value


def refusal(sql: str, root: Path) -> str:
    with pytest.raises(RunStoreError) as refused:
        ask(sql, root)
    return str(refused.value)


def write_run(root: Path, name: str = "", *lines: str, stream: str = "metrics") -> Path:
    """Write a run of one attempt that has just these lines."""
    run = root / (name or "run")
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"format": 1, "id": "r", "params": {}}))
    (run / "events-0001.jsonl").write_text('{"event":"open","time":1.0,"format":1,"attempt":1}\n')
    (run / f"{stream}-0001.jsonl").write_text("".join(lines))
    return run


def line(step: int, **values: float | str | None) -> str:
    return json.dumps({"step": step, "time": step / 2, **values}) + "\n"


def by_reader(root: Path, stream: Any) -> list[Row]:
    """Return what the runs' own readers take for the rows of a stream."""
    found = []
    for run, ref in name_runs(discover([root]), root):
        for read in visible_rows(ref, stream):
            row = read.row or {}
            place = {"step": integer(row, "step"), "epoch": integer(row, "epoch")}
            found.append({"run": run, **place, "time": number(row, "time"), **metric_values(row)})
    return found


def by_query(root: Path, stream: str) -> list[Row]:
    return ask(f"FROM {stream}", root)


def same(rows: list[Row]) -> list[list[tuple[str, str]]]:
    """Return rows so that they compare: without values that are not there, in any order."""
    return sorted(sorted((k, repr(v)) for k, v in row.items() if v is not None) for row in rows)


def assert_as_read(root: Path) -> None:
    for stream in ("metrics", "epochs"):
        assert same(by_query(root, stream)) == same(by_reader(root, stream))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six runs of three learning rates, one of them with a batch that was not finite."""
    root = tmp_path_factory.mktemp("sweep") / "runs"
    for lr in (0.1, 0.01, 0.001):
        for seed in (0, 1):
            params = {"lr": lr, "seed": seed, "model": {"name": "mlp", "layers": [8, 2]}}
            with runstore.init(
                params, root=root, name="sweep", tags=["t"], best="val/accuracy:max"
            ) as run:
                for epoch in run.epochs(3):
                    for batch in run.train(range(2)):
                        odd = lr == 0.1 and seed == epoch == batch == 1
                        run.track(loss=math.inf if odd else lr * epoch, n=1)
                    for _ in run.val([0]):
                        run.track(accuracy=1 - lr * (seed + 1) / epoch, n=1)
    return root


# ---- what is answered --------------------------------------------------------------------------


def test_best_accuracy_per_learning_rate_is_one_short_question(sweep: Path) -> None:
    answered = ask(
        'SELECT lr, max("val/accuracy") AS best FROM epochs JOIN params USING (run) '
        "GROUP BY lr ORDER BY best DESC",
        sweep,
    )
    assert [row["lr"] for row in answered] == [0.001, 0.01, 0.1]
    assert [row["best"] for row in answered] == pytest.approx(
        [1 - lr / 3 for lr in (0.001, 0.01, 0.1)]
    )
    from_rows = ask(
        'SELECT params.lr, max("val/accuracy") AS best FROM metrics JOIN params USING (run) '
        "GROUP BY ALL ORDER BY best DESC",
        sweep,
    )
    assert from_rows == answered


def test_rows_are_those_of_the_reader(sweep: Path) -> None:
    assert_as_read(sweep)


def test_runs_are_those_of_ls(sweep: Path) -> None:
    listed = json.loads(CliRunner().invoke(cli, ["ls", "--json", str(sweep)]).stdout)
    rows = ask("FROM runs ORDER BY run", sweep)
    for row, expected in zip(rows, sorted(listed, key=lambda run: run["id"]), strict=True):
        best = expected["best"]
        assert row["run"] == row["id"] == expected["id"]
        assert (row["best_epoch"], row["best_value"]) == (best["epoch"], best["value"])
        for key in ("name", "path", "status", "reason", "created", "step", "epochs", "tags"):
            assert row[key] == expected[key]
        assert row["last"].keys() == expected["last"].keys() - {"_nonfinite"}


def test_last_values_of_runs_are_numbers_also_where_json_has_no_word(sweep: Path) -> None:
    assert one("SELECT count(*) FROM runs WHERE isinf(last['train/loss'])", sweep) == 0
    write_run(sweep.parent / "nan", "a", line(1, loss=None, _nonfinite={"loss": "-inf"}))  # type: ignore[arg-type]
    assert one("SELECT last['loss'] FROM runs", sweep.parent / "nan") == -math.inf


def test_parameters_are_typed_and_flat(sweep: Path) -> None:
    row = ask("FROM params ORDER BY lr, seed LIMIT 1", sweep)[0]
    del row["run"]
    assert row == {"lr": 0.001, "seed": 0, "model.name": "mlp", "model.layers": "[8,2]"}
    assert [(c.name, c.type) for c in schema(sweep)["params"][1:3]] == [
        ("lr", "DOUBLE"),
        ("seed", "BIGINT"),
    ]


def test_reports_have_nested_values(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        for _ in run.epochs(1):
            for _ in run.val([0]):
                run.track_classification([0, 1, 1], [0, 1, 0], target_names=["low", "high"])
    (row,) = ask(
        "SELECT run, epoch, split, labels, report->'low'->>'recall' AS recall, "
        "unnest(confusion) AS cell FROM reports LIMIT 1",
        tmp_path,
    )
    (expected,) = runstore.load(run.path).reports()
    assert (row["run"], row["epoch"], row["split"]) == (run.id, 1, "val")
    assert row["labels"] == expected["labels"] == ["low", "high"]
    assert float(row["recall"]) == expected["report"]["low"]["recall"]
    assert row["cell"] == expected["confusion"][0]


def test_times_with_a_zone_come_as_text(sweep: Path) -> None:
    rows = ask(
        "SELECT to_timestamp(created) AS t, created FROM runs ORDER BY created DESC -- x", sweep
    )
    assert [row["created"] for row in rows] == sorted((r["created"] for r in rows), reverse=True)
    assert all(row["t"].startswith("20") for row in rows)


def test_pivot_and_describe_and_summarize_answer(sweep: Path) -> None:
    pivoted = ask("PIVOT epochs ON epoch USING first(step) GROUP BY run", sweep)
    assert [(row["1"], row["3"]) for row in pivoted] == [(2, 6)] * 6
    described = [row["column_name"] for row in ask("DESCRIBE epochs", sweep)]
    assert described[:4] == ["run", "step", "epoch", "time"]
    assert {"train/loss", "val/accuracy"} <= set(described)
    summary = ask("SUMMARIZE SELECT step FROM metrics", sweep)
    assert [(row["min"], row["max"]) for row in summary] == [("1", "6")]
    assert {row["name"] for row in ask("SHOW TABLES", sweep)} == set(schema(sweep))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT m FROM metrics m",
        "SELECT to_json(metrics) AS m FROM metrics",
        "SELECT {'a': m}.a AS m FROM metrics m",
        "SELECT m FROM (FROM metrics) AS m",
    ],
)
def test_whole_rows_as_one_value_have_all_columns(sql: str, tmp_path: Path) -> None:
    rows = [line(step, **{f"only{step}": 1.0}) for step in range(1000)]
    write_run(tmp_path, "a", *rows)
    found = [row["m"] for row in ask(sql, tmp_path)]
    parsed = [json.loads(row) if isinstance(row, str) else row for row in found]
    assert all("only500" in row for row in parsed)


def test_values_that_are_not_finite_are_put_back(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        for step, loss in enumerate([math.nan, math.inf, -math.inf, 0.5]):
            run.log({"loss": loss, "other": 1.0}, step=step)
        run.log({"other": 2.0}, step=9)
    rows = ask("SELECT loss FROM metrics ORDER BY step", tmp_path)
    assert [repr(row["loss"]) for row in rows] == ["nan", "inf", "-inf", "0.5", "None"]
    assert "_nonfinite" not in ask("FROM metrics", tmp_path)[0]
    assert one("SELECT max(loss) FILTER (isfinite(loss)) FROM metrics", tmp_path) == 0.5


@settings(max_examples=20)
@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from(["a", "b", "train/loss", 'odd "name"', "it's", "é", "step 2"]),
            st.floats(),
        ),
        max_size=8,
    )
)
def test_any_row_that_was_logged_is_answered(
    rows: list[dict[str, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("runs")
    with runstore.init(root=root) as run:
        for step, row in enumerate(rows):
            run.log(row, step=step)
    assert_as_read(root)


# ---- rows that count ---------------------------------------------------------------------------


def test_rows_behind_a_cut_are_left_out_or_marked(tmp_path: Path) -> None:
    kept, replaced = line(1, loss=1.0), line(2, loss=9.0) + line(2, loss=8.0)
    run = write_run(tmp_path, "a", kept, replaced)
    opened = {"event": "open", "format": 1, "attempt": 2, "cuts": {"metrics-0001.jsonl": len(kept)}}
    (run / "events-0002.jsonl").write_text(json.dumps(opened) + "\n")
    (run / "metrics-0002.jsonl").write_text(line(2, loss=2.0))
    assert [row["loss"] for row in ask("SELECT loss FROM metrics ORDER BY step", tmp_path)] == [
        1,
        2,
    ]
    assert_as_read(tmp_path)
    marked = ask("SELECT loss, superseded FROM metrics ORDER BY loss", tmp_path, everything=True)
    assert [tuple(row.values()) for row in marked] == [
        (1.0, False),
        (2.0, False),
        (8.0, True),
        (9.0, True),
    ]


@pytest.mark.parametrize("cut", [0, 5, 10_000])
def test_cut_anywhere_leaves_what_the_reader_leaves(cut: int, tmp_path: Path) -> None:
    run = write_run(tmp_path, "a", line(1, loss=1.0), line(2, loss=2.0))
    event = {"event": "cut", "file": "metrics-0001.jsonl", "bytes": cut}
    with (run / "events-0001.jsonl").open("a") as events:
        events.write(json.dumps(event) + "\n")
    assert_as_read(tmp_path)
    everything = ask("SELECT superseded FROM metrics", tmp_path, everything=True)
    assert [row["superseded"] for row in everything] == [cut < 10_000] * 2


def test_rows_that_a_silent_attempt_replaced_are_left_out_or_marked(tmp_path: Path) -> None:
    first = runstore.init(root=tmp_path)
    for step in range(1, 6):
        first.log({"loss": 1.0}, step=step)
    first.finish()
    second = runstore.init(resume=first.path)
    second.log({"loss": 2.0}, step=4)
    second.finish()
    rows = ask("SELECT step, loss FROM metrics ORDER BY step", tmp_path)
    assert [tuple(row.values()) for row in rows] == [(1, 1), (2, 1), (3, 1), (4, 2)]
    counted = "SELECT count(*) FILTER (superseded) AS n FROM metrics"
    assert ask(counted, tmp_path, everything=True) == [{"n": 2}]


DAMAGED = {
    "torn": line(2, loss=9.0)[:-9],
    "finished but for its newline": line(2, loss=9.0)[:-1],
    "a line in the middle": '{"step": 2, "lo\n' + line(3, loss=3.0),
    "no object": "[1]\n5\n" + line(3, loss=3.0),
    "NUL bytes": "\0" * 40 + "\n" + line(3, loss=3.0),
    "empty lines": "\n\n" + line(3, loss=3.0),
    "a line of 40 MiB": '{"step": 2, "x": "' + "x" * (40 << 20) + '"}\n' + line(3, loss=3.0),
    "values that are no numbers": line(2, loss="high") + line(3, loss=3.0),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_lines_are_left_out(damage: str, tmp_path: Path) -> None:
    write_run(tmp_path, "a", line(1, loss=1.0), DAMAGED[damage])
    write_run(tmp_path, "b", line(1, loss=0.0))
    assert_as_read(tmp_path)


def test_byte_order_mark_in_front_means_nothing(tmp_path: Path) -> None:
    write_run(tmp_path, "a", "\ufeff" + line(1, loss=1.0), line(2, loss=2.0))
    assert_as_read(tmp_path)


def test_metric_that_is_logged_once_in_the_middle_is_a_column(tmp_path: Path) -> None:
    rows = [line(step, loss=1.0) for step in range(2000)]
    write_run(tmp_path, "a", *rows[:1000], line(1000, **{"val/rare": 0.5}), *rows[1001:])
    write_run(tmp_path, "b", *rows)
    assert one('SELECT max("val/rare") FROM metrics', tmp_path) == 0.5
    assert one("SELECT count(COLUMNS('val/.*')) FROM metrics", tmp_path) == 1
    assert "val/rare" in ask("FROM metrics LIMIT 1", tmp_path)[0]


def test_metrics_that_differ_in_digits_only_are_columns(tmp_path: Path) -> None:
    write_run(tmp_path, "a", *(line(i, **{f"layer{i}/norm": float(i)}) for i in range(30)))
    assert one('SELECT sum("layer17/norm") FROM metrics', tmp_path) == 17.0
    assert len(ask("FROM metrics LIMIT 1", tmp_path)[0]) == 4 + 30


def test_names_with_a_place_of_their_own_are_kept_apart(tmp_path: Path) -> None:
    write_run(tmp_path, "a", line(1, run=3.0, loss=1.0, filename=2.0, Loss=4.0))
    with query("SELECT run, run_2, loss, filename FROM metrics", tmp_path) as answer:
        assert list(answer.rows) == [("a", 3.0, 1.0, 2.0)]
        assert answer.notes == ['"Loss" is left out: to SQL it is the same as another name']


def test_five_thousand_metrics_cost_nothing_to_a_query_of_two(tmp_path: Path) -> None:
    values = {f"layer{index}/norm": float(index) for index in range(5000)}
    write_run(tmp_path, "a", *(line(step, **values) for step in range(3)))
    row = ask('SELECT max("layer7/norm") AS a, min("layer4999/norm") AS b FROM metrics', tmp_path)
    assert row == [{"a": 7.0, "b": 4999.0}]


# ---- runs of every kind ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a[1]", "*", "a?", "it's", 'q"q', "lr=0.1", "a b", "ü", "a\\b", "x\n"]
)
def test_directory_of_any_name_is_read(name: str, tmp_path: Path) -> None:
    write_run(tmp_path / name, "run", line(1, loss=1.0))
    write_run(tmp_path / "aX", "other", line(1, loss=2.0))
    assert same(by_query(tmp_path, "metrics")) == same(by_reader(tmp_path, "metrics"))
    assert one("SELECT sum(loss) FROM metrics", tmp_path / name) == 1.0


def test_directory_whose_name_is_not_utf8_is_read(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    write_run(root, "run", line(1, loss=1.0))
    assert one("SELECT sum(loss) FROM metrics", root) == 1.0
    write_run(root, os.fsdecode(b"\xf1"), line(1, loss=2.0))
    assert one("SELECT loss FROM metrics WHERE run = '\\udcf1'", root) == 2.0


def test_runs_and_roots_behind_links_are_read(tmp_path: Path) -> None:
    elsewhere = write_run(tmp_path / "elsewhere", "run", line(1, loss=1.0))
    write_run(tmp_path / "runs", "own", line(1, loss=2.0))
    (tmp_path / "runs" / "linked").symlink_to(elsewhere)
    (tmp_path / "runs" / "folder").mkdir()
    (tmp_path / "runs" / "folder" / "up").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    for root in ("runs", "link"):
        assert one("SELECT sum(loss) FROM metrics", tmp_path / root) == 3.0


def test_root_is_named_as_one_likes(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = one("SELECT count(*) FROM metrics", sweep)
    (run, *_) = sweep.iterdir()
    assert one("SELECT count(*) FROM metrics", run) * 6 == count
    monkeypatch.chdir(sweep)
    for root in (".", "../runs", f"{run.name}/.."):
        assert one("SELECT count(*) FROM metrics", Path(root)) == count


def test_runs_of_the_same_id_are_kept_apart(tmp_path: Path) -> None:
    for folder, loss in (("one", 1.0), ("two", 2.0)):
        write_run(tmp_path / folder, "run", line(1, loss=loss))
    rows = ask("SELECT run, loss, id FROM metrics JOIN runs USING (run) ORDER BY run", tmp_path)
    assert [tuple(row.values()) for row in rows] == [
        ("one/run", 1.0, "r"),
        ("two/run", 2.0, "r"),
    ]


def test_root_without_runs_has_all_views(tmp_path: Path) -> None:
    for view, columns in schema(tmp_path).items():
        with query(f"FROM {view}", tmp_path) as answer:
            assert answer.columns == [column.name for column in columns]
            assert list(answer.rows) == []
    assert one("SELECT count(*) FROM metrics JOIN params USING (run)", tmp_path) == 0


def test_run_without_rows_has_its_parameters(tmp_path: Path) -> None:
    runstore.init({"lr": 0.5}, root=tmp_path).finish()
    found = ask(
        "SELECT lr, max(step) AS steps FROM params LEFT JOIN metrics USING (run) GROUP BY 1",
        tmp_path,
    )
    assert found == [{"lr": 0.5, "steps": None}]


def test_plain_json_lines_are_read_beside_native_runs(tmp_path: Path) -> None:
    write_run(tmp_path, "native", line(1, loss=1.0))
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "log.jsonl").write_text('{"loss": 2, "note": "train"}\n{"loss": 3.5}\nnot JSON\n')
    (plain / "epochs.jsonl").write_text('{"epoch": 1, "step": 2, "val/loss": 2.0}\n')
    rows = ask("SELECT run, step, loss FROM metrics ORDER BY loss", tmp_path)
    assert [tuple(row.values()) for row in rows] == [
        ("native", 1, 1.0),
        ("plain", None, 2.0),
        ("plain", None, 3.5),
    ]
    assert ask('SELECT epoch, "val/loss" FROM epochs', tmp_path) == [{"epoch": 1, "val/loss": 2.0}]
    assert one("SELECT source FROM runs WHERE run = 'plain'", tmp_path) == "jsonl"


def test_step_that_is_none_is_null_and_its_row_counts(tmp_path: Path) -> None:
    write_run(tmp_path, "native", line(1, loss=0.5), '{"loss": 9.0}\n', '{"step": 2, "lo\n')
    (tmp_path / "plain").mkdir()
    steps = "-5", "1.5", '"7"', "true", "99999999999999999999", "null"
    rows = [f'{{"step": {step}, "loss": {n}.0}}\n' for n, step in enumerate(steps, 1)]
    (tmp_path / "plain" / "log.jsonl").write_text("".join(rows))
    found = ask("SELECT step, loss FROM metrics ORDER BY loss", tmp_path)
    told = [-5, None, 7, None, None, None]
    assert [(row["step"], row["loss"]) for row in found] == [
        (1, 0.5),
        *zip(told, range(1, 7), strict=True),
    ]
    printed = by_reader(tmp_path / "plain", "metrics")
    assert [row["loss"] for row in printed] == list(range(1, 7))
    assert one("SELECT count(*) AS n FROM metrics", tmp_path) == 7


def test_parameters_of_different_kinds_share_a_column(tmp_path: Path) -> None:
    given_params = [
        {"a": 1, "b": 0.5, "c": "x", "LR": 1.0, "d": True, "run": "r", "e": [1], "g": 2**70},
        {"a": 2.5, "b": math.nan, "c": 3, "lr": 2.0, "d": False, "e": {"f": None}},
    ]
    for params in given_params:
        runstore.init(params, root=tmp_path).finish()
    types = {column.name: column.type for column in schema(tmp_path)["params"]}
    assert types | {"lr": "", "LR": "", "LR_2": "", "lr_2": ""} == {
        **{"run": "VARCHAR", "a": "DOUBLE", "b": "DOUBLE", "c": "VARCHAR", "d": "BOOLEAN"},
        **{"run_2": "VARCHAR", "e": "VARCHAR", "e.f": "VARCHAR", "g": "VARCHAR"},
        **{"lr": "", "LR": "", "LR_2": "", "lr_2": ""},
    }
    rows = ask("SELECT a, b, c, run_2, e FROM params ORDER BY a", tmp_path)
    assert [repr(tuple(row.values())) for row in rows] == [
        "(1.0, 0.5, 'x', 'r', '[1]')",
        "(2.5, nan, '3', None, None)",
    ]


# ---- what is refused ---------------------------------------------------------------------------


def test_misspelled_metric_gets_the_near_ones(sweep: Path) -> None:
    told = refusal('SELECT max("val/acc") FROM epochs JOIN params USING (run)', sweep)
    assert told.startswith('there is no column "val/acc"; did you mean "val/accuracy"?')
    assert "double quotes" in told
    assert '"val/accuracy"' in refusal("SELECT val/accuracy FROM epochs", sweep)
    assert refusal("SELECT lrr FROM params", sweep).endswith('did you mean "lr"?')


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELEC 1", "syntax error"),
        ("", "no statement"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("SELECT * FROM metric", "metrics"),
        ("SELECT run FROM metrics JOIN params ON true", "Ambiguous"),
        ("SELECT upper(1, 2)", "upper"),
        ("SELECT 'a'::INTEGER", "Could not convert"),
        ("SELECT ?", "parameters"),
        ("SELECT '\udcff'", "UTF-8"),
    ],
)
def test_bad_sql_is_refused_in_one_line(sql: str, told: str, sweep: Path) -> None:
    refused = refusal(sql, sweep)
    assert told in refused
    assert "\n" not in refused


WRITING = [
    "COPY runs TO '{out}'",
    "COPY (SELECT 1) TO '{file}'",
    "WITH x AS (COPY (SELECT 1) TO '{file}') SELECT 1",
    "WITH x AS (cOpY/**/(SELECT 1) TO '{out}') PIVOT epochs ON epoch USING first(step)",
    "SELECT * FROM query('WITH x AS (COPY (SELECT 1) TO ''{out}'') SELECT 1')",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'",
    "EXPORT DATABASE '{out}'",
    "ATTACH '{out}'",
    "ATTACH '{out}' AS x (TYPE sqlite)",
    "INSTALL httpfs",
    "LOAD httpfs",
    "CREATE TABLE x AS SELECT 1",
    "SET enable_external_access = true",
    "CALL enable_logging(storage='file', storage_path='{out}')",
    "SELECT * FROM enable_logging(storage='file', storage_path='{out}')",
    "PRAGMA profiling_output='{out}'",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM read_csv('https://localhost:1/x.csv')",
    "SELECT * FROM sweep",
]


@pytest.mark.parametrize("sql", WRITING)
def test_nothing_is_written_and_nothing_else_read(sql: str, sweep: Path, tmp_path: Path) -> None:
    file = next(sweep.glob("*/metrics-0001.jsonl"))
    before = {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()}
    assert refusal(sql.format(out=tmp_path / "out", file=file), sweep)
    assert list(tmp_path.iterdir()) == []
    assert {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()} == before


def test_copy_in_quotes_is_a_word_like_any_other(tmp_path: Path) -> None:
    runstore.init({"copy": "copy"}, root=tmp_path).finish()
    assert one("""SELECT "copy" FROM params WHERE "copy" = 'copy' -- copy""", tmp_path) == "copy"


def test_missing_root_is_said(tmp_path: Path) -> None:
    with pytest.raises(RootNotFoundError):
        ask("FROM runs", tmp_path / "nothing")


def test_missing_duckdb_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'runstore[data]'" in refusal("FROM runs", tmp_path)


def test_what_cannot_be_read_is_told_and_the_rest_answered(tmp_path: Path) -> None:
    write_run(tmp_path, "good", line(1, loss=1.0))
    bad = write_run(tmp_path, "bad", line(1, loss=2.0))
    (bad / "metrics-0001.jsonl").unlink()
    (bad / "metrics-0001.jsonl").mkdir()
    newer = write_run(tmp_path, "newer", line(1, loss=3.0))
    (newer / "run.json").write_text('{"format": 2, "id": "newer", "params": {"a": 1}}')
    with query("SELECT loss FROM metrics", tmp_path) as answer:
        assert list(answer.rows) == [(1.0,)]
        told = sorted(answer.problems)
    assert "metrics-0001.jsonl: not a regular file" in told[0]
    assert "written in format 2, this runstore reads up to 1" in told[1]


# ---- the command -------------------------------------------------------------------------------


def call(*arguments: str | Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["query", *map(str, arguments)], input=stdin)


def printed(*arguments: str | Path) -> str:
    result = call(*arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


VALUES = """
    SELECT 'nan'::DOUBLE AS x, ['inf'::DOUBLE] AS l, '{"a":1}'::JSON AS j, 1 AS n, 2 AS n, NULL AS z
"""


def test_json_is_valid_and_says_what_is_not_finite(tmp_path: Path) -> None:
    expected: dict[str, object]
    expected = {"x": None, "l": [None], "j": {"a": 1}, "n": 1, "n_2": 2, "z": None}
    expected |= {"_nonfinite": {"x": "nan"}}
    assert json.loads(printed("--json", VALUES, tmp_path)) == [expected]
    assert json.loads(printed("--jsonl", VALUES, tmp_path)) == expected
    assert printed("--json", "SELECT 1 WHERE false", tmp_path) == "[]\n"
    assert printed("--jsonl", "SELECT 1 WHERE false", tmp_path) == ""


def test_csv_has_names_and_every_row(sweep: Path) -> None:
    text = printed("--csv", 'SELECT run, step, "train/loss" FROM metrics ORDER BY ALL', sweep)
    rows = list(csv.DictReader(io.StringIO(text)))
    expected = sorted(
        (row["run"], row["step"], row.get("train/loss", ""))
        for row in by_reader(sweep, "metrics")
        if "train/loss" in row
    )
    found = [(r["run"], int(r["step"]), float(r["train/loss"])) for r in rows if r["train/loss"]]
    assert found == expected
    assert printed("--csv", "SELECT '=1+1' AS x, 'nan'::DOUBLE, NULL", sweep).splitlines()[1] == (
        "'=1+1,nan,"
    )


def test_table_is_aligned_and_safe(tmp_path: Path) -> None:
    sql = "SELECT 'a' || chr(27) || '[2J' AS name, 0.123456789::DOUBLE AS value"
    sql += " UNION ALL SELECT 'b', 10"
    assert printed(sql, tmp_path).splitlines() == [
        "name         value",
        "a\\x1b[2J  0.123457",
        "b             10.0",
    ]


def test_table_that_is_too_long_is_cut_and_says_so(tmp_path: Path) -> None:
    result = call("FROM range(10001)", tmp_path)
    assert len(result.stdout.splitlines()) == 10_001
    assert result.stderr == (
        "runstore: only the first 10,000 rows are shown; --csv and --jsonl print all\n"
    )
    assert len(printed("--csv", "FROM range(30001)", tmp_path).splitlines()) == 30_002


def test_without_sql_the_views_are_listed(sweep: Path) -> None:
    listed = json.loads(printed("--json", "--root", sweep))
    assert list(listed) == ["runs", "params", "metrics", "epochs", "reports"]
    assert listed["metrics"]["val/accuracy"] == listed["params"]["lr"] == "DOUBLE"
    assert printed(sweep) == printed("--root", sweep)
    assert "epochs   val/accuracy" in printed(sweep)


def test_sql_comes_from_standard_input_too(tmp_path: Path) -> None:
    result = call("-", tmp_path, "--csv", stdin="SELECT 1 AS x\n")
    assert (result.exit_code, result.stdout) == (0, "x\n1\n")


def test_wrong_usage_and_bad_sql_have_their_status(sweep: Path) -> None:
    assert call("--json", "--csv", "SELECT 1", sweep).exit_code == 2
    assert call("SELEC", sweep).exit_code == 1


def test_answer_that_lacks_files_fails_and_says_why(tmp_path: Path) -> None:
    write_run(tmp_path, "good", line(1, loss=1.0))
    bad = write_run(tmp_path, "bad")
    (bad / "events-0001.jsonl").unlink()
    (bad / "events-0001.jsonl").mkdir()
    result = call("--csv", "SELECT loss FROM metrics", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "loss\n1.0\n")
    assert result.stderr == f"runstore: left out: {bad}/events-0001.jsonl: not a regular file\n"


def test_nothing_temporary_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    printed("SELECT count(*) FROM metrics JOIN params USING (run)", sweep)
    refusal("SELECT nothing FROM params", sweep)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_temporary_is_left_by_a_signal(
    number: signal.Signals, tmp_path: Path, sweep: Path, wait_until: WaitUntil
) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    sql = "SELECT sum(hash(i) % 7) FROM params, range(1000000000000) t(i)"
    child = subprocess.Popen(
        [sys.executable, "-m", "runstore.cli", "query", sql, str(sweep)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with child:
        # The file of the parameters is there: DuckDB is at work, or about to be.
        wait_until(lambda: list(tmp_path.glob("*/*.jsonl")), what="a temporary file")
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (-number, b"", b"")
    assert list(tmp_path.iterdir()) == []


def test_closed_pipe_is_enough(sweep: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    line_of = (
        f"{sys.executable} -m runstore.cli query --csv 'FROM range(3000000)' {sweep} | head -n 2"
    )
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line_of],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "range\n0\n", "")
