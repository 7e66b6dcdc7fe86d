"""Strings that come from files, made safe to show.

A run directory may come from anywhere, and a terminal obeys escape sequences wherever they
come from: a metric name can set the clipboard or the window title. Whatever is drawn or
printed passes through `printable` first.
"""

from __future__ import annotations

import re

# C0, DEL, C1, line and paragraph separators, bidi controls, the BOM, and
# surrogates that no terminal can encode.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\u061c\ufeff\ud800-\udfff]"
)
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
