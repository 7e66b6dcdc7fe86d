"""How rows of other tools' logs count: steps, steps within an epoch, whole epochs."""

from __future__ import annotations

from typing import Any

from runstore.sources.counting import Counting


def placed(rows: list[dict[str, Any]], counting: Counting | None = None) -> list[tuple[str, Any]]:
    """Return each row's stream and step."""
    counting = counting or Counting()
    found: list[tuple[str, Any]] = []
    for row in rows:
        split = row.pop("split", "")
        stream = counting.place(row, split)
        found.append((stream, row.get("step")))
    return found


def test_rows_with_a_step_are_metrics_and_keep_it() -> None:
    rows = [{"epoch": e, "step": s} for e, s in [(1, 10), (1, 20), (2, 30), (2, 40)]]
    assert placed(rows) == [("metrics", 10), ("metrics", 20), ("metrics", 30), ("metrics", 40)]


def test_steps_that_begin_anew_with_each_epoch_are_counted_on() -> None:
    rows = [{"epoch": e, "step": s} for e in (1, 2, 3) for s in (50, 100)]
    assert [step for _, step in placed(rows)] == [50, 100, 150, 200, 250, 300]


def test_a_resumed_run_that_goes_back_is_not_counted_on() -> None:
    rows = [{"epoch": e, "step": s} for e, s in [(1, 10), (2, 20), (3, 30), (2, 15), (3, 25)]]
    assert [step for _, step in placed(rows)] == [10, 20, 30, 15, 25]


def test_validation_that_counts_its_own_batches_lies_at_the_end_of_its_epoch() -> None:
    """As mmcv writes it: `iter` of a validation is the number of its batches."""
    rows = [
        {"epoch": 1, "step": 50, "split": "train"},
        {"epoch": 1, "step": 100, "split": "train"},
        {"epoch": 1, "step": 7, "split": "val"},
        {"epoch": 2, "step": 50, "split": "train"},
        {"epoch": 2, "step": 100, "split": "train"},
        {"epoch": 2, "step": 7, "split": "val"},
    ]
    assert [step for _, step in placed(rows)] == [50, 100, 100, 150, 200, 200]


def test_evaluation_that_counts_epochs_is_that_epoch_at_the_last_step() -> None:
    """As MMEngine writes it, which names the epoch in the rows of batches only."""
    rows = [{"epoch": 1, "step": 10}, {"epoch": 1, "step": 20}, {"step": 1}]
    rows += [{"epoch": 2, "step": 30}, {"epoch": 2, "step": 40}, {"step": 2}]
    steps = [("metrics", 10), ("metrics", 20), ("epochs", 20)]
    assert placed(rows) == [*steps, ("metrics", 30), ("metrics", 40), ("epochs", 40)]
    assert rows[-1] == {"step": 40, "epoch": 2}


def test_row_without_an_epoch_is_no_evaluation_at_another_step() -> None:
    rows = [{"epoch": 1, "step": 1}, {"step": 1}, {"epoch": 2, "step": 20}, {"step": 20}]
    assert {stream for stream, _ in placed([*rows, {"step": 15}, {"step": 3}])} == {"metrics"}
    assert placed([{"step": 10}, {"step": 1}]) == [("metrics", 10), ("metrics", 1)]


def test_rows_with_an_epoch_alone_are_epochs() -> None:
    assert placed([{"epoch": e} for e in (0, 1, 2)]) == [("epochs", None)] * 3
    rows = [{"epoch": e, "split": split} for e in (1, 2, 3) for split in ("train", "val")]
    assert placed(rows) == [("epochs", None)] * 6


def test_many_rows_in_an_epoch_are_no_epochs() -> None:
    counting = Counting()
    placed([{"epoch": 1}] * 4, counting)
    assert counting.contradicted
    assert placed([{"epoch": 1}, {"epoch": 2}], counting) == [("metrics", None)] * 2


def test_epochs_that_a_resume_repeats_stay_epochs() -> None:
    counting = Counting()
    found = placed([{"epoch": e} for e in (0, 1, 2, 2, 3, 4, 4, 5)], counting)
    assert found == [("epochs", None)] * 8
    assert not counting.contradicted


def test_rows_without_an_epoch_are_metrics() -> None:
    assert placed([{}, {"step": 3}]) == [("metrics", None), ("metrics", 3)]
