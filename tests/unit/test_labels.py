"""What runs are called beside each other."""

from __future__ import annotations

from pathlib import Path

from runstore.labels import labels
from runstore.sources import RunRef, plain


def named(*places: str, root: str = "runs") -> list[str]:
    return labels([RunRef(place, plain) for place in places], Path(root))


def test_name_of_a_directory_where_no_other_has_it() -> None:
    assert named("runs/a", "runs/x/b", "elsewhere/c") == ["a", "b", "c"]


def test_path_where_several_share_a_name() -> None:
    assert named("runs/x/v0", "runs/y/v0", "other/v0", "runs/v1") == [
        "x/v0",
        "y/v0",
        "other/v0",
        "v1",
    ]


def test_run_that_is_named_twice_shares_its_name_with_nobody() -> None:
    assert named("runs/a", "runs/a") == ["a", "a"]


def test_name_that_is_no_text_is_written_out() -> None:
    assert named("runs/\udcff") == ["\\udcff"]
