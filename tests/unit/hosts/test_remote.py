"""No host and no path makes ssh or rsync do anything else than was meant."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from runstore.hosts.remote import (
    Remote,
    RemoteError,
    checked_host,
    checked_path,
    rsync_command,
    ssh_command,
)

CANARY = "canary"
HOSTS = [
    "-oProxyCommand=touch canary",
    "-oProxyCommand=touch${IFS}canary",
    "user@-oProxyCommand=touch canary",
    "-l@host",
    "[-oProxyCommand=x]",
    "user@[-oProxyCommand=x]",
    "[::1%-x]",
    "--",
    "-",
    "",
    "@host",
    "a@b@c",
    "host name",
    "host;touch canary",
    "host\ntouch canary",
    "host\n",
    "$(touch canary)",
    "`touch canary`",
    "host|touch",
    "ho\u0455t",
    "host/../x",
    "rsync://host/x",
    "host::module",
    "x" * 300,
]
PATHS = [
    "; touch canary",
    "$(touch canary)",
    "`touch canary`",
    "a b  c",
    "it's",
    "-rf",
    "--rsync-path=touch canary",
    "~/runs",
    "*",
    "a:b",
    "\u202eruns",
]


@pytest.mark.parametrize("host", HOSTS)
def test_host_that_is_none_is_refused_before_any_program_sees_it(host: str) -> None:
    with pytest.raises(RemoteError, match="is no"):
        checked_host(host)
    with pytest.raises(RemoteError):
        ssh_command(host, ["true"])
    if ":" not in host:
        with pytest.raises(RemoteError):
            Remote.parse(f"{host}:runs")
    with pytest.raises(RemoteError):
        rsync_command([], Remote(host, "runs"), "x")


@pytest.mark.parametrize("path", ["", "a\nb", "a\0b", "\x1b]0;x\x07"])
def test_path_with_control_characters_is_refused(path: str) -> None:
    with pytest.raises(RemoteError):
        checked_path(path)
    with pytest.raises(RemoteError):
        ssh_command("host", ["cat", path])


@pytest.mark.parametrize(
    ("text", "host", "path"),
    [
        ("host:runs", "host", "runs"),
        ("me@gpu-1.lab.example:/data/runs", "me@gpu-1.lab.example", "/data/runs"),
        ("10.0.0.7:a:b", "10.0.0.7", "a:b"),
        ("me@[fe80::1%eth0]:~/runs", "me@[fe80::1%eth0]", "~/runs"),
        ("host:-x", "host", "-x"),
    ],
)
def test_ordinary_places_are_taken(text: str, host: str, path: str) -> None:
    assert Remote.parse(text) == Remote(host, path)


def test_slash_at_the_end_makes_no_other_place() -> None:
    assert Remote.parse("hpc1:runs/") == Remote.parse("hpc1:runs")
    assert Remote.parse("hpc1://").path == "/"


@pytest.mark.parametrize(
    ("text", "operand"),
    [
        ("host::module/x", "host:./:module/x"),
        ("rsync://host/x", "rsync:/host/x"),
        ("host:-x", "host:./-x"),
        ("host:/data", "host:/data"),
    ],
)
def test_no_path_makes_rsync_ask_a_daemon(text: str, operand: str) -> None:
    assert operand in rsync_command([], Remote.parse(text), "here")


def test_address_loses_its_brackets_for_ssh_only() -> None:
    assert ssh_command("me@[::1]", ["true"])[-2:] == ["me@::1", "true"]
    assert "me@[::1]:./runs" in rsync_command([], Remote("me@[::1]", "runs"), "here")


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ssh in PATH that notes its arguments and does here what it should do there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "ssh"
    # What is behind `--` and the host is what the shell of the other machine gets.
    script.write_text(
        f"""#!/bin/sh
for word; do printf '%s\\n' "$word"; done >> {tmp_path}/arguments
while [ "$1" != -- ] && [ "${{1#-}}" != "$1" ]; do case $1 in -l) shift;; esac; shift; done
[ "$1" = -- ] && shift
shift
cd {tmp_path}/there && exec sh -c "$*"
"""
    )
    script.chmod(0o755)
    (tmp_path / "there").mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "there"


@pytest.mark.parametrize("path", PATHS)
def test_no_shell_on_the_other_machine_runs_what_a_path_says(path: str, fake_ssh: Path) -> None:
    (fake_ssh / path.replace("/", "|")).write_text("rows")
    done = subprocess.run(
        ssh_command("host", ["cat", "--", path.replace("/", "|")]), capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("rows", "")
    assert not list(fake_ssh.parent.rglob(CANARY))


@pytest.mark.needs_tool("rsync")
@pytest.mark.parametrize("path", PATHS)
def test_rsync_copies_from_a_path_of_any_name(
    path: str, fake_ssh: Path, tool: Callable[[str], str]
) -> None:
    name = path.replace("/", "|")
    (fake_ssh / name).mkdir()
    (fake_ssh / name / "row").write_text("1")
    for target in ("copy", "-copy", "co:py"):
        command = rsync_command(["-rt"], Remote("host", f"{name}/"), target)
        done = subprocess.run([tool("rsync"), *command[1:]], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert (Path.cwd() / target / "row").read_text() == "1"
    assert not list(fake_ssh.parent.rglob(CANARY))


@pytest.mark.needs_tool("ssh")
def test_real_ssh_takes_nothing_behind_the_dashes_for_an_option(
    tmp_path: Path, tool: Callable[[str], str]
) -> None:
    """What the check refuses, the `--` would stop as well."""
    command = ssh_command("host.invalid", ["true"])
    command[command.index("host.invalid")] = f"-oProxyCommand=touch {tmp_path / CANARY}"
    done = subprocess.run([tool("ssh"), *command[1:]], capture_output=True, text=True)
    assert done.returncode != 0
    assert not (tmp_path / CANARY).exists()


def test_nothing_else_builds_such_commands(repo_root: Path) -> None:
    for module in [*repo_root.glob("runstore/**/*.py"), *repo_root.glob("tui/**/*.py")]:
        if module.name in ("remote.py", "tensorboard.py"):
            # TensorBoard's command prints a line for the user to run.
            continue
        text = module.read_text()
        assert '"ssh"' not in text, module
        assert '"rsync"' not in text, module
