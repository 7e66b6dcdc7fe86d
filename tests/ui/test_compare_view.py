"""The marked runs side by side: what differs, what is best, patches, files that are written."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from textual.events import Paste

import runstore
from runstore.runs.comparison import Compared, Comparison
from tests.ui.test_app import monitor, press
from tests.ui.test_report_view import see, texts
from tui.compared_runs import Patch
from tui.comparison_file import write
from tui.renderables.compare import Column, CompareTable
from tui.renderables.patch_difference import difference
from tui.renderables.text import line_width, plain

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.ui.conftest import StartMonitor

PATCH = """diff --git a/train.py b/train.py
--- a/train.py
+++ b/train.py
@@ -1 +1 @@
-lr = 0.1
+lr = {lr}
diff --git a/net.py b/net.py
--- a/net.py
+++ b/net.py
@@ -1 +1 @@
-width = 1
+width = 2
"""


def facts(name: str, params: dict[str, Any] | None = None, **metrics: list[float]) -> Compared:
    """Return a run with the values that each metric had; `loss` stands for `val/loss`."""
    values = {f"val/{metric}": found for metric, found in metrics.items()}
    finite = {key: [v for v in found if v - v == 0] for key, found in values.items()}
    return Compared(
        id=f"20260101-{name}",
        name=name,
        path=f"runs/{name}",
        status="finished",
        epoch=3,
        epochs=3,
        step=30,
        duration_s=61.0,
        params=params or {},
        last={key: found[-1] for key, found in values.items()},
        lows={key: min(found) for key, found in finite.items() if found},
        highs={key: max(found) for key, found in finite.items() if found},
        best=None,
    )


def table(*runs: Compared, columns: Sequence[Column] | None = None, **options: Any) -> CompareTable:
    plain_columns = [
        Column("ABCDEFGH"[at : at + 1], "", None, 0, Patch(), False) for at in range(len(runs))
    ]
    given = {"all_params": False, "width": 78, **options}
    made = CompareTable(Comparison(runs), columns or plain_columns, **given)
    assert all(line_width(line) <= given["width"] for line in (*made.head, *made.lines))
    return made


def row(made: CompareTable, label: str) -> list[str]:
    return next(t for t in texts(made.lines) if t.strip().startswith(label)).split()


# ---- the table -------------------------------------------------------------------------------


def test_only_parameters_that_differ_are_shown_until_all_are_asked_for() -> None:
    runs = [facts("a", {"lr": 0.1, "net.width": 64}), facts("b", {"lr": 0.2, "net.width": 64})]
    some = table(*runs)
    assert row(some, "lr") == ["lr", "0.1", "0.2"]
    assert not any("net.width" in text for text in texts(some.lines))
    assert any("Parameters: 1 of 2 differ; a shows all" in text for text in texts(some.lines))
    assert row(table(*runs, all_params=True), "net.width") == ["net.width", "64", "64"]


def test_namesakes_are_told_apart_in_the_head() -> None:
    one = facts("experiment-with-lr-0.1-warmup", loss=[1.0])
    other = facts("experiment-with-lr-0.2-warmup", loss=[1.0])
    names, ids = texts(table(one, other).head)
    assert "lr-0.1-warmup" in names and "lr-0.2-warmup" in names
    assert "0.1-warmup" in ids and "0.2-warmup" in ids
    copy = replace(one, path="archive/experiment-with-lr-0.1-warmup")
    _, places = texts(table(one, copy).head)
    assert "runs/exp" in places and "archive/exp" in places


def test_parameter_that_a_run_does_not_have_is_a_dash() -> None:
    assert row(table(facts("a", {"lr": 0.1}), facts("b", {})), "lr") == ["lr", "0.1", "–"]


def test_best_value_is_starred_and_differences_are_to_the_first_run() -> None:
    made = table(facts("a", loss=[0.5, 0.75]), facts("b", loss=[0.25, 0.375]))
    assert row(made, "val/loss") == ["val/loss", "0.7500", "0.3750", "-0.3750"]
    assert row(made, "best (low)") == ["best", "(low)", "0.5000", "0.2500★", "-0.2500"]


def test_nan_is_shown_and_never_best() -> None:
    nan = float("nan")
    made = table(facts("a", loss=[nan, nan]), facts("b", loss=[0.5, nan]), facts("c"))
    assert row(made, "val/loss") == ["val/loss", "nan", "nan", "–"]
    assert row(made, "best (low)") == ["best", "(low)", "–", "0.5000", "–"]


def test_best_run_out_of_sight_is_named_beside_the_metric() -> None:
    runs = [facts(f"run{at}", loss=[1.0 / (1 + at)]) for at in range(50)]
    made = table(*runs, width=60)
    assert "★50" in " ".join(row(made, "best (low)"))
    assert made.where == "1 and 2 of 50"


def test_names_are_whole_where_there_is_room_for_them() -> None:
    names = [f"lr=0.3,seed={seed},width={width}" for seed in (0, 1) for width in (32, 64)]
    runs = [facts(name, {"lr": 0.3}, loss=[1.0, 0.5]) for name in names]
    assert all(name in plain(table(*runs, width=140).head[0]) for name in names)
    narrow = table(*runs, width=100)
    told = plain(narrow.head[0]).split("…")[1:]
    assert len(narrow.shown) == 4
    assert len({name.split()[0] for name in told}) == 4
    for made in (table(*runs, width=140), narrow):
        assert max(map(line_width, (*made.head, *made.lines))) <= 140


def test_columns_scroll_to_the_cursor_and_the_first_run_stays() -> None:
    runs = [facts(f"run{at}") for at in range(50)]
    made = table(*runs, cursor=30)
    assert made.shown[0] == 0 and 30 in made.shown
    assert "run0" in plain(made.head[0]) and "▸run30" in plain(made.head[0]).replace("▸ ", "▸")


def test_run_is_called_as_in_the_head_and_by_its_id_where_that_tells_nothing() -> None:
    runs = [facts("net"), replace(facts("other"), name="net"), facts("wide")]
    assert [table(*runs).label(run) for run in runs] == ["A net", "B net", "C wide"]
    columns = [Column("", "", None, 0, Patch(), False)] * 3
    labels = [table(*runs, columns=columns).label(run) for run in runs]
    assert labels == ["20260101-net", "20260101-other", "wide"]


def test_commit_tree_and_patch_are_compared_with_the_first_run() -> None:
    columns = [
        Column("A", "a" * 40, True, 0, Patch(2048, "x"), False),
        Column("B", "a" * 40, False, 0, Patch(), False),
        Column("C", "b" * 40, None, 0, Patch(2048, "x"), False),
    ]
    made = table(facts("a"), facts("b"), facts("c"), columns=columns)
    assert row(made, "commit") == ["commit", "a" * 10, "a" * 10, "same", "b" * 10, "≠"]
    assert row(made, "tree") == ["tree", "dirty", "clean", "–"]
    assert row(made, "patch") == ["patch", "2.0", "KiB", "differs:", "none", "same"]


def test_files_that_git_does_not_know_are_counted_for_they_are_in_no_patch() -> None:
    columns = [Column("A", "a" * 40, True, files, Patch(), False) for files in (1, 0)]
    made = table(facts("a"), facts("b"), columns=columns)
    assert row(made, "tree") == ["tree", "dirty,", "1", "untracked", "dirty"]


def test_runs_without_parameters_or_metrics_say_so() -> None:
    text = "\n".join(texts(table(facts("a"), facts("b")).lines))
    assert "Parameters: none" in text and "Metrics: none" in text


# ---- patches ---------------------------------------------------------------------------------


def test_patches_are_compared_file_by_file() -> None:
    one, two = (PATCH.format(lr=lr).encode() for lr in (0.2, 0.3))
    found = difference(one, two)
    lines = texts(found.lines)
    assert found.title == "1 of 2 changed files differ"
    assert lines[0] == "── train.py"
    assert "-+lr = 0.2" in lines and "++lr = 0.3" in lines
    assert lines[-1] == "1 file is changed alike in both"
    assert not any("width" in text for text in lines)


def test_same_patch_and_single_patch_are_shown_as_they_are() -> None:
    patch = PATCH.format(lr=0.2).encode()
    assert difference(patch, patch).title == "both have the same patch"
    assert difference(b"", patch).title == "only the other has a patch"
    assert "+lr = 0.2" in texts(difference(b"", patch).lines)
    assert difference(b"", b"").title == "neither has a patch"


def test_file_changed_in_one_run_only_is_shown_as_its_patch() -> None:
    whole = PATCH.format(lr=0.2)
    lines = texts(
        difference(whole.encode(), whole[: whole.index("diff --git a/net")].encode()).lines
    )
    assert "── net.py (changed only in the first)" in lines
    assert "+width = 2" in lines


def test_long_unlike_patches_are_not_compared_line_by_line() -> None:
    one, two = (
        b"diff --git a/x b/x\n" + b"".join(b"+%d %d\n" % (seed, at) for at in range(5000))
        for seed in (1, 2)
    )
    assert texts(difference(one, two).lines)[1] == "too long to be compared line by line"


# ---- the view --------------------------------------------------------------------------------


def write_run(root: Path, number: int, patch: str = "", **params: Any) -> Path:
    """Write a run of plain JSON lines; a higher number is an older run."""
    path = root / f"20260101-0000{59 - number:02d}-run{number}-aaaaaa"
    path.mkdir(parents=True)
    git = {"commit": "c0ffee" * 6, "dirty": bool(patch)}
    info = {"format": 1, "id": path.name, "name": f"run{number}", "params": params, "git": git}
    (path / "run.json").write_text(json.dumps(info))
    rows = [{"step": step, "val/loss": 1 / step + number} for step in range(1, 5)]
    (path / "metrics-0001.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if patch:
        (path / "patch.diff").write_text(patch)
    return path


async def test_nothing_marked_compares_the_chosen_run_and_says_how_to_mark(tmp_path: Path) -> None:
    write_run(tmp_path, 1, lr=0.1)
    write_run(tmp_path, 2, lr=0.2)
    async with monitor(tmp_path) as screen:
        await press(screen, "5")
        await see(screen, "no run is marked", "Space", "run1", "run2", "1.2500★", "2.2500")


async def test_one_run_alone_is_shown_without_a_comparison(tmp_path: Path) -> None:
    write_run(tmp_path, 1, lr=0.1)
    async with monitor(tmp_path) as screen:
        await press(screen, "5")
        await see(screen, "run1", "1.2500")
        await press(screen, "d")
        await see(screen, "two runs are needed")


async def test_runs_beyond_the_eighth_are_read_as_well(tmp_path: Path) -> None:
    for number in range(1, 13):
        write_run(tmp_path, number, lr=number)
    async with monitor(tmp_path) as screen:
        await press(screen, *["space"] * 12, "c")
        await see(screen, "of 12", "•12")
        await press(screen, *["greater_than_sign"] * 8)
        text = await see(screen, "run12", "12.25 ")
        assert "reading" not in text


async def test_marked_run_that_was_deleted_is_told(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        path = write_run(tmp_path, number)
    async with monitor(tmp_path) as screen:
        await press(screen, "space", "space", "space", "c")
        await see(screen, "run1", "run2", "run3")
        shutil.rmtree(path)
        screen.watcher.rescan()
        await see(screen, "1 marked run is not there any more")


async def test_best_run_comes_first_when_asked_for(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write_run(tmp_path, number, lr=4 - number)
    async with monitor(tmp_path) as screen:
        await press(screen, "J", "J", "space", "K", "space", "K", "K", "space", "c")
        await see(screen, "A run3", "C run1")
        await press(screen, "s")
        text = await see(screen, "best val/loss first")
        head = next(found for found in text.splitlines() if "A run3" in found)
        assert head.index("C run1") < head.index("B run2") < head.index("A run3")
        await press(screen, "s")
        text = await see(screen, "3 runs")
        head = next(found for found in text.splitlines() if "A run3" in found)
        assert head.index("A run3") < head.index("B run2")


async def test_first_order_is_by_the_metric_that_decides_the_best_epoch(tmp_path: Path) -> None:
    for number in (1, 2):
        row = {"epoch": 1, "step": 4, "train/loss": 3 - number, "val/loss": number}
        path = write_run(tmp_path, number) / "epochs-0001.jsonl"
        path.write_text(json.dumps(row) + "\n")
    async with monitor(tmp_path) as screen:
        await press(screen, "space", "space", "c")
        await see(screen, "train/loss", "val/loss")
        await press(screen, "s")
        await see(screen, "best val/loss first")
        await press(screen, "s")
        await see(screen, "best train/loss first")


async def test_best_of_a_run_that_is_not_followed_is_of_its_epochs_too(tmp_path: Path) -> None:
    for number in (1, 2):
        with runstore.init(root=tmp_path, name="t", log_every=1) as run:
            for _ in run.epochs(2):
                for loss in run.train((5.0, 4.0, 3.0 - number)):
                    run.track(loss=loss)
    async with monitor(tmp_path, size=(120, 40)) as screen:
        await press(screen, "c")  # beside the chosen one the run near it
        text = await see(screen, "3.3333", "3.6667")
        (best,) = [row for row in text.splitlines() if "best (low)" in row]
        assert "3.6667" in best and "3.3333★" in best


async def test_metric_that_decides_is_the_first_also_among_many(tmp_path: Path) -> None:
    others = {f"val/aux{n:02d}": 1.0 for n in range(20)}
    for number, energy in ((1, 5.0), (2, -2.0)):
        row = {"epoch": 1, "step": 4, **others, "val/zero_point_energy": energy}
        run = write_run(tmp_path, number)
        (run / "epochs-0001.jsonl").write_text(json.dumps(row) + "\n")
        document = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**document, "best": "val/zero_point_energy:min"}))
    async with monitor(tmp_path, size=(120, 40)) as screen:
        await press(screen, "space", "space", "c")
        await see(screen, "val/aux00")
        await press(screen, "s")
        text = await see(screen, "best val/zero_point_energy first")
        head = next(found for found in text.splitlines() if "run1" in found and "run2" in found)
        assert head.index("run2") < head.index("run1")


async def test_difference_of_patches_opens_and_closes(tmp_path: Path) -> None:
    write_run(tmp_path, 1, PATCH.format(lr=0.2))
    write_run(tmp_path, 2, PATCH.format(lr=0.3) + "+\x1b[31mred\n")
    async with monitor(tmp_path) as screen:
        await press(screen, "space", "space", "c")
        await see(screen, "differs", "dirty")
        await press(screen, "d")
        await see(screen, "2 of 2 changed files differ", "++lr = 0.3", r"++\x1b[31mred")
        await see(screen, "Compare · patches of A run1 and B run2; Esc goes back")
        await press(screen, "escape")
        await see(screen, "Parameters")
        assert screen.session.view == "compare"


async def test_comparison_is_written_to_a_new_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "runs"
    write_run(root, 1, lr=0.1, seed=1)
    write_run(root, 2, lr=0.2, seed=1)
    async with monitor(root) as screen:
        await press(screen, "space", "space", "c")
        await see(screen, "run1", "2.2500")
        await press(screen, "e")
        await see(screen, "comparison.md▏")
        await press(screen, "enter")
        await see(screen, "written to")
        await press(screen, "G")
        await see(screen, "runstore compare", "--markdown > comparison.md")
        before = Path("comparison.md").read_text()
        assert "| lr |" in before and "seed" not in before
        await press(screen, "e", "enter")
        await see(screen, "comparison.md is there already")
        assert Path("comparison.md").read_text() == before
        await press(screen, "e", "ctrl+u", *"x.csv", "enter")
        await see(screen, "x.csv")
        assert "params.lr" in Path("x.csv").read_text().splitlines()[0]
        await press(screen, "e", "ctrl+u", *"x", "slash", *"y.md", "enter")
        await see(screen, "without /")
        await press(screen, "e")
        await see(screen, "x/y.md▏")  # to be mended, not typed again
        await press(screen, "ctrl+u", *"pdf", "enter")
        await see(screen, "end the name in .md")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["comparison.md", "runs", "x.csv"]


def test_comparison_that_the_disk_does_not_take_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    comparison = Comparison([facts(f"run{at}", loss=[1.0]) for at in range(200)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 10, before[1]))
    try:
        told = write(comparison, "out.md", all_params=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert told == "out.md: file too large"
    assert not list(tmp_path.iterdir())
    assert write(comparison, "out.md", all_params=False).startswith("written to out.md")


def test_comparison_is_not_written_where_the_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    told = write(Comparison([facts("run")]), "out.csv", all_params=False)
    assert told == "out.csv: no such file or directory"


async def test_typing_replaces_the_proposed_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "runs"
    write_run(root, 1, lr=0.1)
    write_run(root, 2, lr=0.2)
    async with monitor(root) as screen:
        await press(screen, "space", "space", "c")
        await see(screen, "run1", "2.2500")
        await press(screen, "e", *"out.md")
        await see(screen, ": out.md▏")
        await press(screen, "escape", "e", "right", "2")
        await see(screen, ": comparison.md2▏")
        await press(screen, "escape", "e", *["backspace"] * 3, *"2.md")
        await see(screen, ": comparison2.md▏")
        await press(screen, "escape", "e")
        screen.post_message(Paste("pasted.csv"))
        await see(screen, ": pasted.csv▏")
        await press(screen, "enter")
        await see(screen, "written to")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pasted.csv", "runs"]


def test_command_on_screen_prints_the_file_that_was_written(
    tmp_path: Path,
    start_monitor: StartMonitor,
    wait_until: WaitUntil,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs", 1, lr=0.1)
    write_run(tmp_path / "runs", 2, lr=0.2)
    terminal = start_monitor("runs", columns=120, rows=40)
    wait_until(terminal.shows("2 runs", "run2"))
    terminal.press("  c")
    assert wait_until(terminal.shows("A run1", "B run2", "1.2500★", "lr", "e writes it to a file"))
    terminal.press("e\r")
    assert wait_until(terminal.shows("written to", "comparison.md"))
    lines = [text[text.find("│") + 1 :].strip() for text in terminal.lines()]
    start = next(at for at, text in enumerate(lines) if "runstore compare" in text)
    said = " ".join(lines[start : start + 2])
    words = said[said.index("runstore compare") :].split()
    words = words[1 : words.index(">")]
    done = subprocess.run(
        [sys.executable, "-m", "runstore.cli", *words], capture_output=True, text=True, check=True
    )
    assert done.stdout == Path("comparison.md").read_text()
