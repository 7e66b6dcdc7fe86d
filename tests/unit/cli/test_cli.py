"""The commands, on runs that the library wrote: what they print, where, and with which status."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import classification_report

import runstore
from runstore.cli import COMMANDS, cli
from runstore.errors import RunStoreError
from runstore.run.run import Run

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

LS_KEYS = (
    "id name path status reason degraded created duration_s attempt epoch epochs step params tags "
    "last best"
).split()
SHOW_KEYS = "attempts epoch_rows report warnings bad_lines".split()
COMMAND = [sys.executable, "-m", "runstore.cli"]


def call(*arguments: str | Path) -> Result:
    """Run a command in this process; a refusal comes back as the result's exception."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def data(*arguments: str | Path) -> str:
    """Return what a command prints on stdout, after asserting that it succeeds silently."""
    result = call(*arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def refusal(*arguments: str | Path) -> str:
    """Return the message of a command that prints no data."""
    result = call(*arguments)
    assert isinstance(result.exception, RunStoreError), result.output
    assert result.stdout == ""
    return str(result.exception)


def environment() -> dict[str, str]:
    """Return what a child process needs to import the packages under test."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def program(
    *arguments: str | Path, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the program as a shell would."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env={**environment(), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def train(root: Path, name: str, *, lr: float = 0.1, epochs: int = 2) -> Run:
    """Write a finished run with train and val splits."""
    with runstore.init({"lr": lr}, root=root, name=name, tags=["t1"]) as run:
        for epoch in run.epochs(epochs):
            for batch in run.train(range(3)):
                run.track(loss=1.0 / (epoch + batch), n=2)
            for _ in run.val([0]):
                run.track(loss=lr / epoch, accuracy=0.5)
    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of the runs; empty."""
    path = tmp_path / "runs"
    path.mkdir()
    return path


@pytest.fixture
def run(root: Path) -> Run:
    """One finished run of two epochs below `root`."""
    return train(root, "digits")


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# ---- exit statuses -----------------------------------------------------------------------------


def test_every_command_has_help_and_each_line_fits_a_terminal() -> None:
    for name in COMMANDS:
        text = data(name, "--help")
        assert text.startswith("Usage:")
        assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["ls", "--nonsense"],
        ["show"],
        ["cat", "latest"],
        ["cat", "latest", "nonsense"],
        ["tail", "latest", "-n", "-1"],
        ["export", "latest"],
        ["export", "--format", "csv"],
        ["export", "latest", "--format", "xml"],
        ["demo", "--epochs", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_status_2_on_stderr(arguments: list[str]) -> None:
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error:" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls"],
        ["show", "latest"],
        ["cat", "latest", "metrics"],
        ["tail", "latest"],
        ["export", "latest", "--format", "csv"],
    ],
    ids=" ".join,
)
def test_missing_root_is_one_line_and_status_1(tmp_path: Path, arguments: list[str]) -> None:
    done = program(*arguments, "--root", "nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("runstore: nowhere: no such directory")


def test_root_that_is_a_file_is_one_line_and_status_1(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("run,step\n")
    done = program("ls", "out.csv", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("runstore: out.csv: is a file, expected a directory of runs")


AS_ORDINARY_USER = """
import os
# Root's packages may be out of reach later.
import runstore.cli, runstore.cli.compare, runstore.cli.ls, runstore.cli.show
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
runstore.cli.main()
"""


def as_ordinary_user(
    *arguments: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", AS_ORDINARY_USER, *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments", [["ls", "rr"], ["ls", "--root", "rr"], ["show", "x", "--root", "rr"]], ids=" ".join
)
def test_unreadable_root_is_one_line_and_status_1(tmp_path: Path, arguments: list[str]) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "rr").mkdir(mode=0)
    done = as_ordinary_user(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("runstore: rr: cannot be read: permission denied")


def test_unknown_run_is_one_line_with_what_and_where(root: Path, run: Run) -> None:
    done = program("show", "zzz", "--root", root)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"runstore: no run 'zzz' in {root}")


def test_unknown_run_names_its_near_matches(root: Path, run: Run) -> None:
    assert f"near: {run.id}" in refusal("show", "Digits", "--root", root)
    assert f"near: {run.id}" in refusal("show", f"{run.id[:-2]}77", "--root", root)


def test_ambiguous_prefix_names_the_runs(root: Path, run: Run) -> None:
    other = train(root, "digits", lr=0.2)
    message = refusal("show", "2", "--root", root)
    assert message.startswith(f"'2' names 2 runs in {root}: ")
    assert run.id in message
    assert other.id in message


def test_latest_in_an_empty_root_is_refused(root: Path) -> None:
    assert "no run 'latest'" in refusal("show", "latest", "--root", root)


def test_directory_that_is_no_run_is_refused(root: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").touch()
    assert "run.json" in refusal("show", tmp_path / "notes")


def test_directory_of_runs_means_its_only_one_or_is_told_with_how_to_list_them(
    root: Path, tmp_path: Path, run: Run
) -> None:
    rows = data("cat", run.path, "metrics")
    assert data("cat", tmp_path, "metrics") == data("cat", run.path / "run.json", "metrics") == rows
    train(root, "digits", lr=0.2)
    assert refusal("export", root, "--format", "csv").endswith(f"list them: runstore ls {root}")


def test_compare_refuses_a_run_that_cannot_be_read(root: Path, run: Run) -> None:
    for name in ("good", "locked"):
        (root / name).mkdir()
        (root / name / "metrics.jsonl").write_text('{"step":1,"loss":2}\n')
    (root / "locked" / "metrics.jsonl").chmod(0)
    root.chmod(0o755)
    done = as_ordinary_user("compare", "./good", "./locked", cwd=root)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("locked/metrics.jsonl: cannot be read: permission denied\n")
    (root / "good" / "more.jsonl").touch(mode=0)
    done = as_ordinary_user("compare", "./good", cwd=root)
    assert (done.returncode, done.stdout.splitlines()[1].split()[0]) == (0, "good")
    assert "runstore: good: more.jsonl: permission denied" in done.stderr


def test_file_that_cannot_be_written_is_one_line(root: Path, run: Run, tmp_path: Path) -> None:
    target = tmp_path / "no" / "out.csv"
    done = program("export", run.path, "--format", "csv", "-o", target)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"runstore: {target}: No such file or directory\n"


def test_run_of_a_newer_format_is_refused(run: Run) -> None:
    document = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**document, "format": 99}))
    assert "format 99" in refusal("show", run.path)


# ---- which run ---------------------------------------------------------------------------------


def test_a_run_is_a_path_an_id_a_prefix_or_latest(root: Path, run: Run) -> None:
    for name in (run.path, run.id, run.id[:-1], "latest"):
        assert json.loads(data("show", name, "--root", root, "--json"))["id"] == run.id


def test_latest_is_the_newest(root: Path) -> None:
    for name in ("20260101-000000-b-aaaaaaaa", "20260102-000000-a-aaaaaaaa"):
        (root / name).mkdir()
        (root / name / "metrics-0001.jsonl").write_text('{"step":1,"time":1.5,"loss":1.0}\n')
    assert json.loads(data("show", "latest", "--root", root, "--json"))["id"][:8] == "20260102"


def test_root_comes_from_the_environment_and_the_option_beats_it(root: Path, run: Run) -> None:
    named = program("ls", "--json", RUNSTORE_ROOT=str(root))
    assert [one["id"] for one in json.loads(named.stdout)] == [run.id]
    other = program("ls", "--json", "--root", root, RUNSTORE_ROOT="nowhere")
    assert other.stdout == named.stdout


def test_default_root_is_runs_below_the_working_directory(root: Path, run: Run) -> None:
    done = program("show", "latest", "--json", cwd=root.parent)
    assert json.loads(done.stdout)["path"] == f"runs/{run.id}"


def test_folders_are_searched_and_runs_are_not(root: Path, run: Run) -> None:
    nested = train(root / "sweep" / "deep", "inner")
    (run.path / "samples").mkdir()
    (run.path / "samples" / "x.jsonl").write_text('{"step":1,"loss":1}\n')
    listed = json.loads(data("ls", root, "--json"))
    assert {one["id"] for one in listed} == {run.id, nested.id}
    assert json.loads(data("show", nested.id, "--root", root, "--json"))["id"] == nested.id
    by_folder = data("show", f"sweep/deep/{nested.id}", "--root", root, "--json")
    assert json.loads(by_folder)["id"] == nested.id


def test_stray_rows_in_a_root_do_not_hide_its_runs(root: Path, run: Run) -> None:
    (root / "exported.jsonl").write_text('{"step":1,"loss":2}\n')
    assert {one["id"] for one in json.loads(data("ls", root, "--json"))} == {run.id}
    assert json.loads(data("show", run.id, "--root", root, "--json"))["id"] == run.id


# ---- ls and show -------------------------------------------------------------------------------


def test_ls_json_has_the_promised_objects(root: Path, run: Run) -> None:
    (one,) = json.loads(data("ls", root, "--json"))
    assert set(LS_KEYS) <= one.keys()
    assert (one["id"], one["name"], one["path"]) == (run.id, "digits", str(run.path))
    assert (one["status"], one["reason"], one["attempt"]) == ("finished", "", 1)
    assert (one["epoch"], one["epochs"], one["step"]) == (2, 2, 6)
    assert (one["params"], one["tags"]) == ({"lr": 0.1}, ["t1"])
    assert one["last"]["val/loss"] == 0.05
    assert one["last"]["val/accuracy"] == 0.5
    assert one["best"] == {"epoch": 2, "metric": "val/loss", "value": 0.05}
    assert 0 <= one["duration_s"] < 10


def test_last_values_are_those_of_the_last_step_without_bookkeeping(root: Path) -> None:
    with runstore.init(root=root) as run:
        for _ in run.epochs(1):
            for loss in run.train([3.0, 1.0]):
                run.track(loss=loss, n=1)
            for loss in run.val([0.5, math.nan]):
                run.track(loss=loss, n=1)
        run.log({"samples_per_s": 7.0})
    (one,) = json.loads(data("ls", root, "--json"))
    assert one["last"] == {"train/loss": 1.0, "val/loss": 0.5, "samples_per_s": 7.0}
    shown = json.loads(data("show", run.path, "--json"))
    assert shown["last"] == one["last"]
    assert shown["epoch_rows"][0]["train/loss"] == 2.0
    assert shown["epoch_rows"][0].keys() > {"duration_s", "train/samples_per_s", "val/nonfinite"}
    assert "latest    train/loss 1.0000  val/loss 0.5000\n" in data("show", run.path)


def test_rows_that_wait_in_memory_are_told_beside_the_status(
    root: Path, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    monkeypatch.setattr("runstore.writer.writer.HEARTBEAT_LOCAL_S", 1000.0)
    reason = "disk full: 1,234 rows wait in memory"
    run = runstore.init(root=root, system_interval_s=None)
    wait_until((run.path / "progress.json").exists, what="its only heartbeat")
    (run.path / "progress.json").write_text(
        json.dumps({"beat": 99, "attempt": 1, "degraded": True, "degraded_reason": reason})
    )
    (one,) = json.loads(data("ls", root, "--json"))
    listed, shown = data("ls", root).splitlines()[1], data("show", run.path)
    run.finish()
    assert (one["status"], one["degraded"]) == ("running", reason)
    assert listed.endswith(reason)
    assert f"degraded  {reason}\n" in shown
    (one,) = json.loads(data("ls", root, "--json"))
    assert (one["status"], one["degraded"]) == ("finished", None)


def test_ls_json_of_an_empty_root_is_an_empty_array(root: Path) -> None:
    assert json.loads(data("ls", root, "--json")) == []


def test_ls_of_an_empty_root_says_so_on_stderr(root: Path) -> None:
    result = call("ls", root)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith(f"runstore: no runs in {root} yet; looked for run.json, ")


def test_ls_prints_a_row_per_run_newest_first(root: Path, run: Run) -> None:
    lines = data("ls", "--root", root).splitlines()
    assert lines[0].split()[:4] == ["RUN", "STATUS", "EPOCH", "STEP"]
    assert lines[1].split()[:4] == [run.id, "finished", "2/2", "6"]
    assert len(lines) == 2


def test_ls_shows_each_thing_for_what_it_is(root: Path) -> None:
    (root / "plain").mkdir()
    (root / "plain" / "metrics.jsonl").write_text('{"step":1,"loss":2}\n')
    (root / "empty").mkdir()
    fifo = root / "20260101-000000-fifo-aaaaaaaa"
    fifo.mkdir()
    os.mkfifo(fifo / "metrics-0001.jsonl")
    reasons = {one["id"]: one["reason"] for one in json.loads(data("ls", root, "--json"))}
    assert reasons["plain"] == "plain JSON lines, no process on record"
    assert reasons["empty"] == "an empty directory: nothing was written yet"
    warnings = json.loads(data("show", fifo, "--json"))["warnings"]
    assert warnings == ["metrics-0001.jsonl: not a regular file"]


def test_run_that_failed_inside_an_epoch_says_so(root: Path) -> None:
    with pytest.raises(RuntimeError), runstore.init(root=root) as run:
        for epoch in run.epochs(5):
            for loss in run.train([1.0]):
                run.track(loss=loss)
                if epoch == 2:
                    raise RuntimeError("boom")
    (one,) = json.loads(data("ls", root, "--json"))
    assert (one["status"], one["reason"]) == ("failed", "RuntimeError: boom; inside epoch 2 of 5")
    assert "status    failed: RuntimeError: boom; inside epoch 2 of 5\n" in data("show", run.path)


def test_show_json_adds_the_promised_keys(root: Path, run: Run) -> None:
    shown = json.loads(data("show", run.id, "--root", root, "--json"))
    assert {*LS_KEYS, *SHOW_KEYS} <= shown.keys()
    assert [row["epoch"] for row in shown["epoch_rows"]] == [1, 2]
    assert [(a["attempt"], a["status"]) for a in shown["attempts"]] == [(1, "finished")]
    assert (shown["report"], shown["warnings"], shown["bad_lines"]) == (None, [], [])


def test_show_is_a_page_with_the_best_epoch_marked(root: Path, run: Run) -> None:
    page = data("show", run.path)
    assert "status    finished" in page
    assert "best      epoch 2, val/loss 0.0500" in page
    assert "\n   *2  " in page


def test_show_prints_the_report_as_scikit_learn_does(root: Path) -> None:
    true, predicted = [0, 1, 2, 2, 2], [0, 0, 2, 2, 1]
    with runstore.init(root=root, name="report") as run:
        for _ in run.val([0]):
            run.track_classification(predicted, true, target_names=["cat", "dog", "a cow"])
    names = ["cat", "dog", "a cow"]
    expected = classification_report(true, predicted, target_names=names, zero_division=0)
    assert expected.rstrip() in data("show", run.path)


def test_show_of_many_classes_tells_what_is_left_out(root: Path) -> None:
    scores = {"precision": None, "recall": 1.0, "f1-score": 1.0, "support": 3.0}
    report = {"7": scores, "accuracy": 0.5, "macro avg": scores, "weighted avg": scores}
    row = {"step": 1, "time": 1.5, "split": "val", "labels": ["7"], "classes": [7]}
    with runstore.init(root=root, name="report") as run:
        run.log({"loss": 1.0})
    write_lines(run.path / "reports-0001.jsonl", {**row, "report": report, "omitted": 49_999})
    page = data("show", run.path)
    assert "7        nan      1.00      1.00         3" in page
    assert "(49,999 classes of small support are left out)" in page


def test_show_tells_damaged_lines_and_where(run: Run) -> None:
    path = run.path / "metrics-0001.jsonl"
    path.write_bytes(b"garbage\n" + path.read_bytes())
    (bad,) = json.loads(data("show", run.path, "--json"))["bad_lines"]
    assert (bad["place"], bad["line"], bad["offset"]) == ("metrics-0001.jsonl:1", 1, 0)
    assert "bad lines 1, first metrics-0001.jsonl:1: not JSON" in data("show", run.path)


def test_show_tells_a_torn_last_line_and_where(run: Run) -> None:
    path = run.path / "metrics-0001.jsonl"
    count = path.read_bytes().count(b"\n")
    path.write_bytes(path.read_bytes() + b'{"step":99,"tra')
    torn = f"metrics-0001.jsonl:{count + 1}: the last line is torn"
    shown = json.loads(data("show", run.path, "--json"))
    assert shown["warnings"] == [torn]
    assert [bad["line"] for bad in shown["bad_lines"]] == [count + 1]
    assert f"warning   {torn}\n" in data("show", run.path)


def test_nan_and_infinity_are_null_with_a_word_in_json(root: Path) -> None:
    with runstore.init(root=root) as run:
        run.log({"loss": math.nan, "norm": -math.inf, "lr": 1.0})
    (one,) = json.loads(data("ls", root, "--json"))
    assert one["last"] == {
        "loss": None,
        "norm": None,
        "lr": 1.0,
        "_nonfinite": {"loss": "nan", "norm": "-inf"},
    }
    assert "loss nan  lr 1.0000  norm -inf" in data("show", run.path)


def test_show_tells_untracked_files_from_a_patch(root: Path, run: Run) -> None:
    document = json.loads((run.path / "run.json").read_text())
    document["git"] = {"commit": "a" * 40, "dirty": True}
    (run.path / "run.json").write_text(json.dumps(document))
    (run.path / "patch.diff").unlink(missing_ok=True)
    assert "aaaaaaaaaaaa with changes (untracked files only)" in data("show", run.path)
    (run.path / "patch.diff").write_text("+x\n")
    assert "aaaaaaaaaaaa with changes (patch.diff)" in data("show", run.path)


# ---- cat and tail ------------------------------------------------------------------------------


@pytest.fixture
def resumed(root: Path) -> Run:
    """A run whose second attempt repeats steps 4 and 5 of the first."""
    first = runstore.init(root=root)
    for step in range(1, 6):
        first.log({"loss": 1.0}, step=step)
    first.finish()
    second = runstore.init(resume=first.path)
    for step in range(4, 7):
        second.log({"loss": 2.0}, step=step)
    second.finish()
    return second


def test_cat_prints_the_rows_that_count(resumed: Run) -> None:
    rows = rows_of(data("cat", resumed.path, "metrics"))
    assert [(row["step"], row["loss"]) for row in rows] == [
        (1, 1.0),
        (2, 1.0),
        (3, 1.0),
        (4, 2.0),
        (5, 2.0),
        (6, 2.0),
    ]


def test_cat_all_adds_superseded_rows_and_marks_them(resumed: Run) -> None:
    rows = rows_of(data("cat", resumed.path, "metrics", "--all"))
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 4, 5, 6]
    assert [row["step"] for row in rows if row.get("_superseded")] == [4, 5]


def test_cat_prints_lines_as_they_stand(run: Run) -> None:
    for stream in ("metrics", "epochs", "events"):
        path = run.path / f"{stream}-0001.jsonl"
        assert data("cat", run.path, stream) == path.read_text("utf-8")


def test_cat_of_a_stream_without_a_file_prints_nothing(run: Run) -> None:
    for stream in ("reports", "system"):
        assert data("cat", run.path, stream) == ""


@pytest.mark.parametrize(
    "command", ["cat {} metrics", "tail -n 100000 {}", "export {} --format csv"]
)
def test_closed_pipe_is_no_failure(root: Path, command: str) -> None:
    """Enough rows to fill the pipe, so that the program writes after `head` has gone."""
    run_dir = root / "20260101-000000-long-aaaaaaaa"
    run_dir.mkdir()
    rows = (f'{{"step":{step},"time":1.5,"loss":1.0}}\n' for step in range(20_000))
    (run_dir / "metrics-0001.jsonl").write_text("".join(rows))
    program = shlex.join(COMMAND)
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {program} {command.format(run_dir)} | head -1"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1


def test_cat_counts_damaged_lines_on_stderr(run: Run) -> None:
    path = run.path / "metrics-0001.jsonl"
    whole = path.read_text("utf-8")
    path.write_bytes(b"{torn\n" + whole.encode() + b'{"step":9')
    result = call("cat", run.path, "metrics")
    assert (result.exit_code, result.stdout) == (0, whole)
    assert result.stderr.startswith("runstore: 1 bad line left out, first metrics-0001.jsonl:1: ")


def test_tail_prints_the_last_rows(run: Run) -> None:
    whole = (run.path / "metrics-0001.jsonl").read_text("utf-8").splitlines()
    assert data("tail", run.path).splitlines() == whole
    assert data("tail", run.path, "-n", "3").splitlines() == whole[-3:]
    assert data("tail", run.path, "-n", "0") == ""


def test_tail_goes_back_over_attempts_but_not_to_superseded_rows(resumed: Run) -> None:
    rows = rows_of(data("tail", resumed.path, "-n", "5"))
    assert [(row["step"], row["loss"]) for row in rows] == [
        (2, 1.0),
        (3, 1.0),
        (4, 2.0),
        (5, 2.0),
        (6, 2.0),
    ]


def test_tail_finds_the_last_rows_of_a_large_file(root: Path) -> None:
    with runstore.init(root=root) as run:
        for step in range(20_000):
            run.log({"loss": 1.0}, step=step)
        run.log({f"metric/{index}": 0.5 for index in range(3000)}, step=20_000)
    rows = rows_of(data("tail", run.path, "-n", "2"))
    assert [row["step"] for row in rows] == [19_999, 20_000]


WRITER = """
import sys, runstore
with runstore.init(root=sys.argv[1]) as run:
    for line in sys.stdin:
        run.log({"loss": 0.5}, step=int(line))
        print("logged", flush=True)
"""


@pytest.fixture
def writer(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that logs a row for each step it is sent."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def log_step(writer: subprocess.Popen[str], step: int) -> None:
    assert writer.stdin is not None
    assert writer.stdout is not None
    writer.stdin.write(f"{step}\n")
    writer.stdin.flush()
    assert writer.stdout.readline() == "logged\n"


def test_tail_follows_a_running_process_until_its_end(
    root: Path, writer: subprocess.Popen[str]
) -> None:
    log_step(writer, 1)
    with subprocess.Popen(
        [*COMMAND, "tail", "-f", "latest", "--root", str(root)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tail:
        assert tail.stdout is not None
        for step in (1, 2, 3):
            assert json.loads(tail.stdout.readline())["step"] == step
            log_step(writer, step + 1)
        assert writer.stdin is not None
        writer.stdin.close()
        rest, said = tail.communicate(timeout=30)
    assert [row["step"] for row in rows_of(rest)] == [4]
    assert said.strip().endswith(": finished")
    assert tail.returncode == 0


def test_tail_stops_with_the_reason_when_the_process_is_killed(
    root: Path, writer: subprocess.Popen[str]
) -> None:
    log_step(writer, 1)
    writer.kill()
    writer.wait()
    done = program("tail", "-f", "latest", "--root", root)
    assert [row["step"] for row in rows_of(done.stdout)] == [1]
    assert f": crashed: process {writer.pid} is gone" in done.stderr
    (one,) = json.loads(data("ls", root, "--json"))
    assert (one["status"], one["step"]) == ("crashed", 1)


# ---- export ------------------------------------------------------------------------------------


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_is_wide_and_keeps_every_digit(root: Path, run: Run) -> None:
    other = train(root, "other", lr=1 / 3, epochs=1)
    rows = table(data("export", run.id, other.id, "--root", root, "--format", "csv"))
    assert list(rows[0])[:4] == ["run", "step", "epoch", "time"]
    assert [row["run"] for row in rows] == [run.id] * 8 + [other.id] * 4
    assert float(rows[-1]["val/loss"]) == 1 / 3
    assert rows[0]["val/loss"] == ""


def test_csv_of_epochs(run: Run) -> None:
    rows = table(data("export", run.path, "--format", "csv", "--table", "epochs"))
    assert [(row["epoch"], row["val/loss"]) for row in rows] == [("1", "0.1"), ("2", "0.05")]


def test_csv_writes_nan_and_infinities_as_words(root: Path) -> None:
    with runstore.init(root=root) as run:
        run.log({"a": math.nan, "b": math.inf, "c": -math.inf})
    (row,) = table(data("export", run.path, "--format", "csv"))
    assert (row["a"], row["b"], row["c"]) == ("nan", "inf", "-inf")
    assert "_nonfinite" not in row


def test_csv_leaves_superseded_rows_out(resumed: Run) -> None:
    rows = table(data("export", resumed.path, "--format", "csv"))
    assert [row["step"] for row in rows] == list("123456")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_disarms_formulas_but_not_numbers(root: Path, start: str) -> None:
    (root / "x").mkdir()
    row = {"step": 1, f"{start}cmd": -2.5, "note": f"{start}1+1"}
    (root / "x" / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    header, values = list(csv.reader(io.StringIO(data("export", root / "x", "--format", "csv"))))
    assert not any(cell.startswith(start) for cell in header)
    assert values[-2:][0] == "-2.5"
    assert not values[-1].startswith(start)


def test_json_holds_everything_of_each_run(root: Path, run: Run) -> None:
    (one,) = json.loads(data("export", run.path, "--format", "json"))
    assert {*LS_KEYS, *SHOW_KEYS, "metrics", "reports"} <= one.keys()
    assert one["metrics"] == rows_of(data("cat", run.path, "metrics"))


@pytest.mark.parametrize("form", ["csv", "json"])
def test_export_to_a_file_writes_the_same_and_no_data_on_stdout(
    run: Run, tmp_path: Path, form: str
) -> None:
    target = tmp_path / "out"
    result = call("export", run.path, "--format", form, "-o", target)
    assert (result.exit_code, result.stdout) == (0, "")
    assert str(target) in result.stderr
    assert target.read_text("utf-8") == data("export", run.path, "--format", form)


# ---- pipes and hostile names -------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", ["cat latest metrics", "export latest --format csv", "tail latest -n 30000"]
)
def test_closed_pipe_gives_no_traceback(root: Path, command: str) -> None:
    with runstore.init(root=root) as run:
        for step in range(20_000):
            run.log({"loss": 1.0}, step=step)
    with subprocess.Popen(
        [*COMMAND, *command.split(), "--root", str(root)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""


CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e\u2028]")
HOSTILE = "\x1b]0;pwned\x07\x1b[2J\x9b31m\x7f\u202e\r\n\u2028"


@pytest.fixture
def hostile(root: Path) -> Path:
    """A run that another program wrote, with escape sequences wherever text can be."""
    run_dir = root / "evil\x1b[31m\udcff"
    run_dir.mkdir()
    row = json.dumps({"step": 1, "time": 1.5, HOSTILE: 1.0, "text": HOSTILE}, ensure_ascii=False)
    document = {
        "format": 1,
        "id": HOSTILE,
        "name": HOSTILE,
        "created": 1.5,
        "params": {HOSTILE: HOSTILE},
        "tags": [HOSTILE],
        "command": [HOSTILE],
        "git": {"commit": HOSTILE, "dirty": True},
    }
    opened = {"event": "open", "time": 1.5, "format": 1, "attempt": 1, "host": HOSTILE}
    warning = {"event": "warning", "time": 1.5, "message": HOSTILE}
    ended = {"event": "end", "time": 2.5, "status": "failed", "reason": HOSTILE}
    report = {"step": 1, "time": 1.5, "split": HOSTILE, "labels": [HOSTILE]}
    report["report"] = {HOSTILE: {"precision": 1.0}}
    epoch = {"step": 1, "epoch": 1, "time": 1.5, HOSTILE: 1.0}
    (run_dir / "run.json").write_text(json.dumps(document, ensure_ascii=False), "utf-8")
    (run_dir / "metrics-0001.jsonl").write_text(f"{row}\n\x1b[31mgarbage\n", "utf-8")
    write_lines(run_dir / "events-0001.jsonl", opened, warning, ended)
    write_lines(run_dir / "reports-0001.jsonl", report)
    write_lines(run_dir / "epochs-0001.jsonl", epoch)
    return run_dir


def write_lines(path: Path, *rows: dict[str, Any]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, "utf-8")


@pytest.mark.parametrize(
    "command",
    [
        "ls",
        "ls --json",
        "show latest",
        "show latest --json",
        "show evi!",
        "cat latest metrics",
        "cat latest events",
        "cat latest epochs --all",
        "cat latest reports",
        "tail latest",
        "export latest --format csv",
        "export latest --format csv --table epochs",
        "export latest --format json",
    ],
)
def test_no_control_character_of_a_file_reaches_the_terminal(
    root: Path, hostile: Path, command: str, run_on_terminal: Callable[..., str]
) -> None:
    shown = run_on_terminal(*command.split(), "--root", str(root))
    assert shown.strip()
    assert "Traceback" not in shown
    assert CONTROLS.findall(shown) == []


@pytest.fixture
def run_on_terminal() -> Callable[..., str]:
    """Return a function that runs a command on a terminal of its own (a pipe hides colours)."""

    def run(*arguments: str) -> str:
        main, side = os.openpty()
        with subprocess.Popen(
            [*COMMAND, *arguments], env=environment(), stdin=side, stdout=side, stderr=side
        ):
            os.close(side)
            shown = b"".join(iter(lambda: read_or_end(main), b""))
        os.close(main)
        return shown.decode()

    return run


def read_or_end(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # Linux says EIO when the other side of a terminal is closed
        return b""


def test_lost_rows_are_told_by_ls_and_show(tmp_path: Path) -> None:
    run = tmp_path / "20260101-000000-lossy-aaaaaaaa"
    run.mkdir()
    (run / "run.json").write_text('{"format":1}')
    end = {"event": "end", "status": "finished", "reason": "", "dropped_rows": 42571}
    (run / "events-0001.jsonl").write_text('{"event":"open"}\n' + json.dumps(end) + "\n")
    (listed,) = json.loads(data("ls", tmp_path, "--json"))
    assert (listed["status"], listed["reason"]) == ("finished", "42,571 rows were lost")
    assert "42,571 rows were lost" in data("ls", tmp_path)
    assert "42,571 rows were lost: the disk took no more" in data("show", run)
