"""YAML of other tools: what they write, what Python's dumper adds, and what is hostile."""

from __future__ import annotations

import argparse
import collections
import decimal
import math
import pathlib
import time
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from runstore.files.limits import YAML_BYTES, YAML_DEPTH, YAML_VALUES
from runstore.files.records import RecordError, encode
from runstore.sources.yaml_document import TOO_DEEP, decode_yaml

META = b"""\
artifact_uri: file:///data/mlruns/1/2bb4215be0fd4cb09318a1e4c87090ab/artifacts
end_time: null
experiment_id: '218367131983688479'
lifecycle_stage: active
run_name: "caf\\xE9 \\U0001F642: line"
source_name: ''
start_time: 1795893289222
status: 3
tags: []
"""

JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text() | st.floats(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def dumped(value: object) -> Any:
    """Return what is read of a value that Python's own dumper wrote, objects and all."""
    return decode_yaml(yaml.dump({"it": value}).encode())["it"]


def as_written(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_written(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_written(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def test_document_of_a_tool_is_its_values() -> None:
    assert decode_yaml(META) == {
        "artifact_uri": "file:///data/mlruns/1/2bb4215be0fd4cb09318a1e4c87090ab/artifacts",
        "end_time": None,
        "experiment_id": "218367131983688479",
        "lifecycle_stage": "active",
        "run_name": "café 🙂: line",
        "source_name": "",
        "start_time": 1795893289222,
        "status": 3,
        "tags": [],
    }


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), JSON_LIKE), st.booleans())
def test_plain_document_is_what_pyyaml_reads(values: dict[str, Any], flow: bool) -> None:
    text = yaml.safe_dump(values, default_flow_style=flow, allow_unicode=True)
    assert decode_yaml(text.encode()) == as_written(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ((1, (2, "a")), [1, [2, "a"]]),
        ({"b", "a"}, ["a", "b"]),
        (argparse.Namespace(lr=0.1, layers=[1, 2]), {"lr": 0.1, "layers": [1, 2]}),
        (np.float64(0.1), 0.1),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.int64(-7), -7),
        (np.uint8(200), 200),
        (np.bool_(True), True),
        (np.float64("nan"), "nan"),
        (np.dtype(">i4"), ">i4"),
        (pathlib.PurePosixPath("/data/run 1/x"), "/data/run 1/x"),
        (pathlib.Path("data"), "data"),
        (decimal.Decimal("0.5"), "decimal.Decimal(0.5)"),
        (print, "builtins.print"),
        (math, "math"),
        (2**70, str(2**70)),
        (-math.inf, "-inf"),
        (b"\x00\x01", "AAE=\n"),
    ],
)
def test_python_object_is_its_plain_value(value: object, shown: object) -> None:
    if isinstance(value, pathlib.PurePath) and value.is_absolute():
        assert "object/apply:pathlib" in yaml.dump(value)
    assert dumped(value) == shown


def test_mapping_that_is_a_subclass_shows_its_items() -> None:
    assert dumped(collections.Counter(a=2)) in ({"a": 2}, 'collections.Counter({"a":2})')


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/object/new:os.system", "!mine", "!!no"]
)
def test_no_tag_runs_anything(tag: str, tmp_path: pathlib.Path) -> None:
    made = tmp_path / "made"
    found = decode_yaml(f"it: {tag} ['touch {made}']\nlr: 1".encode())
    assert found["lr"] == 1
    assert str(made) in str(found["it"])
    assert not made.exists()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("!!int x", "x"),
        ("!!float ''", ""),
        ("!!bool maybe", "maybe"),
        ("9" * 5000, "9" * 5000),
        ("2026-11-28 10:00:00", "2026-11-28 10:00:00"),
        ("!!timestamp 5", "5"),
        ("!!python/object/apply:numpy.core.multiarray.scalar [x, y]",
         "numpy.core.multiarray.scalar(x, y)"),
        ("!!python/object/apply:numpy.core.multiarray.scalar ['<f8', '%']",
         "numpy.core.multiarray.scalar(<f8, %)"),
        ("!!python/object/apply:numpy.dtype {args: [f8], state: 3}", "f8"),
        ("!!python/object/apply:pathlib.PosixPath []", "pathlib.PosixPath()"),
        ("!!python/object/apply:x 5", "x()"),
    ],
)  # fmt: skip
def test_tag_that_does_not_fit_leaves_text(text: str, shown: str) -> None:
    assert decode_yaml(f"it: {text}".encode()) == {"it": shown}


def test_keys_are_text() -> None:
    text = b"1: a\ntrue: b\n~: c\n2.50: d\n? [x, 1]\n: e\n"
    found = decode_yaml(text)
    assert found == {"1": "a", "true": "b", "~": "c", "2.50": "d", '["x",1]': "e"}


def test_only_the_first_document_counts() -> None:
    assert decode_yaml(b"--- {a: 1}\n--- {a: 2}\n") == {"a": 1}


def test_bytes_that_are_no_utf8_do_not_hide_the_rest() -> None:
    assert decode_yaml(b"name: caf\xe9\nlr: 1\n") == {"name": "caf\ufffd", "lr": 1}


@pytest.mark.parametrize(
    ("data", "line", "reason"),
    [
        (b"a: 1\nb: [1,\nc: 2\n", 3, "not YAML: "),
        (b"a: 1\n\tb: 2\n", 2, "not YAML: "),
        (b'a: "\\UFFFFFFFF"', 0, "not YAML: "),
        (b"a: 1\nb: \x00\x01", 0, "not YAML: "),
        (b"%YAML 9.1\n--- a\n", 0, ""),
        (b"- 1\n", 0, "a YAML list, expected a mapping"),
        (b"text", 0, "a YAML str, expected a mapping"),
        (b"", 0, "an empty document"),
        (b"# nothing\n", 0, "an empty document"),
    ],
)
def test_what_is_no_mapping_is_told_with_its_line(data: bytes, line: int, reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        decode_yaml(data)
    assert str(caught.value).startswith(reason)
    assert caught.value.line >= line


@given(st.binary(max_size=200) | st.text("[]{}&*!|>?-:,#%@`'\" \n\tab\\0", max_size=80))
def test_any_bytes_are_a_mapping_or_a_record_error(data: bytes | str) -> None:
    try:
        found = decode_yaml(data if isinstance(data, bytes) else data.encode())
    except RecordError as error:
        assert "\n" not in str(error)
    else:
        encode(found)


@given(st.integers(0, len(META)))
def test_document_that_is_cut_anywhere_keeps_what_is_whole_or_is_told(cut: int) -> None:
    whole = decode_yaml(META)
    try:
        found = decode_yaml(META[:cut])
    except RecordError:
        return
    *settled, last = found or {"": None}
    assert {key: found[key] for key in settled} == {key: whole[key] for key in settled}
    assert "artifact_uri".startswith(last) or last in whole or META.find(last.encode()) >= 0


def laughs(levels: int) -> bytes:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for n in range(1, levels):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]")
    return "\n".join(lines).encode()


def test_what_aliases_repeat_counts_each_time() -> None:
    assert len(decode_yaml(laughs(3))["a2"]) == 10
    with pytest.raises(RecordError, match=f"more than {YAML_VALUES:,} values"):
        decode_yaml(laughs(9))


def test_alias_within_itself_is_its_name() -> None:
    cycle: list[Any] = [1]
    cycle.append(cycle)
    assert dumped(cycle) == [1, "*id001"]


def test_deep_nesting_is_left_out_and_what_follows_is_read() -> None:
    deep = "[" * 900 + "]" * 900
    found = decode_yaml(f"it: {deep}\nlr: 1".encode())
    assert found["lr"] == 1
    assert str(found["it"]).count("[") == YAML_DEPTH - 1
    assert TOO_DEEP in str(found["it"])
    nested = "\n".join(f"a{n}: &a{n} [[[[[[[[*a{n - 1}]]]]]]]]" for n in range(1, 20))
    chained = decode_yaml(f"a0: &a0 1\n{nested}".encode())
    assert encode(chained).count(b"[") < 20 * YAML_DEPTH


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 50_000, "- " * 100_000, "? " * 100_000])
def test_nesting_that_does_not_end_is_refused_soon(text: str) -> None:
    started = time.process_time()
    with pytest.raises(RecordError):
        decode_yaml(f"it: {text}".encode())
    assert time.process_time() - started < 60


def test_too_large_document_is_not_parsed() -> None:
    with pytest.raises(RecordError, match="the most is"):
        decode_yaml(b"a: " + b"x" * YAML_BYTES)
