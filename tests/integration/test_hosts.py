"""The monitor on other machines: real ssh servers on loopback, real rsync, a real terminal."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import runstore
from runstore.hosts.ssh import Link
from runstore.pull.names import Names
from runstore.run.run import Run
from tests.conftest import WaitUntil
from tests.ssh_server import SshServer, Tool
from tests.terminal import MONITOR, Terminal

pytestmark = [
    pytest.mark.needs_tool("ssh", "sshd", "ssh-keygen", "rsync"),
]

NVIDIA_SMI = """#!/bin/sh
case "$*" in
--query-gpu=*noheader,nounits) cat <<END
GPU-1, 0, NVIDIA A100-SXM4-80GB, 81920, 4, 0
GPU-2, 1, NVIDIA A100-SXM4-80GB, 81920, 63488, 97
END
;;
--query-compute-apps=*noheader,nounits) echo 'GPU-2, PID, 61440';;
*) echo 'Field is not a valid field to query.'; exit 2;;
esac
"""


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A root over there, of a name that shells read otherwise."""
    return tmp_path / "it's $(touch canary) there"


@pytest.fixture
def live(there: Path) -> Iterator[Run]:
    run = runstore.init(root=there, name="live", resume="never", system_interval_s=None)
    run.log({"train/loss": 0.75}, step=1)
    try:
        yield run
    finally:
        run.finish()


def monitor(
    environment: Mapping[str, str], *words: str, size: tuple[int, int] = (120, 30)
) -> Terminal:
    return Terminal([*MONITOR, *words], *size, dict(environment))


def leave(terminal: Terminal, server: SshServer, wait_until: WaitUntil) -> None:
    """Quit, and see that nothing of it stays."""
    terminal.press("q")
    assert terminal.process.wait(30) == 0
    wait_until(lambda: not server.sessions(), what="the end of its connections")


def test_runs_of_a_host_and_of_this_machine_are_in_one_screen(
    server: SshServer,
    environment: Mapping[str, str],
    there: Path,
    live: Run,
    tmp_path: Path,
    wait_until: WaitUntil,
) -> None:
    with runstore.init(root=tmp_path / "mine", name="own", resume="never") as own:
        own.log({"train/loss": 0.5}, step=1)
    server.put("nvidia-smi", NVIDIA_SMI.replace("PID", str(os.getpid())))
    terminal = monitor(environment, f"hpc1:{there}", str(tmp_path / "mine"))
    try:
        wait_until(terminal.shows("2 runs", "hpc1/live", "mine/own", "PULLED"), what="both runs")
        wait_until(terminal.shows("0.7500"), what="its value")
        live.log({"train/loss": 0.25}, step=2)
        wait_until(terminal.shows("0.2500", "▶ running"), 60, what="the row of the next pull")
        (row,) = (line for line in terminal.lines() if "hpc1/live" in line)
        assert re.search(r" [0-9]+s ", row)
        terminal.press("9")
        wait_until(terminal.shows("hpc1  1 of 2 GPUs free", "this machine"), what="the machines")
        wait_until(terminal.shows("62.0 of 80 GiB", "▶ live", "GiB free"), what="whose GPU")
        terminal.press("1")
        live.finish()
        wait_until(terminal.shows("hpc1/live", "2 finished"), 60, what="the end")
        leave(terminal, server, wait_until)
        assert not list(tmp_path.rglob("canary"))
    finally:
        terminal.close()


def test_host_that_goes_away_is_told_in_one_line_and_comes_back(
    server: SshServer,
    environment: Mapping[str, str],
    there: Path,
    live: Run,
    wait_until: WaitUntil,
) -> None:
    terminal = monitor(environment, f"hpc1:{there}", f"hpc2:{there}")
    try:
        wait_until(terminal.shows("hpc1/live", "hpc2/live"), 60, what="the runs of both hosts")
        server.stop()
        wait_until(terminal.shows("Connection refused"), 60, what="the problem")
        assert "Traceback" not in "\n".join(terminal.lines())
        assert "hpc1/live" in "\n".join(terminal.lines())
        live.log({"train/loss": 0.125}, step=3)
        server.start()
        terminal.press("r")  # now, and not when it would try again
        wait_until(terminal.shows("0.1250"), 60, what="the new row")
        wait_until(lambda: "refused" not in "\n".join(terminal.lines()), 60, what="no problem")
        server.cut()
        live.log({"train/loss": 0.0625}, step=4)
        wait_until(terminal.shows("0.0625"), 60, what="a row behind a connection that broke")
        leave(terminal, server, wait_until)
    finally:
        terminal.close()


def test_new_runs_are_seen_before_the_next_whole_pull(
    server: SshServer,
    environment: Mapping[str, str],
    there: Path,
    live: Run,
    wait_until: WaitUntil,
) -> None:
    terminal = monitor(environment, f"hpc1:{there}", size=(160, 30))
    try:
        wait_until(terminal.shows("hpc1/live"), what="the run")
        for root in (there, there / "sweep"):
            with runstore.init(root=root, name=f"new-{root.name[:3]}", resume="never") as run:
                run.log({"train/loss": 0.5}, step=1)
        # Whole pulls are a minute apart, and the first one was a moment ago.
        wait_until(terminal.shows("3 runs", "new-it", "new-swe"), 50, what="the new runs")
        with runstore.init(root=there / "sweep", name="cell", resume="never") as run:
            run.log({"train/loss": 0.5}, step=1)
        wait_until(terminal.shows("4 runs", "cell"), 40, what="a new run beside a new one")
        leave(terminal, server, wait_until)
    finally:
        terminal.close()


def test_run_that_was_removed_over_there_says_so(
    server: SshServer,
    environment: Mapping[str, str],
    there: Path,
    live: Run,
    wait_until: WaitUntil,
) -> None:
    for name in ("first", "second"):
        with runstore.init(root=there, name=name, resume="never") as run:
            run.log({"train/loss": 0.5}, step=1)
    terminal = monitor(environment, f"hpc1:{there}", size=(160, 30))

    def gone() -> list[str]:
        lines = [line for line in terminal.lines() if "hpc1/" in line and " gone " in line]
        return sorted(
            name for name in ("first", "second", "live") for line in lines if name in line
        )

    try:
        wait_until(terminal.shows("3 runs", "hpc1/first", "hpc1/second"), 60, what="the runs")
        (first,) = there.glob("*first*")
        shutil.rmtree(first)
        wait_until(lambda: gone() == ["first"], 60, what="the run that is gone")
        leave(terminal, server, wait_until)
        terminal.close()
        (second,) = there.glob("*second*")
        shutil.rmtree(second)
        terminal = monitor(environment, f"hpc1:{there}", size=(160, 30))
        wait_until(lambda: gone() == ["first", "second"], 60, what="what went while nobody watched")
        live.log({"train/loss": 0.25}, step=2)
        wait_until(terminal.shows("0.2500"), 60, what="a row of the run that is still there")
        assert gone() == ["first", "second"]
        leave(terminal, server, wait_until)
    finally:
        terminal.close()


def test_names_tell_what_is_new(
    server: SshServer, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", server.environment()["PATH"])
    link = Link("hpc1")
    link.open(ask=False)
    try:
        names = Names(link, str(there))
        assert names.new([""]) == []  # it is not there yet
        (there / "it's $(touch canary)").mkdir(parents=True)
        assert names.new([""]) == []  # the first look
        (there / "new").mkdir()
        (there / ".hidden").mkdir()
        assert names.new([""]) == ["new"]
        assert names.new([""]) == []
        assert names.new(["", "it's $(touch canary)", "gone", "-n"]) == []
        (there / "it's $(touch canary)" / "größe").mkdir()
        assert names.new(["", "it's $(touch canary)"]) == ["it's $(touch canary)/größe"]
        (there / "new").rmdir()
        assert names.new([""]) == []
        assert names.is_gone("new/cell")
        assert not names.is_gone("it's $(touch canary)/größe")
        (there / "new").mkdir()
        assert names.new([""]) == ["new"]
        assert not names.is_gone("new/cell")
        later = Names(link, str(there), ["new", "old", "of\udcff bytes", "two\nlines"])
        assert later.new([""]) == []
        assert later.is_gone("old")
        assert not any(map(later.is_gone, ("new", "never seen", "of\udcff bytes", "two\nlines")))
        assert names.answers
        assert not list(there.parent.rglob("canary"))
        only = (
            f'command="echo refused; exit 1",restrict {(server.folder / "client.pub").read_text()}'
        )
        link.close()
        (server.folder / "authorized").write_text(only)
        alone = Link("hpc1")
        alone.open(ask=False)
        names = Names(alone, str(there))
        assert names.new([""]) == []
        assert not names.answers
    finally:
        link.close()


def test_cache_may_be_emptied_while_it_is_watched(
    environment: Mapping[str, str], there: Path, live: Run, wait_until: WaitUntil
) -> None:
    terminal = monitor(environment, f"hpc1:{there}")
    try:
        wait_until(terminal.shows("hpc1/live", "0.7500"), what="the run")
        cache = Path(environment["XDG_CACHE_HOME"], "runstore")
        cache.rename(cache.with_name("emptied"))
        live.log({"train/loss": 0.25}, step=2)
        wait_until(terminal.shows("hpc1/live", "0.2500"), 90, what="the run, copied anew")
    finally:
        terminal.close()


def test_note_and_request_go_to_the_host_of_the_run(
    server: SshServer,
    environment: Mapping[str, str],
    there: Path,
    live: Run,
    wait_until: WaitUntil,
) -> None:
    terminal = monitor(environment, f"hpc1:{there}")
    try:
        wait_until(terminal.shows("hpc1/live"), what="the run")
        live.log({"train/loss": 0.5}, step=2)
        wait_until(terminal.shows("▶ running"), 60, what="its heart")
        terminal.press("2n")
        wait_until(terminal.shows("note: "), what="the prompt")
        terminal.press('it\'s "odd" $(touch canary) größe\r')
        wait_until(terminal.shows("noted on its host"), what="the answer")
        (note,) = (live.path / "notes").iterdir()
        assert 'it\'s \\"odd\\" $(touch canary) größe' in note.read_text()
        wait_until(terminal.shows("Notes 1"), 60, what="the note, pulled")
        terminal.press("W")
        asked = "Ask this run for a checkpoint?"
        wait_until(terminal.shows(asked, f"hpc1:{there}"[:20]), what="the question")
        terminal.press("y")
        events = live.path / "events-0001.jsonl"

        def has_come() -> bool:
            waits = any((live.path / "requests").glob("checkpoint-*"))
            return waits or '"event":"request"' in events.read_text()

        wait_until(has_come, what="the request")
        wait_until(terminal.shows("asked for a checkpoint"), what="the answer")
        leave(terminal, server, wait_until)
        assert not list(there.parent.rglob("canary"))
    finally:
        terminal.close()


def test_what_cannot_be_asked_or_noted_is_refused_in_one_line(
    server: SshServer, environment: Mapping[str, str], there: Path, wait_until: WaitUntil
) -> None:
    with runstore.init(root=there, name="done", resume="never") as run:
        run.log({"loss": 1.0}, step=1)
    terminal = monitor(environment, f"hpc1:{there}")
    try:
        wait_until(terminal.shows("hpc1/done", "✓ finished"), what="the run")
        terminal.press("E")
        wait_until(terminal.shows("it is finished: only a live run takes"), what="the refusal")
        server.stop()
        terminal.press("r")
        wait_until(terminal.shows("Connection refused"), 60, what="the problem")
        terminal.press("2nx\r")
        wait_until(terminal.shows("nothing was written"), what="the refusal")
        assert not (run.path / "notes").exists()
    finally:
        terminal.close()


def test_login_asks_before_the_screen_opens(
    server: SshServer,
    environment: Mapping[str, str],
    there: Path,
    live: Run,
    tool: Tool,
    wait_until: WaitUntil,
) -> None:
    key = str(server.folder / "client")
    subprocess.run(
        [tool("ssh-keygen"), "-q", "-p", "-P", "", "-N", "sesame", "-f", key], check=True
    )
    terminal = monitor(environment, f"hpc1:{there}")
    try:
        wait_until(terminal.shows("Enter passphrase"), what="the question")
        terminal.press("sesame\n")
        wait_until(terminal.shows("hpc1/live"), what="the run")
        leave(terminal, server, wait_until)
    finally:
        terminal.close()


def asking_gateway(server: SshServer, tool: Tool) -> None:
    """Reach hpc2 through a host that asks for a passphrase, as it may for a code."""
    key = server.folder / "gate"
    make = [tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "sesame", "-f", str(key)]
    subprocess.run(make, check=True)
    with (server.folder / "authorized").open("a") as authorized:
        authorized.write((server.folder / "gate.pub").read_text())
    server.configure(
        "Match originalhost hpc2\n  ProxyJump gate\n"
        f"Host gate\n  HostName 127.0.0.1\n  Port {server.port}\n  IdentityFile {key}\n"
        "  IdentitiesOnly yes\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n"
        "Host silent\n  HostName 127.0.0.1\n  ProxyCommand sleep 1000"
    )


def test_hosts_that_ask_are_asked_once_and_silent_ones_keep_nothing_closed(
    server: SshServer,
    environment: Mapping[str, str],
    there: Path,
    live: Run,
    tool: Tool,
    wait_until: WaitUntil,
) -> None:
    """In the foreground, and never by a login that nobody watches: ssh tells no gateway so."""
    asking_gateway(server, tool)
    roots = (f"silent:{there}", f"hpc2:{there}", f"hpc1:{there}")
    terminal = monitor(environment, *roots, size=(160, 40))
    try:
        wait_until(terminal.shows("logging in to silent, hpc2, hpc1 …"), what="what it does")
        wait_until(terminal.shows("logging in to hpc2 …", "Enter passphrase"), what="the question")
        terminal.press("sesame\n")
        wait_until(terminal.shows("hpc1/live", "hpc2/live"), what="the runs of both")
        terminal.press("9")
        wait_until(terminal.shows("silent", "not pulled yet"), what="the silent host")
        server.cut()
        told = "Permission denied: a gateway asks Enter passphrase for key"
        wait_until(terminal.shows(told), 60, what="the login that would ask")
        screen = " ".join("\n".join(terminal.lines()).split())
        assert not re.search("(?<!asks )Enter passphrase", screen)
        leave(terminal, server, wait_until)
    finally:
        terminal.close()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL, None], ids=str)
def test_nothing_of_it_stays_however_it_ends(
    server: SshServer,
    environment: Mapping[str, str],
    there: Path,
    live: Run,
    wait_until: WaitUntil,
    ending: signal.Signals | None,
) -> None:
    terminal = monitor(environment, f"hpc1:{there}")
    try:
        wait_until(terminal.shows("hpc1/live"), what="the run")
        assert server.sessions()
        if ending is None:
            terminal.hang_up()
        else:
            terminal.process.send_signal(ending)
        terminal.process.wait(30)
        wait_until(lambda: not server.sessions(), 60, what="the end of its connections")
    finally:
        terminal.close()


# ---- without a screen ----------------------------------------------------------------------------


def printed(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MONITOR, *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    "root",
    [
        "-oProxyCommand=touch canary:/x",
        "-oProxyCommand=x",
        "me@-oProxyCommand=touch canary:/x",
        "two words:/x",
        ":/x",
        "a@b@c:/x",
        "hpc1:",
    ],
)
def test_host_that_is_none_gets_one_line(
    environment: Mapping[str, str], root: str, tmp_path: Path
) -> None:
    words = [root] if root.startswith("-") else ["--", root]
    done = printed(environment, *words)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "is no " in line
    assert not list(tmp_path.rglob("canary"))


def test_once_pulls_and_prints_and_tells_hosts_that_are_away(
    server: SshServer, environment: Mapping[str, str], there: Path, live: Run
) -> None:
    done = printed(environment, "--once", f"hpc1:{there}")
    assert done.returncode == 0, done.stderr
    assert f"1 run in hpc1:{there}" in done.stdout
    assert "hpc1/live" in done.stdout
    server.stop()
    done = printed(environment, "--once", f"hpc1:{there}")
    assert done.returncode == 1
    assert "hpc1/live" in done.stdout  # as it was
    assert "Connection refused" in done.stderr.splitlines()[-1]
    done = printed(environment, "--once", f"hpc2:{there}")
    assert f"no runs are known of hpc2:{there}, which was not reached" in done.stdout
    assert "no runs yet" not in done.stdout


def test_run_and_the_directory_that_it_is_in_are_both_watched(
    environment: Mapping[str, str], there: Path, live: Run
) -> None:
    for root in (f"hpc1:{there}", f"hpc1:{live.path}", f"hpc1:{there.parent}"):
        done = printed(environment, "--once", root)
        assert done.returncode == 0, done.stderr
        assert "live" in done.stdout


def test_changes_over_there_are_lines_here(
    server: SshServer,
    environment: Mapping[str, str],
    there: Path,
    live: Run,
    tmp_path: Path,
    wait_until: WaitUntil,
) -> None:
    out = tmp_path / "out"
    with out.open("w") as file:
        process = subprocess.Popen(
            [*MONITOR, "--plain", f"hpc1:{there}"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.DEVNULL,
        )
    try:
        wait_until(lambda: f"in hpc1:{there}" in out.read_text(), what="the first line")
        live.log({"train/loss": 0.25}, step=7)
        wait_until(lambda: "hpc1/live running" in out.read_text(), 60, what="its heart")
        live.finish()
        wait_until(lambda: "hpc1/live finished" in out.read_text(), 60, what="its end")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        wait_until(lambda: not server.sessions(), what="the end of its connections")
    finally:
        process.kill()
        process.wait()


def test_two_monitors_share_a_copy(
    server: SshServer,
    environment: Mapping[str, str],
    there: Path,
    live: Run,
    wait_until: WaitUntil,
) -> None:
    first, second = (monitor(environment, f"hpc1:{there}") for _ in range(2))
    try:
        for terminal in (first, second):
            wait_until(terminal.shows("hpc1/live"), 60, what="the run")
        live.log({"train/loss": 0.25}, step=2)
        for terminal in (first, second):
            wait_until(terminal.shows("0.2500"), 60, what="the row")
            assert "another pull" not in "\n".join(terminal.lines())
    finally:
        first.close()
        second.close()
