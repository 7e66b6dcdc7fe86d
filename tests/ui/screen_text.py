"""The whole screen of a monitor that a pilot drives, as text."""

from __future__ import annotations

import re

from textual.screen import Screen

from tui.widgets.lines import LinesWidget

_PROCESS = re.compile(r"process (\d+)( *)")
_IDENTITY = re.compile(r"\bpid=.*?(?=  |$)", re.MULTILINE)


def screen_text(screen: Screen[None]) -> str:
    """Return what is on screen, line by line, without blanks at the ends."""
    width, height = screen.size
    rows = [[" "] * width for _ in range(height)]
    for widget in screen.query(LinesWidget):
        if not widget.display:
            continue
        region = widget.region
        for y in range(region.height):
            text = "".join(segment.text for segment in widget.render_line(y))
            if 0 <= region.y + y < height:
                rows[region.y + y][region.x : region.x + region.width] = list(text)
    return "\n".join("".join(row).rstrip() for row in rows) + "\n"


def settled_text(text: str) -> str:
    """Return a picture without what is another each time, in the same columns."""
    # Nothing has changed for two seconds: so it is on a busy machine.
    text = text.replace("○ quiet", " ● live")
    text = _PROCESS.sub(lambda m: "process #" + " " * (len(m[1]) - 1 + len(m[2])), text)
    text = _IDENTITY.sub(lambda m: "pid=#".ljust(len(m[0])), text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())
