"""What ssh prints when it fails, in words that say what to do."""

from __future__ import annotations

from collections.abc import Sequence

from runstore.text import printable

_NOISE = ("Warning: Permanently added", "** WARNING", "** This session", "** The server")
_REFUSED, _UNKNOWN_KEY = "ermission denied", "Host key verification failed"


def why_not_in(said: Sequence[str]) -> str:
    """Return why ssh has failed, in words that say what to do: a gateway tells it before the end.

    Args:
        said: what it has said, line by line.
    """
    last = said[-1] if said else "it has closed the connection"
    return told(next(filter(is_refusal, said), last))


def is_refusal(said: str) -> bool:
    """Tell whether a line of ssh's says that it was not let in."""
    return _REFUSED in said or _UNKNOWN_KEY in said


def told(said: str) -> str:
    """Return a line of ssh's in words that say what to do, where there is something to do."""
    if _UNKNOWN_KEY in said:
        return f"{said} Connect once with ssh, and look at the key that it shows"
    if _REFUSED in said:
        return f"{said} It may want a code, which is asked for at the start, on a terminal"
    return said.removeprefix("ssh: ")


def lines_of(data: bytes) -> list[str]:
    """Return what ssh has printed line by line, without what it warns of each time."""
    lines = (printable(line.strip()) for line in data.decode(errors="replace").splitlines())
    return [line for line in lines if line and not is_noise(line)]


def is_noise(line: str) -> bool:
    """Tell whether it is one of those that ssh warns of each time."""
    return line.startswith(_NOISE)
