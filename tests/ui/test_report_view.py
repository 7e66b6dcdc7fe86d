"""The report of any epoch: its table, its confusion matrix, and the slider over epochs."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runstore.files.records import JsonObject
from tests.ui.test_app import monitor, press, shown
from tui.renderables.class_report import ClassReport, ScoreColumns, score_columns
from tui.renderables.confusion import DIAGONAL, HeatMap, Look, PairList
from tui.renderables.report_parts import PartMaker
from tui.renderables.report_table import Choice, ScoreTable, in_order
from tui.renderables.sparkline import sparkline
from tui.renderables.text import Line, line_width, plain
from tui.screens.main import MainScreen

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.ui.conftest import StartMonitor

NAMES = ["cat", "dog", "bird"]
AS_REPORTED, COUNTS = Choice(), Look()


def row(epoch: int, scores: Sequence[float] = (0.5, 0.9, 0.7), **fields: Any) -> JsonObject:
    """Return a report of three classes, whose three scores are the same."""
    entries = {
        name: {"precision": score, "recall": score, "f1-score": score, "support": 10.0 * (at + 1)}
        for at, (name, score) in enumerate(zip(NAMES, scores, strict=True))
    }
    mean = sum(scores) / len(scores)
    macro = {"precision": mean, "recall": mean, "f1-score": mean, "support": 60.0}
    triples = [[0, 0, 5], [0, 1, 4], [0, 2, 1], [1, 1, 20], [2, 2, 21], [2, 0, 9]]
    report = {**entries, "accuracy": mean, "macro avg": macro}
    base = {"step": epoch * 10, "epoch": epoch, "time": 1.0 + epoch, "split": "val"}
    return {**base, "labels": NAMES, "report": report, "confusion": triples, **fields}


def write_reports(root: Path, rows: Sequence[JsonObject], name: str = "digits") -> Path:
    """Write a run with these reports, and return its directory."""
    path = root / f"20260101-000000-{name}-aaaaaa"
    path.mkdir(parents=True, exist_ok=True)
    (path / "run.json").write_text(json.dumps({"format": 1, "id": path.name, "name": name}))
    (path / "events-0001.jsonl").write_text(event("open"))
    append_reports(path, rows)
    return path


def event(kind: str, **fields: Any) -> str:
    return (
        json.dumps({"event": kind, "format": 1, "time": 1.0, "pid": 1, "host": "h", **fields})
        + "\n"
    )


def append_reports(path: Path, rows: Sequence[JsonObject], attempt: int = 1) -> None:
    with (path / f"reports-{attempt:04d}.jsonl").open("a") as file:
        file.writelines(json.dumps(found) + "\n" for found in rows)


def texts(lines: Sequence[Line]) -> list[str]:
    return [plain(line).rstrip() for line in lines]


# ---- the table -------------------------------------------------------------------------------


def table(
    rows: Sequence[JsonObject], choice: Choice = AS_REPORTED, width: int = 66
) -> tuple[str, list[str]]:
    reports = [ClassReport.from_row(found) for found in rows]
    made = ScoreTable(reports[-1], [score_columns(found) for found in reports], choice, width)
    assert all(line_width(line) <= width for line in made.lines)
    return plain(made.head), texts(made.lines)


def test_each_class_has_its_scores_their_change_and_their_trend() -> None:
    _, lines = table([row(1), row(2, (0.75, 0.9, 0.6))])
    assert lines[0].split() == ["cat", "0.750", "0.750", "0.750", "▲+0.250", "10", "▁▇"]
    assert lines[1].split()[4] == "="
    assert lines[2].split()[4] == "▼-0.100"
    assert [text.split()[0] for text in lines[4:]] == ["accuracy", "macro"]


@pytest.mark.parametrize(
    ("choice", "order"),
    [
        (Choice("report"), ["cat", "dog", "bird"]),
        (Choice("score"), ["cat", "bird", "dog"]),
        (Choice("support"), ["bird", "dog", "cat"]),
        (Choice("name"), ["bird", "cat", "dog"]),
    ],
)
def test_classes_are_sorted_in_the_table_and_in_the_matrix(
    choice: Choice, order: list[str]
) -> None:
    found = ClassReport.from_row(row(1))
    assert found.matrix is not None
    assert [text.split()[0] for text in table([row(1)], choice)[1][:3]] == order
    matrix = HeatMap(found, found.matrix, in_order(found, choice), Look(), 78)
    assert [text.split()[0] for text in texts(matrix.lines)] == order


def test_classes_that_are_looked_for_come_first_in_every_part() -> None:
    found = ClassReport.from_row(row(1))
    choice = Choice(sort="support", find="CAT")
    rows = table([row(1)], choice)[1]
    assert [text.split()[0] for text in rows[:3]] == ["cat", "bird", "dog"]
    assert choice.told == "CAT first, support, largest first"
    assert found.matrix is not None
    choice = Choice(find="dog")
    lines = texts(PairList(found, found.matrix, 60, choice.is_found).lines)
    assert lines[0].split()[:3] == ["cat", "→", "dog"]


def test_names_with_numbers_are_sorted_by_the_number() -> None:
    labels = ["digit 10", "digit 9", "digit 1"]
    entries = {name: {"f1-score": 0.5} for name in labels}
    found = ClassReport.from_row({"labels": labels, "report": entries})
    assert [labels[at] for at in in_order(found, Choice("name"))] == labels[::-1]


def test_undefined_score_is_no_number_and_comes_last() -> None:
    entries = {"a": {"f1-score": None}, "b": {"f1-score": 0.25}}
    rows = [{"labels": ["a", "b"], "report": entries}] * 2
    lines = table(rows, Choice("score"))[1]
    assert lines[0].startswith("b") and lines[1].startswith("a")
    assert "–" in lines[1] and "▲" not in lines[1]


def test_trend_begins_where_a_class_first_occurs() -> None:
    before = score_columns(ClassReport.from_row({"report": {"a": {"f1-score": 0.5}}}))
    assert math.isnan(before.score("b", 2))
    assert before.score("a", 2) == 0.5


def test_reports_of_the_same_classes_share_their_names() -> None:
    first = score_columns(ClassReport.from_row(row(1)))
    second = score_columns(ClassReport.from_row(row(2)), first)
    assert second.places is first.places


def test_sparkline_has_its_width_and_shows_noise_as_noise() -> None:
    assert sparkline([0, 1], 4) == "  ▁▇"
    assert sparkline([0.5, 0.501], 2, 0.1) == "▄▄"
    assert sparkline([math.nan, 1.0, math.nan], 3) == " ▄ "
    assert sparkline([], 3) == "   "
    assert sparkline([-5, 0, 50, 100, 105], 5, limits=(0, 100)) == "▁▁▄▇▇"
    assert len(sparkline([random.random() for _ in range(1000)], 12)) == 12


# ---- the matrix ------------------------------------------------------------------------------


def heat(found: ClassReport, look: Look = COUNTS, room: int = 78, first: int = 0) -> HeatMap:
    assert found.matrix is not None
    return HeatMap(found, found.matrix, range(len(found.labels)), look, room, first)


def test_cell_tells_its_count_by_number_and_shade_and_the_diagonal_by_a_stroke() -> None:
    lines = texts(heat(ClassReport.from_row(row(1)), Look(shades=True)).lines)
    assert lines[0].split(maxsplit=1)[1].split() == [f"{DIAGONAL}", "5▒", "4▒", "1░"]
    assert lines[1].replace(" ", "") == f"dog·{DIAGONAL}20█·"


def test_shares_are_of_the_true_class_and_small_ones_are_not_nothing() -> None:
    triples = [[0, 0, 9950], [0, 1, 50], [1, 1, 3], [1, 0, 1]]
    entries = {name: {"support": support} for name, support in (("a", 10_000), ("b", 4))}
    found = ClassReport.from_row({"labels": ["a", "b"], "report": entries, "confusion": triples})
    lines = [text.replace(DIAGONAL, "").split() for text in texts(heat(found, Look(True)).lines)]
    assert lines == [["a", "99", "<1"], ["b", "25", "75"]]


def many_classes(number: int = 1000) -> ClassReport:
    labels = [f"class number {at}" for at in range(number)]
    entries = {name: {"f1-score": at / number, "support": 7.0} for at, name in enumerate(labels)}
    triples = [[at, at, 5] for at in range(number)] + [[at, 0, 1] for at in range(1, number)]
    return ClassReport.from_row({"labels": labels, "report": entries, "confusion": triples})


def test_matrix_of_a_thousand_classes_makes_only_the_columns_on_screen() -> None:
    found = many_classes()
    matrix = heat(found, room=78, first=500)
    assert matrix.width <= 78 and matrix.whole_width > 2000
    assert plain(matrix.head).split()[4:6] == ["500", "501"]
    row_505 = matrix.lines[505]
    assert plain(row_505).startswith("505 cl") and f"{DIAGONAL}  5" in plain(row_505)
    last = heat(found, room=78, first=5000)
    assert last.columns[-1] == 999


def test_samples_in_cells_that_had_no_room_are_counted() -> None:
    found = many_classes(3)
    assert found.matrix is not None
    assert found.matrix.unshown == 3 * 7 - (3 * 5 + 2)
    assert found.matrix.share(1, 1) == 5 / 7


def test_pairs_are_the_most_confused_ones_with_their_share() -> None:
    found = ClassReport.from_row(row(1))
    assert found.matrix is not None
    lines = texts(PairList(found, found.matrix, 60).lines)
    assert [text.split() for text in lines] == [
        ["bird", "→", "cat", "9", "30.0%"],
        ["cat", "→", "dog", "4", "40.0%"],
        ["cat", "→", "bird", "1", "10.0%"],
    ]


def test_long_names_are_whole_where_there_is_room() -> None:
    names = ["n02099601_golden_retriever", "n02099712_labrador_retriever", "n02123045_tabby"]
    told = row(1)
    report = {new: told["report"][old] for new, old in zip(names, NAMES, strict=True)}
    long = {**told, "labels": names, "report": report}
    found = ClassReport.from_row(long)
    assert found.matrix is not None
    pairs = "\n".join(texts(PairList(found, found.matrix, 110).lines))
    assert all(name in pairs for name in names)
    assert [text.split()[0] for text in table([long], width=110)[1]] == names
    assert "golden_retriever" not in "\n".join(table([long])[1])


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"report": [1], "labels": "x", "confusion": [[1]]},
        {"report": {"a": "b", "macro avg": 3}, "labels": ["a", "a"], "classes": [1, 1]},
        {"report": {"a": {"f1-score": True}}, "labels": ["a"], "confusion": [[0, "x", -1], 5]},
        {"report": {"a": {}}, "labels": ["a", "b"], "confusion": [[0, 0, 1]], "omitted": "2"},
        {"report": {}, "labels": [], "confusion": []},
        {"report": {}, "labels": ["a"], "confusion": [[1, 1, 1]]},
    ],
)
def test_row_with_anything_in_it_is_drawn_as_far_as_it_is_a_report(odd: JsonObject) -> None:
    found = ClassReport.from_row(odd)
    maker = PartMaker(found, [score_columns(found)], Choice(), Look(), 0)
    for first in ("table", "matrix", "pairs"):
        for parts in maker.rows_of_parts(first, 58, 20):
            assert all(line_width(line) <= 60 for part in parts for line in part.lines)


def test_parts_stand_beside_and_below_each_other_where_there_is_room() -> None:
    found = ClassReport.from_row(row(1))
    scores: list[ScoreColumns] = [score_columns(found)]
    maker = PartMaker(found, scores, Choice(), Look(), 0)

    def names(first: str, width: int, height: int) -> list[list[str]]:
        rows = maker.rows_of_parts(first, width, height)
        return [[part.name for part in parts] for parts in rows]

    assert names("table", 78, 10) == [["table"]]
    assert names("table", 78, 20) == [["table"], ["matrix", "pairs"]]
    assert names("matrix", 78, 10) == [["matrix", "pairs"]]
    assert names("table", 160, 10) == [["table", "matrix", "pairs"]]


# ---- the view --------------------------------------------------------------------------------


async def see(screen: MainScreen, *wanted: str) -> str:
    """Wait until all texts are on screen, and return it."""
    for _ in range(200):
        text = shown(screen)
        if all(found in text for found in wanted):
            return text
        await screen.pilot.pause(0.05)  # type: ignore[attr-defined]
    raise AssertionError(f"no {wanted} in\n{text}")


async def test_slider_goes_through_the_epochs_and_back_to_the_newest(tmp_path: Path) -> None:
    write_reports(tmp_path, [row(epoch, (epoch / 10, 0.9, 0.5)) for epoch in range(1, 9)])
    async with monitor(tmp_path) as screen:
        await press(screen, "4")
        await see(screen, "[val]", "epoch 8 · 8 of 8", "newest, followed", "0.800", "▲+0.100")
        await press(screen, "left_square_bracket", "left_square_bracket")
        await see(screen, "epoch 6 · 6 of 8", "held", "0.600")
        await press(screen, "left_curly_bracket")
        await see(screen, "epoch 1 · 1 of 8", "0.100")
        await press(screen, "right_square_bracket")
        await see(screen, "epoch 2 · 2 of 8", "0.200")
        await press(screen, "right_curly_bracket")
        await see(screen, "epoch 8", "newest, followed")


async def test_newest_report_is_followed_and_a_held_one_stays(tmp_path: Path) -> None:
    path = write_reports(tmp_path, [row(1), row(2)])
    async with monitor(tmp_path) as screen:
        await press(screen, "4")
        await see(screen, "epoch 2 · 2 of 2")
        append_reports(path, [row(3, (0.1, 0.2, 0.375))])
        await see(screen, "epoch 3 · 3 of 3", "0.375")
        await press(screen, "left_square_bracket")
        append_reports(path, [row(4)])
        await see(screen, "epoch 2 · 2 of 4", "held")


async def test_reports_that_a_resume_has_cut_do_not_count(tmp_path: Path) -> None:
    path = write_reports(tmp_path, [row(epoch) for epoch in range(1, 5)])
    keep = sum(len(json.dumps(row(epoch))) + 1 for epoch in (1, 2))
    async with monitor(tmp_path) as screen:
        await press(screen, "4")
        await see(screen, "epoch 4 · 4 of 4")
        cuts = {"reports-0001.jsonl": keep}
        append_reports(path, [row(3, (0.125, 0.25, 0.3125))], attempt=2)
        (path / "events-0002.jsonl").write_text(event("open", cuts=cuts, attempt=2))
        await see(screen, "epoch 3 · 3 of 3", "0.125")


async def test_split_is_changed_by_a_key_and_keeps_the_epoch(tmp_path: Path) -> None:
    rows = []
    for epoch in range(1, 7):
        rows.append(row(epoch, split="train", step=epoch * 10))
        if epoch % 2 == 0:
            rows.append(row(epoch, (0.25, 0.25, 0.25), step=epoch * 10 + 1))
    write_reports(tmp_path, rows)
    async with monitor(tmp_path) as screen:
        await press(screen, "4")
        await see(screen, "[val] train", "epoch 6 · 3 of 3", "0.250")
        await press(screen, "left_square_bracket", "t")
        await see(screen, "val [train]", "epoch 4 · 4 of 6", "0.500")


async def test_matrix_is_scrolled_both_ways_below_its_labels(tmp_path: Path) -> None:
    labels = [f"class number {at}" for at in range(300)]
    entries = {name: {"f1-score": 0.5, "support": 7.0} for name in labels}
    triples = [[at, at, 7] for at in range(300)]
    write_reports(tmp_path, [{**row(1), "labels": labels, "report": entries, "confusion": triples}])
    async with monitor(tmp_path) as screen:
        await press(screen, "4", "v", "greater_than_sign", "pagedown")
        text = await see(screen, "matrix", DIAGONAL)
        head = next(line for line in text.splitlines() if "true ↓" in line).split()
        assert int(head[4]) > 5
        await press(screen, "G")
        await see(screen, "299 cl")
        await press(screen, *["greater_than_sign"] * 40)
        await see(screen, f"299 {DIAGONAL}".split()[0], f"{DIAGONAL}  7")


async def test_columns_follow_the_diagonal_down_and_up_unless_one_looks_elsewhere(
    tmp_path: Path,
) -> None:
    labels = [f"class number {at}" for at in range(300)]
    entries = {name: {"f1-score": 0.5, "support": 7.0} for name in labels}
    triples = [[at, at, 7] for at in range(300)]
    write_reports(tmp_path, [{**row(1), "labels": labels, "report": entries, "confusion": triples}])
    async with monitor(tmp_path) as screen:
        await press(screen, "4", "v", *["pagedown"] * 6)
        await see(screen, "matrix", f"{DIAGONAL}  7")
        await press(screen, "G")
        await see(screen, "299 cl", f"{DIAGONAL}  7")
        await press(screen, *["pageup"] * 3)
        assert "299 cl" not in await see(screen, f"{DIAGONAL}  7")
        await press(screen, "g")
        await see(screen, "0 class", f"{DIAGONAL}  7")
        await press(screen, *["greater_than_sign"] * 4)
        await press(screen, "pagedown")
        assert DIAGONAL not in await see(screen, "20 cl")


async def test_report_without_a_matrix_says_why(tmp_path: Path) -> None:
    found = row(1)
    del found["confusion"]
    write_reports(tmp_path, [found])
    async with monitor(tmp_path) as screen:
        await press(screen, "4")
        await see(screen, "0.700")
        await press(screen, "v")
        await see(screen, "no confusion matrix in this report")


async def test_row_that_is_no_report_says_so(tmp_path: Path) -> None:
    write_reports(tmp_path, [row(1), row(2, labels="x", report=7)])
    async with monitor(tmp_path) as screen:
        await press(screen, "4")
        assert "no scores of classes in this row" in shown(screen)
        await press(screen, "left_square_bracket")
        assert "no scores of classes" not in shown(screen) and "macro avg" in shown(screen)


async def test_what_a_report_has_no_room_for_is_told(tmp_path: Path) -> None:
    write_reports(tmp_path, [row(1, omitted=1200, confusion=[[0, 0, 5]])])
    async with monitor(tmp_path, (120, 40)) as screen:
        await press(screen, "4", "enter")
        await see(screen, "1,200 classes of the smallest support", "55 of 60 samples")


async def test_run_without_reports_says_how_one_is_written(tmp_path: Path) -> None:
    write_reports(tmp_path, [])
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "metrics.csv").write_text("epoch,step,loss\n0,1,0.5\n")
    async with monitor(tmp_path) as screen:
        await press(screen, "4")
        await see(screen, "logs of csv have none")
        await press(screen, "J")
        await see(screen, "run.track_classification(")


async def test_report_whose_line_was_overwritten_says_so(tmp_path: Path) -> None:
    path = write_reports(tmp_path, [row(1), row(2)])
    async with monitor(tmp_path) as screen:
        await press(screen, "4")
        await see(screen, "epoch 2")
        screen.watcher.stop()
        file = path / "reports-0001.jsonl"
        file.write_bytes(b"x" * file.stat().st_size)
        await press(screen, "left_square_bracket")
        await see(screen, "cannot be read: the file has changed meanwhile")


def test_keys_move_through_epochs_and_parts_in_a_terminal(
    tmp_path: Path, start_monitor: StartMonitor, wait_until: WaitUntil
) -> None:
    write_reports(tmp_path, [row(epoch, (epoch / 4, 0.5, 0.5)) for epoch in (1, 2, 3)])
    terminal = start_monitor(tmp_path)
    wait_until(terminal.shows("1 run "))
    terminal.press("4")
    assert wait_until(terminal.shows("epoch 3 · 3 of 3", "newest", "cat", "0.750"))
    terminal.press("[[")
    assert wait_until(terminal.shows("epoch 1 · 1 of 3", "held"))
    terminal.press("vn")
    assert wait_until(terminal.shows("true ↓ as →", "% of the true class", f"{DIAGONAL}  50"))
    terminal.press("}\x1b")
    assert wait_until(terminal.shows("STATUS"))


async def test_report_has_room_beside_the_list_only_where_the_run_has_one(tmp_path: Path) -> None:
    write_reports(tmp_path, [row(1)], "with")
    write_reports(tmp_path, [], "without")
    async with monitor(tmp_path, (160, 45)) as screen:
        text = await see(screen, "without", "Epochs")
        assert "Report ─" not in text
        epochs = screen.query_one("#epochs").size.height
        await press(screen, "j")
        await see(screen, "Report ─", "accuracy")
        assert screen.query_one("#epochs").size.height < epochs
        await press(screen, "tab", "tab")
        assert screen.focused is screen.query_one("#report")
        await press(screen, "K")
        for _ in range(100):
            if not screen.query_one("#report").display:
                break
            await screen.pilot.pause(0.05)  # type: ignore[attr-defined]
        assert screen.focused is screen.query_one("#runs")
        assert screen.query_one("#epochs").size.height == epochs
