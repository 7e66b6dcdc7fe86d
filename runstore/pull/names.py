"""Which names are in some directories over there: what came and went, without comparing files.

One script for each look, over the connection that is there: what it costs is a `ls` without `stat`,
and where nothing is new a checksum comes back.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection

from runstore.hosts.ssh import Link

MOST_FOLDERS = 50
MOST_BYTES = 500_000
"""Of the names in one directory; of those behind, a whole pull finds out."""
WHOLE_BYTES = 2 * MOST_BYTES
"""Of one look: an answer that is longer than `ANSWER_BYTES` is none."""
# Our own list ends with @end: what a login prints before it is no name.
_SCRIPT = """
unset CDPATH QUOTING_STYLE
export LC_ALL=C
left={whole}
cd -- {root} 2>/dev/null || exit 0
look() {{
  names=$(ls -1A -- "./$1" 2>/dev/null) || return
  sum=$(printf '%s\\n' "$names" | cksum)
  test "$sum" != "$2" || return
  listed=$(printf '%s\\n' "$names" | sed 's/^/=/' | head -c {most})
  # What has no room is told by the next look, to which what was told now is nothing new.
  test "${{#listed}}" -le "$left" || return
  left=$((left - ${{#listed}}))
  printf '@%s %s\\n%s\\n' "$3" "$sum" "$listed"
}}
{looks}
echo @end
"""
_HEAD = re.compile(r"@([0-9]{1,4}) ([0-9]{1,20} [0-9]{1,20})")


class Names:
    """Of one directory over there."""

    def __init__(self, link: Link, path: str, copied: Collection[str] = ()) -> None:
        """Ask about a `path`, of which these names were copied before; nothing is asked yet."""
        self._link, self._path = link, path
        self._sums: dict[str, str] = {}
        self._known: dict[str, set[str]] = {}
        self._copied = {name for name in copied if _is_told_as_it_is(name)}
        self._gone: set[str] = set()
        self.answers = True
        """False behind a login that runs no script, such as one for rsync alone."""

    @property
    def number(self) -> int:
        """How many were there the last time."""
        return sum(map(len, self._known.values()))

    def is_gone(self, path: str) -> bool:
        """Tell whether a path, or a folder above it, was removed over there."""
        parts = path.split("/")
        return any("/".join(parts[:end]) in self._gone for end in range(1, len(parts) + 1))

    def new(self, folders: Collection[str]) -> list[str]:
        """Return what has come since the last look, as paths below the directory.

        Of a folder that was not looked into before, nothing is new.

        Args:
            folders: paths below the directory; "" is itself.

        Raises:
            LinkError: the link is gone.
        """
        asked = sorted(folders)[:MOST_FOLDERS]
        looks = "\n".join(
            f"look {shlex.quote(folder)} {shlex.quote(self._sums.get(folder, ''))} {at}"
            for at, folder in enumerate(asked)
        )
        root = shlex.quote(self._path)
        script = _SCRIPT.format(root=root, most=MOST_BYTES, whole=WHOLE_BYTES, looks=looks)
        answer = self._link.run(script)
        lines = answer.output.rstrip("\n").split("\n")
        self.answers = answer.status == 0
        if lines[-1] != "@end":
            return []
        return self._noted(asked, lines)

    def _noted(self, asked: list[str], lines: list[str]) -> list[str]:
        came: dict[str, set[str]] = {}
        folder = ""
        for line in lines:
            head = _HEAD.fullmatch(line)
            if head is not None and int(head[1]) < len(asked):
                folder = asked[int(head[1])]
                self._sums[folder] = head[2]
                came[folder] = set()
            elif line.startswith("=") and folder in came:
                came[folder].add(line[1:])
        found = []
        for folder, names in came.items():
            new = names - self._known.get(folder, names)
            self._note_gone(folder, names)
            self._known[folder] = names
            found += [_below(folder, name) for name in new if not name.startswith(".")]
        return sorted(found)

    def _note_gone(self, folder: str, names: set[str]) -> None:
        before = self._known.get(folder, set() if folder else self._copied)
        # As the script counts them; a list that was cut does not tell what is gone.
        if sum(len(f"={name}\n".encode()) for name in names) < MOST_BYTES:
            self._gone |= {_below(folder, name) for name in before - names}
        self._gone -= {_below(folder, name) for name in names}


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}".lstrip("/")


def _is_told_as_it_is(name: str) -> bool:
    """Tell whether a list, of lines and in UTF-8, has the name as the disk has it."""
    return "\n" not in name and name == name.encode(errors="replace").decode()
