"""`trainer_state.json`: its log is found and read in parts, whatever is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.files.limits import MAX_LINE_BYTES
from runstore.files.records import RecordError
from runstore.sources.trainer_state import HALF, TAIL_BYTES, open_state, parsed, step_in

FACTS: dict[str, Any] = {
    "best_metric": None,
    "epoch": 1.5,
    "global_step": 20,
    "max_steps": 100,
    "stateful_callbacks": {"Own": [{"eval_": 1, "max_steps": 7, "args": [{}, []]}]},
    "trial_name": None,
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text('{}[]",\n eval_é\ud800'),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["eval_loss", "a", "}", "log_history"]), inner)
    ),
    max_leaves=4,
)
entries = st.lists(
    st.dictionaries(
        st.sampled_from(["loss", "eval_loss", "eval_", "step", "epoch", "}", "é"]), json_values
    ),
    max_size=6,
)


def written(log: list[Any], facts: dict[str, Any] = FACTS) -> bytes:
    """Return what `TrainerState.save_to_json` writes."""
    return f"{json.dumps({**facts, 'log_history': log}, indent=2, sort_keys=True)}\n".encode()


def same(value: object, other: object) -> bool:
    """Tell whether two values are the same, NaN included."""
    return json.dumps(value, sort_keys=True) == json.dumps(other, sort_keys=True)


def read(path: Path, budget: int) -> list[Any]:
    found: list[Any] = []
    with open_state(path) as state:
        at = 0
        while at < state.log_bytes:
            piece = state.piece(at, budget)
            found += parsed(piece)
            at += len(piece)
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state") / "trainer_state.json"


@given(log=entries, budget=st.integers(1, 300))
def test_pieces_of_any_size_have_each_entry_once(path: Path, log: list[Any], budget: int) -> None:
    path.write_bytes(written(log))
    assert same(read(path, budget), log)
    with open_state(path) as state:
        assert same(state.facts, FACTS)


@given(log=entries, more=entries)
def test_log_of_a_later_state_begins_with_the_earlier_one(
    path: Path, log: list[Any], more: list[Any]
) -> None:
    path.write_bytes(written(log))
    with open_state(path) as state:
        at, checksum = state.log_bytes, state.checksum(state.log_bytes)
    path.write_bytes(written(log + more, {**FACTS, "best_metric": 0.123456, "global_step": 3000}))
    with open_state(path) as state:
        assert state.checksum(at) == checksum
        assert same(parsed(state.piece(at, MAX_LINE_BYTES)), more)


@given(log=entries, data=st.data())
def test_document_that_is_cut_anywhere_is_none(
    path: Path, log: list[Any], data: st.DataObject
) -> None:
    whole = written(log)
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 2))])
    with pytest.raises(RecordError, match=HALF), open_state(path):
        pass


@given(log=entries, back=st.integers(1, 400))
def test_last_entries_and_evaluations_are_those_of_the_whole(
    path: Path, log: list[Any], back: int
) -> None:
    path.write_bytes(written(log))
    with open_state(path) as state:
        start, piece = state.last_piece(back)
        last, evaluated = parsed(piece), state.evaluations(start)
    assert same(last, log[len(log) - len(last) :])
    before = log[: len(log) - len(last)]
    assert same(evaluated, [e for e in before if any(key.startswith("eval_") for key in e)])
    sizes = [len(json.dumps([[entry]], indent=2)) for entry in log]
    assert len(last) == len(log) or sum(sizes[len(last) * -1 - 1 :]) > back - 20


LAYOUTS: list[dict[str, Any]] = [{}, {"indent": 4}, {"indent": 2}, {"separators": (",", ":")}]


@given(log=entries, layout=st.sampled_from(LAYOUTS), newline=st.sampled_from([b"\n", b"\r\n"]))
def test_document_that_is_laid_out_otherwise_is_read_too(
    path: Path, log: list[Any], layout: dict[str, Any], newline: bytes
) -> None:
    text = json.dumps({"log_history": log, **FACTS}, **layout)
    path.write_bytes(text.encode().replace(b"\n", newline))
    assert same(read(path, 100), log)
    with open_state(path) as state:
        assert same(state.facts, FACTS)


@given(log=entries)
def test_step_is_known_by_the_first_bytes(path: Path, log: list[Any]) -> None:
    path.write_bytes(written(log))
    assert step_in(path) == 20
    path.write_bytes(written([], {"best_model_checkpoint": "a" * 3000, "max_steps": 5}))
    assert step_in(path) is None


def test_path_of_the_best_checkpoint_may_be_long(path: Path) -> None:
    log = [{"step": n, "loss": 1.0} for n in range(3000)]
    path.write_bytes(written(log, {**FACTS, "best_model_checkpoint": "a" * 5000}))
    assert read(path, 1 << 16) == log


def test_what_is_behind_the_log_may_be_long_and_have_lists(path: Path) -> None:
    log = [{"step": n, "loss": 1.0} for n in range(10_000)]
    behind = {"zzz": ["a"] * TAIL_BYTES[-1], "zz": [[1], [2]]}
    path.write_bytes(written(log, {**FACTS, "stateful_callbacks": behind}))
    assert read(path, 1 << 16) == log
    with open_state(path) as state:
        assert state.facts["stateful_callbacks"] == behind


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", HALF),
        (b"{}", "no object with a list log_history"),
        (b"[1]", "no object with a list log_history"),
        (b'{"log_history": {}}', "no object with a list log_history"),
        (b'{\n  "log_history": [\n    {"a": 1}\n  ]x\n}\n', "log_history has no end"),
        (b'{\n  "log_history": [\n    {"a": 1}\n  ],\n  "a": b\n}\n', "not JSON"),
        (b'{"log_history": [' + b"[" * 50_000 + b"]}", "not JSON: maximum recursion"),
        (b'{"log_history": [' + b"{}," * 150_000 + b"{}]}", "more than 100,000 objects"),
        (b" " * (5 << 20) + b"{}", "5,242,882 bytes, and not laid out as Trainer does"),
        (b'{\n  "log_history": [],\n  "a": "' + b"a" * (5 << 20) + b'"\n}', "bytes behind"),
    ],
    ids=[
        "empty",
        "object",
        "list",
        "no list",
        "no end",
        "fields",
        "deep",
        "many",
        "long",
        "behind",
    ],
)
def test_what_is_no_state_is_refused_with_the_reason(
    path: Path, content: bytes, reason: str
) -> None:
    path.write_bytes(content)
    with pytest.raises(RecordError, match=reason), open_state(path):
        pass


def test_entry_that_is_longer_than_a_line_may_be_is_refused(path: Path) -> None:
    path.write_bytes(written([{"loss": 1.0}, {"text": "a" * MAX_LINE_BYTES}, {"loss": 2.0}]))
    with pytest.raises(RecordError, match="no end of an entry"):
        read(path, 1000)
    path.write_bytes(written([{"loss": 1.0}, {"text": "a" * (MAX_LINE_BYTES // 2)}, {"loss": 2.0}]))
    assert len(read(path, 1000)) == 3


def test_state_is_a_regular_file_or_refused(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match="not a regular file"), open_state(path):
        pass
    path.unlink()


def test_huge_hole_is_refused_unread(path: Path) -> None:
    whole = written([{"loss": 1.0}] * 10)
    with path.open("wb") as file:
        file.write(whole[:400])
        file.seek(40 << 30)
        file.write(whole[-400:])
    with pytest.raises(RecordError, match="bytes long, the most is"), open_state(path):
        pass
    path.unlink()


def test_holes_in_a_long_log_are_damage(path: Path) -> None:
    whole = written([{"step": n, "loss": 1.0} for n in range(10_000)])
    path.write_bytes(whole[:300_000] + b"\0" * 4096 + whole[304_096:])
    with pytest.raises(RecordError, match="not JSON"):
        read(path, 1 << 16)
