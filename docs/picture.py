"""A picture of the monitor for the documents: `python -m docs.picture screen.svg screen.png`.

The SVG is what `runstore-tui ROOT --screenshot screen.svg --size 120x34` writes. Fonts that have
braille dots have them in another width than letters, so each stands in a text of its own here. It
needs rsvg-convert, Pillow and the font DejaVu Sans Mono.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from itertools import groupby
from pathlib import Path
from subprocess import PIPE

_TEXT = re.compile(r"<text ([^>]*)>([^<]*)</text>")
_FONT = re.compile(r"font-family: *Fira Code, *monospace")
_FAMILY = "font-family: DejaVu Sans Mono"
_NUMBER = r'{}="([0-9.]+)"'


def aligned(svg: str) -> str:
    """Return the picture with every braille character in its own cell."""
    return _TEXT.sub(lambda found: "".join(_texts(found[1], found[2])), _FONT.sub(_FAMILY, svg))


def _texts(attributes: str, content: str) -> Iterator[str]:
    text = html.unescape(content)
    start = re.search(_NUMBER.format(r"\bx"), attributes)
    length = re.search(_NUMBER.format("textLength"), attributes)
    if start is None or length is None or not text:
        yield f'<text xml:space="preserve" {attributes}>{content}</text>'
        return
    left, cell, at = float(start[1]), float(length[1]) / len(text), 0
    for is_dots, characters in groupby(text, _is_braille):
        run = "".join(characters)
        for piece in run if is_dots else (run,):
            own = attributes.replace(start[0], f'x="{left + at * cell:.2f}"')
            own = own.replace(length[0], f'textLength="{cell * len(piece):.2f}"')
            yield f'<text xml:space="preserve" {own}>{html.escape(piece)}</text>'
            at += len(piece)


def _is_braille(character: str) -> bool:
    return "\u2800" <= character <= "\u28ff"


def write_png(svg: str, target: Path) -> None:
    """Write a picture of the screen as PNG, of 256 colours: a quarter of the bytes."""
    from PIL import Image

    made = subprocess.run(["rsvg-convert"], input=aligned(svg).encode(), check=True, stdout=PIPE)
    with Image.open(BytesIO(made.stdout)) as picture:
        few = picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        few.save(target, optimize=True)


def main() -> None:
    """Convert one file."""
    source, target = map(Path, sys.argv[1:3])
    write_png(source.read_text("utf-8"), target)


if __name__ == "__main__":
    main()
