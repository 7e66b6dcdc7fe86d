"""Which root a run is of, in a word or two; nothing where there is only one root."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .facts import Facts
from .text import from_file


class RootNames:
    """The shortest names that tell some roots apart: the ends of their paths."""

    def __init__(self, roots: Sequence[Path], given: Mapping[str, str] | None = None) -> None:
        """Name `roots`, as the user has given them.

        Args:
            roots: where runs are.
            given: names of some of them: copies of what is on other machines have those of hosts.
        """
        given = given or {}
        several = list(dict.fromkeys(map(str, roots)))
        own = [root for root in several if root not in given]
        names = dict(given)
        if len(several) > 1:
            names |= zip(own, _shortest([_parts(root) for root in own]), strict=True)
        pairs = [(root, from_file(names[root])) for root in several if root in names]
        # The longest path first: a root may lie in another one.
        self._pairs = sorted(pairs, key=lambda pair: len(pair[0]), reverse=True)

    def of(self, place: str) -> str:
        """Return the name of the root in which a run lies; empty for the only root."""
        for root, name in self._pairs:
            below = "" if root == "." else f"{root.rstrip('/')}/"
            if place == root or place.startswith(below):
                return name
        return ""

    def put_before(self, name: str, place: str) -> str:
        """Return a run's name with that of its root before it, unless it has that already."""
        root = self.of(place)
        return name if not root or f"{name}/".startswith(f"{root}/") else f"{root}/{name}"

    def marked(self, facts: Facts, place: str) -> Facts:
        """Return the facts of a run with the name of its root in its own."""
        name = self.put_before(facts.name, place)
        return facts if name == facts.name else replace(facts, name=name)


def _parts(root: str) -> list[str]:
    return [part for part in os.path.abspath(root).split("/") if part] or ["/"]  # noqa: PTH100


def _shortest(paths: Sequence[Sequence[str]]) -> list[str]:
    """Return an end of each path that no other one has, of as few parts as there can be."""
    names = []
    for path in paths:
        for length in range(1, len(path) + 1):
            end = path[-length:]
            if sum(other[-length:] == end for other in paths) == 1:
                break
        names.append("/".join(end))
    return names
