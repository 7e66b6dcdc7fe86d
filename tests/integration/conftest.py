"""Other machines for whichever test asks for one: a real ssh server on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.ssh_server import SshServer, Tool


@pytest.fixture
def server(tmp_path: Path, tool: Tool) -> Iterator[SshServer]:
    """`hpc1` and `hpc2`, started; the test is marked needs_tool("ssh", "sshd", "ssh-keygen")."""
    server = SshServer(tmp_path / "ssh", tool)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def environment(server: SshServer, tmp_path: Path, repo_root: Path) -> Mapping[str, str]:
    """All that a process needs which is to find them, with a cache and a state of its own."""
    return {
        **os.environ,
        **server.environment(),
        "TERM": "xterm-256color",  # where it is on a terminal, on one that draws
        "PYTHONPATH": str(repo_root),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
