"""docs/reference is what the sources say now, and the sources say all that a caller asks."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator

import griffe
import pytest

import runstore
from docs import api
from docs.generate import pages
from runstore import errors
from runstore.cli import COMMANDS
from tests.conftest import ROOT

PAGE = (ROOT / "docs/reference/python.md").read_text("utf-8")
STABILITY = (ROOT / "docs/stability.md").read_text("utf-8")
CLASSES = [name for name in runstore.__all__ if isinstance(api.public(name), griffe.Class)]


def described() -> Iterator[tuple[str, api.Documented]]:
    """Yield every public name and member, a class as its constructor too."""
    for name in runstore.__all__:
        yield name, api.public(name)
        for key, member in api.members(name).items():
            yield f"{name}.{key}", member


DESCRIBED = dict(described())


def called() -> dict[str, griffe.Function]:
    """Return everything that a user calls."""
    found: dict[str, griffe.Function] = {}
    for name, of in DESCRIBED.items():
        function = api.constructor(of) if isinstance(of, griffe.Class) else of
        if isinstance(function, griffe.Function):
            found[name] = function
    return found


CALLED = called()


def items(of: api.Documented, kind: str) -> dict[str, str]:
    """Return the entries of a section of a docstring: of `Args:`, of `Raises:`."""
    found: dict[str, str] = {}
    for section in api.sections(of):
        if section.kind.value == kind:
            for item in section.value:
                name = item.name if kind == "parameters" else str(item.annotation)
                found[name.lstrip("*")] = item.description
    return found


def test_generated_pages_and_parts_are_not_old() -> None:
    for path, text in pages().items():
        assert path.exists(), "`make docs` writes it"
        assert path.read_text("utf-8").splitlines() == text.splitlines(), "`make docs` writes it"


# ---- what is public ----------------------------------------------------------------------------


def test_page_has_every_name_and_member_that_is_promised() -> None:
    assert set(re.findall(r"^## runstore\.(\w+)$", PAGE, re.MULTILINE)) == set(runstore.__all__)
    members = {name for name in DESCRIBED if "." in name}
    assert set(re.findall(r"^### (\w+\.\w+)$", PAGE, re.MULTILINE)) == members
    assert "Run.log" in members


@pytest.mark.parametrize("name", CLASSES)
def test_members_of_each_class_are_listed_as_stable(name: str) -> None:
    listed = api.listed_members(name)
    assert listed == list(api.members(name))
    assert len(set(listed)) == len(listed)


def test_page_of_commands_has_each() -> None:
    page = (ROOT / "docs/reference/commands.md").read_text("utf-8")
    titles = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert titles == [
        "runstore",
        *(f"runstore {name}" for name in sorted(COMMANDS)),
        "runstore-tui",
    ]


@pytest.mark.parametrize("name", ["python.md", "commands.md"])
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / "docs/reference" / name
    text = page.read_text("utf-8")
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", text):
        assert not target or (page.parent / target).exists(), target
        headings = {re.sub(r"[^\w-]", "", h.lower()) for h in re.findall(r"^## (.+)$", text, re.M)}
        assert not anchor or anchor in headings, anchor


# ---- what is said of it ------------------------------------------------------------------------


@pytest.mark.parametrize("name", DESCRIBED)
def test_each_name_has_words_of_its_own(name: str) -> None:
    first = api.sections(DESCRIBED[name])[0]
    assert first.kind.value == "text"
    assert len(first.value) > 10


@pytest.mark.parametrize("name", DESCRIBED)
def test_each_name_is_typed(name: str) -> None:
    of = DESCRIBED[name]
    if isinstance(of, griffe.Attribute):
        assert of.annotation is not None
    function = CALLED.get(name)
    if function is not None:
        assert [one.name for one in api.arguments(function) if one.annotation is None] == []
        assert function.returns is not None


@pytest.mark.parametrize("name", CALLED)
def test_each_parameter_is_described_and_no_other(name: str) -> None:
    told = items(CALLED[name], "parameters")
    assert list(told) == [one.name for one in api.arguments(CALLED[name])]
    assert all(told.values())


@pytest.mark.parametrize("name", DESCRIBED)
def test_each_exception_that_is_named_exists_and_has_its_condition(name: str) -> None:
    for of in (DESCRIBED[name], CALLED.get(name)):
        for kinds, when in items(of, "raises").items() if of else ():
            assert when
            for kind in re.findall(r"\w+", kinds):
                found = getattr(errors, kind, None) or getattr(builtins, kind)
                assert issubclass(found, BaseException), kind


@pytest.mark.parametrize("name", CALLED)
def test_what_is_said_to_be_returned_is_returned(name: str) -> None:
    kinds = {section.kind.value for section in api.sections(CALLED[name])}
    returns = str(CALLED[name].returns)
    assert "returns" not in kinds or returns != "None"
    assert "yields" not in kinds or returns.startswith("Iterator")


def test_types_in_signatures_are_explained() -> None:
    explained = PAGE.partition("## Types in signatures")[2]
    assert "- `Number`: `Any`. A Python or numpy scalar" in explained
    for line in re.findall(r"^- `\w+`:.*(?:\n  .*)*", explained, re.MULTILINE):
        words = re.sub(r"`[^`]*`", "", line.partition(":")[2])
        assert len(words.split()) > 2, line


def test_a_signature_reads_as_it_is_written() -> None:
    assert '\n    *,\n    root: str | os.PathLike[str] = "runs",\n' in PAGE
    assert "grid(grids: Grids | None = None, /, **values: Iterable[Any]) -> list[Params]" in PAGE
    assert "    system_interval_s: float | None = 10.0,\n" in PAGE  # not the constant's name
    assert "class runstore.Run\n" in PAGE
