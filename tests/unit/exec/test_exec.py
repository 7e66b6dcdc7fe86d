"""`runstore exec` with real commands: output, rows, ends, and an `init` inside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import runstore
from runstore.environment.process import is_stopped
from runstore.files.paths import RunPaths
from runstore.sources.native import NativeReader
from runstore.state.status import Status
from tests.conftest import WaitUntil

ROOT = Path(__file__).resolve().parents[3]
RUNSTORE = (sys.executable, "-m", "runstore.cli")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    given = {"capture_output": True, "check": False, "stdin": subprocess.DEVNULL, **options}
    return subprocess.run([*RUNSTORE, "exec", "--name", "test", "--", *command], **given)


def python(script: str, *arguments: str) -> Sequence[str]:
    return sys.executable, "-c", script, *arguments


def start(*command: str, **options: Any) -> subprocess.Popen[bytes]:
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([*RUNSTORE, "exec", "--", *command], **given)


def only_run(here: Path) -> Path:
    (found,) = (here / "runs").iterdir()
    return found


def status_of(run_dir: Path) -> Status:
    reader = NativeReader(run_dir)
    reader.glance()
    return reader.state.status


def events(run_dir: Path, attempt: int = 1) -> list[dict[str, Any]]:
    lines = RunPaths(run_dir).stream("exec", attempt).read_text().splitlines()
    return [json.loads(line) for line in lines]


def event(run_dir: Path, kind: str, attempt: int = 1) -> dict[str, Any]:
    (found,) = [each for each in events(run_dir, attempt) if each["event"] == kind]
    return found


# ---- output ------------------------------------------------------------------------------------


def test_output_is_passed_on_byte_for_byte_and_apart(here: Path) -> None:
    script = "import os; os.write(1, bytes(range(256)) * 300); os.write(2, b'e\\xff\\r\\n')"
    done = run(*python(script))
    assert done.stdout == bytes(range(256)) * 300
    assert b"e\xff\r\n" in done.stderr
    assert done.returncode == 0


def test_input_passes_through(here: Path) -> None:
    assert run("cat", stdin=None, input=b"in\0put").stdout == b"in\0put"


def test_log_holds_both_streams_with_bars_as_they_were_last(here: Path) -> None:
    script = (
        "import sys\n"
        "print('begun', flush=True)\n"
        "for n in range(100): print(f'\\r{n}%', end='', file=sys.stderr)\n"
        "print(file=sys.stderr)\n"
        "print('\\x1b[32mdone\\x1b[0m', end='')\n"
    )
    run(*python(script))
    log = (only_run(here) / "output.log").read_text()
    assert sorted(log.splitlines()) == ["99%", "begun", "done"]


def test_log_is_written_while_the_command_runs(here: Path, wait_until: WaitUntil) -> None:
    """Also by a Python that would keep 8 KiB to itself when it prints into a pipe."""
    process = start(*python("import time; print('early'); time.sleep(60)"))
    try:
        wait_until(lambda: any((here / "runs").glob("*/output.log")))
        log = only_run(here) / "output.log"
        wait_until(lambda: log.read_text() == "early\n")
    finally:
        process.terminate()
        process.communicate()


def test_python_s_own_setting_of_buffers_stays(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import os; print(repr(os.environ.get('PYTHONUNBUFFERED')))"
    assert run(*python(script)).stdout == b"'1'\n"
    monkeypatch.setenv("PYTHONUNBUFFERED", "")
    assert run(*python(script)).stdout == b"''\n"


def test_reader_that_has_enough_ends_the_command_as_without_exec(here: Path) -> None:
    command = f"{sys.executable} -m runstore.cli exec -- yes | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert (done.stdout, done.returncode) == (b"y\n", 128 + signal.SIGPIPE)
    assert status_of(only_run(here)).word == "interrupted"


def test_full_disk_behind_stdout_does_not_end_the_command(here: Path) -> None:
    script = "for n in range(9999): print(n)\nprint('end')"
    with Path("/dev/full").open("wb") as full:
        done = run(*python(script), capture_output=False, stdout=full)
    assert done.returncode == 0
    assert (only_run(here) / "output.log").read_text().endswith("9998\nend\n")
    assert "not passed on" in event(only_run(here), "warning")["message"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small file system")
def test_full_disk_costs_the_log_and_neither_the_output_nor_the_end(here: Path) -> None:
    small = here / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", small]).returncode:
        pytest.skip("mount is not allowed here")
    try:
        # Every block but one is taken, so that the last event has no place.
        script = (
            "import os, sys\n"
            "sys.stdout.write('x' * 79 + '\\n'); sys.stdout.flush()\n"
            "print(*range(200_000), sep='\\n'); sys.exit(3)\n"
        )
        command = [*RUNSTORE, "exec", "--root", str(small / "runs"), "--", *python(script)]
        done = subprocess.run(command, capture_output=True, check=False)
        (run_dir,) = (small / "runs").iterdir()
        assert done.stdout.count(b"\n") == 200_001
        assert done.returncode == 3
        assert status_of(run_dir) == Status("failed", "exit status 3")
        lost = event(run_dir, "exit")["log_lost_bytes"]
        kept = (run_dir / "output.log").stat().st_size
        assert lost > 0
        assert abs(lost + kept - len(done.stdout)) < 200
        assert f"{lost:,} bytes of it are missing" in done.stderr.decode()
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_process_left_behind_with_the_output_is_not_waited_for(here: Path) -> None:
    begun = time.monotonic()
    done = run("sh", "-c", "sleep 60 & echo hi")
    assert time.monotonic() - begun < 50
    assert done.stdout == b"hi\n"
    assert "still holds its output" in event(only_run(here), "warning")["message"]


# ---- rows --------------------------------------------------------------------------------------


def test_json_lines_with_a_step_become_rows_as_of_run_log(here: Path) -> None:
    script = (
        "import json\n"
        "print(json.dumps({'step': 1, 'loss': 2, 'epoch': 1, 'time': 5}))\n"
        "print(json.dumps({'step': 2, 'loss': float('nan'), '_x': 1, 'note': 'n'}))\n"
        "print(json.dumps({'step': 3, 'text': 'no row'}))\n"
    )
    done = run(*python(script))
    assert done.stdout.count(b"\n") == 3
    found = runstore.load(only_run(here)).metrics()
    assert [{k: v for k, v in row.items() if k != "time"} for row in found[:1]] == [
        {"step": 1, "epoch": 1, "loss": 2.0}
    ]
    assert len(found) == 2
    text = (only_run(here) / "metrics-0001.jsonl").read_text()
    assert '"loss":2.0' in text
    assert '"loss":null,"_nonfinite":{"loss":"nan"}' in text
    assert abs(found[0]["time"] - time.time()) < 60


def test_rows_on_stderr_are_output(here: Path) -> None:
    run("sh", "-c", 'echo \'{"step":1,"loss":1}\' >&2')
    assert not list(only_run(here).glob("metrics-*"))


def test_killed_python_loses_no_row_that_it_has_printed(here: Path) -> None:
    script = (
        "import json, os\n"
        "for n in range(100): print(json.dumps({'step': n, 'loss': 1}))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    run(*python(script))
    assert len(runstore.load(only_run(here)).metrics()) == 100


# ---- ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "code", "status"),
    [
        ("pass", 0, Status("finished")),
        ("raise SystemExit(3)", 3, Status("failed", "exit status 3")),
        ("import os; os.kill(os.getpid(), 9)", 137, Status("crashed", "killed by SIGKILL")),
        ("import os; os.kill(os.getpid(), 11)", 139, Status("crashed", "SIGSEGV")),
    ],
)
def test_end_of_the_command_is_on_record(
    here: Path, script: str, code: int, status: Status
) -> None:
    limited = f"ulimit -c 0; exec {sys.executable} -c '{script}'"
    assert run("sh", "-c", limited).returncode == code
    assert status_of(only_run(here)) == status
    exited = event(only_run(here), "exit")
    assert exited["max_rss_gib"] > 0.001
    assert exited["user_s"] >= 0
    assert 0 <= exited["duration_s"] < 30


@pytest.mark.parametrize(("program", "code"), [("no-such-program", 127), ("./plain.txt", 126)])
def test_program_that_cannot_be_started_is_one_line_and_no_run(
    here: Path, program: str, code: int
) -> None:
    (here / "plain.txt").write_text("text")
    done = run(program)
    assert done.returncode == code
    assert done.stderr.decode().count("\n") == 1
    assert program in done.stderr.decode()
    assert not (here / "runs").exists()


def test_script_of_a_missing_interpreter_is_a_run_that_failed(here: Path) -> None:
    (here / "script").write_text("#!/no/such/interpreter\n")
    (here / "script").chmod(0o755)
    assert run("./script").returncode == 127
    assert status_of(only_run(here)).word == "failed"


def test_sigterm_is_passed_on_and_the_run_was_interrupted(
    here: Path, wait_until: WaitUntil
) -> None:
    process = start(
        "sh", "-c", "trap 'echo saving; exit 4' TERM; echo up; while :; do sleep 0.1; done"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.terminate()
    assert b"saving" in process.communicate()[0]
    assert process.returncode == 4
    assert status_of(only_run(here)) == Status("interrupted", "SIGTERM, then exit status 4")


def test_deaf_command_is_killed_at_the_second_wish_only(here: Path, wait_until: WaitUntil) -> None:
    process = start(
        *python(
            "import signal, time; signal.signal(15, signal.SIG_IGN)\nprint('up'); time.sleep(60)"
        )
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.terminate()
    time.sleep(0.5)
    process.terminate()
    time.sleep(3.2)
    assert process.poll() is None
    process.terminate()
    process.communicate()
    assert process.returncode == 137
    assert status_of(only_run(here)) == Status("interrupted", "SIGTERM twice, then killed")


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT"])
def test_other_signals_reach_the_command(here: Path, name: str) -> None:
    script = (
        "import signal, time\n"
        f"signal.signal(signal.{name}, lambda *_: exit(7))\n"
        "print('up'); time.sleep(60)\n"
    )
    process = start(*python(script))
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(getattr(signal, name))
    process.communicate()
    assert process.returncode == 7


def test_ignored_hangup_stays_ignored(here: Path) -> None:
    """As with nohup."""
    script = "import os, signal; os.kill(os.getppid(), 1); print(signal.getsignal(1))"
    done = run(*python(script), preexec_fn=lambda: signal.signal(1, signal.SIG_IGN) and None)
    assert done.stdout == b"1\n"
    assert status_of(only_run(here)).word == "finished"


def test_request_to_stop_asks_the_command_to_end(here: Path, wait_until: WaitUntil) -> None:
    process = start(*python("import time; print('up'); time.sleep(60)"))
    assert process.stdout is not None
    process.stdout.readline()
    (only_run(here) / "requests" / "stop").touch()
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert status_of(only_run(here)) == Status("interrupted", "SIGTERM")
    assert event(only_run(here), "request")["file"] == "stop"


def test_stopped_command_is_stalled_and_goes_on(here: Path, wait_until: WaitUntil) -> None:
    """In a process group of its own: one that is orphaned, as under some CI, never stops."""
    process = start(*python("import time; print('up'); time.sleep(60)"), process_group=0)
    assert process.stdout is not None
    process.stdout.readline()
    run_dir = only_run(here)
    pid = (
        wait_until(lambda: any(e["event"] == "start" for e in events(run_dir)))
        and event(run_dir, "start")["pid"]
    )
    process.send_signal(signal.SIGTSTP)
    wait_until(lambda: is_stopped(pid) and is_stopped(process.pid))
    assert status_of(run_dir) == Status("stalled", f"process {pid} is stopped")
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: not is_stopped(pid) and not is_stopped(process.pid))
    assert status_of(run_dir) == Status("running", f"process {pid}")
    process.terminate()
    process.communicate()


def test_killed_exec_leaves_what_is_known(here: Path, wait_until: WaitUntil) -> None:
    script = "import time, signal; signal.signal(13, signal.SIG_IGN); print('up'); time.sleep(60)"
    process = start(*python(script))
    assert process.stdout is not None
    process.stdout.readline()
    run_dir = only_run(here)
    pid = (
        wait_until(lambda: events(run_dir)[-1]["event"] == "start")
        and event(run_dir, "start")["pid"]
    )
    process.kill()
    process.wait()
    assert status_of(run_dir) == Status("running", f"process {pid}, its runstore exec is gone")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: status_of(run_dir).word == "crashed")
    reason = f"runstore exec: process {process.pid} is gone, no row was written; "
    assert status_of(run_dir).reason == reason + "its command is gone too"
    process.communicate()


# ---- what is on record -------------------------------------------------------------------------


def test_run_is_described_as_by_init_without_secrets(here: Path) -> None:
    run(*python("pass", "--api-key", "sk-123456789012345678901234"))
    document = json.loads((only_run(here) / "run.json").read_text())
    assert document["name"] == "test"
    assert document["command"][-2:] == ["--api-key", "<redacted>"]
    assert document["command_redacted"] is True
    assert document["cwd"] == str(here)
    assert "runstore" in document["versions"]
    opened = event(only_run(here), "open")
    assert "sk-1234" not in json.dumps(opened)


def test_command_is_told_the_run(here: Path) -> None:
    script = "import os; print(os.environ['RUNSTORE_RUN'], os.environ['RUNSTORE_ATTEMPT'])"
    assert run(*python(script)).stdout.decode().split() == [str(only_run(here)), "1"]


def test_exec_inside_of_exec_is_a_run_of_its_own(here: Path) -> None:
    run(*RUNSTORE, "exec", "--name", "inner", "--", "true")
    assert len(list((here / "runs").iterdir())) == 2


def test_launcher_s_run_is_gone_on_with(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        monkeypatch.setenv("RUNSTORE_RUN", str(here / "job-1"))
        run("true")
    assert {e["event"] for e in events(here / "job-1", 2)} == {"open", "start", "exit"}
    assert "versions" in event(here / "job-1", "open", 2)


def test_show_tells_the_end_and_the_last_lines(here: Path) -> None:
    run(
        *python("for n in range(50): print(f'line {n}')\nprint('\x1b[31mred'); raise SystemExit(3)")
    )
    command = [*RUNSTORE, "show", str(only_run(here))]
    shown = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert "status    failed: exit status 3\n" in shown
    assert "\nexit      status 3, " in shown
    assert "GiB" in shown
    assert "  line 41\n" in shown
    assert "  line 40\n" not in shown
    assert "  red\n" in shown
    document = json.loads(subprocess.run([*command, "--json"], capture_output=True).stdout)
    (attempt,) = document["attempts"]
    assert attempt["exit"]["code"] == 3
    assert attempt["started"] < attempt["ended"]


def test_list_and_monitor_show_the_status(here: Path) -> None:
    run("sh", "-c", "kill -9 $$")
    listed = subprocess.run([*RUNSTORE, "ls"], capture_output=True, check=True, text=True).stdout
    assert "crashed" in listed
    assert "killed by SIGKILL" in listed
    screen = [sys.executable, "-m", "runstore.tui_launcher", "--once", "--run", "latest"]
    drawn = subprocess.run(screen, capture_output=True, check=True, text=True).stdout
    assert "killed by SIGKILL" in drawn
    assert "exit" in drawn


def test_pipe_in_the_place_of_the_log_is_not_opened(here: Path) -> None:
    run("true")
    (only_run(here) / "output.log").unlink()
    os.mkfifo(only_run(here) / "output.log")
    command = [*RUNSTORE, "show", str(only_run(here))]
    assert subprocess.run(command, capture_output=True, timeout=30).returncode == 0


# ---- an init inside ----------------------------------------------------------------------------

JOIN = """
import json, os, sys, runstore
print(json.dumps({'step': 0, 'warmup': 1}), flush=True)
run = runstore.init({'lr': 0.1}, name='inner', tags=['t'], best='val/acc:max')
print(json.dumps({'step': 1, 'printed': 1}), flush=True)
run.log({'loss': 0.5}, step=1)
"""


def joined(here: Path, rest: str) -> tuple[runstore.RunData, int]:
    (here / "train.py").write_text(JOIN + rest)
    done = run(sys.executable, "train.py")
    return runstore.load(only_run(here)), done.returncode


def test_init_inside_joins_the_same_attempt_and_its_rows_count(here: Path) -> None:
    data, code = joined(here, "run.finish()")
    assert (data.status, data.reason, code) == ("finished", "", 0)
    names = [set(row) - {"step", "time"} for row in data.metrics()]
    assert names == [{"warmup"}, {"loss"}]
    assert data.state.attempt == 1
    assert not data.state.warnings


def test_words_of_the_script_are_on_record_though_run_json_was_written_before(here: Path) -> None:
    data, _ = joined(here, "run.finish()")
    assert data.params == {"lr": 0.1}
    assert (data.state.name, data.state.tags) == ("test", ["t"])
    assert data.state.best_rule == "val/acc:max"


@pytest.mark.parametrize(
    ("rest", "status", "reason"),
    [
        ("run.finish(); sys.exit(3)", "finished", "then exit status 3"),
        ("os.kill(os.getpid(), 9)", "crashed", "killed by SIGKILL, last row "),
        ("os._exit(3)", "failed", "exit status 3"),
        ("os._exit(0)", "crashed", "exit status 0 without run.finish(), last row "),
        ("raise ValueError('boom')", "failed", "ValueError: boom"),
    ],
)
def test_end_of_a_run_inside_is_refined_by_that_of_its_process(
    here: Path, rest: str, status: str, reason: str
) -> None:
    data, _ = joined(here, rest)
    assert data.status == status
    assert data.reason.startswith(reason)


def test_second_init_in_a_script_is_a_run_of_its_own(here: Path) -> None:
    joined_script = "run.finish(); runstore.init(root='runs').finish()"
    (here / "train.py").write_text(JOIN + joined_script)
    run(sys.executable, "train.py")
    assert len(list((here / "runs").iterdir())) == 2


def test_heartbeat_is_handed_over(here: Path, wait_until: WaitUntil) -> None:
    (here / "train.py").write_text(JOIN + "import time; time.sleep(60)")
    process = start(sys.executable, "train.py")
    wait_until(lambda: any(p.stat().st_size for p in here.glob("runs/*/events-0001.jsonl")))
    run_dir = only_run(here)
    pid = json.loads((run_dir / "events-0001.jsonl").read_text().splitlines()[0])["pid"]

    def beats() -> set[int]:
        time.sleep(0.3)
        return {json.loads((run_dir / "progress.json").read_text())["pid"]}

    wait_until(lambda: beats() == {pid})
    assert set().union(*(beats() for _ in range(5))) == {pid}
    assert status_of(run_dir) == Status("running", f"process {pid}")
    process.kill()
    process.communicate()
    os.kill(pid, signal.SIGKILL)


def test_resume_runs_the_command_under_exec_again(here: Path) -> None:
    script = "import os, sys; print(os.environ['RUNSTORE_ATTEMPT']); sys.exit(5)"
    run(*python(script))
    run_dir = only_run(here)
    command = [*RUNSTORE, "resume", str(run_dir)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.stdout, done.returncode) == (b"2\n", 5)
    assert status_of(run_dir) == Status("failed", "exit status 5")
    assert event(run_dir, "open", 2)["command"] == list(python(script))
    assert (run_dir / "output.log").read_text() == "1\n2\n"


def test_resumed_run_with_an_init_inside_is_its_next_attempt(here: Path) -> None:
    joined(here, "os._exit(3)")
    done = subprocess.run(
        [*RUNSTORE, "resume", str(only_run(here))], capture_output=True, check=False
    )
    assert done.returncode == 3
    data = runstore.load(only_run(here))
    assert (data.state.attempt, data.params) == (2, {"lr": 0.1})
    names = {path.name for path in only_run(here).glob("*-0002*")}
    assert {"exec-0002.jsonl", "events-0002.jsonl"} <= names


def test_signal_from_the_command_itself_is_not_sent_back(here: Path) -> None:
    script = "import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); time.sleep(0.5)"
    done = run(*python(script + "; print('goes on')"))
    assert (done.returncode, done.stdout) == (0, b"goes on\n")
    assert status_of(only_run(here)) == Status("interrupted", "SIGTERM")


def test_init_of_a_further_process_is_a_further_attempt(here: Path) -> None:
    script = "import runstore; runstore.init(system_interval_s=None).finish()"
    one = f"{sys.executable} -c '{script}'"
    done = run("sh", "-c", f"{one} && {one}")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in sorted(only_run(here).glob("events-*"))] == [
        "events-0001.jsonl",
        "events-0002.jsonl",
    ]
