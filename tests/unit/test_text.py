"""What is drawn cannot drive a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.text import command_line, printable


@given(st.text(st.characters(), max_size=200))
def test_nothing_that_drives_a_terminal_is_left(text: str) -> None:
    shown = printable(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not set(shown) & set("\u200e\u200f\u202a\u202e\u2066\u2069\u061c\ufeff")
    shown.encode("utf-8")


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_ordinary_text_is_unchanged(text: str) -> None:
    assert printable(text) == text


@pytest.mark.needs_tool("bash")
@pytest.mark.parametrize("name", [b"\x80", b"caf\xe9 \xe9a", b"\xff\n'", b"\xed\xb2\x80"])
def test_bash_gets_the_bytes_of_a_name_that_is_no_utf_8(name: bytes) -> None:
    line = command_line(["printf", "%s", os.fsdecode(name)])
    line.encode("utf-8")
    assert subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout == name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\tc\rd", "a⏎b c␍d"),
        ("\u202e", "\\u202e"),
        ("\x9b", "\\x9b"),
    ],
)
def test_what_is_unsafe_is_made_visible(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_long_text_is_cut() -> None:
    assert printable("x" * 5000, limit=10) == "x" * 9 + "…"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_guarded_stderr_tells_at_once(unbuffered: str) -> None:
    """A container often sets PYTHONUNBUFFERED; what is said must not wait for the end."""
    said = "from runstore.text import guard_streams; guard_streams(); import os, sys; "
    done = subprocess.run(
        [sys.executable, "-c", said + "sys.stderr.write('logging in …\\n'); os._exit(0)"],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        check=True,
    )
    assert done.stderr.decode() == "logging in …\n"
