"""What is typed behind --grid, --zip and --search, and what stands in a file of a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.errors import SweepError
from runstore.sweeps.asked import Asked, from_file
from runstore.sweeps.axes import MOST_CELLS, cells_of, grid_axis, values_of, zip_axis
from runstore.sweeps.placeholders import as_text, check, filled
from runstore.sweeps.space import Dimension, dimensions, objective


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-3,1e-4", [0.001, 0.0001]),
        ("10, 50", [10, 50]),
        ("1..4", [1, 2, 3, 4]),
        ("4..1,9", [4, 3, 2, 1, 9]),
        ("0..10..5", [0, 5, 10]),
        ("-1..1", [-1, 0, 1]),
        ("true,false,True", [True, False, "True"]),
        ("adam,sgd", ["adam", "sgd"]),
        ('"1",1,1.0', ["1", 1, 1.0]),
        ("'',x", ["", "x"]),
        ("[8,32],[16]", [[8, 32], [16]]),
        ("{a=1,b=2}", [{"a": 1, "b": 2}]),
        ("'a,b',\"c,d\"", ["a,b", "c,d"]),
        ("data/a.csv,it's", ["data/a.csv", "it's"]),
        ("2026-01-02,inf,nan", ["2026-01-02", "inf", "nan"]),
        ("1\nother = 2", ["1\nother = 2"]),
        ("a=b", ["a=b"]),
        ("12#3,12#4,'#5',1]#", ["12#3", "12#4", "#5", "1]#"]),
    ],
)
def test_values_are_typed_as_toml_or_texts(text: str, values: list[Any]) -> None:
    found = values_of("x", text)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_whatever_is_typed_is_values_or_one_line(texts: list[str]) -> None:
    try:
        values = values_of("x", ",".join(texts))
    except SweepError as error:
        assert "\n" not in str(error) or any("\n" in text for text in texts)
    else:
        json.dumps(values, allow_nan=False)


def test_product_varies_the_last_name_fastest() -> None:
    axes = [grid_axis("lr=1,2"), zip_axis(["a=1,2", "b=x,y"])]
    assert cells_of(axes) == [
        {"lr": 1, "a": 1, "b": "x"},
        {"lr": 1, "a": 2, "b": "y"},
        {"lr": 2, "a": 1, "b": "x"},
        {"lr": 2, "a": 2, "b": "y"},
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lr", "'lr' is no NAME=VALUE"),
        ("=1", "no name of a parameter"),
        ("l r=1", "no name of a parameter"),
        ("lr=", "empty value"),
        ("lr=1,,2", "empty value"),
        ("n=0..9..0", "a step of 0"),
        ("n=0..9..-1", "does not lead from 0 to 9"),
        ("n=0..123456789", "123,456,790 values"),
    ],
)
def test_axis_that_cannot_be_read_is_refused(text: str, told: str) -> None:
    with pytest.raises(SweepError, match=told):
        grid_axis(text)


def test_names_given_twice_and_uneven_zips_are_refused() -> None:
    with pytest.raises(SweepError, match="a has 2, b has 1"):
        zip_axis(["a=1,2", "b=1"])
    with pytest.raises(SweepError, match="a is given twice"):
        zip_axis(["a=1,2", "a=1,2"])
    with pytest.raises(SweepError, match="a is given twice"):
        cells_of([grid_axis("a=1"), zip_axis(["a=2"])])
    with pytest.raises(SweepError, match=f"at most {MOST_CELLS:,}"):
        cells_of([grid_axis("a=1..101"), grid_axis("b=1..100")])


# ---- the command -------------------------------------------------------------------------------


def test_placeholders_are_filled_and_doubled_braces_are_braces() -> None:
    params = {"lr": 1e-5, "on": True, "sizes": [8, 32], "opt": "a b", "none": None}
    command = ["t.py", "--lr={lr}", "{on}", "{sizes}", "{opt}", '{{"lr": {lr}}}', "{{x}}", "{none}"]
    assert filled(command, params) == [
        "t.py", "--lr=1e-05", "true", "[8,32]", "a b", '{"lr": 1e-05}', "{x}", "null"
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["{lrr}", "{lr:.2f}", "{}", "${HOME}", "{lr", "lr}", "{ lr }"])
def test_unknown_placeholder_is_refused_with_the_names_there_are(word: str) -> None:
    with pytest.raises(SweepError, match=r"of the command; (the sweep has lr, seed; )?\{\{ and"):
        check(["python", word], ["lr", "seed"])


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_number_in_a_command_is_the_same_number(value: float) -> None:
    assert float(as_text(value)) == value


# ---- the file ----------------------------------------------------------------------------------


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    return path


def test_file_has_all_that_the_command_line_has(tmp_path: Path) -> None:
    asked = from_file(
        write(
            tmp_path,
            'name = "lr"\ncommand = "python t.py --lr \'{lr}\'"\njobs = 2\ngpus = 0\n'
            '[grid]\nlr = [1e-3, 1e-4]\nseed = "0..1"\nopt = "adam"\n'
            "[[zip]]\na = [1, 2]\nb = [3, 4]\n",
        )
    )
    assert (asked.name, asked.jobs, asked.gpus) == ("lr", 2, 0)
    assert asked.command == ["python", "t.py", "--lr", "{lr}"]
    assert len(asked.cells()) == 8
    assert asked.cells()[-1] == {"lr": 1e-4, "seed": 1, "opt": "adam", "a": 2, "b": 4}


def test_several_grids_are_their_union(tmp_path: Path) -> None:
    text = '[[grid]]\nopt = "sgd"\nlr = [1, 2]\n[[grid]]\nopt = "adam"\nlr = 3\n'
    assert from_file(write(tmp_path, text)).cells() == [
        {"opt": "sgd", "lr": 1},
        {"opt": "sgd", "lr": 2},
        {"opt": "adam", "lr": 3},
    ]


def test_command_line_replaces_a_name_of_the_file(tmp_path: Path) -> None:
    asked = from_file(write(tmp_path, "[grid]\nlr = [1, 2]\nseed = [0, 1]\n"))
    asked.add_grids(["seed=7"])
    assert asked.cells() == [{"lr": 1, "seed": 7}, {"lr": 2, "seed": 7}]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\ngrid = = 2", "at line 2"),
        ("grids = {}", "unknown key 'grids'; there are name, command, grid"),
        ("grid = 3", r"grid is 3, expected a table \[grid\]"),
        ("[grid]\nlr = []", "lr has no values"),
        ("[zip]\na = [1, 2]\nb = [1]", "a has 2, b has 1"),
        ("command = 3", "command is 3"),
        ("command = 'a \"b'", "No closing quotation"),
        ("jobs = '2'", "jobs is '2', expected a number"),
        ("jobs = -1", "jobs is -1, expected a whole number of 1 or more"),
        ("jobs = 0", "jobs is 0, expected a whole number of 1 or more"),
        ("trials = 0", "trials is 0, expected a whole number of 1 or more"),
        ("gpus = -1", "gpus is -1, expected a whole number of 0 or more"),
        ("[search]\nlr = 3", "search is"),
    ],
)
def test_file_that_cannot_be_read_is_refused_by_its_name(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(SweepError, match=rf"sweep.toml: .*{told}"):
        from_file(write(tmp_path, text))


# ---- what is searched --------------------------------------------------------------------------


def test_space_of_a_search() -> None:
    space = {
        "lr": "loguniform:1e-5..1e-1",
        "p": "uniform:0..0.5..0.1",
        "n": "int:8..64..8",
        "k": "logint:1..256",
        "opt": "choice:adam,[1,2],3",
    }
    assert dimensions(space) == {
        "lr": Dimension("loguniform", 1e-5, 0.1),
        "p": Dimension("uniform", 0, 0.5, 0.1),
        "n": Dimension("int", 8, 64, 8),
        "k": Dimension("logint", 1, 256),
        "opt": Dimension("choice", choices=["adam", [1, 2], 3]),
    }


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "expected uniform"),
        ("uniform", "expected uniform"),
        ("uniform:1", "expected uniform"),
        ("uniform:2..1", "2 is not below 1"),
        ("uniform:0..1e999", "beyond what a float holds"),
        ("uniform:0..1..0", "leads nowhere"),
        ("loguniform:0..1", "has no 0"),
        ("logint:1..8..2", "has no step"),
        ("int:0.5..2", "whole numbers"),
        ("choice:", "empty value"),
    ],
)
def test_space_that_cannot_be_searched_is_refused(said: str, told: str) -> None:
    with pytest.raises(SweepError, match=told):
        dimensions({"x": said})


@pytest.mark.parametrize("text", ["", "val/loss", ":min", "val/loss:low"])
def test_metric_without_a_direction_is_refused(text: str) -> None:
    with pytest.raises(SweepError, match="expected NAME:min or NAME:max"):
        objective(text)


def test_search_of_the_command_line_adds_to_that_of_the_file() -> None:
    asked = Asked(search={"lr": "uniform:0..1"})
    asked.add_search(["lr=uniform:0..2", "n=int:1..2"])
    assert asked.search == {"lr": "uniform:0..2", "n": "int:1..2"}
