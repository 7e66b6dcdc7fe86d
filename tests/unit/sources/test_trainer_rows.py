"""What an entry of Trainer's log means."""

from __future__ import annotations

import math
from typing import Any

import pytest

from runstore.files.records import JsonObject
from runstore.sources.trainer_rows import TrainerRows, metric_name


def rows(entries: list[JsonObject], stream: str = "metrics") -> list[JsonObject]:
    log = TrainerRows()
    found = [row for place, entry in enumerate(entries, 1) for row in log.take(entry, place)]
    return [row.row for row in found if row.stream == stream]


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("loss", "train/loss"),
        ("entropy", "train/entropy"),
        ("rewards/chosen", "train/rewards/chosen"),
        ("eval_loss", "val/loss"),
        ("eval_squad_exact_match", "val/squad_exact_match"),
        ("eval_rewards/chosen", "val/rewards/chosen"),
        ("test_loss", "test/loss"),
        ("eval_", "train/eval_"),
        ("learning_rate", "learning_rate"),
        ("grad_norm", "grad_norm"),
        ("train_loss", "train_loss"),
        ("val/loss", "val/loss"),
        ("train/loss", "train/loss"),
    ],
)
def test_names(name: str, ours: str) -> None:
    assert metric_name(name) == ours


def test_fraction_of_an_epoch_is_within_the_next_one() -> None:
    entries = [{"step": n, "epoch": n / 4, "loss": 1.0} for n in (0, 1, 4, 5)]
    assert [row["epoch"] for row in rows(entries)] == [0, 1, 1, 2]


def test_what_is_no_number_is_no_metric() -> None:
    odd: dict[str, Any] = {"step": 1, "a": "1", "b": True, "c": None, "d": [1], "e": {"f": 1}}
    assert rows([{**odd, "loss": math.inf, "kl": 3}]) == [
        {"step": 1, "train/loss": math.inf, "train/kl": 3}
    ]
    assert rows([{"step": "1", "epoch": math.nan, "loss": 1.0}]) == [{"train/loss": 1.0}]
    assert rows([{"step": 1.5, "epoch": 10**400, "loss": 1.0}]) == [
        {"epoch": 10**400, "train/loss": 1.0}
    ]


def test_each_evaluation_adds_to_the_row_of_its_epoch() -> None:
    entries: list[JsonObject] = [
        {"step": 10, "epoch": 0.5, "loss": 3.0},
        {"step": 20, "epoch": 1.0, "loss": 2.0, "learning_rate": 0.1},
        {"step": 20, "epoch": 1.0, "eval_a_loss": 2.5},
        {"step": 20, "epoch": 1.0, "eval_b_loss": 2.6},
        {"step": 30, "epoch": 1.5, "loss": 1.0},
    ]
    assert rows(entries, "epochs") == [
        {"step": 20, "epoch": 1, "train/loss": 2.0, "learning_rate": 0.1, "val/a_loss": 2.5},
        {"step": 20, "epoch": 1, "val/b_loss": 2.6},
    ]


SUMMARY: JsonObject = {"step": 20, "epoch": 1.0, "train_loss": 2.5, "train_runtime": 60.0}


def test_evaluation_behind_the_training_is_of_the_model_that_is_kept() -> None:
    """With `load_best_model_at_end` that is an earlier one."""
    entries: list[JsonObject] = [
        {"step": 10, "epoch": 0.5, "eval_loss": 1.0},
        {"step": 20, "epoch": 1.0, "eval_loss": 2.0},
        SUMMARY,
        {"step": 20, "epoch": 1.0, "eval_loss": 1.0},
        {"step": 20, "epoch": 1.0, "eval_other_loss": 3.0},
        {"step": 20, "epoch": 1.0, "eval_loss": 1.0},
    ]
    assert [{k: row[k] for k in row if "/" in k} for row in rows(entries)] == [
        {"val/loss": 1.0}, {"val/loss": 2.0}, {}, {"final/loss": 1.0}, {"val/other_loss": 3.0},
        {"final/loss": 1.0},
    ]  # fmt: skip
    assert [row.get("val/loss") for row in rows(entries, "epochs")] == [1.0, 2.0, None]


def test_evaluation_behind_the_training_is_the_last_point_where_there_is_none() -> None:
    assert rows([SUMMARY, {"step": 20, "epoch": 1.0, "eval_loss": 1.0}])[-1]["val/loss"] == 1.0


def test_training_that_goes_on_behind_a_summary_has_points_again() -> None:
    entries: list[JsonObject] = [
        {"step": 20, "epoch": 1.0, "eval_loss": 2.0},
        SUMMARY,
        {"step": 30, "epoch": 1.5, "loss": 2.0},
        {"step": 30, "epoch": 1.5, "eval_loss": 1.5},
    ]
    assert [row["val/loss"] for row in rows(entries, "epochs")] == [2.0, 1.5]


def best_rule(best: float | None, **values: list[float]) -> str:
    log = TrainerRows()
    for name, series in values.items():
        for place, value in enumerate(series, 1):
            list(log.take({"step": place, "epoch": float(place), f"eval_{name}": value}, place))
    return log.best_rule(best)


@pytest.mark.parametrize(
    ("best", "values", "rule"),
    [
        (0.9, {"loss": [2.0, 1.0, 3.0], "accuracy": [0.5, 0.9, 0.7]}, "val/accuracy:max"),
        (1.0, {"loss": [2.0, 1.0, 3.0], "accuracy": [0.5, 0.9, 0.7]}, "val/loss:min"),
        (0.2, {"loss": [2.0, 1.0], "wer": [0.5, 0.2]}, "val/wer:min"),
        (0.5, {"wer": [0.5]}, "val/wer:max"),
        (0.5, {"loss": [0.5], "runtime": [0.5], "steps_per_second": [0.5]}, "val/loss:min"),
        (1.0, {"f1": [0.0, 1.0], "fpr": [1.0, 1.0], "loss": [1.0, 2.0]}, "val/f1:max"),
        (0.7, {"accuracy": [0.5, 0.9], "loss": [2.0, 1.0]}, ""),
        (math.inf, {"loss": [2.0, 1.0]}, ""),
        (None, {"loss": [2.0, 1.0]}, ""),
        (1.0, {"loss": [math.nan, 1.0, 2.0]}, "val/loss:min"),
    ],
)
def test_best_value_tells_by_which_metric_it_is(
    best: float | None, values: dict[str, list[float]], rule: str
) -> None:
    assert best_rule(best, **values) == rule
