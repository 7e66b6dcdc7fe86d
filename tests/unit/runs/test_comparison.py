"""Runs side by side: what differs, which is best, and how the command shows it."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import runstore
from runstore.cli import cli
from runstore.errors import RunStoreError
from runstore.runs.comparison import Compared, Comparison, Sort, direction_of, is_judged


def facts(name: str, params: dict[str, Any] | None = None, **metrics: list[float]) -> Compared:
    """A run with the values that each metric had; `loss` stands for `val/loss`."""
    values = {f"val/{metric}": found for metric, found in metrics.items()}
    finite = {key: [v for v in found if math.isfinite(v)] for key, found in values.items()}
    return Compared(
        id=name,
        name=name,
        path=f"runs/{name}",
        status="finished",
        epoch=1,
        epochs=1,
        step=1,
        duration_s=1.0,
        params=params or {},
        last={key: found[-1] for key, found in values.items()},
        lows={key: min(found) for key, found in finite.items() if found},
        highs={key: max(found) for key, found in finite.items() if found},
        best=None,
    )


def order(*runs: Compared, by: str) -> list[str]:
    return [run.id for run in Comparison(runs, Sort.parse(by)).runs]


# ---- parameters --------------------------------------------------------------------------------


def test_parameters_that_differ_are_those_that_are_unequal_or_missing_somewhere() -> None:
    comparison = Comparison(
        [
            facts("a", {"lr": 0.1, "seed": 1, "depth": 3, "flag": True, "only": 1}),
            facts("b", {"lr": 0.2, "seed": 1.0, "depth": 3, "flag": 1}),
        ]
    )
    assert comparison.differing == ["lr", "flag", "only"]
    assert comparison.as_json()["shared"] == {"seed": 1, "depth": 3}


def test_one_run_or_none_differs_in_nothing() -> None:
    assert Comparison([facts("a", {"lr": 0.1})]).differing == []
    assert Comparison([]).differing == []


# ---- which is best -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        ("val/loss", "min"),
        ("train_loss", "min"),
        ("losses/total", "max"),
        ("val/top5_error", "min"),
        ("perplexity", "min"),
        ("val/accuracy", "max"),
        ("coco/bbox_mAP", "max"),
        ("glosses", "max"),
    ],
)
def test_losses_and_errors_are_good_when_low(metric: str, direction: str) -> None:
    assert direction_of(metric) == direction


@pytest.mark.parametrize("metric", ["lr", "train/grad_norm", "layer2/norm", "lr/loss_scale"])
def test_what_is_set_or_only_has_a_size_has_no_winner_unless_it_is_asked_for(metric: str) -> None:
    large = replace(facts("large"), last={metric: 2.0}, lows={metric: 2.0}, highs={metric: 2.0})
    small = replace(facts("small"), last={metric: 1.0}, lows={metric: 1.0}, highs={metric: 1.0})
    assert not is_judged(metric)
    assert Comparison([large, small]).winner(metric) is None
    assert Comparison([large, small], Sort(metric, "min")).winner(metric) is small


@pytest.mark.parametrize("metric", ["val/accuracy", "train/loss", "scaled_error", "normal_f1"])
def test_what_is_measured_is_judged(metric: str) -> None:
    assert is_judged(metric)


def test_runs_are_sorted_by_the_best_value_that_they_had_not_by_the_last() -> None:
    early = facts("early", loss=[0.1, 0.9], acc=[0.9, 0.1])
    late = facts("late", loss=[0.9, 0.2], acc=[0.1, 0.8])
    without = facts("without")
    assert order(without, late, early, by="val/loss") == ["early", "late", "without"]
    assert order(without, late, early, by="val/acc") == ["early", "late", "without"]
    assert order(late, early, by="val/acc:min") == ["late", "early"]
    assert order(early, late, by="val/loss:max") == ["early", "late"]


def test_nan_is_never_the_best() -> None:
    diverged = facts("diverged", loss=[math.nan, math.nan])
    assert order(diverged, facts("fine", loss=[5.0]), by="val/loss") == ["fine", "diverged"]
    assert Comparison([diverged]).best_of(diverged, "val/loss", "min") is None


def test_no_run_wins_alone_or_with_an_equal_one() -> None:
    assert Comparison([facts("a", loss=[1.0])]).winner("val/loss") is None
    assert Comparison([facts("a", loss=[1.0]), facts("b", loss=[1.0])]).winner("val/loss") is None
    winner = Comparison([facts("a", loss=[1.0]), facts("b", loss=[0.5])]).winner("val/loss")
    assert winner is not None
    assert winner.id == "b"


# ---- the command -------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three runs, of which one is of another tool and one diverged at its end."""
    for lr in (0.1, 0.01):
        params = {"lr": lr, "model": {"depth": 3}, "note": "a|b"}
        with runstore.init(params, root=tmp_path, name=f"lr{lr}") as run:
            for epoch in run.epochs(3):
                for _ in run.val([0]):
                    run.track(loss=lr * epoch if epoch < 3 else math.nan, accuracy=1 - lr, n=1)
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "log.csv").write_text("epoch,val_loss\n1,0.5\n2,0.25\n")
    return tmp_path


def compare(root: Path, *arguments: str) -> str:
    names = ("lr0.1", "lr0.01", "table")
    line = ["compare", *(names if not arguments or arguments[0][0] == "-" else ()), *arguments]
    result = CliRunner().invoke(cli, [*line, "--root", str(root)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_table_has_what_differs_and_marks_the_best(root: Path) -> None:
    header, *rows = compare(root, "--sort", "val/loss").splitlines()
    names = header.split()
    assert names[:4] == ["RUN", "STATUS", "EPOCH", "DURATION"]
    assert {"lr", "model.depth", "note", "val/loss"} <= set(names)
    assert [row.split()[0].split("-")[-2:][0] for row in rows[:2]] == ["lr0.01", "lr0.1"]
    assert "0.0100*" in rows[0]
    assert rows[2].startswith("table")


def test_equal_parameters_are_shown_when_asked_for(root: Path) -> None:
    assert "model.depth" not in compare(root, "lr0.1", "lr0.01")
    assert "model.depth" in compare(root, "lr0.1", "lr0.01", "--all-params")


def test_csv_has_all_metrics_last_and_best(root: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(compare(root, "--csv"))))
    assert [row["params.lr"] for row in rows] == ["0.1", "0.01", ""]
    assert [float(row["best.val/loss"]) for row in rows] == pytest.approx([0.1, 0.01, 0.25])
    assert rows[2]["last.val/loss"] == "0.25"
    assert rows[2]["last.val/accuracy"] == ""


def test_markdown_is_a_table_in_which_nothing_has_a_meaning(root: Path) -> None:
    header, line, *rows = compare(root, "--markdown", "--all-params").splitlines()
    cells = header.count("|")
    assert line.count("|") == cells
    assert all(row.replace("\\|", "").count("|") == cells for row in rows)
    assert "a\\|b" in rows[0]


def test_json_has_every_run_with_its_parameters(root: Path) -> None:
    document = json.loads(compare(root, "--json", "--sort", "val/accuracy"))
    assert document["sort"] == {"metric": "val/accuracy", "direction": "max"}
    assert [run["params"].get("lr") for run in document["runs"]] == [0.01, 0.1, None]
    assert document["runs"][0]["best"]["val/accuracy"] == 0.99
    assert document["differing"] == ["lr", "model.depth", "note"]


def test_best_is_of_epochs_and_of_rows_only_where_these_do_not_have_it(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path, name="batches", log_every=1) as run:
        for score in (4.0, 3.0):
            run.log({"score": score})
        for epoch in run.epochs(2):
            for loss in run.train((4.0, 0.5, 3.0)):
                run.track(loss=loss / epoch)
    (found,) = json.loads(compare(tmp_path, "batches", "--json"))["runs"]
    assert found["last"]["train/loss"] == 1.5
    assert found["best"]["train/loss"] == 1.25
    assert found["best"]["score"] == 4.0


def test_end_that_a_run_says_is_the_good_one_is(tmp_path: Path) -> None:
    """By its name energy would be good when it is high."""
    for name, energy in (("low", -2.0), ("high", 5.0)):
        with runstore.init(root=tmp_path, name=name, best="val/energy:min") as run:
            for _ in run.epochs(1):
                for value in run.val((energy,)):
                    run.track(energy=value)
    found = json.loads(compare(tmp_path, "high", "low", "--json", "--sort", "val/energy"))
    assert found["sort"] == {"metric": "val/energy", "direction": "min"}
    assert [run["name"] for run in found["runs"]] == ["low", "high"]
    said = [replace(facts("a", e=[1.0, 3.0]), best_rule=f"val/e:{end}") for end in ("min", "max")]
    assert Comparison(said).direction("val/e") == "max", "they do not agree: by the name"


def test_run_in_its_first_epoch_does_not_win_by_its_luckiest_batch(tmp_path: Path) -> None:
    losses = {"whole": (4.0, 2.0, 3.0), "early": (9.0, 1.0), "plain": (5.0, 4.0)}
    for name in ("whole", "early"):
        with runstore.init(root=tmp_path, name=name, log_every=1) as run:
            for _ in run.epochs(1):
                for loss in run.train(losses[name]):
                    run.track(loss=loss)
                if name == "early":
                    run.finish()
    with runstore.init(root=tmp_path, name="plain") as run:
        for epoch, loss in enumerate(losses["plain"]):
            run.log({"train/loss": loss, "epoch": epoch})
    both = json.loads(compare(tmp_path, "early", "whole", "--json", "--sort", "train/loss"))
    assert [(run["name"], run["best"]) for run in both["runs"]] == [
        ("whole", {"train/loss": 3.0}),
        ("early", {}),
    ]
    # Where no epoch has it, batches are compared with batches, and another's rows with epochs.
    (alone,) = json.loads(compare(tmp_path, "early", "--json"))["runs"]
    assert alone["best"] == {"train/loss": 1.0}
    found = json.loads(compare(tmp_path, "plain", "whole", "--json"))["runs"]
    assert [run["best"]["train/loss"] for run in found] == [4.0, 3.0]


def test_run_that_is_named_twice_is_there_once(root: Path) -> None:
    document = json.loads(compare(root, "table", str(root / "table"), "--json"))
    assert [run["id"] for run in document["runs"]] == ["table"]


def test_metric_that_no_run_has_is_refused_with_those_there_are(root: Path) -> None:
    line = ["compare", "table", "lr0.1", "--sort", "val/los", "--root", str(root)]
    refused = CliRunner().invoke(cli, line).exception
    assert isinstance(refused, RunStoreError)
    assert str(refused).startswith("--sort val/los: no run has such a metric; there are val/loss")


def test_two_formats_at_once_are_wrong_usage(root: Path) -> None:
    line = ["compare", "table", "lr0.1", "--json", "--csv", "--root", str(root)]
    assert CliRunner().invoke(cli, line).exit_code == 2
