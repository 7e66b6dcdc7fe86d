"""Makes the generated pages and parts of pages anew: `make docs`. A test fails while they are old.

The pages are those of docs/reference: the Python API and the commands' `--help`. A part stands
behind a comment, `<!-- generated: NAME -->`: the `--help` of a command, the views of the monitor
and its keys (`keys` are those of every day, `keys VIEW` all of a view), or the table of a schema
below docs/json.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from docs import api
from runstore import tui_launcher
from runstore.cli import COMMANDS, cli
from tui.keymap import by_view, everyday
from tui.views import VIEWS

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
REFERENCE = DOCS / "reference"
_PART = re.compile(
    r"^<!-- generated: (?P<name>[^\n]+) -->\n(?P<old>```text\n.*?^```\n|\n(?:\|[^\n]*\n)*)",
    re.MULTILINE | re.DOTALL,
)


def pages() -> dict[Path, str]:
    """Return every page that is generated, or has generated parts, as it ought to be."""
    found = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
    with_parts = {path: refreshed(path.read_text("utf-8")) for path in found}
    return with_parts | {REFERENCE / "python.md": api.page(), REFERENCE / "commands.md": commands()}


def commands() -> str:
    """Return the page of all commands: what each of them prints with `--help`."""
    names = ["runstore", *(f"runstore {name}" for name in sorted(COMMANDS)), "runstore-tui"]
    parts = [f"## {name}\n\n```text\n{help_of(f'{name} --help')}```\n" for name in names]
    return "\n".join([_COMMANDS, *parts])


_COMMANDS = """\
# Commands

<!-- Written by `make docs` from the program; a test fails while it is old. -->

What each command prints with `--help`. What stays the same is in [stability.md](../stability.md),
the keys of `--json` are in [json.md](../json.md).
"""


def refreshed(page: str) -> str:
    """Return a page with its generated parts made anew."""
    return _PART.sub(
        lambda part: f"<!-- generated: {part['name']} -->\n{_part(part['name'])}", page
    )


def _part(name: str) -> str:
    if name == "keys":
        return f"\n{everyday()}\n"
    if name == "views":
        return f"\n{_views()}"
    if name.endswith(" --help"):
        return f"```text\n{help_of(name)}```\n"
    kind, _, what = name.partition(" ")
    if kind == "keys":
        return f"\n{by_view()[what]}\n"
    if kind != "json":
        raise ValueError(f"{name}: nobody knows how to generate that")
    return f"\n{_table(what)}"


def _views() -> str:
    rows = [
        f"| `{number}` | {view.title} | {view.does} |\n" for number, view in enumerate(VIEWS, 1)
    ]
    return "".join(["| key | view | shows |\n| --- | --- | --- |\n", *rows])


def help_of(line: str) -> str:
    """Return what a program prints, as on a terminal of 80 columns."""
    program, *arguments = line.split()
    command = tui_launcher.command if program == "runstore-tui" else cli
    wide = {"COLUMNS": "80"}
    done = CliRunner().invoke(
        command, arguments, prog_name=program, env=wide, catch_exceptions=False
    )
    if done.exit_code:
        raise RuntimeError(f"{line}: exit status {done.exit_code}: {done.output}")
    return done.stdout


# ---- schemas -----------------------------------------------------------------------------------


def schema(name: str) -> Any:
    """Return the schema of what a command prints: `ls`, `show`, `doctor`, …"""
    return json.loads((DOCS / "json" / f"{name}.schema.json").read_text("utf-8"))


def _table(name: str) -> str:
    """Return the keys of a schema as a table; without those of `ls` where they are all there."""
    known = schema("ls")["items"]["properties"] if name in ("show", "journal") else {}
    rows = [
        f"| `{place}` | {_kind(own)} | {own.get('description', '')} |\n"
        for place, own in _properties(schema(name), "")
        if known.get(place) != own and place.partition(".")[0] not in known
    ]
    return "".join(["| key | type | meaning |\n| --- | --- | --- |\n", *rows])


def _properties(of: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the properties of an object, those of objects inside of it included."""
    for inner in (of, *of.get("anyOf", ())):
        for key, own in inner.get("properties", {}).items():
            here = f"{place}.{key}" if place else key
            yield here, own
            yield from _properties(own, here)
        if isinstance(inner.get("items"), dict):
            yield from _properties(inner["items"], f"{place}[]" if place else "")


def _kind(own: Any) -> str:
    """Return a property's type in words: `string or null`."""
    if "enum" in own:
        return ", ".join("null" if word is None else f"`{word}`" for word in own["enum"])
    kinds = own.get("type") or [one["type"] for one in own["anyOf"]]
    words = [kinds] if isinstance(kinds, str) else kinds
    return " or ".join(sorted(words, key=lambda word: word == "null"))


# ---- the command -------------------------------------------------------------------------------


def main() -> None:
    """Write what has changed."""
    for path, text in pages().items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
