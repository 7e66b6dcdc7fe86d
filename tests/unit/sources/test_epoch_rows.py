"""Rows of the table of epochs, out of logs that write training and validation in rows apart."""

from __future__ import annotations

from runstore.sources.epoch_rows import EpochRows


def test_evaluation_makes_a_row_with_what_was_trained_since() -> None:
    rows = EpochRows()
    assert rows.take({"step": 1, "epoch": 1, "train/loss": 3.0, "lr": 0.1}) is None
    assert rows.take({"step": 2, "epoch": 1, "train/loss": 2.0}) is None
    assert rows.take({"step": 2, "epoch": 1, "time": 9.0, "val/loss": 2.5}) == {
        "step": 2, "epoch": 1, "time": 9.0, "train/loss": 2.0, "lr": 0.1, "val/loss": 2.5,
    }  # fmt: skip
    assert rows.take({"step": 2, "epoch": 1, "val/other": 1.5}) == {
        "step": 2, "epoch": 1, "val/other": 1.5,
    }  # fmt: skip


def test_values_of_one_epoch_are_none_of_the_next() -> None:
    rows = EpochRows()
    rows.take({"step": 1, "epoch": 1, "train/loss": 3.0})
    assert rows.take({"step": 2, "epoch": 2, "val/loss": 1.0}) == {
        "step": 2, "epoch": 2, "val/loss": 1.0,
    }  # fmt: skip


def test_mean_of_an_epoch_makes_a_row_and_the_loss_of_a_batch_none() -> None:
    rows = EpochRows()
    assert rows.take({"step": 9, "epoch": 0, "train/loss_step": 3.0}) is None
    assert rows.take({"step": 7, "epoch": 0, "val/loss_step": 3.0}) is None
    assert rows.take({"step": 9, "epoch": 0, "train/loss_epoch": 2.0}) == {
        "step": 9, "epoch": 0, "train/loss_epoch": 2.0,
    }  # fmt: skip


def test_row_without_an_epoch_and_a_test_make_none() -> None:
    rows = EpochRows()
    assert rows.take({"step": 9, "val/loss": 3.0}) is None
    assert rows.take({"step": 9, "epoch": 5, "test/loss": 3.0}) is None
