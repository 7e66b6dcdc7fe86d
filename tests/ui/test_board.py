"""The charts of several runs, drawn without a terminal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstore.files.paths import StreamFile
from runstore.state.run_state import RunState
from runstore.state.series import Series, trace
from tui.renderables.bands import band
from tui.renderables.board import Board, Seen
from tui.renderables.chart_grid import grid_for
from tui.renderables.drawn_runs import CURVE_ROLES, Identity
from tui.renderables.text import plain
from tui.renderables.traces import Columns, smoothed

METRICS, EPOCHS, EVENTS = (StreamFile(1, 0, name) for name in ("metrics", "epochs", "events"))
WIDTH, HEIGHT = 90, 24


def a_run(
    rows: Iterable[Mapping[str, Any]],
    epochs: Iterable[Mapping[str, Any]] = (),
    name: str = "run",
    **params: Any,
) -> RunState:
    state = RunState(Path(name))
    state.info = {"id": name, "name": name, "params": params}
    for row in rows:
        state.apply(METRICS, dict(row))
    for row in epochs:
        state.apply(EPOCHS, dict(row))
    return state


def losses(values: Sequence[float], name: str = "run", **params: Any) -> RunState:
    """Return a run of one loss per step, from step 1, one second apart."""
    rows = ({"step": i, "time": 100.0 + i, "loss": v} for i, v in enumerate(values, 1))
    return a_run(rows, (), name, **params)


class Screen:
    """A board that draws the same runs again and again."""

    def __init__(self, *states: RunState, single: bool = True, chosen: int = 0) -> None:
        self.board = Board()
        self.board.is_single = single
        self.seen = [
            Seen(
                Identity(
                    f"run{i}", "ABCDEFGH"[i] if len(states) > 1 else "", CURVE_ROLES[i], i == chosen
                ),
                state,
            )
            for i, state in enumerate(states)
        ]

    def lines(self, width: int = WIDTH, height: int = HEIGHT) -> list[str]:
        self.board.take(self.seen, width, height)
        return [plain(row) for row in self.board.draw()]

    def text(self) -> str:
        return "\n".join(self.lines())

    def roles(self) -> set[str]:
        self.board.take(self.seen, WIDTH, HEIGHT)
        return {span.role for row in self.board.draw() for span in row}


def plotted(lines: Sequence[str]) -> list[str]:
    """Return the plot alone, without labels and axis."""
    cut = [row.partition("┤")[2] or row.partition("│")[2] for row in lines]
    return [row for row in cut if row]


# ---- several runs --------------------------------------------------------------------------------


def test_runs_share_a_chart_each_with_colour_letter_and_value() -> None:
    screen = Screen(losses([1.0, 0.5], "one", lr=0.1), losses([1.0, 0.25], "two", lr=0.2))
    text = screen.text()
    assert "A one 0.5000" in text
    assert "B two 0.2500" in text
    ends = [row for row in plotted(screen.lines()) if row.rstrip().endswith(("A", "B"))]
    assert len(ends) == 2
    assert {"curve0", "curve1"} <= screen.roles()


def test_every_run_has_its_letter_where_all_end_in_one_place() -> None:
    screen = Screen(*(losses([2.0, 1.0], f"r{i}", lr=i) for i in range(8)))
    ends = {row.rstrip()[-1] for row in plotted(screen.lines(90, 30)) if row.strip()}
    assert ends >= set("ABCDEFGH")


def test_runs_of_one_name_are_told_apart_by_what_differs() -> None:
    text = Screen(losses([1.0], "one", lr=0.1), losses([1.0], "one", lr=0.2)).text()
    assert "one" in text
    same = a_run([{"step": 1, "loss": 1.0}], (), "x", lr=0.2, seed=3)
    same.info["name"] = "one"
    assert "lr=0.2" in Screen(losses([1.0], "one", lr=0.1), same).text()


class Told:
    """A parameter that counts how often it is told."""

    times = 0

    def __str__(self) -> str:
        self.times += 1
        return "told"


def test_parameters_are_made_ready_when_they_change_and_not_for_each_frame() -> None:
    told = Told()
    one, other = losses([1.0], "one", given=told), losses([1.0], "two", given="else")
    one.info["name"] = other.info["name"] = "same"
    screen = Screen(one, other)
    assert "given=told" in screen.text()
    times = told.times
    assert "given=told" in screen.text()
    assert told.times == times
    one.info = {**one.info, "params": {"given": "new"}}
    assert "given=new" in screen.text()


def test_validation_is_dotted_and_training_is_not_in_every_chart() -> None:
    rows = [
        {"step": i, "train/acc": 0.5, "val/acc": 0.2, "train/loss": 0.5, "val/loss": 0.2}
        for i in range(1, 2000)
    ]
    screen = Screen(a_run(rows))
    for _ in range(2):
        solid, dotted = (row for row in plotted(screen.lines()) if row.strip())
        assert "⠉" not in dotted and len(dotted.split()) > 5
        assert len(solid.split()) == 1
        screen.board.move(1)


def test_run_that_is_being_read_keeps_its_last_curves() -> None:
    screen = Screen(losses([1.0, 0.5], "one"), losses([1.0, 0.25], "two"))
    screen.lines()
    screen.seen[1] = replace(screen.seen[1], state=None)
    assert "B two 0.2500" in screen.text()


def test_frame_keeps_only_the_curves_that_it_shows() -> None:
    rows = [{"step": i, **{f"metric{k:03d}": float(k * i) for k in range(200)}} for i in range(3)]
    screen = Screen(a_run(rows), single=False)
    for _ in range(50):
        screen.lines()
        screen.board.move_pages(1)
    assert len(screen.board._kept._made) < 40
    assert "200 of 200" in screen.board.title()


# ---- the axes ------------------------------------------------------------------------------------


def epochs_of(batches: int, count: int = 4) -> RunState:
    """Return a run whose epochs have so many steps."""
    rows = [{"step": i, "time": 50.0 + i, "train/loss": i} for i in range(1, batches * count + 1)]
    ends = [{"step": e * batches, "epoch": e, "val/loss": e} for e in range(1, count + 1)]
    return a_run(rows, ends)


def test_runs_with_epochs_of_other_length_end_together_over_epochs() -> None:
    screen = Screen(epochs_of(10), epochs_of(40))
    assert "160 step" in screen.text()
    screen.board.turn_axis()
    text = screen.text()
    assert "4 epoch" in text
    assert "x: epoch" in screen.board.title()
    screen.board.point_at(0.5)
    assert "epoch 2" in screen.text()
    readings = [subject.readings[0].low for subject in screen.board._pictures["loss"].subjects]
    assert readings[0] == pytest.approx(20, abs=2)
    assert readings[1] == pytest.approx(80, abs=4)


def test_time_axis_has_the_pause_between_two_attempts() -> None:
    state = losses([1.0] * 100)
    later = StreamFile(2, 0, "metrics")
    for step in range(101, 201):
        state.apply(later, {"step": step, "time": 4000.0 + step, "loss": 0.5})
    screen = Screen(state)
    assert any("┊" in row for row in screen.lines())
    screen.board.turn_axis()
    screen.board.turn_axis()
    screen.lines()
    picture = screen.board._pictures["loss"]
    assert picture.whole.high == pytest.approx(4200 - 101, abs=2)
    half = next(i for i, low in enumerate(picture.curves[0].lows) if low == 0.5)
    assert half / len(picture.curves[0].lows) > 0.9


@pytest.mark.parametrize(("axis", "told"), [(1, "no epochs known"), (2, "no times known")])
def test_run_that_does_not_say_when_it_was_is_left_out_and_named(axis: int, told: str) -> None:
    screen = Screen(a_run([{"loss": 1.0}, {"loss": 0.5}]))
    assert "0.5000" in screen.text()
    for _ in range(axis):
        screen.board.turn_axis()
    assert told in screen.text()


def test_values_that_a_logarithmic_axis_has_no_place_for_are_counted() -> None:
    screen = Screen(losses([0.0, -1.0, 10.0, 1e30, 1e-30]))
    screen.lines()
    screen.board.toggle_log_y()
    text = screen.text()
    assert "2 ≤0 left out" in text
    assert "1e+30" in text
    screen.board.toggle_log_x()
    assert "x: step (log)" in screen.board.title()
    assert "left out" in screen.text()
    zero = Screen(a_run([{"step": 0, "loss": 3.0}, {"step": 10, "loss": 2.0}]))
    zero.board.toggle_log_x()
    assert "1 at step ≤0 left out" in zero.text()
    nothing = Screen(losses([-1.0, 0.0]))
    nothing.lines()
    nothing.board.toggle_log_y()
    assert "no value above 0" in nothing.text()


def test_outlier_is_cut_off_and_marked_until_the_key() -> None:
    screen = Screen(losses([1 + i % 7 / 10 for i in range(500)] + [1e9] + [1.0] * 500))
    assert "↑" in screen.text()
    assert "1.0e+09" not in screen.text()
    screen.board.toggle_robust()
    assert "↑" not in screen.text()
    assert "1.0e+09" in screen.text()


def test_nan_breaks_the_line_and_is_marked_on_the_axis() -> None:
    values = [1.0] * 40 + [math.nan] * 20 + [1.0] * 40
    screen = Screen(losses(values))
    lines = screen.lines()
    (row,) = (row for row in plotted(lines) if row.strip())
    assert len(row.split()) == 2
    assert any("×" in line for line in lines)
    assert "20 nan/inf" in lines[0]


# ---- smoothing, groups ---------------------------------------------------------------------------


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.99]))
def test_smoothing_is_the_debiased_average_of_tensorboard(
    values: list[float], weight: float
) -> None:
    series = Series()
    for x, y in enumerate(values):
        series.add(float(x), y)
    last, expected = 0.0, []
    for number, value in enumerate(values, 1):
        last = last * weight + (1 - weight) * value
        expected.append(last / (1 - weight**number))
    assert smoothed(trace([series]), weight).lows == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_raw_line_stays_dimmed_under_the_smooth_one() -> None:
    screen = Screen(losses([float(i % 2) for i in range(300)]))
    assert "curve0-dim" not in screen.roles()
    screen.board.smooth(3)
    assert "curve0-dim" in screen.roles()
    assert "smoothed 0.9" in screen.board.title()


def test_band_is_mean_and_sample_deviation() -> None:
    members = [[1.0, 2.0, 3.0], [2.0, 4.0, math.nan], [6.0, 6.0, math.nan]]
    made = band([Columns(values, values) for values in members])
    assert made.means == pytest.approx([3.0, 4.0, 3.0])
    assert made.spread.highs[1] == pytest.approx(4 + statistics.stdev([2.0, 4.0, 6.0]))
    assert math.isnan(made.spread.lows[2])


def test_grouped_runs_that_differ_in_their_seed_are_one_curve() -> None:
    runs = [losses([1.0, float(seed)], lr=0.1, seed=seed) for seed in range(3)]
    screen = Screen(*runs, losses([5.0, 5.0], lr=0.2, seed=0))
    screen.board.settings = replace(screen.board.settings, grouped=True)
    text = screen.text()
    assert "ABC run ×3 lr=0.1 1.0000 ±1.0000" in text
    assert "D run lr=0.2 seed=0 5.0000" in text
    alone = Screen(*runs)
    alone.board.settings = replace(alone.board.settings, grouped=True)
    assert "ABC run ×3 lr=0.1 1.0000 ±1.0000" in alone.text()
    assert "curve1" not in alone.roles()


def test_mean_of_seeds_has_a_gap_where_one_of_them_has_a_nan() -> None:
    values = [1.0] * 40 + [math.nan] * 20 + [1.0] * 40
    screen = Screen(losses(values, seed=0), losses([2.0] * 100, seed=1))
    screen.board.settings = replace(screen.board.settings, grouped=True)
    lines = screen.lines()
    assert "20 nan/inf" in "\n".join(lines[:3])
    axis = next(row for row in lines if "└" in row)
    plot = "└".join(axis.split("└")[1:])
    first, last = plot.index("×"), plot.rindex("×")
    margin = axis.index("└") + 1
    dots = [row[margin:] for row in lines if "│" in row or "┤" in row]
    assert all(set(row[first + 1 : last]) <= {" "} for row in dots)
    assert any(set(row[last + 1 :]) - {" "} for row in dots)
    lost = Screen(losses([1.0, math.nan], seed=0), losses([2.0, 2.0], seed=1))
    lost.board.settings = replace(lost.board.settings, grouped=True)
    assert "AB run ×2 nan 1 nan/inf" in lost.text(), "as in the list"


@pytest.mark.parametrize("width", [60, 90, 150])
def test_legend_of_several_seeds_has_the_mean_of_their_newest_values_at_any_width(
    width: int,
) -> None:
    runs = [losses([9.0] * length + [seed], seed=seed) for seed, length in ((0.0, 400), (2.0, 500))]
    screen = Screen(*runs)
    screen.board.settings = replace(screen.board.settings, grouped=True)
    assert "AB run ×2 1.0000 ±1.4142" in "\n".join(screen.lines(width))


def test_curve_of_several_seeds_is_named_by_what_tells_it_from_the_others() -> None:
    runs = [
        losses([1.0, 2.0], model={"width": width}, opt="adamw", lr=0.1, seed=seed)
        for width in (64, 128)
        for seed in range(2)
    ]
    screen = Screen(*runs)
    screen.board.settings = replace(screen.board.settings, grouped=True)
    text = screen.text()
    assert "AB run ×2 model.width=64 2.0000" in text
    assert "CD run ×2 model.width=128 2.0000" in text


# ---- zoom and cursor -----------------------------------------------------------------------------


def test_cursor_tells_the_value_of_every_run_at_a_step() -> None:
    screen = Screen(losses([float(i) for i in range(1, 101)]), losses([7.0] * 50))
    screen.lines()
    screen.board.move_cursor(-1)
    assert "step 100   A 100.00   B –" in screen.text()
    screen.board.jump_cursor(-0.6)
    found = screen.lines()[-1]
    step = int(found.split()[1])
    assert f"A {step}.00   B 7.0000" in found
    assert screen.board.drop_cursor()
    assert "step 100" not in screen.text().splitlines()[-1]


def test_zoom_stays_inside_of_the_axis_and_comes_back() -> None:
    screen = Screen(losses([float(i) for i in range(1, 1001)]))
    screen.lines()
    whole = screen.board._pictures["loss"].whole
    for _ in range(100):
        screen.board.zoom(0.5)
        screen.lines()
    deep = screen.board.settings.zoom
    assert deep is not None and 0 < deep.size < whole.size / 1000
    screen.board.pan(1e9)
    assert screen.board.settings.zoom is not None
    assert screen.board.settings.zoom.high == pytest.approx(whole.high)
    screen.lines()
    screen.board.zoom(1e9)
    assert screen.board.settings.zoom is None


def test_line_between_two_far_points_is_drawn_in_a_zoomed_part() -> None:
    screen = Screen(a_run([{"step": 1, "loss": 1.0}, {"step": 1001, "loss": 2.0}]))
    screen.lines()
    screen.board.zoom_to(0.4, 0.6)
    rows = plotted(screen.lines())
    assert sum(bool(row.strip()) for row in rows) > 5


def test_cursor_that_leaves_the_zoomed_part_takes_it_along() -> None:
    screen = Screen(losses([float(i) for i in range(1, 1001)]))
    screen.lines()
    screen.board.zoom_to(0.4, 0.6)
    screen.lines()
    screen.board.point_at(0.0)
    before = screen.board.settings.cursor
    screen.board.jump_cursor(-0.1)
    assert screen.board.settings.cursor is not None and before is not None
    assert screen.board.settings.cursor < before


# ---- the grid ------------------------------------------------------------------------------------


@given(st.integers(1, 600), st.integers(20, 400), st.integers(5, 120))
def test_cells_of_a_grid_are_inside_and_found_where_they_are(
    count: int, width: int, height: int
) -> None:
    grid = grid_for(count, width, height)
    assert grid.columns * (grid.cell_width + 1) - 1 <= width
    assert grid.rows * grid.cell_height <= height
    for cell in range(grid.in_sight):
        row, column = divmod(cell, grid.columns)
        place = column * (grid.cell_width + 1) + 1, row * grid.cell_height + 1
        assert grid.cell_at(*place) == cell


def test_focus_walks_through_all_charts_and_the_grid_follows() -> None:
    rows = [{"step": 1, **{f"metric{k:02d}": float(k) for k in range(50)}}]
    screen = Screen(a_run(rows), single=False)
    seen = set()
    for _ in range(50):
        lines = screen.lines()
        (focused,) = " ".join(lines).split("▸")[1:]
        seen.add(focused.split()[0])
        screen.board.move(1)
    assert len(seen) == 50
    screen.board.move_rows(-100)
    screen.board.move(-100)
    screen.board.search = "metric4"
    screen.lines()
    assert len(screen.board.names) == 10
    screen.board.search = "nothing"
    assert "no metric has 'nothing'" in screen.text()


NUMBERS = st.one_of(
    st.floats(-1e30, 1e30),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e-30, 1e308, -1e308, 5e-324, 0.0, 1.0]),
)


@settings(max_examples=60)
@given(
    st.lists(st.lists(NUMBERS, max_size=40), min_size=1, max_size=4),
    st.sampled_from([(58, 11), (78, 21), (20, 4), (5, 2), (109, 41)]),
    st.integers(0, 2),
    st.booleans(),
    st.integers(0, 6),
    st.booleans(),
)
def test_any_curves_fit_any_pane(
    curves: list[list[float]],
    size: tuple[int, int],
    turns: int,
    log: bool,
    smoothing: int,
    single: bool,
) -> None:
    screen = Screen(*(losses(values) for values in curves), single=single)
    for _ in range(turns):
        screen.board.turn_axis()
    if log:
        screen.board.toggle_log_x()
    screen.lines(*size)
    if log:
        screen.board.toggle_log_y()
    screen.board.smooth(smoothing)
    for change in range(3):
        if change == 1:
            screen.board.zoom(0.1)
        elif change == 2:
            screen.board.move_cursor(-3)
        lines = screen.lines(*size)
        assert len(lines) <= max(2, size[1])
        assert screen.board.title()


def test_empty_chart_says_why_it_is_empty() -> None:
    screen = Screen(losses([float(i) for i in range(1, 101)]))
    screen.lines()
    screen.board.zoom_to(0.9, 1.0)
    screen.seen[0] = replace(screen.seen[0], state=losses([1.0, 2.0]))
    assert "nothing in this part: 0 shows all" in screen.text()
    assert "no metric yet" in Screen(a_run([])).text()
    assert "no finite value yet" in Screen(losses([math.nan] * 3)).text()
