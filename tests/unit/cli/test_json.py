"""What `--json` prints is what docs/json says, key by key: also of damaged and foreign runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

import runstore
from runstore.cli import cli
from runstore.tui_launcher import command as monitor
from tests.conftest import ROOT
from tests.faults.corpus import CASES, make

SCHEMAS = sorted(path.name.partition(".")[0] for path in (ROOT / "docs/json").glob("*.json"))
LIGHT = sorted(name for name, case in CASES.items() if not case.heavy)
FIXTURES = sorted((ROOT / "tests/fixtures/format-1").iterdir())


def schema_of(name: str) -> Any:
    return json.loads((ROOT / "docs/json" / f"{name}.schema.json").read_text("utf-8"))


def resolved(schema: Any) -> Any:
    """Return a schema with those in it that it refers to, in other files."""
    if isinstance(schema, list):
        return [resolved(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name, _, part = schema["$ref"].partition(".schema.json")
        found = schema_of(name)
        for key in filter(None, part.lstrip("#").split("/")):
            found = found[key]
        return resolved(found)
    return {key: resolved(one) for key, one in schema.items()}


def strict(schema: Any) -> Any:
    """Return a schema that takes no key which it does not name."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: strict(one) for key, one in schema.items()}
    if "properties" in inner and isinstance(inner.get("type"), str):
        inner.setdefault("additionalProperties", False)
    return inner


def printed(*arguments: str | Path, statuses: tuple[int, ...] = (0,)) -> Any:
    result = CliRunner().invoke(cli, [*map(str, arguments), "--json"])
    assert result.exit_code in statuses, result.output
    return json.loads(result.stdout)


def check(name: str, document: Any) -> None:
    errors = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        for error in Draft202012Validator(strict(resolved(schema_of(name)))).iter_errors(document)
    ]
    assert errors == []


def check_run(root: Path, run: Path) -> Any:
    """Hold what all commands print of a run to the schemas; return what `show` does."""
    check("ls", printed("ls", root))
    check("journal", printed("journal", root))
    check("doctor", printed("doctor", run, statuses=(0, 1)))
    result = CliRunner().invoke(cli, ["show", str(run), "--json"])
    if result.exit_code == 1 and not result.stdout:
        return None  # refused in one line: a newer format
    document = json.loads(result.stdout)
    check("show", document)
    check("once", printed_once(root))
    return document


def printed_once(root: Path) -> Any:
    """Return what the monitor prints as JSON."""
    result = CliRunner().invoke(monitor, [str(root), "--once", "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


# ---- the schemas themselves --------------------------------------------------------------------


def objects(schema: Any) -> Iterator[Any]:
    """Yield each part of a schema that names properties."""
    if isinstance(schema, list):
        for one in schema:
            yield from objects(one)
    elif isinstance(schema, dict):
        if "properties" in schema and "required" in schema:
            yield schema
        for one in schema.values():
            yield from objects(one)


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_promises_each_key_and_says_what_it_is(name: str) -> None:
    schema = schema_of(name)
    Draft202012Validator.check_schema(schema)
    assert list(objects(schema))
    for one in objects(schema):
        assert one["required"] == list(one["properties"])
        for key, own in one["properties"].items():
            assert own.get("description"), key
            assert own.keys() & {"type", "enum", "anyOf"}, key


def test_show_has_what_ls_has() -> None:
    of_ls, of_show = schema_of("ls")["items"]["properties"], schema_of("show")["properties"]
    assert {key: of_show[key] for key in of_ls} == of_ls


def test_journal_has_what_ls_has() -> None:
    of_ls = schema_of("ls")["items"]["properties"]
    of_journal = schema_of("journal")["items"]["properties"]
    assert {key: of_journal[key] for key in of_ls} == of_ls
    assert of_journal["notes"] == schema_of("show")["properties"]["notes"]


def test_each_schema_has_its_part_of_the_page() -> None:
    page = (ROOT / "docs/json.md").read_text("utf-8")
    for name in SCHEMAS:
        assert f"<!-- generated: json {name} -->" in page
        assert f"(json/{name}.schema.json)" in page


def test_strict_schema_refuses_a_key_that_is_not_documented(tmp_path: Path) -> None:
    document = {**check_run(tmp_path, finished(tmp_path)), "surprise": 1}
    with pytest.raises(AssertionError, match="surprise"):
        check("show", document)
    document = printed("show", next(tmp_path.iterdir()))
    document["attempts"][0]["surprise"] = 1
    with pytest.raises(AssertionError, match="surprise"):
        check("show", document)


# ---- runs --------------------------------------------------------------------------------------


def finished(root: Path) -> Path:
    """Write a run with everything in it."""
    params = {"lr": 0.1, "layers": [1, 2], "name": "ü", "none": None}
    with runstore.init(params, root=root, name="whole", tags=["a", "b"]) as run:
        for epoch in run.epochs(2):
            for batch in run.train(range(3)):
                run.track(loss=float("nan") if batch else 1.0, n=2)
            for _ in run.val([0]):
                run.track(loss=1 / epoch, n=2)
                run.track_classification([0, 1], [0, 1])
        run.log({"odd": float("inf"), "text": "no number"})
    return run.path


def test_whole_run(tmp_path: Path) -> None:
    shown = check_run(tmp_path, finished(tmp_path))
    assert shown["status"] == "finished"
    assert shown["best"] == {"epoch": 2, "metric": "val/loss", "value": 0.5}
    assert shown["last"]["odd"] is None
    assert shown["last"]["_nonfinite"]["odd"] == "inf"
    assert [row["epoch"] for row in shown["epoch_rows"]] == [1, 2]
    assert shown["report"]["split"] == "val"
    assert len(shown["warnings"]) >= 1


def test_run_that_was_resumed_and_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished(tmp_path)
    monkeypatch.setenv("RUNSTORE_RUN", str(run))
    with pytest.raises(ValueError, match="broken"), runstore.init() as again:
        again.log({"loss": 1.0}, step=9)
        raise ValueError("broken")
    shown = check_run(tmp_path, run)
    assert [one["status"] for one in shown["attempts"]] == ["finished", "failed"]


def test_run_that_is_alive(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        assert check_run(tmp_path, run.path)["status"] == "running"


@pytest.mark.parametrize("script", ["exit 3", "kill -9 $$", 'echo \'{"step":1,"loss":0.5}\''])
def test_command_of_exec(tmp_path: Path, script: str) -> None:
    exec_ = [sys.executable, "-m", "runstore.cli", "exec", "--root", str(tmp_path), "--"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*exec_, "sh", "-c", script], env=environment, check=False, capture_output=True)
    (run,) = tmp_path.iterdir()
    exited = check_run(tmp_path, run)["attempts"][0]["exit"]
    assert (exited["code"], exited["signal"]) != (None, None)


def test_plain_lines_of_anybody(tmp_path: Path) -> None:
    run = tmp_path / "by-hand"
    run.mkdir()
    rows = ['{"step":1,"loss":2}', '{"step":"x","epoch":1.5,"loss":[1]}', "no json", '{"loss":1']
    (run / "metrics.jsonl").write_text("\n".join(rows))
    assert check_run(tmp_path, run)["source"] == "jsonl"


def test_empty_directories(tmp_path: Path) -> None:
    assert printed("ls", tmp_path) == []
    (tmp_path / "empty").mkdir()
    check_run(tmp_path, tmp_path / "empty")


def test_name_that_is_not_utf_8(tmp_path: Path) -> None:
    run = tmp_path / os.fsdecode(b"n\xff")
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"step":1}\n')
    check_run(tmp_path, run)


NO_TYPES = {
    "id": 1,
    "name": [2],
    "created": "now",
    "params": [3],
    "tags": {"a": 1},
    "command": "python",
    "command_redacted": "yes",
    "git": "abc",
    "best": 4,
}


@pytest.mark.parametrize("key", NO_TYPES)
def test_document_whose_values_have_other_types(tmp_path: Path, key: str) -> None:
    run = finished(tmp_path)
    document = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**document, key: NO_TYPES[key]}))
    check_run(tmp_path, run)


@pytest.mark.parametrize("value", [None, True, -1, 1.5, "x", [1], {"a": 1}, 1e300], ids=str)
def test_events_whose_values_have_other_types(tmp_path: Path, value: object) -> None:
    run = finished(tmp_path)
    for file in run.glob("*-0001.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        kept = ("event", "time")
        odd = [{k: v if k in kept else value for k, v in row.items()} for row in rows]
        file.write_text("".join(f"{json.dumps(row)}\n" for row in (*rows, *odd)))
    check_run(tmp_path, run)


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.name)
def test_runs_of_the_first_version(fixture: Path) -> None:
    assert check_run(fixture.parent, fixture) is not None


@pytest.mark.parametrize("name", LIGHT)
def test_damaged_and_hostile_runs(tmp_path: Path, name: str) -> None:
    check_run(tmp_path, make(tmp_path, name))


def test_differences_of_runs_in_which_everything_differs(tmp_path: Path) -> None:
    first, second = finished(tmp_path / "a"), tmp_path / "b"
    second.mkdir()
    (second / "metrics.jsonl").write_text('{"step":1}\n')
    git = {"commit": "a" * 40, "branch": "main", "remote": None}
    document = json.loads((first / "run.json").read_text()) | {"git": git}
    (first / "run.json").write_text(json.dumps(document))
    (first / "patch.diff").write_bytes(b"diff --git a/x b/x\n+caf\xe9\n")
    found = printed("diff", first, second)
    check("diff", found)
    assert found["params"]["lr"] == [0.1, None]
    assert found["code"]["commit"] == ["a" * 40, None]
    assert "diff --git a/x b/x" in found["patch"]


@pytest.mark.parametrize("name", LIGHT)
def test_differences_of_damaged_and_hostile_runs(tmp_path: Path, name: str) -> None:
    check("diff", printed("diff", make(tmp_path / "damaged", name), finished(tmp_path / "whole")))


# ---- doctor ------------------------------------------------------------------------------------


def test_repair_of_a_torn_file_and_one_that_is_left_alone(tmp_path: Path) -> None:
    run = finished(tmp_path)
    plain = tmp_path / "by-hand"
    plain.mkdir()
    for file in (run / "metrics-0001.jsonl", plain / "metrics.jsonl"):
        with file.open("a") as out:
            out.write('{"step":99,"tor')
    document = printed("doctor", tmp_path, "--repair", statuses=(0, 1))
    check("doctor", document)
    assert [one["file"] for one in document["sealed"]] == ["metrics-0001.jsonl"]
    assert [one["run"] for one in document["refused"]] == [str(plain)]


def test_file_system(tmp_path: Path) -> None:
    document = printed("doctor", "--fs", tmp_path, statuses=(0, 1))
    check("doctor-fs", document)
    assert document["other"] is None
    assert len(document["checks"]) > 5
