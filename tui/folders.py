"""Folders of runs as a tree: what lies in which, in the order in which it was met. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from .renderables.root_names import RootNames
from .renderables.text import from_file

Member = TypeVar("Member")


class Folder(Generic[Member]):
    """A folder; one that holds nothing but another one is shown together with that."""

    __slots__ = ("children", "name", "path")

    def __init__(self, path: str, name: str) -> None:
        """Hold nothing yet; `name` is safe to draw."""
        self.path = path
        self.name = name
        self.children: list[Folder[Member] | Member] = []

    def shown(self) -> tuple[str, Folder[Member]]:
        """Return the name of the row, and the folder whose children are below it."""
        name, folder = self.name, self
        while len(folder.children) == 1 and isinstance(folder.children[0], Folder):
            folder = folder.children[0]
            name = f"{name}/{folder.name}"
        return f"{name}/", folder


class FolderTree(Generic[Member]):
    """All folders below some roots; each of several roots is a folder itself."""

    def __init__(self, roots: Sequence[str], names: RootNames) -> None:
        """Have nothing below `roots`, whose names are those that tell them apart."""
        self._roots = sorted(roots, key=len, reverse=True)  # one may lie in another one
        self._names = names
        self.top: Folder[Member] = Folder("", "")
        self._known: dict[str, Folder[Member]] = {}

    def add(self, place: str, member: Member) -> None:
        """Put a member into the folder in which its place is."""
        if place in self._roots:  # which is a run itself
            self.top.children.append(member)
            return
        parent = place.rpartition("/")[0]
        folder = self._known.get(parent)
        if folder is None:
            folder = self._known[parent] = self._open(parent)
        folder.children.append(member)

    def _open(self, path: str) -> Folder[Member]:
        folder, at = self.top, {one.path: one for one in _folders(self.top)}
        for below, name in self._parts(path):
            found = at.get(below)
            if found is None:
                found = Folder(below, from_file(name))
                folder.children.append(found)
            folder, at = found, {one.path: one for one in _folders(found)}
        return folder

    def _parts(self, path: str) -> Iterator[tuple[str, str]]:
        """Yield path and name of each folder from the root down to one."""
        root = next((root for root in self._roots if _is_in(path, root)), "")
        below = path if root == "." else path[len(root) :]
        if len(self._roots) > 1:
            yield f"{root}/", self._names.of(path) or root
        at = "" if root == "." else root
        for part in filter(None, below.split("/")):
            at = f"{at}/{part}" if at else part
            yield at, part


def _folders(folder: Folder[Member]) -> Iterable[Folder[Member]]:
    return (one for one in folder.children if isinstance(one, Folder))


def _is_in(path: str, root: str) -> bool:
    return root == "." or path == root or path.startswith(f"{root}/")
