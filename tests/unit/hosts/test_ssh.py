"""Where a shared connection's socket is; connections themselves are in tests/integration."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from runstore.hosts.login_socket import new_socket
from runstore.hosts.ssh import Link, LinkError
from runstore.hosts.ssh_words import told, why_not_in
from tests.conftest import WaitUntil


def test_socket_is_where_only_the_user_can_reach_it() -> None:
    one, other = new_socket(), new_socket()
    assert one != other
    assert one.parent == other.parent
    assert stat.S_IMODE(one.parent.stat().st_mode) == 0o700
    assert len(str(one)) < 80


@pytest.mark.parametrize("kind", ["open to others", "a link", "a file"])
def test_folder_of_somebody_else_is_not_used(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    taken = tmp_path / "runstore"
    monkeypatch.setattr("runstore.hosts.login_socket._folder_of_user", lambda: taken)
    if kind == "open to others":
        taken.mkdir(mode=0o755)
    elif kind == "a link":
        taken.symlink_to(tmp_path)
    else:
        taken.touch()
    folder = new_socket().parent
    assert folder != taken
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.rmdir()


def test_what_ssh_says_gets_what_to_do() -> None:
    assert "Connect once with ssh" in told("Host key verification failed.")
    assert "asked for at the start, on a terminal" in told(
        "me@hpc1: Permission denied (publickey)."
    )
    assert told("ssh: connect to host x port 22: No route to host").startswith("connect to host")


def test_link_that_was_closed_opens_no_more() -> None:
    link = Link("hpc1")
    link.close()
    with pytest.raises(LinkError, match="was closed here"):
        link.open(ask=False)


def test_what_a_gateway_refuses_is_told_and_not_how_ssh_ends_behind_it() -> None:
    said = ["me@gateway: Permission denied (publickey).", "Connection closed by UNKNOWN port 65535"]
    assert "gateway: Permission denied" in why_not_in(said)
    assert why_not_in(["banner", "ssh: no route"]) == "no route"
    assert why_not_in([]) == "it has closed the connection"


def test_login_to_a_silent_host_ends_when_the_link_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    (tmp_path / "ssh").write_text(
        f'#!/bin/sh\ntest "$1" = -G && exit\ntouch {tmp_path}/begun\nexec sleep 1000\n'
    )
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    link, told = Link("hpc1"), list[str]()

    def log_in() -> None:
        with pytest.raises(LinkError) as caught:
            link.open(ask=False)
        told.append(str(caught.value))

    login = threading.Thread(target=log_in, daemon=True)
    login.start()
    wait_until((tmp_path / "begun").exists, what="the login")
    closing = threading.Thread(target=link.close, daemon=True)
    closing.start()
    for thread in (closing, login):
        thread.join(20)  # the login alone would wait for 30 s
        assert not thread.is_alive()
    assert told
