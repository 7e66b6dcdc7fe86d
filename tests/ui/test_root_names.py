"""Which root a run is of, where there are several."""

from __future__ import annotations

from pathlib import Path

from tui.renderables.root_names import RootNames


def names(*roots: str) -> RootNames:
    return RootNames([Path(root) for root in roots])


def test_only_root_has_no_name() -> None:
    assert names("/data/runs").put_before("digits", "/data/runs/a") == "digits"


def test_roots_are_told_apart_by_the_ends_of_their_paths() -> None:
    found = names("/data/a/runs", "/data/b/runs", "/data/other")
    assert found.of("/data/a/runs/x") == "a/runs"
    assert found.of("/data/b/runs/x") == "b/runs"
    assert found.of("/data/other/x") == "other"


def test_run_in_a_root_within_another_is_of_the_inner_one() -> None:
    found = names("/data/runs", "/data/runs/old")
    assert found.of("/data/runs/old/x") == "old"
    assert found.of("/data/runs/new/x") == "runs"


def test_working_directory_has_its_own_name() -> None:
    assert names(".", "/elsewhere").of("a-run") == Path.cwd().name
    assert names(".", "/elsewhere").of("/elsewhere/x") == "elsewhere"


def test_name_is_put_before_once() -> None:
    found = names("/data/a", "/data/b")
    assert found.put_before("a/csv", "/data/a/csv") == "a/csv"
    assert found.put_before("abc", "/data/a/abc") == "a/abc"
