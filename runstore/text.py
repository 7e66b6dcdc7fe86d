"""Strings that come from files, made safe to show.

A run directory may come from anywhere, and a terminal obeys escape sequences wherever they
come from: a metric name can set the clipboard or the window title. Whatever is drawn or
printed passes through `printable` first, which also keeps it on one line. So that nothing depends
on somebody remembering it, the places where text leaves the program do it once more: the commands'
streams (`guard_streams`), the screen's lines, the training's log (`PrintableFilter`).
"""

from __future__ import annotations

import io
import logging
import os
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

# C0, DEL, C1, line and paragraph separators, bidi controls, the BOM, and
# surrogates that no terminal can encode.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\u061c\ufeff\ud800-\udfff]"
)
_UNSAFE_IN_LINES = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_NAMED = {"\n": "⏎", "\t": " ", "\r": "␍"}


def printable(text: str, *, limit: int = 2000) -> str:
    r"""Return `text` with everything that could drive a terminal made visible (`\x1b`).

    Newlines become `⏎`, so the result is always one line. Longer than `limit` is cut with `…`.
    """
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(_visible, text)


def _visible(match: re.Match[str]) -> str:
    char = match.group()
    named = _NAMED.get(char)
    if named is not None:
        return named
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def printable_lines(text: str) -> str:
    """Return `text` with everything but newlines and tabs made visible that drives a terminal."""
    return text if text.isascii() and text.isprintable() else _UNSAFE_IN_LINES.sub(_visible, text)


def shell_word(text: object) -> str:
    """Return a path or a name as a word for a shell that no program takes for an option."""
    word = str(text)
    return shlex.quote(f"./{word}" if word.startswith("-") else word)


def command_line(arguments: Iterable[object]) -> str:
    r"""Return a command for bash or zsh on one line that any terminal can take.

    It does what the arguments say when it is pasted. Words with control characters, such as a
    program in several lines, are written `$'a\nb'`.
    """
    return " ".join(map(_bash_word, map(str, arguments)))


def _bash_word(word: str) -> str:
    if not _UNSAFE.search(word):
        return shlex.quote(word)
    quoted = word.replace("\\", r"\\").replace("'", r"\'")
    return f"$'{_UNSAFE.sub(_bash_escape, quoted)}'"


def _bash_escape(match: re.Match[str]) -> str:
    char = match.group()
    code = ord(char)
    named = {"\n": r"\n", "\t": r"\t", "\r": r"\r"}.get(char)
    # A byte that is no UTF-8, as Python has it in a file's name (PEP 383).
    byte = code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code
    return named or (f"\\x{byte:02x}" if byte < 0x80 or byte != code else f"\\u{code:04x}")


class PrintableStream(io.TextIOWrapper):
    """A text stream through which nothing reaches the terminal that it would obey."""

    def write(self, text: str) -> int:
        """Write `text` with what drives a terminal made visible."""
        super().write(printable_lines(text))
        return len(text)


def guard_streams() -> None:
    """Make standard output and error safe, for whoever prints: us, click, or a traceback.

    Bytes that are written to their `buffer` are data for programs, and pass as they are.
    """
    _open_closed_streams()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper) or isinstance(stream, PrintableStream):
            continue
        stream.flush()
        # The old stream stays in sys.__stdout__, so that the file is not closed with it.
        guarded = PrintableStream(
            stream.buffer,
            "utf-8",
            "backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,  # PYTHONUNBUFFERED=1, instead of the other
        )
        setattr(sys, name, guarded)


def _open_closed_streams() -> None:
    """Have nothing come from a stream that was closed (`<&-`, `>&-`), and nothing kept of it.

    Python has None in its place, and the next file that is opened gets its number: a run's, into
    which a child would print.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nothing = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - until the end
            setattr(sys, name, nothing)
            setattr(sys, f"__{name}__", nothing)


class PrintableFilter(logging.Filter):
    """Makes the messages of a log safe: they name metrics, files and what exceptions say."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every message through, on one line."""
        record.msg, record.args = printable(record.getMessage()), ()
        return True
