"""`runstore pull` from a real ssh server on loopback: growing, damaged and vanishing sources."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import runstore
from tests.conftest import WaitUntil
from tests.ssh_server import SshServer, Tool
from tests.terminal import Terminal

pytestmark = [
    pytest.mark.needs_tool("ssh", "sshd", "ssh-keygen", "rsync"),
]

GROW = """
import sys, time
import runstore

run = runstore.init(root=sys.argv[1], system_interval_s=None)
for step in range(1, 2001):
    run.log({"loss": 1 / step, "accuracy": 0.5}, step=step)
    time.sleep(0.002)
run.finish()
"""

Pulls = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def pull(tmp_path: Path, environment: Mapping[str, str]) -> Pulls:
    """Return a function that runs `runstore pull`, as from cron: nobody can be asked."""

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "runstore.cli", "pull", *words],
            cwd=tmp_path,
            env={**environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,
        )

    return run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A root of one finished run over there, in a path that shells read otherwise."""
    root = tmp_path / "it's a $(touch canary) root"
    with runstore.init(root=root, name="first", resume="never", system_interval_s=None) as run:
        for step in range(50):
            run.log({"train/loss": 1 / (step + 1)}, step=step)
    return root


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a pull that failed."""
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("runstore: ")
    assert "Traceback" not in line
    return line


def only_run(root: Path) -> Path:
    (run,) = (path.parent for path in root.rglob("run.json"))
    return run


def document(copy: Path) -> dict[str, object]:
    facts = json.loads((copy / "pulled.json").read_text())
    assert isinstance(facts, dict)
    return facts


# ---- what comes ---------------------------------------------------------------------------------


def test_copy_has_the_rows_and_says_whence_it_comes(
    pull: Pulls, source: Path, tmp_path: Path
) -> None:
    run = only_run(source)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "step-00000010-0001.pt").write_bytes(b"weights")
    (run / "requests").mkdir(exist_ok=True)
    (run / "requests" / "stop-x").touch()
    (run / "samples" / "grid").mkdir(parents=True)
    (run / "samples" / "grid" / "step-00000010.png").write_bytes(b"picture")
    (run / "output.log").write_text("said\n")
    (run / "notes").mkdir()
    (run / "notes" / "n.json").write_text('{"text":"well"}')
    (run / "elsewhere.jsonl").symlink_to("/etc/passwd")
    before = time.time()
    done = pull(f"hpc1:{source}")
    assert done.returncode == 0, done.stderr
    place = tmp_path / done.stdout.strip()
    assert place == tmp_path / "pulled" / "hpc1" / str(source).lstrip("/")
    copy = place / run.name
    assert runstore.load(copy).metrics() == runstore.load(run).metrics()
    assert runstore.load(copy).status == "finished"
    names = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert {"output.log", "notes/n.json", "samples/grid/step-00000010.png", "run.json"} < names
    assert not {"elsewhere.jsonl", "checkpoints/step-00000010-0001.pt", "requests/stop-x"} & names
    facts = document(place)
    assert facts["source"] == f"hpc1:{source}"
    assert before - 1 < float(str(facts["time"])) < time.time()
    assert not list(tmp_path.rglob("canary"))


def test_second_pull_has_nothing_new_and_checkpoints_come_when_asked(
    pull: Pulls, source: Path, tmp_path: Path
) -> None:
    run = only_run(source)
    (run / "checkpoints").mkdir()
    weights = run / "checkpoints" / "step-00000010-0001.pt"
    weights.write_bytes(b"weights")
    (run / "checkpoints" / "best.pt").hardlink_to(weights)
    assert pull(f"hpc1:{source}", "copy").returncode == 0
    assert "nothing new" in pull(f"hpc1:{source}", "copy").stderr
    # best.pt is another name of the same file.
    assert "1 file new" in pull(f"hpc1:{source}", "copy", "--checkpoints").stderr
    copied = tmp_path / "copy" / run.name / "checkpoints"
    assert (copied / "best.pt").samefile(copied / weights.name)


def test_logs_of_other_tools_are_the_same_runs_here(
    pull: Pulls, repo_root: Path, tmp_path: Path
) -> None:
    there = tmp_path / "src"
    shutil.copytree(repo_root / "tests" / "fixtures" / "foreign", there)
    assert pull(f"hpc1:{there}", "copy").returncode == 0

    def listed(root: Path) -> list[tuple[object, ...]]:
        runs = runstore.load_all(root)
        return sorted(
            (run.name, run.source, str(run.path.relative_to(root)), run.step, repr(run.last))
            for run in runs
        )

    assert len(listed(there)) > 5
    assert listed(tmp_path / "copy") == listed(there)


def test_nothing_is_deleted_here_when_it_goes_there(
    pull: Pulls, source: Path, tmp_path: Path
) -> None:
    run = only_run(source)
    assert pull(f"hpc1:{source}", "copy").returncode == 0
    run.rename(tmp_path / "moved")
    assert pull(f"hpc1:{source}", "copy").returncode == 0
    assert len(runstore.load(tmp_path / "copy" / run.name).metrics()) == 50


def test_path_may_be_below_the_home_over_there(
    pull: Pulls, server: SshServer, source: Path, tmp_path: Path
) -> None:
    there = subprocess.run(
        [server.bin / "ssh", "hpc1", "pwd"], capture_output=True, text=True, check=True
    )
    home = Path(there.stdout.strip())
    relative = os.path.relpath(source, home)
    done = pull(f"hpc1:{relative}", "copy")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy" / only_run(source).name / "run.json").exists()


# ---- while it grows ------------------------------------------------------------------------------


def test_copies_of_a_growing_run_are_beginnings_of_it(
    pull: Pulls, environment: Mapping[str, str], tmp_path: Path
) -> None:
    source, copies = tmp_path / "src", 0
    source.mkdir()
    writer = subprocess.Popen(
        [sys.executable, "-c", GROW, str(source)], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        while writer.poll() is None:
            done = pull(f"hpc1:{source}", "copy")
            assert done.returncode == 0, done.stderr
            for run in (tmp_path / "copy").glob("*/run.json"):
                steps = [row["step"] for row in runstore.load(run.parent).metrics()]
                assert steps == list(range(1, len(steps) + 1))
                copies += 1
    finally:
        writer.kill()
        writer.wait()
    assert copies > 1
    assert pull(f"hpc1:{source}", "copy").returncode == 0
    run = only_run(tmp_path / "copy")
    assert len(runstore.load(run).metrics()) == 2000
    assert runstore.load(run).status == "finished"


def test_source_that_shrinks_goes_on_or_is_replaced_is_followed(
    pull: Pulls, tmp_path: Path
) -> None:
    """Cases in which `rsync --append` makes valid JSON of wrong bytes, or stays behind."""
    there, here = tmp_path / "src" / "r", tmp_path / "copy" / "r"
    there.mkdir(parents=True)
    rows, progress = there / "metrics-0001.jsonl", there / "progress.json"

    def pulled() -> bytes:
        assert pull(f"hpc1:{there.parent}", "copy").returncode == 0
        return (here / rows.name).read_bytes()

    rows.write_bytes(b'{"step":1,"loss":1.0}\n{"step":2,"lo')
    progress.write_text('{"beat":1}')
    assert pulled() == rows.read_bytes()
    inode = (here / rows.name).stat().st_ino
    with rows.open("r+b") as file:  # a torn tail is cut off, and the file goes on
        file.truncate(22)
        file.seek(22)
        file.write(b'{"step":2,"loss":0.5}\n{"step":3,"loss":0.4}\n')
    assert pulled() == rows.read_bytes()
    rows.write_bytes(b'{"step":1,"loss":1.0}\n')  # shorter, as behind a loss of power
    assert pulled() == rows.read_bytes()
    assert (here / rows.name).stat().st_ino == inode
    progress.write_text('{"beat":2}')  # of the same size, within the same second
    pulled()
    assert (here / progress.name).read_text() == '{"beat":2}'
    rows.unlink()
    rows.write_bytes(b'{"step":9,"loss":9.0}\n{"step":10,"loss":9.0}\n')  # another one instead
    assert pulled() == rows.read_bytes()


def test_notes_and_tags_belong_to_the_original(
    pull: Pulls, source: Path, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    run = only_run(source)
    assert pull(f"hpc1:{source}", "copy").returncode == 0
    for words in (["note", run.name, "well"], ["tag", run.name, "+best"]):
        done = subprocess.run(
            [sys.executable, "-m", "runstore.cli", *words, "--root", "copy"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert f"a copy of hpc1:{source}" in refused(done)
        assert "belongs; watch it by runstore-tui" in done.stderr


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        "-oProxyCommand=touch canary:/runs",
        "-oProxyCommand=touch${IFS}canary",
        "me@-oProxyCommand=touch canary:/runs",
        ":/runs",
        "",
        "two words:/runs",
        "line\nbreak:/runs",
        "hpc1",
        "hpc1:",
        "hpc1:/a\nb",
        "$(touch canary):/runs",
    ],
)
def test_host_that_is_none_gets_one_line_and_no_program_sees_it(
    pull: Pulls, tmp_path: Path, place: str
) -> None:
    words = [place] if place.startswith("-") else ["--", place]
    assert "is no" in refused(pull(*words))
    assert not list(tmp_path.rglob("canary"))
    assert not (tmp_path / "pulled").exists()


def test_unreachable_host_missing_path_and_missing_rsync_get_one_line_each(
    pull: Pulls, server: SshServer, source: Path, tmp_path: Path
) -> None:
    assert "no such directory there: /nowhere" in refused(pull("hpc1:/nowhere", "copy"))
    assert "host" in refused(pull("no-such-host.invalid:/runs", "copy2"))
    server.put("rsync", "#!/bin/sh\necho 'sh: rsync: command not found' >&2; exit 127\n")
    assert "no rsync over there" in refused(pull(f"hpc1:{source}", "copy3"))
    server.stop()
    assert "refused" in refused(pull(f"hpc1:{source}", "copy4"))
    nothing = tmp_path / "empty"
    nothing.mkdir()
    assert "ssh cannot be started" in refused(pull(f"hpc1:{source}", "copy5", PATH=str(nothing)))


def test_missing_rsync_here_is_told(
    pull: Pulls, server: SshServer, source: Path, tool: Tool
) -> None:
    (server.bin / "id").symlink_to(tool("id"))
    told = refused(pull(f"hpc1:{source}", "copy", PATH=str(server.bin)))
    assert "rsync cannot be started here" in told


def test_login_that_wants_a_password_is_refused_where_nobody_can_be_asked(
    pull: Pulls, server: SshServer, source: Path
) -> None:
    (server.folder / "authorized").write_text("")
    assert "asked for at the start, on a terminal" in refused(pull(f"hpc1:{source}", "copy"))


def test_login_asks_once_on_the_terminal_and_then_never_again(
    server: SshServer,
    source: Path,
    tmp_path: Path,
    environment: Mapping[str, str],
    tool: Tool,
    wait_until: WaitUntil,
) -> None:
    """A key with a passphrase: ssh asks as it does for a password or a code."""
    key = str(server.folder / "client")
    subprocess.run(
        [tool("ssh-keygen"), "-q", "-p", "-P", "", "-N", "sesame", "-f", key], check=True
    )
    words = ["pull", f"hpc1:{source}", "copy", "--every", "1s"]
    command = ["env", "-C", str(tmp_path), sys.executable, "-m", "runstore.cli", *words]
    terminal = Terminal(command, 160, 24, dict(environment))
    try:
        wait_until(terminal.shows("Enter passphrase for key"), what="the question")
        terminal.press("sesame\n")
        wait_until(terminal.shows("received"), what="the first pull")
        run = only_run(source)
        with (run / "metrics-0001.jsonl").open("ab") as rows:
            rows.write(b'{"step":50,"time":1.0,"train/loss":0.5}\n')
        copy = tmp_path / "copy" / run.name
        wait_until(lambda: len(runstore.load(copy).metrics()) == 51, what="the new row")
        assert "sesame" not in "\n".join(terminal.lines())
        terminal.press("\x03")
        assert terminal.process.wait(20) == 130
        wait_until(lambda: not server.sessions(), what="the end of the connection")
    finally:
        terminal.close()


def test_login_scripts_that_print_are_told(
    pull: Pulls, server: SshServer, source: Path, tool: Tool
) -> None:
    welcome = "echo Welcome to the cluster, dear user"
    server.put("rsync", f'#!/bin/sh\n{welcome}; exec {tool("rsync")} "$@"\n')
    assert "must be silent" in refused(pull(f"hpc1:{source}", "copy"))


@pytest.mark.needs_tool("setpriv")
def test_what_may_not_be_read_is_told_and_the_rest_comes(
    pull: Pulls, server: SshServer, source: Path, tmp_path: Path, tool: Tool
) -> None:
    run = only_run(source)
    closed = source / "closed"
    closed.mkdir()
    (closed / "metrics.jsonl").write_text('{"step":1}\n')
    closed.chmod(0)
    if os.geteuid() == 0:  # for whom nothing is closed
        nobody = f"{tool('setpriv')} --reuid=65534 --regid=65534 --clear-groups"
        server.put("rsync", f'#!/bin/sh\nexec {nobody} {tool("rsync")} "$@"\n')
        for folder in (tmp_path, *tmp_path.parents[:3]):
            if folder.stat().st_uid == 0:
                folder.chmod(folder.stat().st_mode | 0o055)
    try:
        done = pull(f"hpc1:{source}", "copy")
    finally:
        closed.chmod(0o755)
    assert done.returncode == 1
    assert "closed" in done.stderr
    assert "Permission denied there" in done.stderr
    assert len(runstore.load(tmp_path / "copy" / run.name).metrics()) == 50
    facts = document(tmp_path / "copy")
    assert facts["time"] is not None
    assert "Permission denied" in str(facts["problem"])


def test_place_of_another_copy_or_of_runs_is_refused(
    pull: Pulls, source: Path, tmp_path: Path
) -> None:
    assert pull(f"hpc1:{source}", "copy").returncode == 0
    assert "a copy of hpc1:" in refused(pull(f"hpc2:{source}", "copy"))
    with runstore.init(root=tmp_path / "runs", resume="never"):
        pass
    assert "not empty, and no pull has filled it" in refused(pull(f"hpc1:{source}", "runs"))


# ---- cut short -----------------------------------------------------------------------------------


def test_full_disk_gets_one_line_and_what_was_there_stays(
    pull: Pulls, source: Path, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    """A limit on the size of files: the kernel refuses a write as a full disk does."""
    run = only_run(source)
    assert pull(f"hpc1:{source}", "copy").returncode == 0
    with (run / "metrics-0001.jsonl").open("ab") as rows:
        for step in range(50, 20_000):
            rows.write(b'{"step":%d,"time":1.0,"train/loss":0.5}\n' % step)
    words = ["pull", f"hpc1:{source}", "copy"]
    limited = f'ulimit -f 128; exec "{sys.executable}" -m runstore.cli "$@"'
    done = subprocess.run(
        ["sh", "-c", limited, "sh", *words],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    told = refused(done)
    assert "hpc1: File too large here; nothing that was here is lost" in told
    assert told.endswith("metrics-0001.jsonl")
    steps = [row["step"] for row in runstore.load(tmp_path / "copy" / run.name).metrics()]
    assert steps[:50] == list(range(50))
    assert steps == list(range(len(steps)))
    assert pull(f"hpc1:{source}", "copy").returncode == 0
    assert len(runstore.load(tmp_path / "copy" / run.name).metrics()) == 20_000


def slow_rsync(server: SshServer, tool: Tool) -> None:
    server.put("rsync", f'#!/bin/sh\nexec {tool("rsync")} --bwlimit=300 "$@"\n')


def test_pull_that_was_killed_is_gone_on_with(
    pull: Pulls,
    server: SshServer,
    source: Path,
    tmp_path: Path,
    environment: Mapping[str, str],
    tool: Tool,
    wait_until: WaitUntil,
) -> None:
    run = only_run(source)
    with (run / "metrics-0001.jsonl").open("ab") as rows:
        for step in range(50, 60_000):
            rows.write(b'{"step":%d,"time":1.0,"train/loss":0.5}\n' % step)
    slow_rsync(server, tool)
    process = subprocess.Popen(
        [sys.executable, "-m", "runstore.cli", "pull", f"hpc1:{source}", "copy"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    copied = tmp_path / "copy" / run.name / "metrics-0001.jsonl"
    wait_until(lambda: copied.exists() and copied.stat().st_size > 0, what="the first rows")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert document(tmp_path / "copy")["time"] is None
    steps = [row["step"] for row in runstore.load(tmp_path / "copy" / run.name).metrics()]
    assert steps == list(range(len(steps)))
    # rsync, which nobody could tell, keeps the lock until it ends; cut off, it does.
    server.cut()
    (server.there / "rsync").unlink()

    def is_whole() -> bool:
        return pull(f"hpc1:{source}", "copy").returncode == 0

    wait_until(is_whole, what="a pull that is let in")
    assert len(runstore.load(tmp_path / "copy" / run.name).metrics()) == 60_000


def test_two_pulls_at_once_are_not_let_in(
    pull: Pulls,
    server: SshServer,
    source: Path,
    tmp_path: Path,
    environment: Mapping[str, str],
    wait_until: WaitUntil,
) -> None:
    process = subprocess.Popen(
        [*(sys.executable, "-m", "runstore.cli", "pull"), f"hpc1:{source}", "copy", "--every=1h"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "copy\n"
    assert "another pull is at work there" in refused(pull(f"hpc1:{source}", "copy"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    process.communicate()
    wait_until(lambda: not server.sessions(), what="the connection that it shared")
    assert pull(f"hpc1:{source}", "copy").returncode == 0


class Loop:
    """`runstore pull … --every 1s`, and what it says."""

    def __init__(self, words: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._said = folder / "said"
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "runstore.cli", "pull", *words, "--every", "1s"],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                process_group=0,
            )

    def said(self) -> str:
        return self._said.read_text()


def test_link_that_is_cut_is_told_once_and_comes_back(
    server: SshServer,
    source: Path,
    tmp_path: Path,
    environment: Mapping[str, str],
    wait_until: WaitUntil,
) -> None:
    loop = Loop([f"hpc1:{source}", "copy"], tmp_path, environment)
    try:
        wait_until(lambda: "received" in loop.said(), what="the first pull")
        server.cut()  # a connection that breaks is made anew
        run = only_run(source)
        with (run / "metrics-0001.jsonl").open("ab") as rows:
            rows.write(b'{"step":50,"time":1.0,"train/loss":0.5}\n')
        copy = tmp_path / "copy" / run.name
        wait_until(lambda: len(runstore.load(copy).metrics()) == 51, what="the new row")
        server.stop()
        wait_until(lambda: "refused" in loop.said(), what="the complaint")
        time.sleep(4)  # some more tries, of which nothing is said
        assert loop.said().count("refused") == 1
        assert "refused" in str(document(tmp_path / "copy")["problem"])
        with (run / "metrics-0001.jsonl").open("ab") as rows:
            rows.write(b'{"step":51,"time":1.0,"train/loss":0.5}\n')
        server.start()
        wait_until(lambda: "hpc1: well again after" in loop.said(), 60, what="the way back")
        wait_until(lambda: len(runstore.load(copy).metrics()) == 52, what="the new row")
        loop.process.send_signal(signal.SIGINT)
        assert loop.process.wait(20) == 130
        assert "stopped; what has come stays" in loop.said()
        wait_until(lambda: not server.sessions(), what="the end of its connections")
    finally:
        loop.process.kill()
        loop.process.wait()


# ---- the user's own configuration ----------------------------------------------------------------


def test_living_connection_of_the_user_is_shared_and_stays(
    pull: Pulls, server: SshServer, source: Path, environment: Mapping[str, str]
) -> None:
    server.configure(f"ControlMaster auto\nControlPath {server.folder}/cm-%h\nControlPersist 60")
    ssh = str(server.bin / "ssh")
    subprocess.run([ssh, "hpc1", "true"], check=True, stderr=subprocess.DEVNULL)
    (server.folder / "authorized").write_text("")  # nobody logs in anew
    try:
        assert pull(f"hpc1:{source}", "copy").returncode == 0
        check = subprocess.run([ssh, "-O", "check", "hpc1"], stderr=subprocess.DEVNULL)
        assert check.returncode == 0
    finally:
        subprocess.run([ssh, "-O", "exit", "hpc1"], stderr=subprocess.DEVNULL)


def test_one_login_serves_a_whole_pull(pull: Pulls, server: SshServer, source: Path) -> None:
    assert pull(f"hpc1:{source}", "copy").returncode == 0
    assert (server.folder / "sshd.log").read_text().count("Accepted publickey") == 1


def test_gateway_and_a_command_of_the_configuration_are_respected(
    pull: Pulls, server: SshServer, source: Path
) -> None:
    """The way leads through another host, and a login there would start a program of its own."""
    with (server.folder / "config").open("a") as config:
        config.write(
            f"Host inner\n  HostName 127.0.0.1\n  Port {server.port}\n  ProxyJump hpc1\n"
            "  RemoteCommand echo hello\n"
            f"  IdentityFile {server.folder / 'client'}\n  StrictHostKeyChecking no\n"
            "  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
        )
    # ProxyJump starts `ssh` by its path: the real one, which needs our configuration too.
    text = (server.folder / "config").read_text()
    jump = f"ProxyCommand {server.bin / 'ssh'} -W %h:%p hpc1"
    (server.folder / "config").write_text(text.replace("ProxyJump hpc1", jump))
    done = pull(f"inner:{source}", "copy")
    assert done.returncode == 0, done.stderr


def test_login_for_rsync_alone_is_enough(
    pull: Pulls, server: SshServer, source: Path, tmp_path: Path, tool: Tool
) -> None:
    """A key that may do nothing but rsync, as administrators hand out for backups."""
    only = tmp_path / "only-rsync"
    only.write_text(
        '#!/bin/sh\ncase "$SSH_ORIGINAL_COMMAND" in rsync\\ --server*) '
        "exec $SSH_ORIGINAL_COMMAND ;; esac\necho refused >&2; exit 1\n"
    )
    only.chmod(0o755)
    key = (server.folder / "client.pub").read_text()
    (server.folder / "authorized").write_text(f'command="{only}",restrict {key}')
    done = pull(f"hpc1:{source}", "copy")
    assert done.returncode == 0, done.stderr


# ---- and then ------------------------------------------------------------------------------------


def test_crontab_line_pulls_as_cron_starts_it(
    pull: Pulls, source: Path, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    program = Path(sys.executable).with_name("runstore")
    shown = subprocess.run(
        [program, "pull", f"hpc1:{source}", "100% copy", "--crontab", "--every", "10min"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = shown.stdout.splitlines()
    assert line.startswith("*/10 * * * * /")
    fields = line.split(" ", 5)
    words = fields[5].replace(r"\%", "%")  # what cron makes of it
    done = subprocess.run(
        ["/bin/sh", "-c", words], cwd="/", env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "100% copy" / only_run(source).name / "run.json").exists()


@pytest.mark.parametrize("page", ["README.md", "docs/machines.md"])
def test_recipe_of_the_page_works_as_it_stands(
    page: str, server: SshServer, tmp_path: Path, repo_root: Path, environment: Mapping[str, str]
) -> None:
    """`runs` is below the home over there: of this server, `home`."""
    text = (repo_root / page).read_text()
    blocks = re.findall(r"tests/integration/test_pull.py -->\n```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert lines
    home = tmp_path / "home"
    for root in (home / "runs", tmp_path / "runs"):
        with runstore.init(root=root, name="there", resume="never"):
            pass
    key = (server.folder / "client.pub").read_text()
    start = f'cd {home}; exec sh -c \\"$SSH_ORIGINAL_COMMAND\\"'
    (server.folder / "authorized").write_text(f'command="{start}" {key}')
    bin_folder = str(Path(sys.executable).parent)
    for line in lines:
        again = "--every" in line and "--crontab" not in line
        done = subprocess.run(
            ["timeout", "-s", "INT", "5", "sh", "-c", f"exec {line}"],
            cwd=tmp_path,
            env={**environment, "PATH": f"{environment['PATH']}{os.pathsep}{bin_folder}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == (124 if again else 0), (line, done.stderr)
        if again:
            assert "stopped; what has come stays" in done.stderr
        if "runstore ls" in line:
            assert "finished" in done.stdout
            assert "hpc1, " in done.stdout
