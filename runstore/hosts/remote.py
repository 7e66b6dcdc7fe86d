"""Names of other machines, and what ssh and rsync are told of them.

ssh and rsync take what begins with `-` for an option, and one of ssh's options runs a command on
this machine; a path on the other machine is read by a shell there. So a host is checked here before
either program sees it, options end with `--`, and remote paths are quoted. Nothing else in runstore
may build such a command.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from runstore.errors import RunStoreError

_USER = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_ADDRESS = r"\[[0-9A-Fa-f:][0-9A-Fa-f:.]*(?:%[A-Za-z0-9_][A-Za-z0-9_.-]*)?\]"
_HOST = re.compile(rf"(?:(?P<user>{_USER})@)?(?P<host>{_NAME}|{_ADDRESS})")
MAX_CHARS = 255
_EXPECTED = (
    "letters, digits, and . _ - inside make a host, an IPv6 address stands in brackets; give any "
    "other a name in ~/.ssh/config"
)
SSH_OPTIONS = (
    # Never wait for a password or for a yes, and never for ever.
    "-oBatchMode=yes",
    "-oConnectTimeout=15",
    # No terminal there: what is read are files.
    "-T",
)
"""What ssh is told where the user's own configuration is not known (`runstore.hosts.ssh`)."""


class RemoteError(RunStoreError):
    """A host or a remote path that is refused before ssh or rsync sees it."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A directory on another machine."""

    host: str
    """`[user@]host`; an IPv6 address in brackets."""
    path: str
    """On that machine, as it is; relative to the user's home there. `~` has no meaning."""

    def __str__(self) -> str:
        return f"{self.host}:{self.path}"

    @classmethod
    def parse(cls, text: str) -> Remote:
        """Return what `[user@]host:path` means.

        Raises:
            RemoteError: it has no such form, or might be taken for an option or a command.
        """
        match = re.fullmatch(rf"(?P<place>{_HOST.pattern}):(?P<path>.*)", text, re.DOTALL)
        if match is None:
            raise RemoteError(f"{text[:MAX_CHARS]!r} is no [user@]host:path; {_EXPECTED}")
        path = checked_path(match["path"])
        # `runs/`, as a shell completes it, is `runs`.
        return cls(checked_host(match["place"]), path.rstrip("/") or "/")


def is_remote(text: str) -> bool:
    """Tell whether a root is on another machine: `host:path`, unless something here is called so.

    As scp tells them apart; a directory here with a colon in its name is `./a:b`.
    """
    head, colon, _ = text.partition(":")
    return bool(colon) and "/" not in head and not os.path.lexists(text)


def refuse_hosts_like_options(words: Sequence[str]) -> None:
    """Refuse `-oProxyCommand=…` on a command line in the words for all that are no hosts.

    Args:
        words: of the command line, before click sees them.

    Raises:
        RemoteError: one of them begins with `-o`, or has one `-` in front and a colon.
    """
    for word in words[: words.index("--")] if "--" in words else words:
        if word.startswith("-o") or (":" in word and re.match("-[^-]", word)):
            Remote.parse(word)


def checked_host(text: str) -> str:
    """Return `[user@]host` as it is.

    Raises:
        RemoteError: it begins with `-`, also behind `@` or `[`, or has characters that no host has.
    """
    if len(text) > MAX_CHARS or _HOST.fullmatch(text) is None:
        raise RemoteError(f"{text[:MAX_CHARS]!r} is no [user@]host; {_EXPECTED}")
    return text


def checked_path(text: str) -> str:
    """Return a path on another machine.

    Raises:
        RemoteError: it is empty, or has control characters, which no run directory of ours has.
    """
    if not text or any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise RemoteError(f"{text[:MAX_CHARS]!r} is no path of a directory on another machine")
    return text


def ssh_command(
    host: str, command: Sequence[str], options: Sequence[str] = SSH_OPTIONS
) -> list[str]:
    """Return the arguments of ssh that run `command` on a host, each word quoted for its shell.

    Args:
        host: `[user@]host`.
        command: the program and its arguments.
        options: of ssh: ours, never a user's text.

    Raises:
        RemoteError: the host, or a word of the command, may not be given to ssh.
    """
    words = [checked_path(word) for word in command]
    return ["ssh", *options, "--", _name_for_ssh(host), shlex.join(words)]


def ssh_question(host: str, question: Sequence[str]) -> list[str]:
    """Return the arguments of ssh that ask it about a host; no command is run there.

    Args:
        host: `[user@]host`.
        question: `-G` for the configuration, `-O check` for a living connection: ours.

    Raises:
        RemoteError: the host may not be given to ssh.
    """
    return ["ssh", *question, "--", _name_for_ssh(host)]


def _name_for_ssh(host: str) -> str:
    user, at, name = checked_host(host).rpartition("@")
    return f"{user}{at}{name.strip('[]')}"


def rsync_command(
    options: Sequence[str], source: Remote, target: str, ssh: Sequence[str] = SSH_OPTIONS
) -> list[str]:
    """Return the arguments of rsync that bring a remote directory into a local one.

    Args:
        options: what is copied and how: ours, never a user's text.
        source: the directory on the other machine.
        target: the local directory.
        ssh: options of ssh: ours, too.
    """
    operand = f"{checked_host(source.host)}:{_behind_colon(checked_path(source.path))}"
    # -s: the path is sent over the protocol, no shell on the other side reads it.
    return [
        *("rsync", "-s", "-e", shlex.join(["ssh", *ssh])),
        *(*options, "--", operand, _local(target)),
    ]


def _behind_colon(path: str) -> str:
    """Return a path that rsync takes for no daemon's module: not `host::x`, not `rsync://x`."""
    if path.startswith("/"):
        return "/" + path.lstrip("/")
    # rsync 3.5 takes `./../x` for `x`.
    return path if path.startswith("../") else f"./{path}"


def _local(path: str) -> str:
    """Return a local path that rsync takes neither for an option nor for `host:path`."""
    return path if path.startswith(("/", "./", "../")) else f"./{path}"
