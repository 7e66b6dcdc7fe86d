"""The run that somebody means, by a path, an id, a name or the line of a list."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import runstore
from runstore.errors import (
    AmbiguousRunError,
    FolderOfRunsError,
    RootNotFoundError,
    RunNotFoundError,
)
from runstore.runs import lookup
from runstore.runs.lookup import find
from runstore.runs.store import discover
from runstore.sources.formats import PLAIN
from tests.root_of_runs import FIRST, SECOND, THIRD, make_root, make_run, names

MLFLOW_ID = "2bb4215bdd3f4a1c8a4b7a5a8d0c1e2f"
MLFLOW_OTHER = "2bb4aaaadd3f4a1c8a4b7a5a8d0c1e2f"


def make_mlflow_run(path: Path, name: str) -> Path:
    (path / "metrics").mkdir(parents=True)
    (path / "metrics" / "loss").write_text("1700000000000 0.5 1\n")
    (path / "meta.yaml").write_text(f"artifact_uri: x\nrun_id: {path.name}\nrun_name: {name}\n")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "runs")


def test_empty_directory_given_by_its_path_is_a_run_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert find(str(tmp_path / "empty"), tmp_path).name == "empty"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (FIRST, FIRST),
        ("20260101", FIRST),
        ("20260103-000000-w", THIRD),
        ("latest", THIRD),
        (f"sweep/deeper/{THIRD}", THIRD),
    ],
)
def test_run_is_found_by_id_prefix_and_latest(root: Path, wanted: str, found: str) -> None:
    assert find(wanted, root).name == found


def test_run_is_found_by_path_whatever_the_root(root: Path, tmp_path: Path) -> None:
    assert find(str(root / FIRST), tmp_path / "nowhere").name == FIRST


def test_dots_are_paths_whatever_the_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / FIRST)
    assert find(".", root).path.samefile(root / FIRST)


def test_table_beside_runs_is_one_for_who_names_its_folder(tmp_path: Path) -> None:
    """As it is in the list of the folder above."""
    make_run(tmp_path / "sweep" / FIRST)
    (tmp_path / "sweep" / "all.jsonl").write_text('{"step":1,"loss":2}\n')
    assert "sweep" in names(discover([tmp_path]))
    assert find(str(tmp_path / "sweep"), tmp_path).source is PLAIN
    assert names(discover([tmp_path / "sweep"])) == [FIRST]


def test_run_is_found_by_the_name_in_its_id(root: Path) -> None:
    named = make_run(root / "20270101-000000-small-net-dddddddd")
    assert find("small-net", root).path == named
    with pytest.raises(RunNotFoundError):
        find("small", root)
    make_run(root / "20270102-000000-small-net-eeeeeeee")
    with pytest.raises(AmbiguousRunError, match="names 2 runs"):
        find("small-net", root)


def test_id_that_is_a_prefix_of_another_is_exact(root: Path) -> None:
    make_run(root / f"{FIRST}2")
    assert find(FIRST, root).name == FIRST


def test_ambiguous_prefix_names_the_matches(root: Path) -> None:
    with pytest.raises(AmbiguousRunError) as caught:
        find("2026010", root)
    assert caught.value.near == (f"sweep/deeper/{THIRD}", SECOND, FIRST)
    assert "names 3 runs" in str(caught.value)


def test_renamed_run_is_found_by_its_id_and_a_prefix_of_it(root: Path) -> None:
    renamed = make_run(root / "sweep" / "the-good-one")
    (renamed / "run.json").write_text('{"format":1,"id":"20270101-000000-old-dddddddd"}')
    for wanted in ("20270101-000000-old-dddddddd", "2027", "the-good", "sweep/the-good-one"):
        assert find(wanted, root).path == renamed
    with pytest.raises(RunNotFoundError, match="near: 20270101-000000-old-dddddddd"):
        find("old-d", root)


def test_id_of_several_copies_is_answered_with_their_paths(root: Path) -> None:
    for name in ("copy", "sweep/copy2"):
        (make_run(root / name) / "run.json").write_text('{"format":1,"id":"2027-x"}')
    with pytest.raises(AmbiguousRunError) as caught:
        find("2027-x", root)
    assert sorted(caught.value.near) == ["copy", "sweep/copy2"]
    assert "give more of the id, or a path" in str(caught.value)
    assert {find(path, root).name for path in caught.value.near} == {"copy", "copy2"}


OPENED = """
import sys
from pathlib import Path
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
from runstore.runs.lookup import find
find(sys.argv[2], Path(sys.argv[1]))
print(sum(path.endswith("run.json") for path in opened))
"""


@pytest.mark.parametrize(("wanted", "documents"), [(FIRST, 0), ("20260102", 0), ("2027", 5)])
def test_documents_are_opened_only_when_no_name_matches(
    root: Path, repo_root: Path, wanted: str, documents: int
) -> None:
    make_run(root / "alias").joinpath("run.json").write_text(f'{{"format":1,"id":"{FIRST}"}}')
    make_run(root / "other").joinpath("run.json").write_text('{"format":1,"id":"2027-x"}')
    done = subprocess.run(
        [sys.executable, "-c", OPENED, str(root), wanted],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == documents


def test_document_that_holds_no_id_names_no_run(root: Path) -> None:
    (root / FIRST / "run.json").unlink()
    os.mkfifo(root / FIRST / "run.json")
    (root / SECOND / "run.json").write_bytes(b'\xff{"id":')
    with pytest.raises(RunNotFoundError):
        find("nobody", root)


@pytest.mark.parametrize(
    ("wanted", "near"),
    [("digit", [SECOND, FIRST]), ("20260101-000000-digts-aaaaaaaa", [FIRST, SECOND])],
)
def test_unknown_run_is_answered_with_the_near_matches(
    root: Path, wanted: str, near: list[str]
) -> None:
    with pytest.raises(RunNotFoundError) as caught:
        find(wanted, root)
    assert list(caught.value.near)[:2] == near
    assert wanted in str(caught.value)
    assert str(root) in str(caught.value)


@pytest.mark.parametrize("wanted", ["", "/", "*", "..", "latest "])
def test_odd_names_find_nothing_and_say_so(
    root: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.chdir(root)
    with pytest.raises(RunNotFoundError):
        find(wanted, root)


def test_latest_of_nothing_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError):
        find("latest", tmp_path)


def test_directory_that_is_no_run_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "plain" / "sub").mkdir(parents=True)
    (tmp_path / "plain" / "sub" / "notes.txt").touch()
    with pytest.raises(RunNotFoundError, match=r"run\.json"):
        find(str(tmp_path / "plain"), tmp_path)


def test_only_run_below_a_directory_is_taken(root: Path) -> None:
    found = find(str(root / "sweep"), root)
    assert (found.name, found.id) == (THIRD, THIRD)
    table = root / "other" / "deep" / "log.csv"
    table.parent.mkdir(parents=True)
    table.write_text("step,loss\n1,2\n")
    assert find(str(root / "other"), root).id == "other/deep"


def test_directory_of_several_runs_is_answered_with_how_to_list_them(root: Path) -> None:
    with pytest.raises(FolderOfRunsError) as caught:
        find(str(root), root)
    line = str(caught.value)
    assert line.startswith(f"{str(root)!r} is no run; 3 runs below it: {root}/sweep/deeper/{THIRD}")
    assert line.endswith(f"name one, or list them: runstore ls {root}")


def test_who_writes_takes_no_run_that_was_not_named(root: Path) -> None:
    with pytest.raises(FolderOfRunsError, match="1 run below it"):
        find(str(root / "sweep"), root, around=False)
    with pytest.raises(RunNotFoundError, match=f"a file of the run .*{FIRST}"):
        find(str(root / FIRST / "run.json"), root, around=False)


def test_search_below_a_directory_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (root / "many" / name).mkdir(parents=True)
        (root / "many" / name / "notes.txt").touch()
    monkeypatch.setattr(lookup, "LOOKED_BELOW", 3)
    with pytest.raises(RunNotFoundError, match="also in the first 3 folders below it"):
        find(str(root / "many"), root)
    # That it is the only one is not known.
    with pytest.raises(FolderOfRunsError, match="at least 1 run below it"):
        find(str(root / "sweep"), root)


def test_file_of_a_run_means_the_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / FIRST / "checkpoints").mkdir()
    (root / FIRST / "checkpoints" / "best.pt").touch()
    (root / "tables").mkdir()
    (root / "tables" / "log.csv").write_text("step,loss\n1,2\n")
    assert find(str(root / FIRST / "run.json"), root).id == FIRST
    assert find(str(root / FIRST / "checkpoints" / "best.pt"), root).id == FIRST
    assert find("tables/log.csv", root).id == "tables"
    monkeypatch.chdir(root / "tables")
    for base in (root, Path("runs")):
        assert find("log.csv", base).path.samefile(root / "tables")


def test_file_of_a_run_can_be_loaded(root: Path) -> None:
    for path in (root / FIRST / "run.json", str(root / FIRST / "run.json")):
        assert runstore.load(path).id == FIRST


def test_file_of_no_run_is_said_to_be_one(root: Path) -> None:
    (root / "notes").mkdir()
    (root / "notes" / "todo.txt").touch()
    (root / "stray.csv").write_text("step,loss\n1,2\n")
    with pytest.raises(RunNotFoundError, match=r"todo\.txt' .* it is a file, and of no run"):
        find(str(root / "notes" / "todo.txt"), root)


def test_name_of_a_run_goes_before_a_file_that_lies_here(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FIRST).touch()
    monkeypatch.chdir(tmp_path)
    assert find(FIRST, root).path == root / FIRST


def test_missing_root_is_said_with_what_was_asked(tmp_path: Path) -> None:
    with pytest.raises(RootNotFoundError, match=r"no such directory, so there is no run 'nope'"):
        find("nope", tmp_path / "runs")


@pytest.mark.parametrize("wanted", ["line 2bb4215b", "line 2bb42", f"line {MLFLOW_ID}"])
def test_run_is_found_as_lists_print_it(tmp_path: Path, wanted: str) -> None:
    run = make_mlflow_run(tmp_path / "1" / MLFLOW_ID, "line")
    make_mlflow_run(tmp_path / "1" / MLFLOW_OTHER, "line")
    assert find(wanted, tmp_path).path == run
    with pytest.raises(AmbiguousRunError, match="names 2 runs"):
        find("line 2bb4", tmp_path)


def test_near_runs_are_named_as_lists_print_them(tmp_path: Path) -> None:
    make_mlflow_run(tmp_path / "1" / MLFLOW_ID, "line")
    with pytest.raises(RunNotFoundError, match="near: line 2bb4215b"):
        find("lime 2bb4215b", tmp_path)
