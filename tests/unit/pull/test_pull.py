"""What of `runstore pull` needs no connection: its words, its waits, its places."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from runstore.cli import cli
from runstore.errors import FormatError, RunStoreError
from runstore.hosts import pulled
from runstore.hosts.pulled import Pulled
from runstore.hosts.remote import Remote
from runstore.numbers import span
from runstore.pull import PullError, crontab, default_place
from runstore.pull.failures import why_failed
from runstore.pull.loop import LONGEST_S, BackOff
from runstore.pull.place import cached, claim
from runstore.pull.rsync import _brought
from runstore.pull.unused import remove_unused, watch

SOURCE = Remote("me@hpc1", "/scratch/me/runs")

# ---- what rsync and ssh say, as they were seen to say it -----------------------------------------

SAID = [
    (0, "", None),
    (24, 'file has vanished: "/runs/a/.progress.json.3-1.tmp"', None),
    (
        23,
        'rsync: [sender] change_dir "/nope" failed: No such file or directory (2)\n'
        "rsync error: some files/attrs were not transferred (see previous errors) (code 23)",
        "no such directory there: /runs",
    ),
    (
        23,
        'rsync: [sender] change_dir "/scratch/secret" failed: Permission denied (13)',
        "Permission denied there: /scratch/secret",
    ),
    (
        23,
        'rsync: [sender] send_files failed to open "/runs/a/run.json": Permission denied (13)\n'
        'rsync: [sender] opendir "/runs/b" failed: Permission denied (13)',
        "Permission denied there: /runs/a/run.json, and 1 more",
    ),
    (
        23,
        'rsync: [receiver] mkstemp "/copy/a/.run.json.Zy" failed: Permission denied (13)',
        "Permission denied here: /copy/a/.run.json.Zy",
    ),
    (
        11,
        'rsync: [receiver] write failed on "/copy/m.jsonl": No space left on device (28)\n'
        "rsync error: error in file IO (code 11) at receiver.c(657) [receiver=3.5.0]",
        "No space left on device here; nothing that was here is lost: /copy/m.jsonl",
    ),
    (
        255,
        "ssh: connect to host hpc1 port 22: No route to host\n"
        "rsync: connection unexpectedly closed (0 bytes received so far) [Receiver]",
        "connect to host hpc1 port 22: No route to host",
    ),
    (
        12,
        "bash: line 1: rsync: command not found\n"
        "rsync: connection unexpectedly closed (0 bytes received so far) [Receiver]",
        "no rsync over there (bash: line 1: rsync: command not found); install it there",
    ),
    (12, "client_loop: send disconnect: Broken pipe", "the link was cut (client_loop"),
    (30, "rsync error: timeout in data send/receive (code 30) at io.c(204)", "nothing came for 30"),
    (2, "protocol version mismatch -- is your shell clean?", "they must be silent"),
    (-9, "", "ended by signal 9"),
    (42, "rsync: \x1b]0;title\x07", r"rsync has failed (42): rsync: \x1b]0;title\x07"),
]


@pytest.mark.parametrize(("status", "said", "told"), SAID)
def test_failure_is_told_in_one_line(status: int, said: str, told: str | None) -> None:
    failure = why_failed("hpc1", "/runs", status, said.splitlines())
    if told is None:
        assert failure is None
        return
    assert isinstance(failure, PullError)
    assert told in str(failure)
    assert str(failure).startswith("hpc1: ")
    assert "\n" not in str(failure)


def test_only_what_cannot_be_read_there_lets_the_rest_count_as_come() -> None:
    def failure(line: str) -> PullError:
        found = why_failed("hpc1", "/runs", 23, [line])
        assert found is not None
        return found

    denied = "failed: Permission denied (13)"
    assert failure(f'rsync: [sender] opendir "/runs/b" {denied}').is_partial
    assert not failure(f'rsync: [sender] change_dir "/runs" {denied}').is_partial
    assert not failure(f'rsync: [receiver] mkstemp "/copy/.x" {denied}').is_partial


def test_files_that_came_are_known_by_their_names() -> None:
    brought = _brought(
        [
            "cd+++++++++ a/",
            ">f+++++++++ a/run.json",
            ">f.st...... a b/weird\\#012name.jsonl",
            ".f..t...... a/old.json",
            "Number of files: 1,234 (reg: 1,200, dir: 34)",
            "Total bytes received: 5,678",
        ]
    )
    assert brought.files == {"a/run.json", "a b/weird\nname.jsonl"}
    assert (brought.looked_at, brought.received_bytes) == (1234, 5678)


# ---- waits ---------------------------------------------------------------------------------------


def test_tries_become_rarer_while_they_fail_and_frequent_again_when_one_succeeds() -> None:
    back_off = BackOff(30.0)
    assert [back_off.wait_s(failed=True) for _ in range(5)] == [60, 120, 240, 300, 300]
    assert back_off.wait_s(failed=False) == 30
    assert back_off.wait_s(failed=True) == 60


@given(st.floats(1, 86400), st.lists(st.booleans(), max_size=50))
def test_wait_is_never_shorter_than_asked_nor_longer_than_promised(
    every_s: float, outcomes: list[bool]
) -> None:
    back_off = BackOff(every_s)
    for failed in outcomes:
        assert every_s <= back_off.wait_s(failed=failed) <= max(every_s, LONGEST_S)
    assert span(LONGEST_S) == "5 min"


@pytest.mark.parametrize(
    ("every_s", "fields"),
    [
        (30, "* * * * *"),
        (60, "* * * * *"),
        (300, "*/5 * * * *"),
        (420, "*/10 * * * *"),
        (3600, "0 * * * *"),
        (5000, "0 */2 * * *"),
        (86400, "0 0 * * *"),
    ],
)
def test_cron_gets_steps_that_it_knows(every_s: float, fields: str) -> None:
    assert crontab.schedule(every_s) == fields


def test_percent_signs_and_blanks_are_safe_in_a_crontab() -> None:
    line = crontab.line(60, ["/usr/bin/runstore", "pull", "hpc1:/a b/50%", "/copies/it's"])
    assert line == """* * * * * /usr/bin/runstore pull 'hpc1:/a b/50\\%' '/copies/it'"'"'s'"""


# ---- places --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("hpc1:/scratch/me/runs", "pulled/hpc1/scratch/me/runs"),
        ("me@hpc1:runs/", "pulled/me@hpc1/runs"),
        ("hpc1:../../etc/./x", "pulled/hpc1/etc/x"),
        ("me@[fe80::1%eth0]:/r", "pulled/me@fe80::1%eth0/r"),
        ("hpc1:.", "pulled/hpc1"),
    ],
)
def test_place_of_a_copy_shows_the_host_and_stays_below(source: str, place: str) -> None:
    assert default_place(Remote.parse(source)) == Path(place)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs", "runs"),
        ("/scratch/me/runs.v2", "%2Fscratch%2Fme%2Fruns.v2"),
        (".", "%2E"),
        ("..", "%2E."),
        ("a%2Fb", "a%252Fb"),
        ("größe\udcff", "gr%C3%B6%C3%9Fe%FF"),
    ],
)
def test_no_copy_of_the_monitor_lies_in_another(path: str, name: str, tmp_path: Path) -> None:
    assert cached(tmp_path, Remote("me@[fe80::1]", path)) == tmp_path / "me@fe80::1" / name


def test_copies_of_long_paths_have_short_names_of_their_own(tmp_path: Path) -> None:
    one, other = (cached(tmp_path, Remote("hpc1", "/x" * 200 + end)) for end in "ab")
    assert one != other
    assert len(one.name) == len(other.name) == 200


@pytest.mark.parametrize("place", ["pulled/hpc1", "pulled/hpc1/runs/a"])
def test_default_that_is_in_another_copy_is_not_told_as_the_way_out(
    place: str, tmp_path: Path
) -> None:
    below = Path(place).relative_to("pulled/hpc1")
    (tmp_path / "pulled" / "hpc1" / "runs" / "a" / "b").mkdir(parents=True)
    with pytest.raises(RunStoreError, match=r"a directory of its own, as DEST$"):
        claim(tmp_path / place, Remote("hpc1", str(below)))


def test_copy_knows_its_source_before_anything_has_come(tmp_path: Path) -> None:
    place = tmp_path / "a" / "copy"
    os.close(claim(place, SOURCE))
    assert pulled.read(place) == Pulled(SOURCE)
    os.close(claim(place, SOURCE))
    with pytest.raises(RunStoreError, match="a copy of me@hpc1:/scratch/me/runs; give each"):
        claim(place, Remote("hpc2", "/runs"))


def test_directory_that_holds_something_is_no_place_for_a_copy(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunStoreError, match="not empty"):
        claim(tmp_path, SOURCE)
    with pytest.raises(
        RunStoreError, match=r"a copy cannot be written there .*; take another directory"
    ):
        claim(tmp_path / "notes.txt" / "below", SOURCE)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"host":"-oX=y","path":"/x"}', '{"host":1}'])
def test_document_that_no_pull_wrote_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / pulled.NAME).write_text(text)
    with pytest.raises(RunStoreError, match="not what runstore pull writes"):
        pulled.read(tmp_path)
    assert pulled.origin_of(tmp_path / "run") is None


def test_newer_document_asks_for_a_newer_version(tmp_path: Path) -> None:
    facts = {"format": 2, "host": "hpc1", "path": "/runs"}
    (tmp_path / pulled.NAME).write_text(json.dumps(facts))
    with pytest.raises(FormatError, match="reads up to 1"):
        pulled.read(tmp_path)


def test_runs_below_a_copy_know_their_host_and_its_age(tmp_path: Path) -> None:
    (tmp_path / "copy" / "sweep").mkdir(parents=True)
    pulled.write(tmp_path / "copy", Pulled(SOURCE, 1000.0))
    origin = pulled.origin_of(tmp_path / "copy" / "sweep" / "run")
    assert origin is not None
    assert origin.told(now=1190.0) == "hpc1, 3m ago"
    assert pulled.origin_of(tmp_path / "copy") == origin
    assert pulled.origin_of(tmp_path / "own" / "run") is None
    assert Pulled(SOURCE).told() == "hpc1, never whole"


def test_copy_is_resumed_where_it_came_from_and_not_here(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    run_dir = copy / "20260101-000000-run-aaaaaaaa"
    run_dir.mkdir(parents=True)
    document = {"format": 1, "id": run_dir.name, "command": ["touch", str(tmp_path / "started")]}
    (run_dir / "run.json").write_text(json.dumps({**document, "cwd": str(tmp_path)}))
    pulled.write(copy, Pulled(SOURCE, 1000.0))
    refused = CliRunner().invoke(cli, ["resume", str(run_dir)])
    assert isinstance(refused.exception, RunStoreError)
    assert "made of a run on hpc1; resume it there" in str(refused.exception)
    assert not (tmp_path / "started").exists()


# ---- copies that nobody watches ------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str, float], Path]:
    """Return a function that makes a copy of the monitor's, watched some days ago."""

    def make(path: str, days: float) -> Path:
        source = Remote("hpc1", path)
        place = cached(tmp_path, source)
        (place / "run").mkdir(parents=True)
        (place / "run" / "run.json").write_text("{}")
        pulled.write(place, Pulled(source, 1.0))
        at = time.time() - days * 86400
        os.utime(place / pulled.NAME, (at, at))
        return place

    return make


def test_copies_that_nobody_has_watched_for_a_month_are_removed(
    copy: Callable[[str, float], Path], tmp_path: Path
) -> None:
    old, young, watched = copy("/old", 31), copy("/young", 29), copy("/watched", 31)
    (tmp_path / "hpc1" / ".removed-1" / "half").mkdir(parents=True)
    remove_unused(tmp_path, [watched])
    assert sorted((tmp_path / "hpc1").iterdir()) == sorted([young, watched])
    watch([young, old])
    assert time.time() - (young / pulled.NAME).stat().st_mtime < 86400


def test_copy_that_another_monitor_fills_stays(
    copy: Callable[[str, float], Path], tmp_path: Path
) -> None:
    place = copy("/runs", 31)
    lock = claim(place, Remote("hpc1", "/runs"))
    remove_unused(tmp_path, [])
    assert (place / "run" / "run.json").exists()
    os.close(lock)
    remove_unused(tmp_path, [])
    assert not place.exists()


def test_copy_of_runstore_pull_is_never_removed(
    copy: Callable[[str, float], Path], tmp_path: Path
) -> None:
    """Wherever it was put: it has not the name that the monitor gives."""
    moved = copy("/runs", 31).rename(tmp_path / "hpc1" / "mine")
    (tmp_path / "hpc1" / "runs").mkdir()
    (tmp_path / "hpc1" / "runs" / "run.json").write_text("{}")
    (tmp_path / "hpc1" / "other").mkdir()
    (tmp_path / "hpc1" / "other" / pulled.NAME).write_text("{}")
    os.utime(tmp_path / "hpc1" / "other" / pulled.NAME, (1, 1))
    remove_unused(tmp_path, [])
    assert (moved / "run" / "run.json").exists()
    assert (tmp_path / "hpc1" / "runs" / "run.json").exists()
    assert (tmp_path / "hpc1" / "other" / pulled.NAME).exists()
