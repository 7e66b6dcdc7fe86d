"""Texts in few cells that stay different where they differ. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from .text import ELLIPSIS, shorten, width_of

_BETWEEN = re.compile(r"[,_/= ]|(?<![0-9]e)-")
"""What stands between the parts of a name; not the sign of an exponent."""


def told_apart(texts: Sequence[str], width: int) -> list[str]:
    """Return each text in at most `width` cells; different ones are different if they can be.

    Args:
        texts: Safe texts on one line; paths are cut between their parts.
        width: Cells, 8 or more.
    """
    short = {text: shorten(text, width, keep_end=True) for text in texts}
    _part(short, width, 0)
    _by_parts(short, width)
    return [short[text] for text in texts]


def _part(short: dict[str, str], width: int, shared: int) -> None:
    """Have those that are cut alike show where they differ; the first `shared` characters do not.

    Args:
        short: What each text is cut to; changed.
        width: Cells.
        shared: How many characters were found to be the same for all of them before.
    """
    alike: dict[str, list[str]] = {}
    for text, cut in short.items():
        alike.setdefault(cut, []).append(text)
    for texts in alike.values():
        if len(texts) == 1:
            continue
        same = _shared_start(texts)
        if same <= shared and shared:
            continue  # they differ in more than there is room for
        cut_again = {text: _from(text, _begin(texts[0], same), width) for text in texts}
        _part(cut_again, width, same)
        short |= cut_again


def _shared_start(texts: Sequence[str]) -> int:
    """Return how many characters are the same at the beginning of all texts."""
    places = zip(*texts, strict=False)  # up to the end of the shortest
    return next(
        (at for at, found in enumerate(places) if len(set(found)) > 1), min(map(len, texts))
    )


def _begin(text: str, same: int) -> int:
    """Return where the part of a path begins in which texts differ, or a few characters before."""
    part = text.rfind("/", 0, same) + 1
    return part if part and same - part < 8 else max(0, same - 2)


def _from(text: str, begin: int, width: int) -> str:
    rest = text[begin:]
    if not begin:
        return shorten(rest, width)
    if width_of(rest) < width:
        return ELLIPSIS + rest
    return ELLIPSIS + shorten(rest, width - 1)


def _by_parts(short: dict[str, str], width: int) -> None:
    """Have those that are alike all the same show only the parts in which they differ.

    Cells of a sweep differ in several places: `lr=0.01,seed=0,width=64` is `…0.01…0…64`.
    """
    often = Counter(short.values())
    shapes: dict[int, list[tuple[str, list[str]]]] = {}
    for text, cut in short.items():
        if often[cut] > 1:
            parts = _BETWEEN.split(text)
            shapes.setdefault(len(parts), []).append((text, parts))
    for alike in shapes.values():
        columns = zip(*(parts for _, parts in alike), strict=True)
        differing = [at for at, found in enumerate(columns) if len(set(found)) > 1]
        for text, parts in alike:
            told = ELLIPSIS + ELLIPSIS.join(parts[at] for at in differing)
            if differing and width_of(told) <= width:
                short[text] = told
