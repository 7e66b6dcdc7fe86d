"""Logs that went back to an earlier step: what is void is what TensorBoard's rule says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runstore.sources.rewinds import Rewinds

Value = tuple[int, int, int, str]
"""File, number in it, step, key."""

ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 6), st.sampled_from([["a"], ["b"], ["a", "b"]])),
    max_size=30,
)


def values_of(rows: list[tuple[int, int, list[str]]]) -> list[Value]:
    """Give the rows numbers in their files, in the order in which they are met."""
    counts: dict[int, int] = {}
    values: list[Value] = []
    for file, step, keys in rows:
        counts[file] = counts.get(file, 0) + 1
        values += [(file, counts[file], step, key) for key in keys]
    return values


def visible(values: list[Value]) -> set[Value]:
    """By the definition: later in the order of files and rows, and not behind it."""
    return {
        one
        for one in values
        if not any(
            other[3] == one[3] and other[:2] > one[:2] and other[2] <= one[2] for other in values
        )
    }


def noted(rows: list[tuple[int, int, list[str]]], *, is_one_series: bool = True) -> Rewinds:
    rewinds = Rewinds(is_one_series=is_one_series)
    counts: dict[int, int] = {}
    for file, step, keys in rows:
        counts[file] = counts.get(file, 0) + 1
        rewinds.note_row(file, counts[file], step, keys)
    return rewinds


def shown(rewinds: Rewinds, values: list[Value]) -> set[Value]:
    return {
        value
        for value in values
        if not rewinds or not rewinds.hides(value[0], value[1], value[2], value[3])
    }


@given(rows=ROWS)
def test_a_value_is_void_when_a_later_one_of_its_metric_is_not_behind_it(
    rows: list[tuple[int, int, list[str]]],
) -> None:
    """Whatever the order in which growing files are read."""
    values = values_of(rows)
    assert shown(noted(rows), values) == visible(values)


@given(rows=ROWS)
def test_files_that_are_logs_of_their_own_do_not_void_each_other(
    rows: list[tuple[int, int, list[str]]],
) -> None:
    values = values_of(rows)
    alone = [visible([value for value in values if value[0] == file]) for file in range(3)]
    assert shown(noted(rows, is_one_series=False), values) == set().union(*alone)


def test_note_row_names_the_metrics_of_which_something_is_void() -> None:
    rewinds = Rewinds(is_one_series=True)
    assert rewinds.note_row(1, 1, 5, ["a", "b"]) == []
    assert rewinds.note_row(1, 2, 6, ["a"]) == []
    assert not rewinds
    assert rewinds.note_row(1, 3, 6, ["a", "b"]) == ["a"]
    assert rewinds.note_row(2, 1, 6, ["b", "c"]) == ["b"]
    assert rewinds


def test_purge_voids_every_metric_from_its_step_on_and_none_behind_it() -> None:
    rewinds = Rewinds(is_one_series=True)
    for number, step in enumerate((1, 2, 3, 4), 1):
        rewinds.note_row(1, number, step, ["a"])
    rewinds.purge(2, 1, 3)
    rewinds.note_row(2, 2, 7, ["b"])
    hidden = [rewinds.hides(1, number, step, "a") for number, step in enumerate((1, 2, 3, 4), 1)]
    assert hidden == [False, False, True, True]
    assert not rewinds.hides(2, 2, 7, "b")


def test_rows_that_are_read_again_void_nothing() -> None:
    rewinds = Rewinds(is_one_series=True)
    for _ in range(2):
        assert rewinds.note_row(1, 1, 5, ["a"]) == []
        assert rewinds.note_row(1, 2, 6, ["a"]) == []
    assert not rewinds
    rewinds.forget(1)
    assert rewinds.note_row(1, 1, 7, ["a"]) == []


def test_last_row_may_have_grown_when_it_is_read_again() -> None:
    """Values of one step that were written one by one are one row."""
    rewinds = Rewinds(is_one_series=True)
    assert rewinds.note_row(1, 3, 5, ["a"]) == []
    assert rewinds.note_row(1, 3, 5, ["a", "b"]) == []
    assert rewinds.note_row(1, 4, 5, ["a", "b"]) == ["a", "b"]
    assert rewinds.hides(1, 3, 5, "b")


@given(rows=ROWS, sizes=st.lists(st.integers(1, 4)))
def test_rows_noted_together_hide_what_they_hide_one_by_one(
    rows: list[tuple[int, int, list[str]]], sizes: list[int]
) -> None:
    together = Rewinds(is_one_series=True)
    counts: dict[int, int] = {}
    expanded: list[tuple[int, int, list[str]]] = []
    for (file, step, keys), size in zip(rows, [*sizes, *[1] * len(rows)], strict=False):
        numbers = range(counts.get(file, 0) + 1, counts.get(file, 0) + 1 + size)
        counts[file] = numbers[-1]
        steps = range(step, step + size)
        if not together.note_block(file, numbers, steps, keys):
            for number, one in zip(numbers, steps, strict=True):
                together.note_row(file, number, one, keys)
        expanded += [(file, one, keys) for one in steps]
    values = values_of(expanded)
    assert shown(together, values) == visible(values)
    for file, number, step, key in values:
        if together.hides_none(file, number, [key]):
            assert not together.hides(file, number, step, key)


def test_purge_tells_whether_there_was_anything_to_void() -> None:
    rewinds = Rewinds(is_one_series=True)
    assert not rewinds.purge(1, 1, 0)
    rewinds.note_row(1, 2, 5, ["a"])
    assert not rewinds.purge(1, 3, 6)
    assert rewinds.purge(1, 4, 5)
    assert not rewinds.purge(1, 4, 5)
