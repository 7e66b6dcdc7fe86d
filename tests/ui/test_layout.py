from __future__ import annotations

import itertools

import pytest

from tui.screens.layout import MIN_HEIGHT, MIN_WIDTH, Box, arrange
from tui.views import NAMES

SIZES = [(60, 15), (80, 24), (100, 30), (139, 60), (140, 35), (160, 45), (220, 70), (400, 120)]


def overlap(a: Box, b: Box) -> bool:
    return (
        a.x < b.x + b.width
        and b.x < a.x + a.width
        and a.y < b.y + b.height
        and b.y < a.y + a.height
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("runs", [0, 1, 4, 30, 1000])
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("has_report", [False, True])
def test_boxes_are_on_screen_and_do_not_overlap(
    size: tuple[int, int], runs: int, alone: bool, has_report: bool
) -> None:
    for view in NAMES:
        boxes = arrange(*size, runs, view, "epochs" if alone else "", has_report=has_report)
        assert ("epochs" if alone else view) in boxes
        for box in boxes.values():
            assert box.width > 0 and box.height >= 1
            assert box.x >= 0 and box.x + box.width <= size[0]
            assert box.y >= 0 and box.y + box.height <= size[1]
        for a, b in itertools.combinations(boxes.values(), 2):
            assert not overlap(a, b)


def test_large_terminal_shows_panes_beside_the_list_and_a_small_one_a_single_pane() -> None:
    panes = {"progress", "chart", "epochs", "report", "events"}
    assert {*panes, "runs"} <= arrange(160, 45, 4, "runs").keys()
    assert {"charts", "runs"} <= arrange(100, 24, 4, "charts").keys()
    assert arrange(80, 24, 4, "charts").keys() & {*NAMES, *panes} == {"charts"}


@pytest.mark.parametrize("runs", [4, 1000])
def test_room_of_a_report_that_is_not_there_goes_to_the_others(runs: int) -> None:
    bare, full = (arrange(160, 45, runs, "runs", has_report=has) for has in (False, True))
    assert "report" not in bare
    grown = [name for name in bare if bare[name].height > full[name].height]
    assert grown == (["epochs"] if runs == 4 else ["runs", "chart"])


def test_list_shows_runs_even_in_the_smallest_terminal() -> None:
    assert arrange(MIN_WIDTH, MIN_HEIGHT, 1000, "runs")["runs"].height >= 4


@pytest.mark.parametrize("size", [(59, 15), (60, 14), (1, 1)])
def test_smaller_terminal_says_so(size: tuple[int, int]) -> None:
    assert arrange(*size, 4, "charts").keys() == {"too-small"}
