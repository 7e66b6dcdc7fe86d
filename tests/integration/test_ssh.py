"""The monitor over a real ssh connection, from one user of this machine to itself."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import runstore
from tests.ssh_server import SshServer
from tests.terminal import MONITOR, ROOT, Terminal
from tui.views import VIEWS

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

pytestmark = [
    pytest.mark.needs_tool("ssh", "sshd", "ssh-keygen"),
]


@pytest.fixture
def ssh(server: SshServer) -> list[str]:
    """The client's command line."""
    return [str(server.bin / "ssh"), "-tt", "-o", "SendEnv=COLORTERM", "hpc1"]


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
