"""Each thing that `doctor` knows is found in a real run that was damaged, and in no sound one."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

import runstore
from runstore.cli import cli
from runstore.doctor import Doctor, Finding, Findings
from runstore.doctor.findings import KINDS
from runstore.doctor.surroundings import check_room
from runstore.files.paths import Stream
from runstore.runs.lookup import find
from runstore.runs.reader import visible_rows
from runstore.sweeps.document import write
from runstore.sweeps.plan import plan
from tests.conftest import WithinCpuS

"""Importing torch in another process, on a busy machine, takes a while."""

OF_ROWS: tuple[Stream, ...] = ("metrics", "epochs", "reports", "system")
ROOT = Path(__file__).resolve().parents[3]

RESUMED = """
import os, signal, sys
import torch, runstore

model = torch.nn.Linear(1, 1)


def train(first, last, save_at, **where):
    run = runstore.init({"lr": 0.1}, name="resumed", system_interval_s=None, **where)
    run.register(model=model)
    for step in range(first, last):
        run.log({"train/loss": 1 / step}, step=step)
        if step == save_at:
            run.save()
    return run


child = os.fork()
if child == 0:
    train(1, 51, 20, root=sys.argv[1])
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
run = train(21, 61, 60, resume="latest", root=sys.argv[1])
run.finish()
print(run.path, flush=True)
"""
KILLED = """
import os, signal, sys
import runstore
run = runstore.init(root=sys.argv[1], name="killed", system_interval_s=None)
for step in range(1, 21):
    run.log({"train/loss": 1 / step}, step=step)
print(run.path, flush=True)
if sys.argv[2] == "wait":
    signal.pause()
os.kill(os.getpid(), signal.SIGKILL)
"""
GOES_ON = """
import sys
import runstore
with runstore.init(resume=sys.argv[1], system_interval_s=None) as run:
    for step in range(21, 41):
        run.log({"train/loss": 1 / step}, step=step)
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def path_printed_by(process: subprocess.Popen[str]) -> Path:
    out, err = process.communicate()
    assert out, err
    return Path(out.split("\n")[0])


@pytest.fixture(scope="module")
def finished_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that went through two epochs and said where it went."""
    root = tmp_path_factory.mktemp("template")
    with runstore.init({"lr": 0.1}, root=root, name="sound", system_interval_s=None) as run:
        for epoch in run.epochs(2):
            for batch in run.train(range(10)):
                run.log({"train/loss": 1 / (epoch * 10 + batch)}, step=run.step + 1)
            for _ in run.val(range(1)):
                run.track_classification(torch.tensor([1, 0]), torch.tensor([1, 1]))
    return run.path


@pytest.fixture(scope="module")
def resumed_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed behind a checkpoint, and went on from it to its end."""
    return path_printed_by(start(RESUMED, str(tmp_path_factory.mktemp("template"))))


@pytest.fixture
def finished(finished_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_template, tmp_path / "runs" / finished_template.name))


@pytest.fixture
def resumed(resumed_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(resumed_template, tmp_path / "runs" / resumed_template.name))


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    return path_printed_by(start(KILLED, str(tmp_path / "runs"), "die"))


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Path]:
    process = start(KILLED, str(tmp_path / "runs"), "wait")
    assert process.stdout is not None
    try:
        yield Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


def look(path: Path, **options: Any) -> list[Finding]:
    doctor = Doctor(path, **options)
    findings = [one for found in doctor.examine() for one in found.findings]
    # The room on the disk of the machine that tests is none of the runs' business.
    about = [one for one in doctor.about_root() if one.code == "same_id"]
    return findings + about


def codes(path: Path, **options: Any) -> set[str]:
    return {one.code for one in look(path, **options)}


def one_of(path: Path, code: str, **options: Any) -> Finding:
    found = [one for one in look(path, **options) if one.code == code]
    assert len(found) == 1, look(path, **options)
    return found[0]


def doctor(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["doctor", *map(str, arguments)])


def change_event(path: Path, event: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Write an events file anew with one kind of its events changed."""
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for one in events:
        if one["event"] == event:
            change(one)
    path.write_text("".join(json.dumps(one) + "\n" for one in events))


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


# ---- sound runs


def test_nothing_is_found_in_a_sound_run(finished: Path) -> None:
    assert look(finished, hashed=True) == []


def test_nothing_is_found_in_a_resumed_run(resumed: Path) -> None:
    assert (resumed / "events-0002.jsonl").exists()
    assert look(resumed, hashed=True) == []


def test_nothing_is_found_in_a_live_run_in_the_middle_of_a_line(live: Path) -> None:
    with (live / "metrics-0001.jsonl").open("ab") as file:
        file.write(b'{"step":21,"ti')
    (live / ".progress.json.1-2.tmp").touch()
    assert look(live) == []


def test_zeros_whose_bytes_may_still_come_are_not_found(live: Path) -> None:
    """As a file server shows a file's size before its bytes."""
    with (live / "metrics-0001.jsonl").open("ab") as file:
        file.write(bytes(100) + b"\n")
    assert look(live) == []


OF_EXEC = {
    "a script that nobody changed": """
for step in range(1, 6):
    print('{"step": %d, "loss": 0.5}' % step, flush=True)
""",
    "a script that opens the run": """
import runstore
print('{"step": 1, "loss": 0.5}', flush=True)
with runstore.init(system_interval_s=None) as run:
    run.log({"loss": 0.25}, step=2)
""",
    "a script that kills itself": """
import os, signal
import runstore
run = runstore.init(system_interval_s=None)
run.log({"loss": 0.25}, step=2)
os.kill(os.getpid(), signal.SIGKILL)
""",
}


@pytest.mark.parametrize("script", OF_EXEC)
def test_nothing_is_found_in_a_run_of_exec(tmp_path: Path, script: str) -> None:
    """A launcher's exit is an end, and it names the files that the launcher wrote."""
    launched = subprocess.run(
        [
            *(sys.executable, "-m", "runstore.cli", "exec", "--root", str(tmp_path / "runs"), "--"),
            *(sys.executable, "-c", OF_EXEC[script]),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert (run_dir / "exec-0001.jsonl").exists(), launched.stderr
    # A killed process leaves its reserve, and a progress.json that it was just replacing.
    assert {one.code for one in look(run_dir)} <= {"left_reserve", "temporary_file"}
    for path in run_dir.glob("metrics-*.jsonl"):
        data = path.read_bytes()
        # With its name: 0.5 may be a part of a time.
        path.write_bytes(data.replace(b'"loss":0.5', b'"loss":0.6'))
        assert ("crc_differs" in codes(run_dir)) == (b'"loss":0.5' in data)
        path.write_bytes(data)


def test_only_a_note_is_found_in_the_fixture_of_the_format(repo_root: Path) -> None:
    fixture = repo_root / "tests" / "fixtures" / "format-1"
    found = look(fixture, now=1796000000.0)
    # One value of it is no number, on purpose.
    assert [(one.code, one.severity) for one in found] == [("left_out", "note")]


def test_nothing_is_found_in_lines_written_by_hand(tmp_path: Path) -> None:
    (tmp_path / "by-hand").mkdir()
    (tmp_path / "by-hand" / "metrics.jsonl").write_text('{"step":1,"loss":2}\n' * 2)
    assert look(tmp_path) == []


# ---- lines


def test_a_damaged_line_is_found_with_its_line_and_byte(finished: Path) -> None:
    path = finished / "metrics-0001.jsonl"
    lines = lines_of(path)
    damaged = lines[2].replace(b'"', b"'", 1)
    path.write_bytes(b"".join([*lines[:2], damaged, *lines[3:]]))
    found = one_of(finished, "bad_line")
    assert (found.file, found.line) == (path.name, 3)
    assert found.byte == len(lines[0]) + len(lines[1])
    assert found.severity == "error"


def test_damaged_lines_of_a_file_are_one_finding_with_their_number(finished: Path) -> None:
    path = finished / "metrics-0001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"{", b"["))
    assert one_of(finished, "bad_line").count == len(lines_of(path))


def test_a_line_over_1_mib_is_found_and_what_follows_is_read(killed: Path) -> None:
    path = killed / "metrics-0001.jsonl"
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"a":"' + b"x" * (3 << 20) + b'"}\nbad\n')
    found = [one for one in look(killed) if one.code == "bad_line"]
    assert [(one.line, one.byte, one.count) for one in found] == [(21, size, 2)]


def test_a_damaged_line_behind_one_over_1_mib_is_found_at_its_byte(killed: Path) -> None:
    path = killed / "metrics-0001.jsonl"
    damaged = path.read_bytes().rpartition(b"\n")[0] + b"\n" + b"x" * (3 << 20) + b"\n"
    path.write_bytes(damaged + b'{"step":90,"a":1.0}\n\0\n')
    found = one_of(killed, "nul_run")
    assert found.byte == len(damaged) + len(b'{"step":90,"a":1.0}\n')


def test_a_file_that_is_cut_whole_needs_no_tally(finished: Path) -> None:
    events = finished / "events-0001.jsonl"
    *before, end = events.read_bytes().splitlines(keepends=True)
    cut = b'{"event":"cut","time":1.0,"file":"metrics-0001.1.jsonl","bytes":0}\n'
    stray = finished / "metrics-0001.1.jsonl"
    stray.write_bytes(b'{"step":90,"a":1.0}\n')
    assert codes(finished) == {"unlisted_file"}
    events.write_bytes(b"".join([*before, cut, end]))
    assert codes(finished) == set()


def test_a_run_of_nul_bytes_is_found_where_it_begins(finished: Path) -> None:
    path = finished / "metrics-0001.jsonl"
    data = bytearray(path.read_bytes())
    first = data.index(b"\n") + 1
    data[first + 10 : first + 30] = bytes(20)
    path.write_bytes(data)
    found = one_of(finished, "nul_run")
    assert (found.line, found.byte) == (2, first + 10)
    assert found.found == "20 NUL bytes"


def test_a_hole_of_40_gib_costs_no_time_and_no_memory(
    killed: Path, within_cpu_s: WithinCpuS
) -> None:
    path = killed / "metrics-0001.jsonl"
    rows = path.read_bytes()
    with path.open("ab") as file:
        file.truncate(40 << 30)
        file.seek(40 << 30)
        file.write(b"\n" + rows)
    with within_cpu_s(3):
        found = one_of(killed, "bad_line")
    assert (found.line, found.byte, found.count) == (21, len(rows), 1)


def test_a_torn_tail_of_a_dead_run_is_found(killed: Path) -> None:
    path = killed / "metrics-0001.jsonl"
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"step":21')
    found = one_of(killed, "torn_tail")
    assert (found.line, found.byte, found.severity) == (21, size, "warning")


def test_a_torn_tail_behind_rows_that_are_whole_is_no_other_finding(finished: Path) -> None:
    with (finished / "metrics-0001.jsonl").open("ab") as file:
        file.write(b'{"step":21')
    assert codes(finished) == {"torn_tail"}


def test_the_same_row_twice_in_a_row_is_found(killed: Path) -> None:
    path = killed / "metrics-0001.jsonl"
    with path.open("ab") as file:
        file.write(lines_of(path)[-1])
    found = one_of(killed, "repeated_rows")
    assert found.line == 21


def test_rows_that_the_next_part_has_again_are_found_unless_they_are_cut(killed: Path) -> None:
    first, part = killed / "metrics-0001.jsonl", killed / "metrics-0001.1.jsonl"
    lines = lines_of(first)
    part.write_bytes(b"".join(lines[15:]))
    found = one_of(killed, "repeated_rows")
    assert (found.file, found.line) == (first.name, 16)
    with (killed / "events-0001.jsonl").open("ab") as events:
        size = len(b"".join(lines[:15]))
        cut = {"event": "cut", "time": time.time(), "file": first.name, "bytes": size}
        events.write(json.dumps(cut).encode() + b"\n")
    assert "repeated_rows" not in codes(killed)


def test_steps_and_times_that_go_back_are_found(killed: Path) -> None:
    path = killed / "metrics-0001.jsonl"
    row = json.loads(lines_of(path)[-1])
    row["step"], row["time"] = 3, row["time"] - 100
    with path.open("ab") as file:
        file.write(json.dumps(row).encode() + b"\n")
    assert one_of(killed, "steps_back").line == 21
    assert one_of(killed, "time_back").found == "01:40 before the line before"


# ---- files against the end event


def test_a_changed_digit_is_found_by_the_checksum(finished: Path) -> None:
    path = finished / "metrics-0001.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"step":3', b'"step":4'))
    assert codes(finished) == {"crc_differs"}


def test_missing_and_added_rows_are_found(finished: Path) -> None:
    path = finished / "metrics-0001.jsonl"
    path.write_bytes(b"".join(lines_of(path)[:-1]))
    assert codes(finished) == {"bytes_differ"}
    row = {"step": 99, "time": time.time(), "a": 1.0}
    path.write_bytes(path.read_bytes() + 3 * (json.dumps(row).encode() + b"\n"))
    assert "bytes_differ" in codes(finished)


def test_a_number_of_rows_that_is_not_the_end_s_is_found(finished: Path) -> None:
    def damage(end: dict[str, Any]) -> None:
        end["files"]["metrics-0001.jsonl"]["rows"] += 1

    change_event(finished / "events-0001.jsonl", "end", damage)
    assert codes(finished) == {"rows_differ"}


def test_a_file_that_is_gone_is_found(finished: Path) -> None:
    (finished / "epochs-0001.jsonl").unlink()
    assert codes(finished) == {"missing_file"}


def test_a_file_that_the_end_does_not_name_is_found(finished: Path) -> None:
    shutil.copy(finished / "epochs-0001.jsonl", finished / "system-0001.jsonl")
    assert codes(finished) == {"unlisted_file"}


def test_a_missing_part_is_found(killed: Path) -> None:
    (killed / "metrics-0001.jsonl").rename(killed / "metrics-0001.2.jsonl")
    found = [one.file for one in look(killed) if one.code == "missing_part"]
    assert found == ["metrics-0001.1.jsonl", "metrics-0001.jsonl"] or len(found) == 1


# ---- attempts


def test_a_crash_is_found(killed: Path) -> None:
    found = one_of(killed, "no_end")
    assert found.severity == "warning"
    assert "is gone" in found.found


def test_an_end_that_cannot_be_known_is_a_note(killed: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(killed, tmp_path / "copies" / killed.name)
    assert one_of(copy, "no_end").severity == "note"


def test_missing_events_are_found(resumed: Path) -> None:
    (resumed / "events-0001.jsonl").unlink()
    assert "missing_events" in codes(resumed)


def test_a_missing_attempt_is_found(resumed: Path) -> None:
    for path in resumed.glob("*-0001.jsonl"):
        path.unlink()
    assert "missing_attempt" in codes(resumed)


def test_names_that_tell_of_a_billion_attempts_and_parts_cost_nothing(finished: Path) -> None:
    for name in ("metrics-0001.999999999.jsonl", "events-999999999.jsonl"):
        (finished / name).write_text("")
    found = [(one.code, one.file) for one in look(finished)]
    assert ("missing_attempt", "events-0002.jsonl") in found
    assert ("missing_part", "metrics-0001.1.jsonl") in found
    assert len(found) < 500


def test_a_missing_open_is_found(resumed: Path) -> None:
    path = resumed / "events-0001.jsonl"
    path.write_bytes(b"".join(lines_of(path)[1:]))
    assert codes(resumed) == {"missing_open"}


def test_an_end_in_an_unknown_word_is_found(finished: Path) -> None:
    change_event(finished / "events-0001.jsonl", "end", lambda end: end.update(status="finishes"))
    assert codes(finished) == {"odd_end"}


def test_lost_rows_lost_ranks_and_values_left_out_are_told(finished: Path) -> None:
    facts = {"dropped_rows": 7, "lost_ranks": [3], "dropped_values": 2, "dropped_images": 4}
    change_event(finished / "events-0001.jsonl", "end", lambda end: end.update(facts))
    assert codes(finished) == {"rows_lost", "ranks_lost", "left_out"}
    assert "7 rows were lost" in one_of(finished, "rows_lost").found
    told = one_of(finished, "left_out").found
    assert "2 values were not logged, images of 4 calls were not written" in told


def test_a_warning_of_lost_rows_is_told(killed: Path) -> None:
    with (killed / "events-0001.jsonl").open("a") as events:
        message = "writing metrics-0001.jsonl works again, 12 rows were lost"
        events.write(json.dumps({"event": "warning", "time": 1.0, "message": message}) + "\n")
    assert one_of(killed, "rows_lost").found == message


def test_what_the_mount_lacks_is_a_note(finished: Path) -> None:
    change_event(
        finished / "events-0001.jsonl", "open", lambda event: event.update(without=["lock"])
    )
    assert one_of(finished, "mount_lacks").severity == "note"


def test_attempts_that_overlap_are_found(resumed: Path) -> None:
    def earlier(event: dict[str, Any]) -> None:
        event["time"] -= 3600

    change_event(resumed / "events-0002.jsonl", "open", earlier)
    assert codes(resumed) == {"attempts_overlap"}


def test_times_in_the_future_are_found(finished: Path) -> None:
    found = look(finished, now=time.time() - 3600)
    assert {one.code for one in found} == {"future_time"}
    assert {one.file for one in found} >= {"run.json"}


# ---- cuts


def cut_at(resumed: Path, change: Callable[[dict[str, int]], object]) -> None:
    change_event(resumed / "events-0002.jsonl", "open", lambda event: change(event["cuts"]))
    # Without it the cuts would be compared with the checkpoint's too.
    (resumed / "checkpoints" / "manifest.jsonl").unlink()


def test_a_cut_of_a_file_that_is_not_there_is_found(resumed: Path) -> None:
    cut_at(resumed, lambda cuts: cuts.update({"metrics-0001.3.jsonl": 10, "../x": 1}))
    assert one_of(resumed, "cut_missing_file").count == 2


def test_a_cut_beyond_the_end_is_found(resumed: Path) -> None:
    cut_at(resumed, lambda cuts: cuts.update({"metrics-0001.jsonl": 1 << 40}))
    assert "cut_beyond_end" in codes(resumed)


def test_a_cut_inside_a_line_is_found(resumed: Path) -> None:
    size = len(lines_of(resumed / "metrics-0001.jsonl")[0])
    cut_at(resumed, lambda cuts: cuts.update({"metrics-0001.jsonl": size + 3}))
    assert "cut_inside_line" in codes(resumed)


def test_a_cut_at_another_line_than_the_checkpoint_s_is_found(resumed: Path) -> None:
    size = len(lines_of(resumed / "metrics-0001.jsonl")[0])
    change_event(
        resumed / "events-0002.jsonl",
        "open",
        lambda event: event["cuts"].update({"metrics-0001.jsonl": size}),
    )
    assert codes(resumed) == {"cut_differs"}


def test_damage_behind_a_cut_is_a_note(resumed: Path) -> None:
    path = resumed / "metrics-0001.jsonl"
    lines = lines_of(path)
    path.write_bytes(b"".join([*lines[:-1], b"[" + lines[-1]]))
    found = one_of(resumed, "bad_line")
    assert found.severity == "note"
    assert "behind a cut" in found.found


# ---- checkpoints


def checkpoint(run_dir: Path) -> Path:
    return max((run_dir / "checkpoints").glob("step-*.pt"))


def test_a_checkpoint_that_is_gone_is_found(resumed: Path) -> None:
    checkpoint(resumed).unlink()
    assert codes(resumed) == {"checkpoint_missing"}


def test_that_all_checkpoints_were_deleted_is_a_note(resumed: Path) -> None:
    for path in (resumed / "checkpoints").glob("*.pt"):
        path.unlink()
    assert one_of(resumed, "checkpoint_missing").severity == "note"


def test_a_checkpoint_of_another_size_is_found(resumed: Path) -> None:
    with checkpoint(resumed).open("ab") as file:
        file.write(b"x")
    assert codes(resumed) == {"checkpoint_bytes"}


def test_a_changed_checkpoint_is_found_when_asked_for(resumed: Path) -> None:
    path = checkpoint(resumed)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert codes(resumed) == set()
    assert codes(resumed, hashed=True) == {"checkpoint_changed"}
    assert doctor(resumed, "--checkpoints").exit_code == 1


def test_a_checkpoint_without_a_row_is_found(resumed: Path) -> None:
    (resumed / "checkpoints" / "step-00000999-0002.pt").write_bytes(b"half")
    assert codes(resumed) == {"checkpoint_unlisted"}


def test_damage_in_the_manifest_is_found(resumed: Path) -> None:
    with (resumed / "checkpoints" / "manifest.jsonl").open("ab") as file:
        file.write(b'{"file":"step-1.pt"}\n{"fi')
    found = {one.code: one.file for one in look(resumed)}
    assert found == {
        "bad_line": "checkpoints/manifest.jsonl",
        "torn_tail": "checkpoints/manifest.jsonl",
    }


# ---- documents


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\0" * 100])
def test_a_damaged_run_json_is_found(finished: Path, data: bytes) -> None:
    (finished / "run.json").write_bytes(data)
    assert codes(finished) == {"bad_document"}


def test_a_missing_run_json_is_a_note(finished: Path) -> None:
    (finished / "run.json").unlink()
    assert one_of(finished, "no_document").severity == "note"


def test_a_renamed_run_is_found(finished: Path) -> None:
    assert codes(finished.rename(finished.with_name("other"))) == {"other_id"}


def test_two_directories_with_one_id_are_found(finished: Path) -> None:
    shutil.copytree(finished, finished.parent / "sweep" / finished.name)
    assert codes(finished.parent) == {"same_id"}


def test_cells_of_two_sweeps_with_the_same_parameters_are_no_copies(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write(plan(["true"], [{"lr": 1}], root=tmp_path, name=name))
    assert "same_id" not in codes(tmp_path)


def test_a_newer_format_is_found_and_not_judged(finished: Path) -> None:
    document = json.loads((finished / "run.json").read_text())
    (finished / "run.json").write_text(json.dumps({**document, "format": 2}))
    (finished / "metrics-0001.jsonl").write_bytes(b"what format 2 may write")
    assert codes(finished) == {"newer_format"}


def test_a_heartbeat_of_an_older_attempt_is_a_note(resumed: Path) -> None:
    (resumed / "progress.json").write_text('{"attempt":1,"beat":3,"time":1.0}')
    assert one_of(resumed, "stale_progress").severity == "note"


def test_an_end_with_a_degraded_disk_is_found(resumed: Path) -> None:
    (resumed / "progress.json").write_text('{"attempt":2,"beat":3,"time":1.0,"degraded":true}')
    assert codes(resumed) == {"ended_degraded"}


def test_an_empty_directory_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "20261120-141502-k3x4qa7b").mkdir()
    assert [one.severity for one in look(tmp_path) if one.code == "empty_run"] == ["note"]


# ---- the directory


def test_left_files_are_told_apart(finished: Path) -> None:
    for name in (".progress.json.12-34.tmp", ".reserve", "metrics-0001.jsonl.torn"):
        (finished / name).touch()
    (finished / ".metrics-0001.jsonl.a1B2c3").touch()
    (finished / "checkpoints").mkdir(exist_ok=True)
    (finished / "checkpoints" / ".step-00000001-0001.pt.77.tmp").touch()
    found = {(one.code, one.severity, one.count) for one in look(finished)}
    assert found == {
        ("temporary_file", "note", 1),
        ("left_reserve", "note", 1),
        ("torn_sidecar", "note", 1),
        ("partial_copy", "warning", 1),
    }


def test_nobody_is_told_to_delete_what_a_process_out_of_sight_may_use(
    killed: Path, tmp_path: Path
) -> None:
    (killed / ".run.json.12-34.tmp").touch()
    copy = Path(shutil.copytree(killed, tmp_path / "copied" / killed.name))
    left = {"temporary_file", "left_reserve"}
    assert codes(killed) >= left
    assert not codes(copy) & left


def test_files_that_others_put_there_are_nobody_s_business(finished: Path) -> None:
    (finished / "notes.txt").touch()
    (finished / ".gitignore").touch()
    (finished / "output.log").touch()
    assert look(finished) == []


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_what_is_no_regular_file_is_found_and_not_read(finished: Path, kind: str) -> None:
    path = finished / "epochs-0001.jsonl"
    data = path.rename(finished.parent / "elsewhere.jsonl")
    match kind:
        case "link":
            path.symlink_to(data)
        case "fifo":
            os.mkfifo(path)
        case _:
            path.mkdir()
    assert one_of(finished, "not_regular").file == path.name


def test_an_unreadable_file_is_found(finished: Path, ordinary_user: Path) -> None:
    run_dir = Path(shutil.copytree(finished, ordinary_user / finished.name))
    (run_dir / "epochs-0001.jsonl").chmod(0)
    with somebody():
        assert one_of(run_dir, "unreadable").file == "epochs-0001.jsonl"
    shutil.rmtree(run_dir)
    run_dir.mkdir(0o000)
    with somebody():
        assert {one.code for one in look(ordinary_user)} == {"unreadable"}


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """A directory that everybody can reach, unlike `tmp_path`."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@contextmanager
def somebody() -> Iterator[None]:
    """Root may read everything: do without that for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_who_may_write_is_told(finished: Path) -> None:
    finished.chmod(0o777)
    (finished / "run.json").chmod(0o666)
    found = [(one.code, one.file) for one in look(finished)]
    assert found == [("writable_by_all", None), ("writable_by_all", "run.json")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_group_that_may_write_is_told_unless_it_is_the_user_s_own(finished: Path) -> None:
    finished.chmod(0o775)
    os.chown(finished, 0, 0)
    assert look(finished) == []
    os.chown(finished, 0, 12345)
    assert one_of(finished, "writable_by_group").severity == "note"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_file_of_another_owner_is_found(finished: Path) -> None:
    os.chown(finished / "metrics-0001.jsonl", 12345, -1)
    assert one_of(finished, "other_owner").file == "metrics-0001.jsonl"


def test_a_disk_that_is_nearly_full_is_found() -> None:
    fields = ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail")
    values = dict(zip(fields, (4096, 4096, 10**9, 10**4, 10**4, 10**6, 10, 10), strict=True))
    room = os.statvfs_result((*values.values(), 0, 255))
    findings = Findings(None)
    check_room(Path("runs"), room, findings)
    assert {one.code for one in findings} == {"disk_nearly_full", "inodes_nearly_used_up"}
    findings = Findings(None)
    check_room(
        Path("runs"),
        os.statvfs_result((4096, 4096, 10**9, 10**9, 10**9, 0, 0, 0, 0, 255)),
        findings,
    )
    assert not list(findings)


# ---- the command, and what it repairs


def torn(run_dir: Path) -> Path:
    """Leave a torn row in the metrics, as a killed process does."""
    path = run_dir / "metrics-0001.jsonl"
    with path.open("ab") as file:
        file.write(b'{"step":21,"ti')
    return path


def contents(run_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}


def test_exit_status_is_0_for_nothing_wrong_1_for_findings_2_for_usage(finished: Path) -> None:
    sound = doctor(finished.parent)
    assert (sound.exit_code, sound.output) == (0, "1 run looked at: nothing wrong\n")
    (finished / ".reserve").touch()
    assert doctor(finished).exit_code == 0
    (finished / "epochs-0001.jsonl").unlink()
    assert doctor(finished).exit_code == 1
    assert doctor("--no-such-option").exit_code == 2


def test_the_root_is_that_of_the_other_commands(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doctor("--root", finished.parent).exit_code == 0
    monkeypatch.setenv("RUNSTORE_ROOT", str(finished.parent))
    assert "1 run looked at" in doctor().output
    refused = CliRunner().invoke(cli, ["doctor", str(finished / "nowhere")])
    assert "no such directory" in str(refused.exception)


def test_the_page_has_groups_places_advice_and_a_last_line_in_80_columns(
    finished: Path, killed: Path
) -> None:
    path = finished / "metrics-0001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"{", b"[", 2))
    torn(killed)
    page = doctor(finished.parent)
    assert page.exit_code == 1
    lines = page.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(str(killed)[:60])
    assert "  error    bad_line  metrics-0001.jsonl:1, byte 0, 2 of them" in lines
    assert any("compare with another copy" in line for line in lines)
    assert lines[-1] == "2 runs looked at: 2 errors, 2 warnings, 1 note"


def test_what_a_file_says_cannot_drive_the_terminal(finished: Path) -> None:
    evil = "\x1b]52;c;AAAA\x07\u202e"
    change_event(finished / "events-0001.jsonl", "end", lambda end: end.update(status=evil))
    (finished / f"metrics-0001.{evil}.jsonl.torn").touch()
    for output in (doctor(finished).output, doctor(finished, "--json").output):
        assert not {"\x1b", "\x07", "\u202e"} & set(output)


def test_a_note_that_many_runs_have_is_told_some_times_and_counted(finished: Path) -> None:
    (finished / ".reserve").touch()
    for again in range(14):
        copy = finished.parent / str(again) / finished.name
        shutil.copytree(finished, copy)
        document = json.loads((copy / "run.json").read_text())
        (copy / "run.json").write_text(json.dumps({**document, "id": 7}))
    output = doctor(finished.parent).output
    assert output.count("left_reserve") == 11
    assert "left_reserve: 5 more" in output


def test_json_counts_and_places_what_was_found(finished: Path, killed: Path) -> None:
    torn(killed)
    (finished / "epochs-0001.jsonl").unlink()
    found = json.loads(doctor(finished.parent, "--json").output)
    assert (found["runs"], found["errors"], found["warnings"]) == (2, 1, 2)
    by_code = {one["code"]: one for one in found["findings"]}
    assert by_code["missing_file"]["run"] == str(finished)
    assert by_code["torn_tail"]["line"] == 21


def test_the_page_has_every_code() -> None:
    page = (ROOT / "docs" / "doctor.md").read_text("utf-8")
    table = re.findall(r"^\| `(\w+)` \| (\w+) \|", page.partition("## JSON")[0], re.M)
    assert dict(table) == {code: kind.severity for code, kind in KINDS.items()}


def test_repair_seals_what_a_dead_run_left_torn_and_touches_nothing_else(killed: Path) -> None:
    path = torn(killed)
    before = contents(killed)
    done = doctor(killed, "--repair")
    assert "sealed   metrics-0001.jsonl: 14 bytes are in metrics-0001.jsonl.torn" in done.output
    after = contents(killed)
    assert after.pop("metrics-0001.jsonl.torn") == b'{"step":21,"ti'
    assert after.pop(path.name) == before.pop(path.name)[:-14]
    assert after == before
    assert codes(killed) == {"no_end", "torn_sidecar", "left_reserve"}


def test_a_second_repair_does_nothing(killed: Path) -> None:
    torn(killed)
    doctor(killed, "--repair")
    before = contents(killed)
    assert "sealed " not in doctor(killed, "--repair").output
    assert contents(killed) == before


def test_a_repaired_run_that_had_ended_has_no_findings_any_more(finished: Path) -> None:
    torn(finished)
    assert doctor(finished, "--repair").exit_code == 0
    assert doctor(finished).exit_code == 0


def test_repair_leaves_a_live_run_alone_and_says_why(live: Path) -> None:
    torn(live)
    before = contents(live)
    done = doctor(live, "--repair")
    assert "refused  metrics-0001.jsonl: its writer may be alive (running" in done.output
    assert contents(live).keys() == before.keys()
    assert contents(live)["metrics-0001.jsonl"] == before["metrics-0001.jsonl"]


def test_repair_leaves_a_run_whose_end_is_unknown_alone(killed: Path, tmp_path: Path) -> None:
    torn(killed)
    copy = shutil.copytree(killed, tmp_path / "copies" / killed.name)
    before = contents(copy)
    found = json.loads(doctor(copy, "--repair", "--json").output)
    assert found["sealed"] == []
    assert [(one["file"], "unknown" in one["reason"]) for one in found["refused"]] == [
        ("metrics-0001.jsonl", True)
    ]
    assert contents(copy) == before


def test_repair_leaves_lines_of_anybody_alone(tmp_path: Path) -> None:
    run_dir = tmp_path / "by-hand"
    run_dir.mkdir()
    path = run_dir / "metrics.jsonl"
    path.write_text('{"step":1,"loss":2}\n{"step"')
    os.utime(path, (time.time() - 3600,) * 2)
    done = doctor(tmp_path, "--repair")
    assert "refused  metrics.jsonl: plain JSON lines" in done.output
    assert done.exit_code == 1
    assert path.read_text().endswith('{"step"')


def test_rows_of_a_resume_that_starts_during_a_repair_are_all_there(killed: Path) -> None:
    """Each of the two seals, or finds it done; what the new attempt writes stays."""
    torn(killed)
    repair = "import sys; from runstore.cli import cli; cli(['doctor', sys.argv[1], '--repair'])"
    for process in [start(repair, str(killed)), start(GOES_ON, str(killed))]:
        process.communicate()
    rows = [row.line for row in visible_rows(find(str(killed), killed.parent), "metrics")]
    assert len(rows) == 40
    assert [path.read_bytes() for path in killed.glob("*.torn*")] == [b'{"step":21,"ti']


# ---- whatever is damaged


def visible(run_dir: Path) -> dict[str, list[bytes]] | None:
    """The rows that count, as a reader gets them; None when it refuses."""
    try:
        ref = find(str(run_dir), run_dir.parent)
        return {name: [row.line for row in visible_rows(ref, name)] for name in OF_ROWS}
    except runstore.RunStoreError:
        return None


def flip(data: bytes, dice: random.Random) -> bytes:
    damaged = bytearray(data)
    damaged[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def cut_short(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def cut_out(data: bytes, dice: random.Random) -> bytes:
    begin = dice.randrange(len(data))
    return data[:begin] + data[begin + dice.randrange(1, 200) :]


def ended_files(run_dir: Path) -> list[Path]:
    """All streams but the rows of an attempt that was killed: no checksum of these is anywhere."""
    crashed = {"metrics-0001.jsonl"} if (run_dir / "events-0002.jsonl").exists() else set()
    return sorted(path for path in run_dir.glob("*.jsonl") if path.name not in crashed)


@pytest.mark.parametrize("damage", [flip, cut_short, cut_out])
@pytest.mark.parametrize("kind", ["finished", "resumed"])
def test_whatever_changes_the_rows_that_count_is_found(
    kind: str, damage: Callable[[bytes, random.Random], bytes], request: pytest.FixtureRequest
) -> None:
    run_dir: Path = request.getfixturevalue(kind)
    before, dice, changed = visible(run_dir), random.Random(7), 0
    paths = ended_files(run_dir)
    for _ in range(100):
        path = dice.choice(paths)
        data = path.read_bytes()
        path.write_bytes(damage(data, dice))
        if visible(run_dir) != before:
            changed += 1
            assert any(one.severity != "note" for one in look(run_dir)), path.name
        path.write_bytes(data)
    assert changed > 20
