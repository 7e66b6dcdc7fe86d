"""One line: what is encoded comes back, and what comes back is always a number or a reason."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.files.limits import MAX_LINE_BYTES
from runstore.files.records import (
    RESERVED_KEYS,
    RecordError,
    decode,
    encode,
    integer,
    metric_values,
    number,
    split_nonfinite,
)

# Every code point, lone surrogates and controls included.
ANY_TEXT = st.text(st.characters(), max_size=20)
NAMES = ANY_TEXT.filter(lambda name: name not in RESERVED_KEYS and not name.startswith("_"))
UNPRINTABLE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\u061c\ufeff]"
)


def same(a: float, b: float) -> bool:
    """The same number to the bit, the sign of zero included; any NaN is NaN."""
    return (math.isnan(a) and math.isnan(b)) or (
        a == b and math.copysign(1, a) == math.copysign(1, b)
    )


def no_surrogates(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


@given(st.dictionaries(NAMES, st.floats(), max_size=6))
def test_metric_values_come_back_as_they_were(values: dict[str, float]) -> None:
    expected = {no_surrogates(name): value for name, value in values.items()}
    row = metric_values(decode(encode({"step": 1, "time": 0.5, **split_nonfinite(values)})))
    assert row.keys() == expected.keys()
    assert all(same(row[name], value) for name, value in expected.items())


@given(st.dictionaries(ANY_TEXT, st.floats() | ANY_TEXT | st.booleans() | st.none(), max_size=6))
def test_every_line_is_strict_json_on_one_line_without_control_characters(
    record: dict[str, Any],
) -> None:
    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    line = encode(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    text = line.decode("utf-8")
    assert not UNPRINTABLE.search(text)
    decoded = json.loads(text, parse_constant=refuse)
    assert {no_surrogates(key) for key in record} == decoded.keys()


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=20)))
def test_escaping_changes_no_string(record: dict[str, str]) -> None:
    assert decode(encode(record)) == record


@pytest.mark.parametrize(
    ("value", "name"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")]
)
def test_nonfinite_value_is_null_beside_a_note(value: float, name: str) -> None:
    row = split_nonfinite({"train/loss": value, "lr": 0.5})
    assert row == {"train/loss": None, "lr": 0.5, "_nonfinite": {"train/loss": name}}


def test_integral_value_is_written_as_a_float() -> None:
    assert (
        encode(split_nonfinite({"n": 3.0, "big": 2.0**53}))
        == b'{"n":3.0,"big":9007199254740992.0}\n'
    )


def test_line_of_exactly_one_mebibyte_is_written_and_read() -> None:
    pad = "x" * (MAX_LINE_BYTES - len('{"a":""}\n'))
    line = encode({"a": pad})
    assert len(line) == MAX_LINE_BYTES
    assert decode(line[:-1]) == {"a": pad}
    with pytest.raises(RecordError, match="1,048,577 bytes"):
        encode({"a": f"{pad}x"})


def test_escapes_count_towards_the_length_of_a_line() -> None:
    with pytest.raises(RecordError, match="the most is 1,048,576"):
        encode({"a": "\u2028" * (MAX_LINE_BYTES // 4)})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "an empty line"),
        (b"\r", "an empty line"),
        (b"{", "not JSON"),
        (b"[1]", "a JSON list"),
        (b"3", "a JSON int"),
        (b"null", "a JSON NoneType"),
        (b'{"a":NaN}', "not JSON"),
        (b'{"a":1}{"a":2}', "not JSON"),
        (b'{"a":"\xff"}', "not JSON"),
        (b'{"a":"\\ud800"}', "not JSON"),
        (b"\0\0\0", "NUL bytes only"),
        (b'{"a":' + b"[" * 100_000, "not JSON"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "not JSON"),
        (b'{"a":"' + b"x" * MAX_LINE_BYTES + b'"}', "1,048,584 bytes long"),
    ],
)
def test_damaged_line_is_refused_with_the_reason(line: bytes, reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        decode(line)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


def test_integer_of_any_length_is_a_float_or_a_damaged_line() -> None:
    """Python's own json would raise ValueError at 4,300 digits."""
    assert metric_values(decode(b'{"a":' + b"9" * 300 + b"}")) == {"a": 1e300}
    with pytest.raises(RecordError, match="infinity"):
        decode(b'{"a":' + b"9" * 5000 + b"}")


def test_deep_or_foreign_value_is_refused_on_encoding() -> None:
    deep: Any = 1
    for _ in range(2000):
        deep = [deep]
    for value in (deep, object(), {1, 2}, 2**70):
        with pytest.raises(RecordError):
            encode({"a": value})


def test_lone_surrogate_is_written_out() -> None:
    assert decode(encode({"file\udcff": ["\ud800"]})) == {"file\\udcff": ["\\ud800"]}


def test_reserved_names_and_foreign_values_are_no_metrics() -> None:
    row = {
        "step": 1, "epoch": 2, "time": 3.0, "_x": 1.0, "text": "1", "flag": True, "none": None,
        "list": [1], "int": 7, "_nonfinite": {"none": "what", "absent": "nan"},
    }  # fmt: skip
    assert metric_values(row) == {"int": 7.0}
    assert metric_values({"a": None, "_nonfinite": ["a"]}) == {}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT, st.lists))
def test_fields_of_any_type_are_read_as_a_number_or_none(value: Any) -> None:
    found, index = number({"a": value}, "a"), integer({"a": value}, "a")
    assert found is None or type(found) is float
    assert index is None or type(index) is int
    assert number({}, "a") is None
    assert integer({}, "a") is None
