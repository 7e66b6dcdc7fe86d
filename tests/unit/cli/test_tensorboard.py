"""What `runstore tensorboard` decides before it starts the server."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import runstore
from runstore.cli.tensorboard import command, free_port, ssh_line
from runstore.errors import RunStoreError


@pytest.mark.parametrize(
    ("connection", "host", "expected"),
    [
        ("198.51.100.7 50022 10.0.0.5 22", "localhost", "-L 6006:localhost:6006 ada@10.0.0.5"),
        ("198.51.100.7 50022 10.0.0.5 2222", "localhost", "-p 2222 ada@10.0.0.5"),
        ("2001:db8::7 50022 2001:db8::5 22", "localhost", "ada@2001:db8::5"),
        ("a 1 10.0.0.5 22", "0.0.0.0", "-L 6006:localhost:6006 "),
        ("a 1 10.0.0.5 22", "::", "-L 6006:localhost:6006 "),
        ("a 1 10.0.0.5 22", "10.1.1.1", "-L 6006:10.1.1.1:6006 "),
        ("a 1 10.0.0.5 22", "fd00::1", "-L '6006:[fd00::1]:6006' "),
    ],
)
def test_in_an_ssh_session_the_tunnel_leads_to_the_address_that_the_client_used(
    connection: str, host: str, expected: str
) -> None:
    line = ssh_line(connection, "ada", host, 6006)
    assert line.startswith("ssh -N -L ")
    assert expected in line


@pytest.mark.parametrize("connection", ["", "UNKNOWN", "1.2.3.4 5 6"])
def test_outside_of_an_ssh_session_there_is_no_tunnel(connection: str) -> None:
    assert ssh_line(connection, "ada", "localhost", 6006) == ""


def test_an_ssh_line_cannot_smuggle_a_command_in() -> None:
    line = ssh_line("a 1 $(id) 22", "ada;id", "localhost", 6006)
    assert line == "ssh -N -L 6006:localhost:6006 'ada;id@$(id)'"


def test_a_port_that_is_taken_is_replaced_by_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert free_port("127.0.0.1", taken) not in (taken, 0)
        assert free_port("localhost", taken) not in (taken, 0)
    assert free_port("127.0.0.1", taken) == taken


def test_a_host_that_is_not_here_is_refused() -> None:
    with pytest.raises(RunStoreError, match=r"--host 192\.0\.2\.1: no server can be there"):
        free_port("192.0.2.1", 0)


def test_a_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [str(tmp_path / "missing")])
    assert isinstance(result.exception, RunStoreError)


def test_without_tensorboard_one_line_says_what_to_install(tmp_path: Path) -> None:
    runstore.init(root=tmp_path).finish()
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'tensorboard' else find(name, *a)\n"
        "from runstore.cli import main; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "tensorboard", str(tmp_path)],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("runstore: 0 of 1 runs in")
    assert lines[-1] == (
        "runstore: TensorBoard is not installed here; pip install 'runstore[train]'"
    )
