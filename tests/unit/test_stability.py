"""docs/stability.md names what users build on; each of these names is there in the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import runstore
from runstore import Run, RunCollection, RunData, RunManager
from runstore.cli import COMMANDS
from runstore.tables.tables import RUN_COLUMNS, TABLES, columns_of


@pytest.fixture
def page(repo_root: Path) -> str:
    """The text of the page."""
    return (repo_root / "docs" / "stability.md").read_text("utf-8")


def names_after(page: str, phrase: str) -> set[str]:
    """Return the quoted names of the sentence that begins with `phrase`."""
    sentence = re.split(r"[.\n]\n|\. ", page.partition(phrase)[2], maxsplit=1)[0]
    names = set(re.findall(r"`(\w+)`", sentence))
    assert names, f"docs/stability.md has no names after {phrase!r}"
    return names


def test_python_names_are_those_the_package_exports(page: str) -> None:
    listed = set(re.findall(r"^\| `runstore\.(\w+)` ", page, re.MULTILINE))
    assert listed == {*runstore.__all__, "__version__"}
    assert listed <= set(dir(runstore))


@pytest.mark.parametrize("kind", [RunManager, RunData, RunCollection])
def test_listed_members_exist(page: str, kind: type) -> None:
    assert names_after(page, f"Members of a `{kind.__name__}`:") <= set(dir(kind))


def test_listed_members_of_a_run_exist(page: str, tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        assert isinstance(run, Run)
        assert names_after(page, "Members of a `Run`:") <= set(dir(run))


def test_listed_members_of_a_stepper_exist(page: str, tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1)
    with runstore.init(root=tmp_path) as run:
        stepper = runstore.Stepper(run, model, torch.optim.SGD(model.parameters()))
    assert names_after(page, "Members of a `Stepper`:") <= set(dir(stepper))


def test_listed_commands_are_those_of_the_command_line(page: str) -> None:
    assert set(re.findall(r"^\| `runstore (\w+)", page, re.MULTILINE)) == set(COMMANDS)


def test_listed_columns_are_those_of_the_tables(page: str) -> None:
    columns: dict[str, list[str]] = {}
    for names, _, front in re.findall(r"^\| (`.*?) \| (.*?) \| (`run`.*?) \|$", page, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            columns[name] = re.findall(r"`([\w.-]+)`", front.partition(";")[0])
    assert columns.pop("runs") == list(RUN_COLUMNS)
    assert set(columns) == set(TABLES) - {"runs"}
    for stream, listed in columns.items():
        assert listed == ["run", *columns_of(stream)]  # type: ignore[arg-type]
