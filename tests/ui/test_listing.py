"""Which runs are listed, in which order and groups, from what is kept of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runstore.files.records import encode, split_nonfinite
from runstore.runs.run_filter import Query, complete, parse
from tui.catalog import Catalog
from tui.entry import Entry
from tui.listing import AGAIN_S, GroupRow, Listing, Row, is_error, metric_names, vocabulary
from tui.session import Session


class Clock:
    """A clock that stands until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def write(
    folder: Path,
    number: int,
    params: Mapping[str, Any] | None = None,
    status: str = "finished",
    **last: float,
) -> Path:
    """Write a run called `run<number>`; a higher number is a newer run."""
    path = folder / f"20260101-0000{number:02d}-run{number}-aaaaaa"
    path.mkdir(parents=True)
    about = {"id": path.name, "name": f"run{number}", "params": params or {}, "tags": ["t"]}
    (path / "run.json").write_text(json.dumps(about))
    log(path, **last)
    events = [{"event": "open", "time": 1e9}, {"event": "end", "time": 1e9 + 60, "status": status}]
    (path / "events-0001.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    return path


def log(path: Path, **last: float) -> None:
    names = {name.replace("__", "/"): value for name, value in last.items()}
    with (path / "metrics-0001.jsonl").open("ab") as file:
        file.write(encode({"step": 1, "time": 1e9, **split_nonfinite(names)}))


def read(root: Path) -> Catalog:
    """Return a catalog that has read all runs and let all readers go."""
    catalog = Catalog([root])
    catalog.scan()
    for entry in catalog.entries:
        catalog.glance(entry)
        entry.let_go()
    return catalog


def listed(catalog: Catalog, query: str = "", **choices: Any) -> list[str]:
    listing = Listing(catalog.roots)
    listing.update(catalog.entries, parse(query), Session(**choices), Clock())
    return [row.name for row in listing.rows]


def test_runs_without_readers_are_filtered_by_parameters_metrics_tags_and_status(
    tmp_path: Path,
) -> None:
    write(tmp_path, 1, {"lr": 0.1, "model": {"width": 64}}, val__loss=0.5)
    write(tmp_path, 2, {"lr": 1e-3, "opt": "sgd"}, status="failed", val__loss=0.25)
    catalog = read(tmp_path)
    assert listed(catalog, "lr>=1e-2") == listed(catalog, "model.width=64") == ["run1"]
    assert listed(catalog, "val/loss<0.4") == listed(catalog, "params.lr=0.001") == ["run2"]
    assert listed(catalog, "status:failed tag:t opt=sgd") == ["run2"]
    assert listed(catalog, "tag:t") == ["run2", "run1"]


def test_value_is_told_apart_to_its_last_digit(tmp_path: Path) -> None:
    write(tmp_path, 1, {"lr": 0.12345678, "steps": 123456789})
    catalog = read(tmp_path)
    assert listed(catalog, "lr=0.12345678 steps=123456789") == ["run1"]
    assert listed(catalog, "lr=0.12345679") == listed(catalog, "steps=123456780") == []


def test_sorted_runs_without_a_number_stay_at_the_end(tmp_path: Path) -> None:
    for number, loss in enumerate((0.5, float("nan"), 0.25, float("inf")), 1):
        write(tmp_path, number, val__loss=loss)
    write(tmp_path, 5)
    catalog = read(tmp_path)
    by_loss = ["run3", "run1", "run4", "run5", "run2"]
    assert listed(catalog, sort="val/loss") == by_loss
    assert listed(catalog, sort="val/loss", reverse=True) == [*by_loss[2::-1], *by_loss[3:]]


def test_first_order_of_a_column_is_the_one_that_people_look_for(tmp_path: Path) -> None:
    write(tmp_path, 1, {"lr": 0.5, "opt": "b"}, status="failed", val__accuracy=0.5)
    write(tmp_path, 2, {"lr": 10, "opt": "a"}, val__accuracy=0.75)
    catalog = read(tmp_path)
    assert listed(catalog) == ["run2", "run1"]
    assert listed(catalog, reverse=True) == ["run1", "run2"]
    assert listed(catalog, sort="val/accuracy") == ["run2", "run1"]
    assert listed(catalog, sort="params.lr") == ["run1", "run2"]
    assert listed(catalog, sort="params.opt") == ["run2", "run1"]
    assert listed(catalog, sort="@status") == ["run1", "run2"]
    assert listed(catalog, sort="@run", reverse=True) == ["run2", "run1"]
    assert sorted(listed(catalog, sort="@took")) == ["run1", "run2"]


def test_numbers_in_names_are_sorted_as_numbers(tmp_path: Path) -> None:
    for number in (9, 10, 1):
        write(tmp_path, number)
    assert listed(read(tmp_path), sort="@run") == ["run1", "run9", "run10"]


def test_errors_are_failures_and_values_that_are_no_numbers(tmp_path: Path) -> None:
    write(tmp_path, 1, loss=0.5)
    write(tmp_path, 2, loss=float("nan"))
    write(tmp_path, 3, status="failed", loss=0.5)
    write(tmp_path, 4, status="interrupted", loss=0.5)
    catalog = read(tmp_path)
    assert listed(catalog, errors_only=True) == ["run3", "run2"]
    assert not is_error(Entry(catalog.entries[0].ref)), "a run that was not read yet"


@pytest.mark.parametrize("choices", [{"sort": "val/loss"}, {"grouped": True}])
def test_new_values_change_the_rows_after_a_while(
    tmp_path: Path, choices: Mapping[str, Any]
) -> None:
    first = write(tmp_path, 1, {"seed": 1}, val__loss=0.5)
    write(tmp_path, 2, {"seed": 2}, val__loss=0.25)
    catalog, clock, session = read(tmp_path), Clock(), Session(**choices)
    listing = Listing(catalog.roots)
    listing.update(catalog.entries, Query(), session, clock)
    before = listing.rows
    log(first, val__loss=0.125)
    for entry in catalog.entries:
        catalog.glance(entry)
    listing.is_old = True
    listing.update(catalog.entries, Query(), session, clock)
    assert listing.rows is before
    clock.now += AGAIN_S
    listing.update(catalog.entries, Query(), session, clock)
    (row, *_) = listing.rows
    if isinstance(row, GroupRow):
        mean = row.mean("val/loss")
        assert mean is not None
        assert mean[0] == (0.125 + 0.25) / 2
    else:
        assert row.kept.metric("val/loss") == 0.125
    assert not listing.is_old


def test_values_do_not_matter_to_a_list_by_time(tmp_path: Path) -> None:
    write(tmp_path, 1)
    catalog, listing = read(tmp_path), Listing([tmp_path])
    listing.update(catalog.entries, Query(), Session(), Clock())
    listing.is_old = True
    listing.update(catalog.entries, Query(), Session(), Clock())
    assert not listing.is_old
    assert listing.rows is catalog.entries


def test_runs_that_differ_in_their_seed_are_one_row_in_the_order_of_their_means(
    tmp_path: Path,
) -> None:
    for number, (lr, loss) in enumerate([(0.1, 1.0), (0.1, 3.0), (0.2, 1.5), (0.2, 1.5)], 1):
        write(tmp_path, number, {"lr": lr, "seed": number}, val__loss=loss)
    write(tmp_path, 5, {"lr": 0.3, "seed": 1}, val__loss=1.75)
    catalog, session = read(tmp_path), Session(grouped=True, sort="val/loss")
    listing = Listing(catalog.roots)
    listing.update(catalog.entries, Query(), session, Clock())
    better, alone, worse = listing.rows
    assert isinstance(better, GroupRow)
    assert isinstance(worse, GroupRow)
    assert (better.mean("val/loss"), better.params) == ((1.5, 0.0), {"lr": "0.2"})
    assert alone.name == "run5"
    mean = worse.mean("val/loss")
    assert mean is not None
    assert (mean[0], mean[1]) == (2.0, 2**0.5)
    assert worse.counts == [("finished", 2)]
    listing.toggle(worse)
    listing.update(catalog.entries, Query(), session, Clock())
    assert [row.name for row in listing.rows] == ["run", "run5", "run", "run1", "run2"]
    assert listing.depths == {row.key: 1 for row in listing.rows[3:]}
    assert len(listing.runs) == 5
    listing.update(catalog.entries, parse("val/loss<2"), session, Clock())
    assert [len(row.members) for row in listing.rows if isinstance(row, GroupRow)] == [2]


def with_best(path: Path, rule: str, *values: float) -> None:
    name = rule.partition(":")[0]
    about = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**about, "best": rule}))
    rows = [{"epoch": at, "step": at, "time": 1e9, name: v} for at, v in enumerate(values, 1)]
    (path / "epochs-0001.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_runs_are_sorted_by_their_best_epoch_not_by_their_last(tmp_path: Path) -> None:
    with_best(write(tmp_path, 1, {"seed": 1}), "val/loss:min", 1.0, 0.25, 2.0)
    with_best(write(tmp_path, 2, {"seed": 2}), "val/loss:min", 1.0, 0.75)
    catalog, listing = read(tmp_path), Listing([tmp_path])
    listing.update(catalog.entries, Query(), Session(sort="@best"), Clock())
    assert [row.name for row in listing.rows] == ["run1", "run2"]
    assert [entry.kept.position("best") for entry in listing.runs] == [0.25, 0.75]
    other = tmp_path / "other"
    with_best(write(other, 3), "val/accuracy:max", 0.5, 0.9, 0.6)
    with_best(write(other, 4), "val/accuracy:max", 0.5, 0.8)
    catalog, listing = read(other), Listing([other])
    listing.update(catalog.entries, Query(), Session(sort="@best"), Clock())
    assert [row.name for row in listing.rows] == ["run3", "run4"]
    assert [entry.kept.position("best") for entry in listing.runs] == [0.9, 0.8]


@pytest.mark.parametrize(
    ("names", "together"),
    [
        (["lr=0.1,seed=0,width=32", "lr=0.1,seed=12,width=32"], "lr=0.1,seed=*,width=32"),
        (["net-seed10", "net-seed20"], "net-seed"),
        (["digits", "digits"], "digits"),
        (["digits", "digits-2"], "digits"),
        (["one", "two"], "lr=0.1,depth=2"),
    ],
)
def test_row_of_seeds_is_called_by_what_the_names_have_in_common(
    tmp_path: Path, names: list[str], together: str
) -> None:
    for number, name in enumerate(names, 1):
        path = write(tmp_path, number) / "run.json"
        about = {
            "id": path.parent.name,
            "name": name,
            "params": {"lr": 0.1, "seed": number, "depth": 2},
        }
        path.write_text(json.dumps(about))
    catalog, session = read(tmp_path), Session(grouped=True)
    listing = Listing(catalog.roots)
    listing.update(catalog.entries, Query(), session, Clock())
    assert [row.name for row in listing.rows] == [together]


def test_folders_are_rows_and_runs_of_the_root_stay(tmp_path: Path) -> None:
    write(tmp_path, 1)
    write(tmp_path / "sweeps" / "one", 2)
    write(tmp_path / "sweeps" / "one", 3, status="failed")
    write(tmp_path / "two", 4)
    catalog, listing = read(tmp_path), Listing([tmp_path])
    listing.update(catalog.entries, Query(), Session(by_folder=True), Clock())
    assert [row.name for row in listing.rows] == ["two/", "sweeps/one/", "run1"]
    sweep = listing.rows[1]
    assert isinstance(sweep, GroupRow)
    assert sweep.counts == [("failed", 1), ("finished", 1)]


def outline(listing: Listing, catalog: Catalog, **choices: Any) -> list[str]:
    """Return the rows by folders, each as deep as it is in them, and a mark of what is open."""
    session = Session(by_folder=True, **choices)
    listing.update(catalog.entries, Query(), session, Clock())

    def told(row: Row) -> str:
        name = "  " * listing.depths.get(row.key, 0) + row.name
        if isinstance(row, Entry):
            return name
        return f"{name} {len(row.members)}{'' if row.folded else ' open'}"

    return [told(row) for row in listing.rows]


def nested(root: Path) -> tuple[Catalog, Listing]:
    write(root, 1)
    write(root / "cnn" / "lr", 2, val__loss=2.0)
    write(root / "cnn" / "lr", 3, status="failed", val__loss=1.0)
    write(root / "cnn" / "wd" / "deep", 4, val__loss=0.5)
    write(root / "cnn", 5, val__loss=3.0)
    write(root / "mlp", 6)
    return read(root), Listing([root])


def test_folders_in_folders_are_groups_in_groups(tmp_path: Path) -> None:
    catalog, listing = nested(tmp_path)
    assert outline(listing, catalog) == ["mlp/ 1", "cnn/ 4", "run1"]
    cnn = listing.rows[1]
    assert isinstance(cnn, GroupRow)
    assert cnn.counts == [("failed", 1), ("finished", 3)]
    listing.toggle(cnn)
    opened = ["mlp/ 1", "cnn/ 4 open", "  run5", "  wd/deep/ 1", "  lr/ 2", "run1"]
    assert outline(listing, catalog) == opened
    lr = listing.rows[4]
    assert isinstance(lr, GroupRow)
    assert lr.counts == [("failed", 1), ("finished", 1)]
    listing.toggle(lr)
    assert outline(listing, catalog)[4:] == ["  lr/ 2 open", "    run3", "    run2", "run1"]
    listing.toggle(cnn)
    assert outline(listing, catalog) == ["mlp/ 1", "cnn/ 4", "run1"]
    listing.toggle(cnn)
    assert outline(listing, catalog)[4:6] == ["  lr/ 2 open", "    run3"], "as it was left"


def test_rows_in_folders_are_sorted_within_their_folder(tmp_path: Path) -> None:
    catalog, listing = nested(tmp_path)
    outline(listing, catalog)
    listing.reveal(next(e.key for e in catalog.entries if e.name == "run2"))
    by_loss = outline(listing, catalog, sort="val/loss")
    assert by_loss[:2] == ["cnn/ 4 open", "  wd/deep/ 1"]
    assert by_loss[2:6] == ["  lr/ 2 open", "    run3", "    run2", "  run5"]
    assert [run.name for run in listing.runs[:4]] == ["run4", "run3", "run2", "run5"]


def test_only_folder_is_open_and_can_be_closed(tmp_path: Path) -> None:
    write(tmp_path / "sweep", 1)
    write(tmp_path / "sweep", 2)
    catalog, listing = read(tmp_path), Listing([tmp_path])
    assert outline(listing, catalog) == ["sweep/ 2 open", "  run2", "  run1"]
    (row, *_) = listing.rows
    assert isinstance(row, GroupRow)
    listing.toggle(row)
    assert outline(listing, catalog) == ["sweep/ 2"]


def test_run_in_closed_folders_is_revealed(tmp_path: Path) -> None:
    catalog, listing = nested(tmp_path)
    outline(listing, catalog)
    listing.reveal(next(e.key for e in catalog.entries if e.name == "run4"))
    assert outline(listing, catalog)[3:5] == ["  wd/deep/ 1 open", "    run4"]


def test_root_that_is_the_current_directory_has_folders_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nested(tmp_path)
    monkeypatch.chdir(tmp_path)
    listing = Listing([Path()])
    assert outline(listing, read(Path())) == ["mlp/ 1", "cnn/ 4", "run1"]


def test_of_several_roots_each_is_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "a", 1)
    write(tmp_path / "b" / "deep", 2)
    roots = [tmp_path / "a", tmp_path / "b"]
    catalog, listing = Catalog(roots), Listing(roots)
    catalog.scan()
    assert outline(listing, catalog) == ["b/deep/ 1", "a/ 1"]
    write(tmp_path / "c" / "a", 3)
    roots = [tmp_path / "a", tmp_path / "c" / "a"]
    catalog, listing = Catalog(roots), Listing(roots)
    catalog.scan()
    assert outline(listing, catalog) == ["c/a/ 1", f"{tmp_path.name}/a/ 1"]


def test_names_that_a_filter_may_have_are_those_of_the_runs(tmp_path: Path) -> None:
    write(tmp_path, 1, {"lr": 0.1, "model": {"width": 64}}, lr=0.1, val__loss=1)
    write(tmp_path, 2, {"lr": 0.2})
    entries = read(tmp_path).entries
    known = vocabulary(entries)
    assert known.names == ["lr", "model.width", "val/loss"]
    assert (known.tags, known.run_names) == (["t"], ["run1", "run2"])
    assert sorted(known.values("lr")) == ["0.1", "0.2"]
    assert complete("source:n", known) == ("source:native", [])
    assert metric_names(entries) == ["val/loss", "lr"]
