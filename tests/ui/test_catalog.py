from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

import runstore
from runstore.files.limits import LISTED_READERS
from runstore.metrics.ranking import rank_metrics
from runstore.patience import ANSWER_S
from runstore.runs.run_filter import Query, parse
from runstore.state.pieces import Best
from tests.conftest import WaitUntil
from tui.catalog import HELD_BYTES, READ_IN_FULL, Catalog
from tui.entry import Entry
from tui.renderables.facts import chart_groups
from tui.screens.filter_text import FilterText
from tui.watch import LOCAL, LONGEST_UNSCANNED_S, MOST_STUCK, NETWORK, Watcher


def write_rows(root: Path, name: str, first: int, last: int) -> Path:
    path = root / name / "metrics.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for step in range(first, last + 1):
            file.write(json.dumps({"step": step, "loss": 1 / step}) + "\n")
    return path


class Clock:
    """A clock that stands until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_folder_is_of_the_tool_that_its_files_tell_now(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "metrics.csv").write_text("epoch,step,loss\n0,1,0.5\n")
    catalog, clock = Catalog([tmp_path]), Clock()
    watcher = Watcher(catalog, clock)
    watcher.turn()
    watcher.show([str(folder)], [str(folder)])
    watcher.turn()
    assert [entry.ref.source.name for entry in catalog.entries] == ["csv"]
    (folder / "hparams.yaml").write_text("lr: 0.25\n")
    clock.now += 2 * LONGEST_UNSCANNED_S
    watcher.turn()
    watcher.turn()
    (entry,) = catalog.entries
    with entry.view() as view:
        assert (view.listed.source, view.full.params) == ("lightning", {"lr": 0.25})


def test_list_knows_the_best_epoch_of_a_long_table_when_its_history_was_read(
    tmp_path: Path,
) -> None:
    rows = [f"{n},{0.1 if n == 3000 else 1 + n / 6000}\n" for n in range(6000)]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "training.csv").write_text("epoch,val_loss\n" + "".join(rows))
    catalog = Catalog([tmp_path])
    watcher = Watcher(catalog, Clock())
    watcher.turn()
    (entry,) = catalog.entries
    assert entry.kept.position("best") is None
    watcher.show([entry.key], [entry.key])
    watcher.turn()
    assert entry.kept.position("best") == 0.1
    with entry.view() as view:
        assert view.listed.best == view.full.best == Best(3000, "val/loss", 0.1)
    # Nobody reads it any more, and it goes on: a better epoch may be passed over.
    entry.forget_history()
    watcher.show([entry.key], [])
    with (tmp_path / "a" / "training.csv").open("a") as table:
        table.write("6000,0.01\n")
    entry.glance()
    assert entry.kept.position("best") is None


def test_watcher_finds_new_runs_new_rows_and_deleted_runs(tmp_path: Path) -> None:
    write_rows(tmp_path, "a", 1, 3)
    clock = Clock()
    catalog = Catalog([tmp_path])
    watcher = Watcher(catalog, clock)
    watcher.turn()
    assert [entry.ref.name for entry in catalog.entries] == ["a"]
    key = catalog.entries[0].key
    watcher.show([key], [key])
    catalog.take_changes()

    write_rows(tmp_path, "a", 4, 5)
    clock.now += LOCAL.shown_s
    watcher.turn()
    assert catalog.take_changes().runs == {key}
    with catalog.entries[0].view() as view:
        assert view.listed.last == {"loss": 0.2}
        assert view.full.row_count == 5

    write_rows(tmp_path, "b", 1, 1)
    watcher.hint()
    watcher.turn()
    assert catalog.take_changes().structure
    assert len(catalog.entries) == 2

    shutil.rmtree(tmp_path / "a")
    clock.now += LOCAL.scan_s
    watcher.turn()
    assert [entry.ref.name for entry in catalog.entries] == ["b"]
    assert catalog.get(key) is None


def test_run_that_came_during_a_long_scan_is_found_by_the_next(tmp_path: Path) -> None:
    write_rows(tmp_path, "a", 1, 1)
    clock = Clock()

    class Slow(Catalog):
        """A catalog whose scans take three seconds, and miss a run that comes meanwhile."""

        def scan(self) -> bool:
            changed = super().scan()
            if not (tmp_path / "b").exists():
                write_rows(tmp_path, "b", 1, 1)
                watcher.hint()
            clock.now += 3.0
            return changed

    watcher = Watcher(Slow([tmp_path]), clock)
    watcher.turn()
    assert [entry.ref.name for entry in watcher.catalog.entries] == ["a"]
    clock.now += 10.0
    watcher.turn()
    assert {entry.ref.name for entry in watcher.catalog.entries} == {"a", "b"}


def test_root_that_goes_and_comes_back_is_told_and_found(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    catalog = Catalog([root])
    assert catalog.scan()
    assert catalog.missing == (root,)
    write_rows(root, "a", 1, 1)
    assert catalog.scan()
    assert len(catalog.entries) == 1
    shutil.rmtree(root)
    assert catalog.scan()
    assert catalog.missing == (root,)
    root.mkdir()
    assert catalog.scan()
    assert [list(catalog.why_missing), list(catalog.entries)] == [[], []]


def test_runs_of_a_root_that_goes_stay_as_they_were_until_it_comes_back(tmp_path: Path) -> None:
    root, other = tmp_path / "runs", tmp_path / "other"
    write_rows(root, "a", 1, 3)
    write_rows(root, "b", 1, 3)
    write_rows(other, "c", 1, 3)
    clock = Clock()
    catalog = Catalog([root, other])
    watcher = Watcher(catalog, clock)

    def values() -> list[tuple[object, ...]]:
        for _ in range(3):
            clock.now += LOCAL.ended_s
            watcher.turn()
        return sorted((e.ref.name, e.value("loss"), e.away) for e in catalog.entries)

    third = 1 / 3
    assert values() == [("a", third, False), ("b", third, False), ("c", third, False)]
    key = f"{root}/a"
    watcher.show([key], [key])
    watcher.turn()
    root.rename(tmp_path / "away")
    assert values() == [("a", third, True), ("b", third, True), ("c", third, False)]
    entry = catalog.get(key)
    assert entry is not None
    with entry.view() as view:
        assert view.full.row_count == 3
        assert view.full.status.reason == "cannot be read: no such file or directory"
    assert catalog.status_counts() == {"unknown": 3}
    (tmp_path / "away").rename(root)
    write_rows(root, "a", 4, 4)
    assert values() == [("a", 0.25, False), ("b", third, False), ("c", third, False)]
    assert catalog.get(key) is entry


def test_run_that_had_ended_stays_so_while_its_root_is_away(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path / "runs") as run:
        run.log({"loss": 0.5}, step=1)
    with runstore.init(root=tmp_path / "runs") as live:
        live.log({"loss": 0.5}, step=1)
        catalog = Catalog([tmp_path / "runs"])
        catalog.scan()
        for entry in catalog.entries:
            catalog.glance(entry)
        (tmp_path / "runs").rename(tmp_path / "away")
        catalog.scan()
        for entry in catalog.entries:
            catalog.glance(entry)
        words = {entry.ref.name: (entry.word, entry.away) for entry in catalog.entries}
        assert words == {run.path.name: ("finished", True), live.path.name: ("unknown", True)}
        (tmp_path / "away").rename(tmp_path / "runs")


def test_run_whose_reader_was_let_go_keeps_its_facts_while_its_root_is_away(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    write_rows(root, "a", 1, 3)
    catalog = Catalog([root])
    catalog.scan()
    (entry,) = catalog.entries
    catalog.glance(entry)
    entry.let_go()
    root.rename(tmp_path / "away")
    catalog.scan()
    catalog.open(entry)
    assert not catalog.follow(entry)
    assert entry.value("loss") == pytest.approx(1 / 3)
    (tmp_path / "away").rename(root)
    catalog.scan()
    catalog.open(entry)
    assert entry.is_open and not entry.away


def test_runs_that_were_deleted_shortly_before_their_root_stay_too(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    write_rows(root, "a", 1, 3)
    write_rows(root, "b", 1, 3)
    catalog = Catalog([root])
    catalog.scan()
    for entry in catalog.entries:
        catalog.glance(entry)
    shutil.rmtree(root / "a")
    catalog.scan()
    assert [entry.ref.name for entry in catalog.entries] == ["b"]
    shutil.rmtree(root)
    catalog.scan()
    assert {entry.ref.name for entry in catalog.entries} == {"a", "b"}
    assert all(entry.value("loss") == pytest.approx(1 / 3) for entry in catalog.entries)


def test_root_that_is_a_file_is_told_for_what_it_is(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    root.write_text("not a directory")
    catalog = Catalog([tmp_path, root])
    assert catalog.scan()
    assert (catalog.missing, catalog.why_missing) == (
        (root,),
        ("is a file, expected a directory of runs",),
    )
    root.unlink()
    assert catalog.scan()
    assert catalog.why_missing == ("no such directory",)


def test_history_is_kept_for_a_few_runs_only(tmp_path: Path) -> None:
    for number in range(READ_IN_FULL + 3):
        write_rows(tmp_path, f"run{number}", 1, 10)
    catalog = Catalog([tmp_path])
    catalog.scan()
    for entry in catalog.entries:
        while catalog.follow(entry):
            pass
    assert sum(entry.full is not None for entry in catalog.entries) == READ_IN_FULL
    assert catalog.entries[-1].full is not None


def test_large_histories_are_let_go_but_not_those_on_screen(tmp_path: Path) -> None:
    cells = ",".join(["[1,1,1]"] * 50_000)
    for number in range(5):
        (tmp_path / f"run{number}").mkdir()
        (tmp_path / f"run{number}" / "run.json").write_text('{"format":1}')
        lines = (
            f'{{"step":1,"time":1.0,"split":"s{split}","confusion":[{cells}]}}\n'
            for split in range(3)
        )
        (tmp_path / f"run{number}" / "reports-0001.jsonl").write_text("".join(lines))
    catalog = Catalog([tmp_path])
    catalog.scan()
    first, second, *others = catalog.entries
    catalog.followed = frozenset({first.key, second.key})
    for entry in catalog.entries:
        while catalog.follow(entry):
            pass
    assert [entry.full is not None for entry in others] == [False, False, True]
    assert first.full is not None and second.full is not None
    assert second.held_bytes > HELD_BYTES / 3
    catalog.followed = frozenset({second.key})
    catalog.follow(second)
    assert sum(entry.held_bytes for entry in catalog.entries) <= HELD_BYTES
    while catalog.follow(first):
        pass
    with first.view() as view:
        assert len(view.full.reports) == 3
        assert not view.reading


def test_readers_of_runs_off_screen_are_let_go_and_come_back(tmp_path: Path) -> None:
    for number in range(LISTED_READERS + 5):
        write_rows(tmp_path, f"run{number:04d}", 1, 1)
    catalog = Catalog([tmp_path])
    catalog.scan()
    first, second = catalog.entries[:2]
    catalog.pinned = frozenset({first.key})
    for entry in catalog.entries:
        catalog.glance(entry)
    assert sum(entry.is_open for entry in catalog.entries) == LISTED_READERS
    assert (first.is_open, second.is_open) == (True, False)
    assert sum(catalog.status_counts().values()) == len(catalog.entries)
    assert parse(second.ref.name).holds(second)

    catalog.take_changes()
    catalog.glance(second)
    assert not catalog.take_changes()
    second.let_go()
    write_rows(tmp_path, second.ref.name, 2, 3)
    catalog.glance(second)
    assert catalog.take_changes().runs == {second.key}
    with second.view() as view:
        assert (view.known, view.listed.step) == (True, 3)


def test_run_without_a_reader_is_read_when_it_comes_into_view(tmp_path: Path) -> None:
    write_rows(tmp_path, "a", 1, 3)
    catalog = Catalog([tmp_path])
    watcher = Watcher(catalog, Clock())
    watcher.turn()
    catalog.take_changes()
    entry = catalog.entries[0]
    entry.let_go()
    with entry.view() as view:
        assert not view.known
    watcher.show([entry.key], [])
    watcher.turn()
    assert entry.is_open
    assert catalog.take_changes().runs == {entry.key}


def test_screen_does_not_wait_for_a_run_that_is_being_read(tmp_path: Path) -> None:
    write_rows(tmp_path, "a", 1, 3)
    catalog = Catalog([tmp_path])
    catalog.scan()
    entry = catalog.entries[0]
    with entry.view(), entry.glimpse() as view:
        assert view is None
    with entry.glimpse() as view:
        assert view is not None


def test_run_that_two_threads_waited_for_is_counted_once(tmp_path: Path) -> None:
    write_rows(tmp_path, "a", 1, 1)
    catalog = Catalog([tmp_path])
    catalog.scan()
    (entry,) = catalog.entries
    with entry.lock:  # as while a file server does not answer
        threads = [threading.Thread(target=catalog.glance, args=(entry,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
    for thread in threads:
        thread.join()
    assert sum(catalog.status_counts().values()) == 1


def test_run_that_was_removed_while_it_was_read_is_not_counted(tmp_path: Path) -> None:
    write_rows(tmp_path, "a", 1, 1)
    catalog = Catalog([tmp_path])
    catalog.scan()
    (entry,) = catalog.entries
    with entry.lock:
        thread = threading.Thread(target=catalog.glance, args=(entry,))
        thread.start()
        shutil.rmtree(tmp_path / "a")
        catalog.scan()
    thread.join()
    assert sum(catalog.status_counts().values()) == 0


def test_quiet_runs_change_nothing(tmp_path: Path) -> None:
    write_rows(tmp_path, "a", 1, 3)
    catalog = Catalog([tmp_path])
    watcher = Watcher(catalog, Clock())
    watcher.turn()
    catalog.take_changes()
    watcher.turn()
    assert not catalog.take_changes()


def test_metrics_that_people_look_at_come_first() -> None:
    names = [
        "lr",
        "train/samples_per_s",
        "val/accuracy",
        "train/accuracy",
        "val/loss",
        "train/loss",
    ]
    assert rank_metrics(names) == [
        "train/loss",
        "val/loss",
        "val/accuracy",
        "train/accuracy",
        "lr",
        "train/samples_per_s",
    ]


def test_a_loss_comes_before_the_parts_that_other_runs_have_of_it() -> None:
    names = ["train/d_loss", "train/g_loss", "train/loss", "val/loss", "val/accuracy"]
    many = [*names, "train/d_loss", "train/g_loss", "train/d_loss"]
    assert rank_metrics(many)[:2] == ["train/loss", "val/loss"]


def test_splits_of_one_metric_share_a_chart() -> None:
    groups = chart_groups(["grad/norm", "train/loss", "val/loss", "lr"])
    assert groups["loss"] == ["train/loss", "val/loss"]
    assert groups["grad/norm"] == ["grad/norm"]


@pytest.mark.parametrize(
    ("typed", "text", "still_open"),
    [
        ("/ab", "ab", True),
        ("ab", "", False),
        ("/a q", "a q", True),
        ("//", "/", True),
    ],
)
def test_filter_takes_letters_once_it_is_open(typed: str, text: str, still_open: bool) -> None:
    filter_text = FilterText()
    for char in typed:
        filter_text.press(char, char)
    assert (filter_text.text, filter_text.open) == (text, still_open)


def test_filter_is_edited_kept_and_dropped() -> None:
    filter_text = FilterText("one two", open=True)
    filter_text.press("ctrl+w", None)
    assert filter_text.text == "one"
    filter_text.press("backspace", None)
    assert filter_text.paste("x\x1b\ny")
    assert filter_text.text == "onxy"
    assert not filter_text.press("down", None)
    filter_text.press("enter", "\r")
    assert (filter_text.text, filter_text.open) == ("onxy", False)
    for key in ("escape", "ctrl+c"):
        filter_text.press("slash", "/")
        filter_text.press("a", "a")
        assert filter_text.press(key, None)
        assert (filter_text.query, filter_text.open) == (Query(), False)


def test_runs_of_a_file_server_are_first_read_at_its_pace(tmp_path: Path) -> None:
    for number in range(40):
        write_rows(tmp_path, f"run{number}", 1, 1)
    clock = Clock()
    clock.now = 1000.0
    catalog = Catalog([tmp_path])
    watcher = Watcher(catalog, clock)
    watcher.network, watcher.pace = True, NETWORK
    catalog.scan()
    watcher.show([entry.key for entry in catalog.entries[:10]], [])
    read = []
    for _ in range(3):
        for _ in range(5):  # turns follow each other at once while a history is read
            watcher.turn()
        read.append(sum(entry.glanced for entry in catalog.entries))
        clock.now += NETWORK.turn_s
    assert read == [10 + NETWORK.per_turn * turn for turn in (1, 2, 3)]


class Noting(Catalog):
    """Notes which runs are looked at; each look takes as long as a live run is left alone."""

    def __init__(self, roots: Sequence[Path], clock: Clock) -> None:
        super().__init__(roots)
        self._now = clock
        self.read: list[str] = []

    def glance(self, entry: Entry) -> None:
        self.read.append(entry.key)
        self._now.now += LOCAL.alive_s
        super().glance(entry)


def test_no_run_is_read_again_before_all_were_read_once(tmp_path: Path) -> None:
    """A thousand that may still grow would take the time of those that nobody has seen."""
    for number in range(30):
        write_rows(tmp_path, f"run{number:02d}", 1, 1)
    clock = Clock()
    catalog = Noting([tmp_path], clock)
    watcher = Watcher(catalog, clock)
    catalog.scan()
    while not all(entry.glanced for entry in catalog.entries):
        watcher.turn()
    assert len(set(catalog.read[:30])) == 30


def test_watcher_tells_a_failure_and_goes_on(tmp_path: Path, wait_until: WaitUntil) -> None:
    class Unsteady(Catalog):
        """A catalog whose scans fail for as long as a file is there."""

        def scan(self) -> bool:
            if (tmp_path / "stale").exists():
                raise OSError(116, "Stale file handle")
            return super().scan()

    (tmp_path / "stale").touch()
    watcher = Watcher(Unsteady([tmp_path]))
    watcher.start()
    try:
        wait_until(lambda: watcher.problem is not None)
        assert watcher.problem == "OSError: [Errno 116] Stale file handle"
        (tmp_path / "stale").unlink()
        write_rows(tmp_path, "a", 1, 1)
        watcher.rescan()
        wait_until(lambda: bool(watcher.catalog.entries) and watcher.problem is None)
    finally:
        watcher.stop()
        watcher.join()


def test_silence_during_a_scan_is_told_and_the_next_scan_comes_soon(
    tmp_path: Path, wait_until: WaitUntil
) -> None:
    answers = threading.Event()

    class Silent(Catalog):
        """A catalog whose scans wait for a file server."""

        def scan(self) -> bool:
            answers.wait()
            return super().scan()

    clock = Clock()
    watcher = Watcher(Silent([tmp_path]), clock)
    watcher.start()

    def told() -> bool:
        clock.now += ANSWER_S
        watcher.look_after()
        return watcher.problem is not None

    try:
        wait_until(told)
        assert watcher.problem == "a file server does not answer"
        answers.set()
        wait_until(lambda: watcher.catalog.scanned and watcher.problem is None)
        write_rows(tmp_path, "a", 1, 1)
        clock.now += LONGEST_UNSCANNED_S + 1
        wait_until(lambda: bool(watcher.catalog.entries))
    finally:
        answers.set()
        watcher.stop()


def test_screen_says_when_nothing_is_read_for_want_of_answers(
    tmp_path: Path, wait_until: WaitUntil
) -> None:
    for number in range(MOST_STUCK + 1):
        write_rows(tmp_path, f"run{number}", 1, 1)
    catalog, clock = Catalog([tmp_path]), Clock()
    catalog.scan()
    watcher = Watcher(catalog, clock)

    def told() -> bool:
        clock.now += ANSWER_S
        watcher.look_after()
        return watcher.problem is not None

    with ExitStack() as silent:
        for entry in catalog.entries:
            silent.enter_context(entry.lock)
        watcher.start()
        wait_until(lambda: told() and sum(entry.stuck for entry in catalog.entries) == MOST_STUCK)
    try:
        wait_until(lambda: all(entry.glanced and not entry.stuck for entry in catalog.entries))
    finally:
        watcher.stop()
