r"""What a terminal's output amounts to as lines of text, for a log that grep and less can read.

A progress bar draws its line again and again behind a `\r`; several bars move the cursor up. Of
both stays what stood on the line last. Escape sequences and other controls are taken out, and
nothing is kept of full-screen programs, which draw on the terminal's other screen. Sequences as in
ECMA-48 and xterm's ctlseqs.
"""

from __future__ import annotations

import codecs
import re

MOST_CHARS = 64 << 10
"""A line that is longer is handed on in pieces."""
MOST_HELD = 4096
"""The longest begun escape sequence that waits for its end."""
MOST_ROWS = 100
"""The most lines above the cursor's that may be drawn again."""

_SEQUENCE = (
    r"(?:\x1b\[|\x9b)(?P<arguments>[0-?]*)[ -/]*(?P<csi>[@-~])"
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"
    r"|\x1b[ -/]*[0-~]"
)
_TOKEN = re.compile(rf"{_SEQUENCE}|(?P<text>[^\x00-\x08\x0a-\x1f\x7f-\x9f]+)|(?P<control>.)", re.S)
_BEGUN = re.compile(r"(?:\x1b|\x9b)(?:\[?[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\n]*\x1b?)\Z")
_OTHER_SCREEN = frozenset({"?47", "?1047", "?1049"})
# What would mislead a reader of the log: directions, separators, the byte order mark.
_MISLEADING_SET = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
_MISLEADING = re.compile(f"[{_MISLEADING_SET}]")
_NOT_PLAIN = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_MISLEADING_SET}]")


class ScreenText:
    """Takes what one program prints, in pieces cut anywhere, and returns the log's lines."""

    def __init__(self) -> None:
        """Begin with an empty line."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._clear()
        self._on_other_screen = False

    def _clear(self) -> None:
        self._rows = [""]
        """The lines that may still change; all but the cursor's only after moves upwards."""
        self._row = self._column = 0
        self._height = 0
        """How many lines above the last one are drawn again."""
        self._new_lines = 0
        """Lines that were begun since the cursor moved up."""
        self._is_redrawn = False

    def feed(self, data: bytes) -> bytes:
        """Take what was printed next; return the lines that are done with."""
        return self._take(self._held + self._decoder.decode(data)).encode("utf-8", "replace")

    def _take(self, text: str) -> str:
        self._held = ""
        if self._is_at_end and _NOT_PLAIN.search(text) is None:
            return self._take_plain(text)
        begun = _BEGUN.search(text, max(0, len(text) - MOST_HELD))
        if begun is None:
            return self._draw(text)
        self._held = begun.group()
        return self._draw(text[: begun.start()])

    @property
    def _is_at_end(self) -> bool:
        """Whether what comes is only added to what is there."""
        is_drawn = self._height or self._is_redrawn or self._on_other_screen
        return not is_drawn and self._column == len(self._rows[0])

    def _take_plain(self, text: str) -> str:
        """Take text without controls, which most of what is ever printed is."""
        head, newline, rest = text.rpartition("\n")
        done = f"{self._rows[0]}{head}\n" if newline else ""
        self._rows[0] = rest if newline else self._rows[0] + rest
        self._column = len(self._rows[0])
        return done + self._hand_on_if_long()

    def _draw(self, text: str) -> str:
        done: list[str] = []
        for token in _TOKEN.finditer(text):
            if token["csi"]:
                self._move(token["csi"], token["arguments"])
            elif self._on_other_screen:
                continue
            elif token["text"]:
                self._put(_MISLEADING.sub("", token["text"]))
                done.append(self._hand_on_if_long())
            elif token["control"] == "\n":
                done += self._end_line()
            elif token["control"] == "\r":
                self._column, self._is_redrawn = 0, True
            elif token["control"] == "\b":
                self._column = max(0, self._column - 1)
        return "".join(done)

    def _put(self, text: str) -> None:
        line, column = self._rows[self._row], self._column
        if column > len(line):
            line = line.ljust(column)
        self._column = column + len(text)
        self._rows[self._row] = line[:column] + text + line[self._column :]

    def _hand_on_if_long(self) -> str:
        if len(self._rows[self._row]) <= MOST_CHARS:
            return ""
        rows = [row for row in self._rows[: self._row] if row]
        text = "".join(f"{row}\n" for row in rows) + self._rows[self._row]
        self._clear()
        return text

    def _end_line(self) -> list[str]:
        """Go to the next line; return those that can no longer be drawn again."""
        self._row, self._column = self._row + 1, 0
        if self._row < len(self._rows):
            return []
        self._rows.append("")
        self._new_lines += 1
        if self._new_lines > self._height:
            self._height = 0
        done = []
        while len(self._rows) - 1 > self._height:
            done.append(self._finished(self._rows.pop(0)) + "\n")
            self._row -= 1
        self._is_redrawn = False
        return done

    def _finished(self, line: str) -> str:
        """Return a line without the spaces by which bars blot out what stood there."""
        return line.rstrip(" ") if self._is_redrawn or self._height else line

    def _move(self, letter: str, arguments: str) -> None:
        if letter in "hl" and arguments in _OTHER_SCREEN:
            self._on_other_screen = letter == "h"
            return
        if self._on_other_screen or (arguments and not arguments.isdigit()):
            return
        # ECMA-48: a count that is missing or 0 is 1, a part to erase that is missing is 0.
        number = int(arguments[:4] or 0)
        count = max(1, number)
        if letter in "AF":
            self._move_up(count)
        elif letter in "BE":
            self._row = min(self._row + count, len(self._rows) - 1)
        elif letter in "CDG":
            self._column = {
                "C": min(self._column + count, MOST_CHARS),
                "D": max(0, self._column - count),
                "G": min(count - 1, MOST_CHARS),
            }[letter]
        elif letter in "KJ":
            self._erase(number)
        if letter in "EF":
            self._column = 0

    def _move_up(self, count: int) -> None:
        """Lines that were handed on already are drawn anew, from nothing; a screen has a top."""
        missing = max(0, min(count - self._row, MOST_ROWS + 1 - len(self._rows)))
        self._rows[:0] = [""] * missing
        self._row = max(0, self._row + missing - count)
        self._height = min(len(self._rows) - 1, MOST_ROWS)
        self._new_lines = 0

    def _erase(self, part: int) -> None:
        line = self._rows[self._row]
        if part == 0:
            self._rows[self._row] = line[: self._column]
        elif part == 1:
            self._rows[self._row] = line[self._column :].rjust(len(line))
        elif part == 2:
            self._rows[self._row] = ""

    def end(self) -> bytes:
        """Return what stands on the lines that were not ended, each as a line."""
        text = self._draw(self._held + self._decoder.decode(b"", final=True))
        rows = [row.rstrip(" ") for row in self._rows]
        self._held = ""
        self._clear()
        return (text + "".join(f"{row}\n" for row in rows if row)).encode("utf-8", "replace")
