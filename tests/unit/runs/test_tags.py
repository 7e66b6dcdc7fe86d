"""Tags that are given and taken away later: files in `tags/`, seen by whoever reads the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

import runstore
from runstore.cli import cli
from runstore.errors import NotWritableError, RunStoreError
from runstore.files.limits import TAG_CHARS
from runstore.files.paths import id_order, id_time, new_run_id
from runstore.runs.tagging import change_tags
from runstore.sources.native import NativeReader
from runstore.state.tags import NO_CHANGES, effective, read_tag_changes
from tests.conftest import ROOT

NOW = 1_795_000_000.0


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    with runstore.init(root=tmp_path / "runs", name="tagged", tags=["first", "demo"]) as run:
        run.log({"loss": 1.0}, step=1)
    return run.path


def tags_of(run_dir: Path) -> list[str]:
    return runstore.load(run_dir).tags


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)))


# ---- the files ---------------------------------------------------------------------------------


def test_newest_word_on_a_tag_counts(run_dir: Path) -> None:
    document = (run_dir / "run.json").read_bytes()
    change_tags(run_dir, add=["b", " a "], remove=["demo"], now=NOW)
    change_tags(run_dir, remove=["b"], now=NOW + 1)
    change_tags(run_dir, add=["b"], now=NOW + 2)
    assert tags_of(run_dir) == ["first", "a", "b"]
    assert (run_dir / "run.json").read_bytes() == document


def test_change_fits_its_schema_and_is_whole_from_its_first_moment(run_dir: Path) -> None:
    path = change_tags(run_dir, add=["a"], remove=["b"])
    document = json.loads(path.read_text("utf-8"))
    schema = json.loads((ROOT / "docs/format/tags.schema.json").read_text("utf-8"))
    Draft202012Validator(schema).validate(document)
    assert (document["add"], document["remove"]) == (["a"], ["b"])
    assert os.listdir(path.parent) == [path.name]


def test_clock_that_is_behind_has_the_last_word_all_the_same(run_dir: Path) -> None:
    change_tags(run_dir, add=["a"], now=NOW)
    path = change_tags(run_dir, remove=["a"], now=NOW - 3600)
    assert "a" not in tags_of(run_dir)
    assert json.loads(path.read_text("utf-8"))["time"] == NOW - 3600


@pytest.mark.parametrize("now", [0.0, NOW, NOW + 0.001, NOW + 0.999, 1.75e9 + 0.5])
def test_time_of_an_id_is_the_one_that_it_was_made_at(now: float) -> None:
    run_id = new_run_id("x-y", now=now)
    assert id_time(run_id) == pytest.approx(now, abs=0.0011)
    assert id_order(run_id) < id_order(new_run_id(None, now=now + 0.002))
    assert id_time("no-id") is None


def test_changes_of_many_at_once_all_count(run_dir: Path) -> None:
    def change(number: int) -> None:
        change_tags(run_dir, add=[f"t{number}"])

    threads = [threading.Thread(target=change, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(tags_of(run_dir)) == {"first", "demo", *(f"t{number}" for number in range(20))}


@pytest.mark.parametrize(
    "tag", ["", "  ", "x" * (TAG_CHARS + 1), "two\nlines", "\x1b[31m", "a\u202eb"]
)
def test_what_is_no_tag_is_refused_and_leaves_nothing(run_dir: Path, tag: str) -> None:
    with pytest.raises(RunStoreError, match="tag"):
        change_tags(run_dir, add=["good", tag])
    assert not (run_dir / "tags").exists()


def test_run_of_another_tool_takes_no_tag(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step":1}\n')
    with pytest.raises(RunStoreError, match="only in a run that runstore wrote"):
        change_tags(tmp_path, add=["a"])
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


def test_link_out_of_the_run_gets_no_file(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (run_dir / "tags").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotWritableError, match="symbolic link"):
        change_tags(run_dir, add=["a"])
    assert os.listdir(tmp_path / "elsewhere") == []
    assert "tags: not a directory" in runstore.load(run_dir).state.warnings


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"add":"a"}', '{"remove":{}}', '{"add":[1,null,""]}', "x" * 70_000]
)
def test_file_that_is_no_change_is_passed_over_and_told(run_dir: Path, content: str) -> None:
    change_tags(run_dir, add=["a"])
    (run_dir / "tags" / "20300101-000000-aaaaaaaa.json").write_text(content)
    (run_dir / "tags" / ".half.json.tmp").write_text("{")
    state = runstore.load(run_dir).state
    assert state.tags == ["first", "demo", "a"]
    told = [one for one in state.warnings if "tags/20300101-000000-aaaaaaaa.json" in one]
    assert len(told) == (content != '{"add":[1,null,""]}')


def test_nothing_is_read_again_that_was_read(run_dir: Path) -> None:
    change_tags(run_dir, add=["a"], now=NOW)
    before = read_tag_changes(run_dir)
    assert read_tag_changes(run_dir, before) is before
    change_tags(run_dir, remove=["a"], now=NOW + 1)
    after = read_tag_changes(run_dir, before)
    assert after.changes[0] is before.changes[0]
    assert effective(["x"], after.changes) == ["x"]
    assert read_tag_changes(run_dir / "gone") is NO_CHANGES


# ---- who sees them -----------------------------------------------------------------------------


def test_open_reader_sees_a_change_when_it_looks_again(run_dir: Path) -> None:
    reader = NativeReader(run_dir)
    reader.glance()
    path = change_tags(run_dir, add=["late"])
    assert reader.glance()
    assert reader.state.tags == ["first", "demo", "late"]
    assert not reader.poll() or reader.state.tags[-1] == "late"
    path.unlink()
    reader.poll()
    assert reader.state.tags == ["first", "demo"]


def test_every_command_sees_the_tags_as_they_are(run_dir: Path) -> None:
    change_tags(run_dir, add=["now"], remove=["first"])
    root = run_dir.parent
    assert json.loads(call("ls", root, "--json").stdout)[0]["tags"] == ["demo", "now"]
    assert json.loads(call("show", run_dir, "--json").stdout)["tags"] == ["demo", "now"]
    assert "tags      demo now" in call("show", run_dir).stdout
    assert "tags: demo, now" in call("journal", root).stdout
    assert run_dir.name in call("ls", root, "--filter", "tag:now").stdout
    assert run_dir.name not in call("ls", root, "--filter", "tag:first").stdout
    assert runstore.load_all(root)[0].tags == ["demo", "now"]
    exported = call("export", "--format", "json", run_dir).stdout
    assert json.loads(exported)[0]["tags"] == ["demo", "now"]


def test_query_sees_the_tags_as_they_are(run_dir: Path) -> None:
    pytest.importorskip("duckdb")
    change_tags(run_dir, add=["now"], remove=["first"])
    printed = call("query", "--json", "SELECT tags FROM runs", run_dir.parent).stdout
    assert json.loads(printed) == [{"tags": ["demo", "now"]}]


def test_monitor_filters_by_the_tags_as_they_are(run_dir: Path) -> None:
    from runstore.runs.run_filter import parse
    from tui.catalog import Catalog

    catalog = Catalog([run_dir.parent])
    catalog.scan()
    (entry,) = catalog.entries
    catalog.glance(entry)
    assert not parse("tag:now").holds(entry)
    change_tags(run_dir, add=["now"], remove=["first"])
    catalog.glance(entry)
    assert parse("tag:now -tag:first").holds(entry)


# ---- runstore tag ------------------------------------------------------------------------------


def test_tag_command_gives_takes_and_prints(run_dir: Path) -> None:
    root = run_dir.parent
    done = call("tag", "--root", root, "latest", "+paper", "-demo", "+two words")
    assert (done.exit_code, done.stdout.split("\n")) == (0, ["first", "paper", "two words", ""])
    assert call("tag", "--root", root, "latest").stdout == done.stdout


@pytest.mark.parametrize("tag", ["hard", "root", "r", "rh", "json", "h", "-x"])
def test_tag_that_looks_like_an_option_is_taken_away(run_dir: Path, tag: str) -> None:
    change_tags(run_dir, add=[tag])
    dashes = ["--"] if tag in ("h", "-x") else []
    done = call("tag", "--root", run_dir.parent, "latest", *dashes, f"-{tag}")
    assert (done.exit_code, done.stdout) == (0, "first\ndemo\n"), done.output


def test_what_is_so_already_writes_nothing(run_dir: Path) -> None:
    done = call("tag", run_dir, "+demo", "-absent")
    assert (done.exit_code, done.stdout) == (0, "first\ndemo\n")
    assert f"{run_dir.name} has no tag 'absent'" in done.stderr
    assert not (run_dir / "tags").exists()


def test_several_runs_are_changed_or_none(run_dir: Path, tmp_path: Path) -> None:
    with runstore.init(root=run_dir.parent) as second:
        pass
    done = call("tag", run_dir, second.path, "+both")
    assert done.stdout == f"{run_dir.name}: first demo both\n{second.path.name}: both\n"
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "metrics.jsonl").write_text('{"step":1}\n')
    refused = call("tag", run_dir, plain, "+never")
    assert isinstance(refused.exception, RunStoreError)
    assert "never" not in tags_of(run_dir)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["latest", "+a", "-a"], "which of them?"),
        (["+a"], "no RUN is named"),
        (["latest", "+"], "a tag needs a text"),
        (["latest", "paper"], "if it is meant as a tag: +paper"),
        (["nothing", "+a"], "no run 'nothing'"),
    ],
)
def test_wrong_words_are_told_in_one_line(run_dir: Path, words: list[str], told: str) -> None:
    program = [sys.executable, "-m", "runstore.cli", "tag", "--root", str(run_dir.parent), *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2)
    assert told in done.stderr.splitlines()[-1]
    assert done.stdout == ""
    assert not (run_dir / "tags").exists()


def test_fixture_with_tags_reads_to_the_same_state() -> None:
    fixture = ROOT / "tests/fixtures/format-1/20261129-130000-tags-k3x7qd27"
    run = runstore.load(fixture)
    assert (run.status, run.tags) == ("finished", ["demo", "paper", "naïve ☃"])
