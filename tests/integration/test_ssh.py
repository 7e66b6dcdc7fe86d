"""The monitor over a real ssh connection, from one user of this machine to itself."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import runstore
from tests.terminal import MONITOR, ROOT, Terminal
from tui.views import VIEWS

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

Tool = Callable[[str], str]

pytestmark = [
    pytest.mark.needs_tool("ssh", "sshd", "ssh-keygen"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def ssh(tmp_path: Path, tool: Tool, wait_until: WaitUntil) -> Iterator[list[str]]:
    """A server on loopback with keys of its own; yield the client's command line."""
    for name in ("host", "client"):
        subprocess.run(
            [tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)],
            check=True,
        )
    port = free_port()
    (tmp_path / "authorized").write_text((tmp_path / "client.pub").read_text())
    (tmp_path / "sshd.conf").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path / 'host'}\n"
        f"AuthorizedKeysFile {tmp_path / 'authorized'}\nPidFile none\nUsePAM no\n"
        "StrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        "AcceptEnv COLORTERM\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # Debian's sshd refuses to start without it
    with (tmp_path / "sshd.log").open("w") as log:
        server = subprocess.Popen(
            [tool("sshd"), "-D", "-e", "-f", str(tmp_path / "sshd.conf")], stderr=log
        )
    try:
        wait_until(lambda: "listening" in (tmp_path / "sshd.log").read_text(), what="sshd")
        yield [
            *(tool("ssh"), "-tt", "-F", "none", "-i", str(tmp_path / "client"), "-p", str(port)),
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "LogLevel=ERROR", "-o", "SendEnv=COLORTERM", "127.0.0.1"),
        ]
    finally:
        server.terminate()
        server.wait()


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=["80x24", "160x45"])
def test_rows_and_every_view_appear_over_ssh(
    ssh: list[str], tmp_path: Path, wait_until: WaitUntil, size: tuple[int, int]
) -> None:
    root = tmp_path / "runs"
    run = runstore.init(root=root, name="remote", resume="never")
    run.log({"train/loss": 0.75}, step=1)
    remote = f"cd {shlex.quote(str(ROOT))} && exec {shlex.join([*MONITOR, str(root)])}"
    terminal = Terminal([*ssh, remote], *size, {})
    try:
        wait_until(terminal.shows("1 run", "▶ running", "0.7500"), what="the run over ssh")
        run.log({"train/loss": 0.25}, step=2)
        wait_until(terminal.shows("0.2500"), what="the new row")
        for number, view in enumerate(VIEWS, 1):
            terminal.press(str(number))
            # Of a view that fills the screen, the title is its pane's; the list has columns.
            title = "STATUS" if view.name == "runs" else f"─ {view.title}"
            wait_until(terminal.shows(f" {number} {view.title}", title), what=view.title)
        terminal.press("1?")
        wait_until(terminal.shows("type to search"), what="the help")
        terminal.press("\x1b")
        run.finish()
        wait_until(terminal.shows("✓ finished"), what="the end")
        terminal.press("q")
        assert terminal.process.wait(30) == 0
    finally:
        terminal.close()
        run.finish()
