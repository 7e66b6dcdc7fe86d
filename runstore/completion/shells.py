"""What the scripts for bash, zsh and fish ask, and what they are told."""

from __future__ import annotations

import re
import sys
from importlib import resources
from typing import ClassVar, Literal, get_args

from click.shell_completion import (
    CompletionItem,
    ShellComplete,
    add_completion_class,
    split_arg_string,
)

from runstore.patience import Patience

Shell = Literal["bash", "zsh", "fish"]
SHELLS: tuple[Shell, ...] = get_args(Shell)
ANSWER_S = 2.0
"""Longer than runs are looked for, also on a busy machine; for what else may wait for a server."""


def script(shell: Shell) -> str:
    """Return the script that makes a shell complete `runstore` and `runstore-tui`."""
    return (resources.files(__package__) / f"runstore.{shell}").read_text("utf-8")


def answer_shells() -> None:
    """Have click answer our scripts in the place of its own."""
    for kind in (Bash, Zsh, Fish):
        add_completion_class(kind)


class _OurScript(ShellComplete):
    """A script that gives the words as arguments, so that nobody splits or unquotes them twice.

    The last one is the one at the cursor, up to it. The answer has a line for each word: its kind,
    itself, and what is told of it, between tabs.
    """

    name: ClassVar[Shell]

    def source(self) -> str:
        """Return the script."""
        return script(self.name)

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one at the cursor, and that one."""
        *before, typed = sys.argv[1:] or [""]
        return before, typed

    def complete(self) -> str:
        """Return the answer; an empty one if it does not come in time."""
        lines: list[str] = []
        Patience(ANSWER_S).do(lambda: lines.append(super(_OurScript, self).complete()))
        return "".join(lines)

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return an item's line."""
        return "\t".join((item.type, item.value, " ".join((item.help or "").split())))


class Zsh(_OurScript):
    """See `runstore.zsh`."""

    name = "zsh"


class Fish(_OurScript):
    """See `runstore.fish`."""

    name = "fish"


class Bash(_OurScript):
    """See `runstore.bash`: it gives the line up to the cursor, and bash's word there, as typed."""

    name = "bash"
    _option, _kept, _quote = "", 0, ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one at the cursor, and that one."""
        line, word = sys.argv[1:]
        # The word may go on behind the cursor.
        word = next(word[:n] for n in range(len(word), -1, -1) if line.endswith(word[:n]))
        before_quote, self._quote, replaced = _at_open_quote(word)
        _, *before, typed = _words(line)
        if typed.startswith("-") and "=" in typed:
            self._option = typed.partition("=")[0] + "="
        self._kept = len(typed) - len(replaced if self._quote else _words(before_quote)[-1])
        return before, typed

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return an item's line, with the word as it replaces bash's: quoted, behind `=` and `:`.

        Bash itself quotes file names only, and takes a `$` in one that is not there for a variable.
        """
        word = (self._option + item.value)[self._kept :]
        return f"{item.type}\t{_quoted(word, self._quote)}"


def _words(line: str) -> list[str]:
    """Return the words of a line up to the cursor, without quotes; the last one may be empty."""
    *before, last = split_arg_string(f"{line}|")
    return [*before, last[:-1]]


def _at_open_quote(word: str) -> tuple[str, str, str]:
    """Return what stands before a quote that is not closed, the quote, and what it has in it."""
    quote, begin, at = "", 0, 0
    while at < len(word):
        char = word[at]
        if char == "\\" and quote != "'":
            at += 1
        elif char == quote:
            quote = ""
        elif char in "\"'" and not quote:
            quote, begin = char, at
        at += 1
    return (word[:begin], quote, _words(word[begin:])[-1]) if quote else (word, "", "")


def _quoted(word: str, quote: str) -> str:
    """Return a word for bash, as it stands behind an open quote, or behind none."""
    if quote == "'":
        return word.replace("'", "'\\''")
    if quote == '"':
        # No backslash would keep bash from looking for `!` in its history.
        return re.sub(r'(["$`\\])', r"\\\1", word).replace("!", "\"'!'\"")
    return re.sub(r"([^\w./+,@%:=-])", r"\\\1", word)
