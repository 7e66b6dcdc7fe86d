"""The public Python API as a page: signatures with their types, and the docstrings, by griffe.

What is public: `runstore.__all__`, and the members that docs/stability.md lists ("Members of a
`Run`: …"); of a class that it lists none of, all that have no underscore in front. Of a class
whose docstring says what it is "Made by" nobody calls the constructor, and it is not shown.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import griffe

import runstore

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 88
"""A longer signature has a line for each parameter."""
PAGE_WIDTH = 100
_ITEMS = {"parameters": "Parameters", "raises": "Raises", "returns": "Returns", "yields": "Yields"}
Documented = griffe.Class | griffe.Function | griffe.Attribute


@cache
def package() -> griffe.Module:
    """Return what griffe reads in the sources; nothing is imported."""
    loaded = griffe.load("runstore", search_paths=[str(ROOT)], docstring_parser="google")
    assert isinstance(loaded, griffe.Module)
    return loaded


def public(name: str) -> Documented:
    """Return a public name of the package."""
    return _own(package()[name])


def members(name: str) -> dict[str, Documented]:
    """Return the public members of a class, in the order in which stability.md lists them."""
    kind = public(name)
    if not isinstance(kind, griffe.Class):
        return {}
    listed = listed_members(name)
    there = kind.all_members
    found = listed or [key for key in there if not key.startswith("_")]
    return {key: _own(there[key]) for key in found}


def listed_members(name: str) -> list[str]:
    """Return the names that docs/stability.md lists as members of a class."""
    page = " ".join((ROOT / "docs" / "stability.md").read_text("utf-8").split())
    sentence = page.partition(f"Members of a `{name}`: ")[2].partition(". ")[0]
    return re.findall(r"`(\w+)`", sentence)


def constructor(kind: griffe.Class) -> griffe.Function | None:
    """Return the `__init__` of a class that users call themselves."""
    made = kind.members.get("__init__")
    is_internal = kind.docstring is None or "Made by" in kind.docstring.value
    return made if isinstance(made, griffe.Function) and not is_internal else None


def arguments(function: griffe.Function) -> list[griffe.Parameter]:
    """Return the parameters that a caller gives."""
    skipped = ("self", "cls")
    return [one for one in function.parameters if one.name not in skipped]


def sections(of: Documented) -> list[Any]:
    """Return the parts of a docstring: text, parameters, raises, …"""
    return list(of.docstring.parsed) if of.docstring else []


def _own(found: Any) -> Documented:
    target = found.final_target if isinstance(found, griffe.Alias) else found
    assert isinstance(target, (griffe.Class, griffe.Function, griffe.Attribute))
    return target


# ---- the page ----------------------------------------------------------------------------------

_HEAD = """\
# Python API

<!-- Written by `make docs` from the sources; a test fails while it is old. -->

Everything that `import runstore` promises ([stability.md](../stability.md)). Names are imported
when they are first used: torch only for `Stepper`, `ResumableSampler` and `SeededDataset`.
[training.md](../training.md) leads through them, [format.md](../format.md) describes the files.
"""


def page() -> str:
    """Return the page."""
    names = sorted(runstore.__all__, key=lambda name: (name[0].isupper(), name))
    index = "".join(f"- [`runstore.{name}`](#{_anchor(name)})\n" for name in names)
    parts = [part for name in names for part in _name(name)]
    return "\n".join([_HEAD, index, *parts, _exceptions(), _types(names)])


def _anchor(name: str) -> str:
    return f"runstore{name.lower()}"


def _name(name: str) -> Iterator[str]:
    of = public(name)
    yield f"## runstore.{name}\n"
    if isinstance(of, griffe.Class):
        made = constructor(of)
        yield _code(f"runstore.{name}", made) if made else _fenced(f"class runstore.{name}")
        yield from _texts(of)
        if made:
            yield from _texts(made, is_constructor=True)
    else:
        yield from _described(f"runstore.{name}", of)
    for key, member in members(name).items():
        yield f"### {name}.{key}\n"
        yield from _described(f"{name}.{key}", member)


def _described(name: str, of: Documented) -> Iterator[str]:
    if isinstance(of, griffe.Function):
        yield _code(name, of)
    elif isinstance(of, griffe.Attribute):
        yield _fenced(f"{name}: {of.annotation}")
    yield from _texts(of)


def _code(name: str, function: griffe.Function) -> str:
    given = list(_signature(function))
    result = "" if function.name == "__init__" else f" -> {function.returns}"
    line = f"{name}({', '.join(given)}){result}"
    if len(line) > WIDTH:
        line = "\n".join([f"{name}(", *(f"    {one}," for one in given), f"){result}"])
    return _fenced(line)


def _signature(function: griffe.Function) -> Iterator[str]:
    """Yield the parameters as they are written."""
    has_star = False
    for one in arguments(function):
        kind = one.kind.value if one.kind else ""
        stars = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
        has_star |= stars == "*"
        if kind == "keyword-only" and not has_star:
            has_star = True
            yield "*"
        default = "" if one.default is None or stars else f" = {_default(function, one)}"
        yield f"{stars}{one.name}: {one.annotation}{default}"
        if kind == "positional-only" and _is_last_positional(function, one):
            yield "/"


def _default(function: griffe.Function, one: griffe.Parameter) -> str:
    """Return a default as it is written; of a constant of the module its value."""
    written = str(one.default)
    constant = function.module.members.get(written)
    value = _own(constant) if constant is not None else None
    text = str(value.value) if isinstance(value, griffe.Attribute) else written
    return f'"{text[1:-1]}"' if text.startswith("'") and '"' not in text else text


def _is_last_positional(function: griffe.Function, one: griffe.Parameter) -> bool:
    only = [p for p in arguments(function) if p.kind and p.kind.value == "positional-only"]
    return only[-1] is one


def _fenced(code: str) -> str:
    return f"```python\n{code}\n```\n"


def _texts(of: Documented, *, is_constructor: bool = False) -> Iterator[str]:
    """Yield the parts of a docstring; of a constructor its first line says nothing to a caller."""
    for section in sections(of):
        kind = section.kind.value
        if kind == "text":
            if not is_constructor:
                yield f"{section.value}\n"
        elif kind in _ITEMS:
            yield f"**{_ITEMS[kind]}**\n"
            yield "".join(_item(kind, item) for item in section.value)
        else:
            raise ValueError(f"{of.path}: docs/api.py knows no section {kind!r}")


def _item(kind: str, item: Any) -> str:
    text = " ".join(item.description.split())
    if kind in ("returns", "yields"):
        return f"{textwrap.fill(text, PAGE_WIDTH)}\n"
    name = item.name if kind == "parameters" else str(item.annotation).strip("()")
    return textwrap.fill(f"- `{name}`: {text}", PAGE_WIDTH, subsequent_indent="  ") + "\n"


def _exceptions() -> str:
    """Return what errors.py says of all exceptions."""
    told = package()["errors"].docstring
    assert told is not None
    return f"## Exceptions\n\n{told.value}\n"


def _types(names: list[str]) -> str:
    """Return what the signatures' further names mean."""
    found: dict[str, Documented] = {}
    for name in names:
        for of in (public(name), *members(name).values()):
            found |= {used: own for used, own in _used(of) if used not in names}
    lines = [_type(used, found[used]) for used in sorted(found)]
    return "".join(["## Types in signatures\n\n", *lines])


def _used(of: Documented) -> Iterator[tuple[str, Documented]]:
    """Yield the names of this package in the annotations of a function or an attribute."""
    made = constructor(of) if isinstance(of, griffe.Class) else of
    annotations: list[Any] = []
    if isinstance(made, griffe.Function):
        annotations = [made.returns, *(one.annotation for one in arguments(made))]
    elif isinstance(made, griffe.Attribute):
        annotations = [made.annotation]
    for annotation in annotations:
        if isinstance(annotation, griffe.Expr):
            for name in annotation.iterate(flat=True):
                path = name.canonical_path if isinstance(name, griffe.ExprName) else ""
                if path.startswith("runstore."):
                    yield str(name), _own(package()[path.removeprefix("runstore.")])


def _type(name: str, own: Documented) -> str:
    told = " ".join(own.docstring.value.split()) if own.docstring else ""
    value = f"`{own.value}`" if isinstance(own, griffe.Attribute) else ""
    if isinstance(own, griffe.Class):
        fields = [f"`{key}: {one.annotation}`" for key, one in own.attributes.items()]
        told = " ".join([told, ", ".join(fields)])
    text = f"- `{name}`: {'. '.join(filter(None, (value, told)))}"
    return textwrap.fill(text, PAGE_WIDTH, subsequent_indent="  ", break_on_hyphens=False) + "\n"
