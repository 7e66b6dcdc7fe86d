"""`doctor --fs`: what a directory's file system does, from one host and between two."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from runstore.cli import cli
from runstore.doctor import two_hosts
from runstore.doctor.file_system import PREFIX, TICK_S, clock_difference, workplace
from runstore.doctor.two_hosts import CHANNELS, ROUNDS, Ear, OtherSideError, Voice, Watch, meet

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

ROOT = Path(__file__).resolve().parents[3]
OF_ONE_HOST = [
    *("type", "append", "exclusive_create", "rename", "flock", "fcntl_lock"),
    *("fdatasync", "hard_link", "sparse", "mtime", "clock"),
]
BETWEEN_HOSTS = [*(f"lag_{name}" for name in CHANNELS), "lock_between_hosts", "clock_between_hosts"]


def doctor(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["doctor", *map(str, arguments)])


def start(*arguments: str | Path, under: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "runstore.cli", "doctor", *map(str, arguments)]
    return subprocess.Popen(
        [*under, *program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def by_name(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in document["checks"]}


def test_a_local_directory_does_all_that_runstore_relies_on(tmp_path: Path) -> None:
    done = doctor("--fs", tmp_path, "--json")
    assert done.exit_code == 0
    checks = by_name(json.loads(done.output))
    assert list(checks) == OF_ONE_HOST
    assert {check["severity"] for check in checks.values()} <= {None, "note"}
    assert checks["type"]["values"]["mode"] == "direct"
    assert 0 <= checks["fdatasync"]["values"]["p50_s"] <= checks["fdatasync"]["values"]["max_s"]
    assert abs(checks["clock"]["values"]["server_ahead_s"]) < 1
    assert os.listdir(tmp_path) == []


def test_the_page_has_a_line_for_each_in_80_columns(tmp_path: Path) -> None:
    lines = doctor("--fs", tmp_path).output.splitlines()
    assert max(map(len, lines)) <= 80
    assert re.match(
        r"  exclusive create  ok", lines[next(i for i, x in enumerate(lines) if "excl" in x)]
    )
    assert lines[-1].startswith("11 things tried: ")


def test_the_page_of_the_documents_names_every_check() -> None:
    page = (ROOT / "docs" / "doctor.md").read_text("utf-8").partition("## --fs")[2]
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) == [*OF_ONE_HOST, *BETWEEN_HOSTS]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--fs", ".", "runs"),
        ("--fs", ".", "--repair"),
        ("--wait", "1"),
        ("--fs", ".", "--wait", "x"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert doctor(*arguments).exit_code == 2


def test_a_directory_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    process = start("--fs", tmp_path / "nowhere")
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert err.count("\n") == 1
    assert "No such file or directory" in err


@pytest.mark.needs_tool("strace")
def test_what_a_mount_lacks_is_told_and_the_rest_is_tried(
    tmp_path: Path, tool: Callable[[str], str]
) -> None:
    """As on Lustre without `-o flock`, and on FUSE mounts without links."""
    runs = tmp_path / "runs"
    runs.mkdir()
    lacks = ("-e", "inject=flock:error=ENOSYS", "-e", "inject=link,linkat:error=EPERM")
    strace = (tool("strace"), "-o", str(tmp_path / "trace"), *lacks)
    process = start("--fs", runs, "--json", under=strace)
    out, err = process.communicate()
    assert out, err
    checks = by_name(json.loads(out))
    assert process.returncode == 1
    assert checks["flock"]["severity"] == "warning"
    assert "function not implemented" in checks["flock"]["found"]
    assert checks["hard_link"]["severity"] == "note"
    assert checks["append"]["severity"] is None
    assert os.listdir(runs) == []


def test_two_sides_find_each_other_measure_and_leave_nothing(tmp_path: Path) -> None:
    # Left by a process that was killed: it says nothing any more.
    old = tmp_path / f"{PREFIX}old-1-0000"
    old.mkdir()
    (old / "said.jsonl").write_text('{"beat":1}\n{"beat":2,"ready":true}\n')
    both = [start("--fs", tmp_path, "--wait", "30", "--json") for _ in range(2)]
    for one in both:
        out, err = one.communicate()
        assert one.returncode == 0, err
        document = json.loads(out)
        assert document["other"] == document["host"] == os.uname().nodename
        checks = by_name(document)
        assert list(checks) == [*OF_ONE_HOST, *BETWEEN_HOSTS]
        for name in CHANNELS:
            lag = checks[f"lag_{name}"]["values"]
            assert lag["seen"] == ROUNDS
            assert 0 <= lag["p50_s"] <= lag["max_s"]
        assert checks["lock_between_hosts"]["values"]["works"] is True
        assert abs(checks["clock_between_hosts"]["values"]["other_ahead_s"]) < 1
    assert os.listdir(tmp_path) == [old.name]


def test_nobody_came_is_one_line_with_what_to_do(tmp_path: Path) -> None:
    process = start("--fs", tmp_path, "--wait", "0.5")
    _, err = process.communicate()
    assert process.returncode == 1
    assert "nobody else came within 0.5 s" in err
    assert os.listdir(tmp_path) == []


def test_ctrl_c_leaves_nothing(tmp_path: Path, wait_until: WaitUntil) -> None:
    process = start("--fs", tmp_path, "--wait", "60")
    wait_until(lambda: list(tmp_path.glob(f"{PREFIX}*/said.jsonl")))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == []


def test_a_side_that_went_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_hosts, "LOST_S", 0.3)
    with workplace(tmp_path) as mine, workplace(tmp_path) as its:
        voice, its_voice = Voice(mine), Voice(its)
        its_voice.say(beat=1, partner=mine.name)
        its_voice.close()
        with pytest.raises(OtherSideError, match="went away"):
            two_hosts._hear(Ear(its), "ready", voice)
        voice.close()


def test_a_third_side_is_not_taken_for_the_second(tmp_path: Path) -> None:
    with workplace(tmp_path) as mine, workplace(tmp_path) as its:
        voice, its_voice = Voice(mine), Voice(its)
        ear = Ear(its)
        for beat in range(2):
            its_voice.say(beat=beat, partner="another one")
            ear.listen()
        assert two_hosts._choose({its.name: ear}, mine.name) is None
        its_voice.say(partner=mine.name)
        ear.listen()
        assert two_hosts._choose({its.name: ear}, mine.name) == its.name
        with pytest.raises(OtherSideError):
            meet(tmp_path, mine, voice, 0.1)
        voice.close()
        its_voice.close()


def test_lags_are_true_however_the_clocks_stand() -> None:
    """This host's clock is 100 s behind the server's, the other one's 50 s ahead of it."""
    server_ahead, other_ahead = 100.0, -50.0
    done = [1000.0 + round_ - other_ahead for round_ in range(ROUNDS)]
    watch = Watch(lambda: 0)
    watch.seen = [1000.0 + round_ + 3.0 - server_ahead for round_ in range(ROUNDS)]
    facts = {"host": "other", "server_ahead_s": other_ahead, "within_s": 0.1}
    watches = dict.fromkeys(CHANNELS, watch)
    said = {"done": dict.fromkeys(CHANNELS, done)}
    for check in two_hosts._lags(watches, said, server_ahead, facts):
        assert check.values == {"p50_s": 3.0, "max_s": 3.0, "seen": ROUNDS}
    check = two_hosts._clock_check(server_ahead, 0.1, facts)
    assert check.values["other_ahead_s"] == 150.0
    assert check.severity == "warning"
    assert "other is 150.0 s ahead of this host" in check.found


def test_what_was_never_seen_is_an_error() -> None:
    check = two_hosts._lag_check("lag_rename", [1.0, 2.0])
    assert check.severity == "error"
    assert "8 of 10 not seen" in check.found
    assert two_hosts._lag_check("lag_rename", []).values["p50_s"] is None


def test_a_lock_that_the_other_host_has_and_nobody_sees_is_told() -> None:
    assert two_hosts._lock_check(True, {"host": "b", "locks": True}).severity is None
    assert two_hosts._lock_check(False, {"host": "b", "locks": True}).severity == "warning"
    assert two_hosts._lock_check(None, {"host": "b", "locks": True}).severity == "warning"


def test_a_clock_that_differs_from_the_file_server_s_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 100)
    ahead_s, within_s = clock_difference(tmp_path)
    assert ahead_s == pytest.approx(-100, abs=within_s)
    assert within_s >= TICK_S
    assert os.listdir(tmp_path) == []


def test_what_the_other_side_says_cannot_drive_the_terminal(tmp_path: Path) -> None:
    with workplace(tmp_path) as place:
        (place / "said.jsonl").write_bytes(b'{"host":"\\u001b]52;c;A\\u0007"}\nno json\n[1]\n{"ha')
        ear = Ear(place)
        ear.listen()
        assert list(ear.facts) == ["host"]
        check = two_hosts._lock_check(True, ear.facts)
    from runstore.cli.doctor import _wrapped

    assert "\x1b" not in "".join(_wrapped(check.found))
