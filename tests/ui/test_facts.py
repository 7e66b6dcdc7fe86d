"""What tells runs of the same name apart."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from runstore.files.paths import StreamFile
from runstore.state.run_state import RunState
from tui.renderables import run_columns, run_table
from tui.renderables.facts import Facts, facts_of, tell_apart
from tui.renderables.text import plain

METRICS = StreamFile(1, 0, "metrics")


def facts(run_id: str, name: str, **params: object) -> Facts:
    state = RunState(Path("runs") / run_id)
    state.info = {"id": run_id, "name": name, "params": params}
    return facts_of(state)


def apart(*shown: Facts) -> list[tuple[str, str]]:
    return [one.apart for one in tell_apart(shown)]


def test_a_name_of_its_own_needs_no_more() -> None:
    assert apart(facts("a", "one", lr=0.1), facts("b", "two", lr=0.2)) == [("", ""), ("", "")]


def test_namesakes_show_only_the_parameters_that_differ() -> None:
    shown = apart(
        facts("a", "digits", lr=0.1, seed=1, depth=4),
        facts("b", "digits", lr=0.1, seed=2, depth=4),
    )
    assert shown == [("seed=1", "1"), ("seed=2", "2")]


def test_a_missing_parameter_differs() -> None:
    shown = apart(facts("a", "digits", lr=0.1), facts("b", "digits"), facts("c", "other", lr=3))
    assert shown == [("lr=0.1", "0.1"), ("b", "b"), ("", "")]


def test_equal_parameters_leave_the_end_of_the_id() -> None:
    one, two = "20261120-101010-digits-aaaa2222", "20261120-101010-digits-bbbb3333"
    assert apart(facts(one, "digits", lr=1), facts(two, "digits", lr=1)) == [
        ("aaaa2222", "aaaa2222"),
        ("bbbb3333", "bbbb3333"),
    ]


def test_a_narrow_list_keeps_the_difference_before_the_name() -> None:
    shown = [facts("a", "mobilenet", batch_size=32), facts("b", "mobilenet", batch_size=128)]
    named = list(tell_apart(shown))
    wide = run_columns.plan_columns(160, (), named)
    narrow = run_columns.Columns(run_columns.STATUS_WIDTH, 9)
    assert "mobilenet batch_size=128" in plain(run_table.row(named[1], wide))
    assert " 128" in plain(run_table.row(named[1], narrow))


def test_names_of_a_sweep_differ_however_narrow_the_list_is() -> None:
    names = [f"lr=0.3,seed={seed},width={width}" for seed in (0, 1) for width in (32, 64)]
    shown = [facts(name, name) for name in names]
    for width in (14, 18, 24):
        cut = [one.name for one in run_table.cut_apart(shown, width)]
        assert len(set(cut)) == 4 and max(map(len, cut)) <= width
    assert [one.name for one in run_table.cut_apart(shown, 24)] == names


def test_beside_a_view_names_come_before_a_second_metric() -> None:
    shown = [facts("a", "lr=0.3,seed=0,width=64"), facts("b", "lr=0.3,seed=1,width=64")]
    columns = run_columns.plan_columns(46, ["train/loss", "train/d_loss"], shown)
    assert columns.name >= len("lr=0.3,seed=0,width=64")
    assert columns.cells[0].id == "train/loss"


def test_best_epoch_has_a_column_beside_two_metrics() -> None:
    shown = replace(facts("a", "digits"), best=0.1238, best_epoch=120)
    metrics = ["train/loss", "val/loss", "val/accuracy", "train/accuracy"]
    columns = run_columns.plan_columns(100, metrics, [shown])
    assert {"@best", "train/loss", "val/loss"} <= set(columns.ids)
    assert "0.1238 @120" in plain(run_table.row(shown, columns))
    assert "BEST" in titles(160, shown)
    assert "BEST" not in titles(160, facts("a", "digits"))
    by_best = run_columns.Choice(sort="@best")
    assert "@best" not in run_columns.plan_columns(70, metrics, [shown]).ids
    assert "@best" in run_columns.plan_columns(70, metrics, [shown], by_best).ids
    beside = run_columns.plan_columns(46, metrics, [shown], by_best)
    assert "0.1238 @120" in plain(run_table.row(shown, beside))


def test_name_of_wide_characters_has_the_cells_that_it_needs() -> None:
    shown = [facts("a", "訓練-日本語の実験")]
    columns = run_columns.plan_columns(80, ["train/loss"], shown)
    assert shown[0].name in plain(run_table.row(shown[0], columns))
    assert shown[0].name in plain(run_table.label(shown[0], 30))


def titles(width: int, *shown: Facts) -> list[str]:
    return plain(run_table.header(run_columns.plan_columns(width, ["train/loss"], shown))).split()


def test_where_a_run_of_another_tool_is_listed_each_says_whose_it_is() -> None:
    own, other = facts("a", "digits"), replace(facts("b", "b"), source="tensorboard")
    assert "SOURCE" not in titles(160, own)
    assert "SOURCE" in titles(80, own, other)
    columns = run_columns.plan_columns(80, ["train/loss"], [own, other])
    assert "native" in plain(run_table.row(own, columns)).split()
    assert "tensorboard" in plain(run_table.row(other, columns)).split()


def test_only_our_own_runs_tell_how_fast_they_are() -> None:
    own = replace(facts("a", "digits"), word="running")
    other = replace(facts("b", "b"), word="running", source="tensorboard")
    for shown, expected in (((own,), True), ((own, other), True), ((other,), False)):
        assert ("IT/S" in titles(80, *shown), "ETA" in titles(80, *shown)) == (expected,) * 2
        columns = run_columns.plan_columns(80, ["train/loss"], shown)
        lengths = {len(plain(run_table.row(one, columns))) for one in shown}
        assert lengths == {len(plain(run_table.header(columns)))}


def test_best_epoch_takes_the_room_of_a_speed_that_no_run_has() -> None:
    ended = replace(facts("a", "digits"), word="finished", best=0.1238, best_epoch=120)
    live = replace(ended, word="running", it_per_s=20.0, eta_s=60.0)
    metrics = ["train/loss", "val/loss"]
    assert run_columns.plan_columns(80, metrics, [ended, live]).ids[3:] == [
        *("@done", "@rate", "@eta", "train/loss", "val/loss")
    ]
    ids = run_columns.plan_columns(80, metrics, [ended, ended]).ids
    assert ids[3:] == ["@done", "@best", "train/loss", "val/loss"]
    beside = [run_columns.plan_columns(50, metrics, [one]).ids for one in (live, ended)]
    assert ["@eta" in ids for ids in beside] == [True, False]
    by_eta = run_columns.Choice(sort="@eta")
    assert "@eta" in run_columns.plan_columns(80, metrics, [ended], by_eta).ids


def test_a_name_and_a_metric_come_before_the_source() -> None:
    own = replace(facts("a", "digits"), word="running")
    other = replace(facts("b", "b"), source="tensorboard")
    assert titles(60, own, other)[-1] == "train/loss"
    assert "SOURCE" not in titles(60, own, other)


def test_a_percentage_without_its_bar_has_a_title() -> None:
    narrow = titles(36, facts("a", "digits"))
    assert narrow == ["RUN", "train/loss", "DONE"]
    assert titles(160, facts("a", "digits")).count("DONE") == 1


def test_a_nan_is_told_beside_the_status_also_where_its_metric_has_no_column() -> None:
    running = replace(facts("a", "digits"), word="running", is_nan=True)
    columns = run_columns.plan_columns(80, [], [running])
    assert plain(run_table.row(running, columns)).startswith("▶ running nan digits")
    finished = replace(running, word="finished")
    assert plain(run_table.row(finished, columns)).startswith("✓ finished  ! digits")
    narrow = run_columns.plan_columns(30, [], [running])
    assert plain(run_table.row(running, narrow)).startswith("▶!digits")


def test_a_list_knows_a_nan_that_only_the_newest_values_have() -> None:
    state = RunState(Path("run"))
    state.apply(METRICS, {"step": 1, "val/loss": float("nan")})
    assert facts_of(state).is_nan
    state.apply(METRICS, {"step": 2, "val/loss": 1.0, "grad_norm": float("inf")})
    assert not facts_of(state).is_nan


@pytest.mark.parametrize(
    ("mean", "deviation", "told"),
    [
        (0.3182, 0.0123, "0.3182±0.0123"),
        (-0.000829, 0.00266, "-8.3e-04±3e-03"),
        (-0.000829, 0.000266, "-8.3e-04±3e-04"),
        (-1234567.0, 123456.0, "-1.2e+06±1e+05"),
        (math.nan, math.nan, "nan"),
    ],
)
def test_mean_of_a_group_keeps_its_deviation_in_a_narrow_column(
    mean: float, deviation: float, told: str
) -> None:
    """Cut at its end, `-0.000829±0.0…` would say a deviation that is not there."""
    column = run_columns.Column("loss", run_columns.SPREAD_METRIC)
    columns = run_columns.Columns(run_columns.STATUS_WIDTH, 9, (column,))
    shown = replace(facts("a", "seeds"), last={"loss": mean})
    together = run_table.Together(2, [("finished", 2)], folded=True, spread={"loss": deviation})
    assert plain(run_table.group_row(shown, together, columns)).split()[-1] == told
