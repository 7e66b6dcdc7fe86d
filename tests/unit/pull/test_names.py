"""Which names are new over there, asked of a shell of this machine instead of ssh."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runstore.hosts.ssh import Link, LinkError
from runstore.pull import names as pull_names
from runstore.pull.names import Names

SSH = """#!/bin/sh
case "$1" in -G) exit;; esac
for command in "$@"; do :; done
exec sh -c "$command"
"""


@pytest.fixture
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    link = Link("hpc1")
    link.open(ask=False)
    yield link
    link.close()


def test_names_that_are_too_many_for_one_answer_come_with_the_next(
    link: Link, tmp_path: Path
) -> None:
    sweeps = ["first", "second", "third"]
    for sweep in sweeps:
        for number in range(2000):
            (tmp_path / sweep / f"{number:04d}-{'x' * 240}").mkdir(parents=True)
    names = Names(link, str(tmp_path))
    assert names.new(sweeps) == []
    assert names.number == 4000
    assert names.new(sweeps) == []
    assert names.number == 6000
    for sweep in sweeps:
        (tmp_path / sweep / "new").mkdir()
    assert names.new(["third"]) == ["third/new"]
    assert names.new(sweeps) == ["first/new", "second/new"]


def test_names_of_more_bytes_than_characters_are_counted_right(
    link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_names, "WHOLE_BYTES", 100)
    for sweep in ("first", "second"):
        (tmp_path / sweep / ("ö" * 40)).mkdir(parents=True)
    names = Names(link, str(tmp_path))
    names.new(["first", "second"])
    assert names.number == 1


def test_answer_that_is_too_long_is_told_as_that(link: Link) -> None:
    with pytest.raises(LinkError, match="hpc1: it answers with more than 1,048,576 bytes"):
        link.run("yes")


@pytest.mark.parametrize(("most_bytes", "is_gone"), [(500_000, True), (50, False)])
def test_list_that_was_cut_tells_nothing_that_is_gone(
    link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_bytes: int, is_gone: bool
) -> None:
    monkeypatch.setattr(pull_names, "MOST_BYTES", most_bytes)
    folder = tmp_path / "runs"
    for number in range(10):
        (folder / f"{number}-name").mkdir(parents=True)
    names = Names(link, str(folder), [f"{number}-name" for number in range(10)])
    assert names.new([""]) == []
    assert not any(names.is_gone(f"{number}-name") for number in range(10))
    (folder / "2-name").rmdir()
    names.new([""])
    assert names.is_gone("2-name") is is_gone
    assert not names.is_gone("9-name")
