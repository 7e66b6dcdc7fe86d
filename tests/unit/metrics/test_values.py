"""What users hand over, as floats, integers and JSON."""

from __future__ import annotations

import enum
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runstore.errors import BadValueError
from runstore.metrics.values import as_float, as_index, as_json

TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner)
    ),
)


class Colour(enum.IntEnum):
    RED = 1


@given(st.floats())
def test_float_stays_itself(value: float) -> None:
    for given_value in (value, np.float64(value), torch.tensor(value, dtype=torch.float64)):
        found = as_float("x", given_value)
        assert type(found) is float
        assert found == value or (math.isnan(found) and math.isnan(value))


@given(st.integers())
def test_integer_of_any_size_is_a_float(value: int) -> None:
    try:
        expected = float(value)
    except OverflowError:
        expected = math.inf if value > 0 else -math.inf
    assert as_float("x", value) == expected


@pytest.mark.parametrize("value", [Decimal("1.5"), Colour.RED, np.float16(1.5), np.uint8(3)])
def test_whatever_is_a_number(value: Any) -> None:
    assert as_float("x", value) == float(value)


class Lazy:
    """A value whose attribute fails, as a lazily loaded one may."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError("not loaded")


class Raising:
    """A value that raises what a value does not usually raise."""

    def item(self) -> float:
        raise KeyError("x")

    def __repr__(self) -> str:
        raise RuntimeError("no repr either")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(Lazy(), id="lazy"),
        pytest.param(Raising(), id="raising"),
        "1",
        "",
        None,
        [1],
        (1,),
        {},
        np.zeros(3),
        1j,
    ],
)
def test_message_names_key_and_value(value: object) -> None:
    with pytest.raises(BadValueError) as caught:
        as_float("train/x", value)
    assert str(caught.value).startswith("'train/x' is ")
    assert len(str(caught.value)) < 250


def test_long_value_is_shown_cut() -> None:
    with pytest.raises(BadValueError) as caught:
        as_float("x", "y" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [1.5, math.nan, math.inf, 2**53, -(2**60), "x", None])
def test_index_is_an_integer_that_readers_keep(value: object) -> None:
    with pytest.raises(BadValueError):
        as_index("step", value)
    assert as_index("step", np.int32(5)) == as_index("step", 5.0) == 5
    assert as_index("step", 2**53 - 1) == 2**53 - 1


@given(TREES)
def test_anything_becomes_json(value: Any) -> None:
    orjson.dumps(as_json(value))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float64(0.5), 0.5), (np.int64(2), 2), (Colour.RED, 1), (math.nan, "nan"),
        (np.float32("inf"), "inf"), (2**63, str(2**63)), ({1: (2,)}, {"1": [2]}),
        (Path("/x"), "/x"), (torch.float32, "torch.float32"), (np.str_("a"), "a"),
        (torch.tensor(1), 1),
    ],
    ids=repr,
)  # fmt: skip
def test_json_of_the_usual_parameters(value: Any, written: Any) -> None:
    assert as_json(value) == written


def test_parameter_that_raises_is_named_by_its_type() -> None:
    text = as_json({"x": Raising()})["x"]
    assert text == f"<{Raising.__module__}.Raising whose repr raises RuntimeError>"
