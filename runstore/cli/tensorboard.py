"""`runstore tensorboard`: TensorBoard's own server on a root, and the way to it over SSH."""

from __future__ import annotations

import errno
import getpass
import importlib.util
import os
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

import click

from runstore.cli.manual import ROOT_VARIABLE, Manual, ManualCommand
from runstore.cli.options import root_argument, root_option
from runstore.cli.output import say
from runstore.cli.progress import watched
from runstore.errors import RunStoreError
from runstore.runs.store import discover
from runstore.writer.event_file import event_files

PORT = 6006
SSH_PORT = "22"
ANYWHERE = ("0.0.0.0", "::")
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


MANUAL = Manual(
    examples={
        "On this machine": "runstore tensorboard",
        "On a share, on another port": "runstore tensorboard /mnt/shared/runs --port 6007",
    },
    statuses={
        "N": "that of TensorBoard",
        "1": "TensorBoard is not installed, ROOT is not there, or HOST is none of this machine's",
    },
    variables={
        **ROOT_VARIABLE,
        "SSH_CONNECTION": "set by sshd: tells the line for your own machine",
    },
    see=("runstore-tui", "docs/training.md"),
)


@click.command("tensorboard", cls=ManualCommand, manual=MANUAL)
@root_argument
@root_option
@click.option(
    "--port",
    default=PORT,
    type=click.IntRange(0, 65535),
    help="The port to serve on, or another one where it is taken; 0 for any.",
)
@click.option("--host", default="localhost", help="The address to serve on.")
def command(where: Path | None, root: Path, port: int, host: str) -> None:
    """Start TensorBoard on the runs below ROOT (default: --root), until Ctrl-C.

    It shows the runs that were opened with `runstore.init(tensorboard=True)`. In an SSH session the
    line is printed that makes it visible in a browser on your own machine.
    """
    directory = where or root
    _say_what_it_will_show(directory)
    if importlib.util.find_spec("tensorboard") is None:
        raise RunStoreError("TensorBoard is not installed here; pip install 'runstore[train]'")
    free = free_port(host, port)
    if free != port and port:
        say(f"port {port} is not free; TensorBoard gets port {free}")
    click.echo(f"http://{_in_url(host)}:{free}/")
    tunnel = ssh_line(os.environ.get("SSH_CONNECTION", ""), _user(), host, free)
    if tunnel:
        say(f"on your own machine, run the next line, and open http://localhost:{free}/ there")
        click.echo(tunnel)
    sys.exit(_serve(directory, host, free))


def _say_what_it_will_show(directory: Path) -> None:
    runs = discover([directory], watched)
    mirrored = sum(bool(event_files(run.path)) for run in runs)
    say(f"{mirrored} of {len(runs)} runs in {directory} have event files for TensorBoard")
    if mirrored < len(runs):
        say("the others were opened without runstore.init(tensorboard=True)")


def free_port(host: str, port: int) -> int:
    """Return `port` when it can be had, else another one that can.

    Raises:
        RunStoreError: the host is no address of this machine.
    """
    try:
        with suppress(OSError):
            return _bindable(host, port)
        return _bindable(host, 0)
    except OSError as error:
        raise RunStoreError(f"--host {host}: no server can be there ({error.strerror})") from None
    except UnicodeError:
        raise RunStoreError(f"--host {host}: that is no name of a host") from None


def _bindable(host: str, port: int) -> int:
    """Bind and release a port on all addresses that a name has here, and return it.

    Raises:
        OSError: it is taken, or may not be used.
    """
    refused: OSError | None = None
    bound = 0
    for family, kind, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        with socket.socket(family, kind) as probe:
            # As the server does: a connection that was closed a moment ago is no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address[0], bound or port, *address[2:]))
            except OSError as error:
                # `localhost` may have an IPv6 address where there is no IPv6.
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                refused = error
            else:
                bound = probe.getsockname()[1]
    if refused is not None and not bound:
        raise refused
    return bound


def ssh_line(connection: str, user: str, host: str, port: int) -> str:
    """Return the command for the user's own machine; empty outside of an SSH session.

    Args:
        connection: `$SSH_CONNECTION`: the client's address and port, the server's address and port.
            The server's name may mean nothing to the client; this address was reached by it.
        user: who is logged in here.
        host: what TensorBoard serves on.
        port: the port here, and there.
    """
    fields = connection.split()
    if len(fields) != 4:
        return ""
    _, _, server, server_port = fields
    target = "localhost" if host in ANYWHERE else _in_url(host)
    line = ["ssh", "-N", "-L", f"{port}:{target}:{port}"]
    if server_port != SSH_PORT:
        line += ["-p", server_port]
    return shlex.join([*line, f"{user}@{server}"])


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account that has no name, as in some containers
        return str(os.getuid())


def _serve(directory: Path, host: str, port: int) -> int:
    """Run TensorBoard until it ends, and return its exit status, as a shell reports it."""
    # -P: a folder `tensorboard` of the user's must not be taken for it.
    server = [sys.executable, "-P", "-m", "tensorboard.main"]
    server += ["--logdir", str(directory.absolute()), f"--host={host}", f"--port={port}"]
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if child is None:
            sys.exit(128 + number)
        child.send_signal(number)

    # Before the start: a signal in between would leave the server behind.
    for number in PASSED_ON:
        signal.signal(number, pass_on)
    # A group of its own: of Ctrl-C on a terminal it gets what is passed on, not one more.
    child = subprocess.Popen(server, stdin=subprocess.DEVNULL, process_group=0)
    status = child.wait()
    return status if status >= 0 else 128 - status
