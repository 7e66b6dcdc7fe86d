"""A real ssh server on loopback with keys of its own, and a client configured for it.

Not collected: pytest takes files named `test_*.py` only.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

Tool = Callable[[str], str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class SshServer:
    """`hpc1`, and `hpc2`, are this machine: by `bin/ssh`, the real one with a configuration."""

    def __init__(self, folder: Path, tool: Tool, settings: str = "") -> None:
        """Make keys and configurations in a folder; nothing is started."""
        self.folder, self._tool = folder, tool
        self.port = free_port()
        self.there = folder / "there"
        """Programs in front of all others over there."""
        self.bin = folder / "bin"
        """Programs in front of all others here."""
        for directory in (self.there, self.bin):
            directory.mkdir(parents=True)
        for name in ("host", "client"):
            key = [tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(key, check=True)
        (folder / "authorized").write_text((folder / "client.pub").read_text())
        (folder / "sshd.conf").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\n"
            f"AuthorizedKeysFile {folder / 'authorized'}\nPidFile none\nUsePAM no\n"
            "StrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
            # No start-up files of whoever runs the tests: a shell that is killed in the middle of
            # one may leave a lock behind, and the next one waits for it.
            f"AcceptEnv COLORTERM\n"
            f"SetEnv PATH={self.there}:{os.environ['PATH']} HOME={folder}\n{settings}"
        )
        self.configure("")
        program = self.bin / "ssh"
        program.write_text(
            f'#!/bin/sh\nexec {shlex.join([tool("ssh"), "-F", str(folder / "config")])} "$@"\n'
        )
        program.chmod(0o755)
        self._server: subprocess.Popen[bytes] | None = None

    def configure(self, more: str) -> None:
        """Write the client's configuration, with further lines for both hosts."""
        (self.folder / "config").write_text(
            f"Host hpc1 hpc2\n  HostName 127.0.0.1\n  Port {self.port}\n"
            f"  IdentityFile {self.folder / 'client'}\n  IdentitiesOnly yes\n"
            "  StrictHostKeyChecking no\n"
            f"  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n{more}\n"
        )

    def environment(self) -> Mapping[str, str]:
        """Return what a process here needs to find this server."""
        return {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"}

    def start(self) -> None:
        """Start it, also again, on the same port."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # Debian's sshd refuses to start without it
        log = self.folder / "sshd.log"
        with log.open("w") as output:
            command = [self._tool("sshd"), "-D", "-e", "-f", str(self.folder / "sshd.conf")]
            self._server = subprocess.Popen(command, stderr=output)
        deadline = time.monotonic() + 30
        while "listening" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)

    def sessions(self) -> list[psutil.Process]:
        """Return the processes of everybody who is logged in."""
        if self._server is None:
            return []
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self._server.pid).children(recursive=True)
        return []

    def cut(self) -> None:
        """Break all connections; new ones are let in."""
        for process in self.sessions():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> None:
        """End it and all its connections."""
        server = self._server
        if server is not None:
            sessions = self.sessions()
            server.terminate()
            server.wait()
            for process in sessions:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._server = None

    def put(self, name: str, script: str) -> None:
        """Put a program over there, in front of the real one of that name."""
        path = self.there / name
        path.write_text(script)
        path.chmod(0o755)
