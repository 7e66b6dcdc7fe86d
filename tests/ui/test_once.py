"""`runstore-tui --once`, and every other use without a screen."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import runstore
from tui.once import once

ROOT = Path(__file__).resolve().parents[2]


def monitor(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `runstore-tui` without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "runstore.tui_launcher", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        cwd="/",  # the working directory is the first place that `python -m` imports from
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def write_run(root: Path, name: str, epochs: int = 2) -> Path:
    with runstore.init({"lr": 0.01}, root=root, name=name) as run:
        for epoch in run.epochs(epochs):
            for batch in run.train(range(5)):
                run.track(loss=1 / (batch + epoch), n=1)
            for _ in run.val(range(2)):
                run.track(loss=0.31 / epoch, n=2)
                run.track_classification([0, 1], [0, 1], target_names=["cat", "dog"])
    return run.path


def test_single_run_is_shown_in_full(tmp_path: Path) -> None:
    write_run(tmp_path, "digits")
    done = monitor(tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    told = done.stdout
    assert "1 run in" in told and "1 finished" in told
    for part in ("── chart ──", "── epochs ──", "── report ──", "── events ──"):
        assert part in told
    assert "0.1550" in told  # the epoch mean of val/loss, with its decimals
    assert "★     2" in told
    assert "cat" in told and "macro avg" in told
    assert "\x1b" not in told


def test_several_runs_are_a_table_and_one_can_be_asked_for(tmp_path: Path) -> None:
    write_run(tmp_path, "alpha")
    path = write_run(tmp_path, "beta")
    assert "── epochs ──" not in monitor(tmp_path, "--once").stdout
    assert "── beta ──" in monitor(tmp_path, "--run", path.name).stdout
    assert "── epochs ──" in monitor(tmp_path, "--run", "latest").stdout


def test_missing_root_is_one_line_and_status_1(tmp_path: Path) -> None:
    done = monitor(tmp_path / "nothing", "--once")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "nothing: no such directory" in done.stderr


def test_unknown_run_is_one_line_and_status_1(tmp_path: Path) -> None:
    write_run(tmp_path, "alpha")
    done = monitor(tmp_path, "--run", "nowhere")
    assert done.returncode == 1
    assert "no run 'nowhere'" in done.stderr


def test_usage_error_has_status_2(tmp_path: Path) -> None:
    assert monitor("--no-such-option").returncode == 2
    assert monitor(tmp_path, "--screenshot", tmp_path / "a.svg", "--size", "big").returncode == 2


def test_root_comes_from_the_environment(tmp_path: Path) -> None:
    write_run(tmp_path, "alpha")
    assert "alpha" in monitor(RUNSTORE_ROOT=str(tmp_path)).stdout


def test_several_roots_are_one_list(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "alpha")
    write_run(tmp_path / "b", "beta")
    assert "2 runs in" in monitor(tmp_path / "a", tmp_path / "b").stdout


def test_root_that_is_missing_hides_no_other_one(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "alpha")
    for more in ([], ["--json"]):
        done = monitor(tmp_path / "a", tmp_path / "b", "--once", *more)
        assert "alpha" in done.stdout
        assert done.returncode == 1
        assert re.fullmatch(r"\S+/b: no such directory; [^\n]+\n", done.stderr)


def test_run_in_two_roots_is_listed_once_with_the_name_of_its_root(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "old", "alpha")
    write_run(tmp_path / "a", "beta")
    told = monitor(tmp_path / "a", tmp_path / "a" / "old", tmp_path / "a", "--once").stdout
    assert "2 runs in" in told
    assert "old/alpha" in told and "a/beta" in told


def test_json_has_the_list_and_the_run_in_full(tmp_path: Path) -> None:
    path = write_run(tmp_path, "alpha")
    write_run(tmp_path, "beta")
    told = json.loads(monitor(tmp_path, "--json").stdout)
    assert [run["name"] for run in told["runs"]] == ["beta", "alpha"]
    assert told["counts"] == {"finished": 2}
    assert (told["roots"], told["shown"]) == ([str(tmp_path)], [])
    (run,) = json.loads(monitor(tmp_path, "--json", "--run", path.name).stdout)["shown"]
    assert [row["epoch"] for row in run["epoch_rows"]] == [1, 2]


def test_ascii_text_has_no_other_character(tmp_path: Path) -> None:
    write_run(tmp_path, "größe-日本")
    told = monitor(tmp_path, "--once", "--ascii").stdout
    assert told.isascii()
    assert "gro?e-????" in told and "-- chart --" in told
    assert not monitor(tmp_path, "--once").stdout.isascii()
    assert monitor(tmp_path, RUNSTORE_TUI_ASCII="1").stdout.isascii()


@pytest.mark.parametrize("other", ["--once", "--json"])
def test_lines_that_go_on_and_those_of_once_are_not_both_to_be_had(
    tmp_path: Path, other: str
) -> None:
    done = monitor(tmp_path, "--plain", other)
    assert done.returncode == 2
    assert f"{other} prints once" in done.stderr


def test_empty_root_says_what_a_run_is(tmp_path: Path) -> None:
    done = monitor(tmp_path)
    assert done.returncode == 0
    assert "0 runs" in done.stdout and "no runs yet" in done.stdout


def test_damage_is_counted_and_placed(tmp_path: Path) -> None:
    path = write_run(tmp_path, "digits")
    with (path / "metrics-0001.jsonl").open("ab") as file:
        file.write(b'{"step":\n\x00\xff\n{"step":6,"train/loss":0.2}\n{"step":7,"tra')
    told = monitor(tmp_path).stdout
    assert "2 bad lines, first metrics-0001.jsonl:" in told
    assert "digits !" in " ".join(told.split())


def test_torn_last_line_is_marked_and_placed(tmp_path: Path) -> None:
    path = write_run(tmp_path, "digits") / "metrics-0001.jsonl"
    count = path.read_bytes().count(b"\n")
    with path.open("ab") as file:
        file.write(b'{"step":7,"tra')
    told = monitor(tmp_path).stdout
    assert f"! metrics-0001.jsonl:{count + 1}: the last line is torn" in told
    assert "digits !" in " ".join(told.split())


def test_last_step_is_not_the_mean_of_the_epoch(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        for _ in run.epochs(1):
            for loss in run.train([3.0, 1.0]):
                run.track(loss=loss, n=1)
    told = monitor(tmp_path).stdout
    last_step, _, epochs = told[told.index("last step") :].partition("── epochs ──")
    assert re.search(r"train/loss +1\.0+\b", last_step)
    assert "2.0000" in epochs


def test_end_inside_an_epoch_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), runstore.init(root=tmp_path) as run:
        for _ in run.epochs(3):
            raise RuntimeError("boom")
    assert "✗ failed  RuntimeError: boom; inside epoch 1 of 3" in monitor(tmp_path).stdout


def test_odd_directories_are_shown_for_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "metrics.jsonl").write_text('{"step":1,"loss":2}\n')
    pipe = write_run(tmp_path, "pipe") / "metrics-0001.jsonl"
    pipe.unlink()
    os.mkfifo(pipe)
    done = monitor(tmp_path)
    assert done.returncode == 0
    assert "3 runs" in done.stdout
    assert "2.0000" in done.stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_run_is_listed(tmp_path: Path) -> None:
    path = write_run(tmp_path, "secret")
    path.chmod(0)
    try:
        done = monitor(tmp_path, "--once")
    finally:
        path.chmod(0o700)
    assert done.returncode == 0
    assert "unknown" in done.stdout


def test_nan_and_inf_are_shown_as_such(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path, name="nan") as run:
        run.log({"train/loss": 1.0}, step=1)
        run.log({"train/loss": float("nan"), "grad": float("inf")}, step=2)
    told = monitor(tmp_path).stdout
    assert "nan" in told and "inf" in told and "(1 nan/inf)" in told


def test_output_into_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    for index in range(30):
        path = tmp_path / f"run{index}" / "metrics.jsonl"
        path.parent.mkdir()
        path.write_text(json.dumps({"step": 1, "loss": 1.0}) + "\n")
    command = f"{sys.executable} -m runstore.tui_launcher {tmp_path} --once | head -1"
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("30 runs")
    assert done.stderr == ""


@pytest.mark.parametrize("module", ["runstore.tui_launcher", "runstore.cli"])
@pytest.mark.parametrize(
    ("closed", "prints"), [("<&-", True), (">&-", False), ("2>&-", True), ("<&- >&- 2>&-", False)]
)
def test_stream_that_was_closed_is_no_traceback(
    tmp_path: Path, module: str, closed: str, prints: bool
) -> None:
    with runstore.init(root=tmp_path, name="quiet") as run:
        run.log({"loss": 1.0}, step=1)
    arguments = ["ls", "--root"] if module == "runstore.cli" else []
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-m", module, *arguments, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ("quiet" in done.stdout) is prints


@pytest.mark.parametrize("option", ["--help", "--version", "--config-path", "--once", "--json"])
def test_option_without_a_screen_does_not_import_textual(tmp_path: Path, option: str) -> None:
    code = (
        "import sys, runstore.tui_launcher as t\n"
        "sys.argv = ['runstore-tui', *sys.argv[1:]]\n"
        "try: t.main()\n"
        "except SystemExit: pass\n"
        "sys.stderr.write(str('textual' in sys.modules))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            option,
            *([str(tmp_path)] if option in ("--once", "--json") else []),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.endswith("False"), done.stderr


def test_foreign_tui_is_refused_in_one_line(tmp_path: Path) -> None:
    foreign = tmp_path / "tui"
    foreign.mkdir()
    (foreign / "__init__.py").write_text("raise SystemExit('the wrong one ran')")
    done = monitor(tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 2
    assert str(foreign / "__init__.py") in done.stderr
    assert done.stderr.count("\n") == 1


def test_missing_tui_is_refused_in_one_line(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "runstore", tmp_path / "runstore")
    done = monitor(tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "needs its own package" in done.stderr


def test_screenshot_is_an_svg_of_the_screen(tmp_path: Path) -> None:
    write_run(tmp_path, "digits")
    picture = tmp_path / "screen.svg"
    done = monitor(tmp_path, "--screenshot", picture)
    assert done.returncode == 0, done.stderr
    text = picture.read_text()
    assert text.startswith("<svg") and "digits" in text


FAST_WRITER = """
import sys, time
rows = b'{"step":1,"loss":2.0}\\n' * 5000
end = time.monotonic() + 60
with open(sys.argv[1], "ab", buffering=0) as file:
    while time.monotonic() < end:
        file.write(rows)
        print(flush=True)
        time.sleep(0.005)
"""


def test_run_that_is_written_faster_than_it_is_read_is_shown_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "fast" / "metrics.jsonl"
    path.parent.mkdir()
    command = [sys.executable, "-c", FAST_WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout is not None
            writer.stdout.readline()
            told = list(once([tmp_path], [], 100))
            still_writing = writer.poll() is None
        finally:
            writer.kill()
    path.unlink()
    assert still_writing
    assert any("── chart ──" in row for row in told)
