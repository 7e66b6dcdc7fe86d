"""Columns of other tools' logs: step, epoch, time and split by the names that the field uses."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from runstore.errors import ColumnMapError
from runstore.sources import columns
from runstore.sources.columns import Columns, canonical, is_log_header, parse_map, split_in


@pytest.fixture(autouse=True)
def usual_names() -> Iterator[None]:
    yield
    columns.choose({})


def row(record: dict[str, Any]) -> dict[str, Any]:
    return Columns().row(record)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        # detectron2: `time` is the seconds of an iteration.
        (
            {"iteration": 19, "total_loss": 2.5, "time": 0.31, "lr": 0.01},
            {"step": 19, "total_loss": 2.5, "time_s": 0.31, "lr": 0.01},
        ),
        # MMEngine: both names of the step.
        ({"iter": 10, "step": 10, "epoch": 1, "loss": 1.5}, {"step": 10, "epoch": 1, "loss": 1.5}),
        # fairseq: numbers as texts, the split before each name.
        (
            {"epoch": 1, "train_loss": "8.1", "train_num_updates": "500"},
            {"epoch": 1, "step": 500, "train/loss": 8.1},
        ),
        (
            {"epoch": 1, "valid_loss": "7.9", "valid_num_updates": "500"},
            {"epoch": 1, "step": 500, "val/loss": 7.9},
        ),
        # The split in a column, bare rates stay bare.
        (
            {"mode": "val", "iter": 3, "acc": 0.5, "lr": 0.1, "extra/x": 1.0},
            {"step": 3, "val/acc": 0.5, "lr": 0.1, "extra/x": 1.0},
        ),
        # Stable-Baselines3.
        (
            {"time/total_timesteps": 2048, "rollout/ep_rew_mean": 21.5},
            {"step": 2048, "rollout/ep_rew_mean": 21.5},
        ),
        (
            {"train": {"loss": 1.0, "acc": {"top1": 0.5}}},
            {"train/loss": 1.0, "train/acc/top1": 0.5},
        ),
        ({"Step": 3, " Loss ": 2.0}, {"step": 3, "Loss": 2.0}),
        ({"step": 1.0, "epoch": 0.25}, {"step": 1, "epoch": 1}),
        ({"step": 1, "timestamp": 1795206504854}, {"step": 1, "time": 1795206504.854}),
        ({"step": 1, "time": "2026-11-20T14:15:02+00:00"}, {"step": 1, "time": 1795184102.0}),
        ({"_step": 7, "step": 3, "x": 1.0}, {"step": 3, "x": 1.0}),
    ],
)
def test_record_of_a_known_tool_is_a_row(record: dict[str, Any], expected: dict[str, Any]) -> None:
    assert row(record) == expected


def test_row_of_ours_stays_as_it_is() -> None:
    ours = {"step": 1200, "epoch": 3, "time": 1795206504.854, "train/loss": 0.31, "lr": 0.001}
    taken = Columns()
    assert taken.row(dict(ours)) == ours
    assert taken.row(ours) is ours


def test_texts_that_are_no_numbers_are_kept_and_are_no_metrics() -> None:
    found = row({"step": 1, "note": "warm-up", "tags": ["a"], "ok": True, "empty": ""})
    assert found == {"step": 1, "note": "warm-up", "tags": ["a"], "ok": True}


def test_nan_in_a_text_is_a_number() -> None:
    assert math.isnan(row({"step": 1, "loss": "nan"})["loss"])


def test_a_step_that_is_none_does_not_take_the_reserved_key() -> None:
    assert row({"step": "warm-up", "loss": 1.0}) == {"step_value": "warm-up", "loss": 1.0}
    assert row({"step": 0.5, "loss": 1.0}) == {"step_value": 0.5, "loss": 1.0}


def test_training_column_beside_a_validation_one_is_of_the_training() -> None:
    table = Columns(paired=["epoch", "loss", "val_loss", "lr", "accuracy"])
    record = {"epoch": 1, "loss": 1.0, "val_loss": 2.0, "lr": 0.1, "accuracy": 0.5}
    assert set(table.row(record)) == {"epoch", "train/loss", "val/loss", "lr", "accuracy"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("val_loss", "val/loss"),
        ("valid_acc", "val/acc"),
        ("eval_loss", "val/loss"),
        ("train_loss_epoch", "train/loss_epoch"),
        ("test_f1", "test/f1"),
        ("value_loss", "value_loss"),
        ("val/loss", "val/loss"),
        ("eval/loss", "eval/loss"),
        ("val_", "val_"),
        ("loss", "loss"),
    ],
)
def test_split_before_an_underscore_is_ours(name: str, expected: str) -> None:
    assert canonical(name) == expected


def test_chosen_columns_come_before_known_names() -> None:
    columns.choose(parse_map("step=tick, split=part"))
    found = row({"tick": 4, "step": 9, "loss": 1.0})
    assert found == {"step": 4, "step_value": 9, "loss": 1.0}
    assert row({"tick": 4, "part": "dev", "loss": 1.0}) == {"step": 4, "val/loss": 1.0}


@pytest.mark.parametrize("text", ["step", "steps=iter", "step=", "=iter", "step=iter,x"])
def test_map_that_says_nothing_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ColumnMapError, match=r"expected step, epoch, time or split") as refused:
        parse_map(text)
    assert "\n" not in str(refused.value)


def test_header_of_a_log_names_a_step_or_an_epoch() -> None:
    assert is_log_header(["epoch", "loss"])
    assert is_log_header([" Step", "Value"])
    assert not is_log_header(["sepal_length", "species"])
    assert not is_log_header(["epoch"])
    columns.choose({"step": "tick"})
    assert is_log_header(["tick", "loss"])


def test_deep_and_wide_records_are_bounded() -> None:
    deep: Any = 1.0
    for _ in range(50):
        deep = {"a": deep}
    assert row({"step": 1, "x": deep}) == {"step": 1}
    many = Columns()
    for number in range(300):
        many.row({"step": 1, f"k{number}": 1.0})
    assert json.dumps(many.row({"step": 2, "k1": 2.0})) == '{"step": 2, "k1": 2.0}'


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.csv", "train"),
        ("Validation.jsonl", "val"),
        ("val_metrics.jsonl", "val"),
        ("metrics-test.jsonl", "test"),
        ("log.dev.tsv", "val"),
        ("train_training.csv", "train"),
        ("train_test_split.csv", ""),
        ("trainer.csv", ""),
        ("metrics.jsonl", ""),
        ("log.train", ""),
        ("train", ""),
    ],
)
def test_split_is_a_word_of_a_file_name(name: str, split: str) -> None:
    assert split_in(name) == split
