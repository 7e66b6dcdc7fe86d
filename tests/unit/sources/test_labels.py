"""What runs are called beside each other."""

from __future__ import annotations

from pathlib import Path

from runstore.sources import NATIVE, RunRef, Source
from runstore.sources.formats import PLAIN
from runstore.tables.labels import labels


def named(*places: str, source: Source = PLAIN) -> list[str]:
    return labels([RunRef(place, source) for place in places], Path("runs"))


def test_id_of_a_native_run_is_its_name_and_of_others_the_path_below_the_root() -> None:
    places = ("runs/a", "runs/x/b", "elsewhere/c")
    assert named(*places, source=NATIVE) == ["a", "b", "c"]
    assert named(*places) == ["a", "x/b", "c"]


def test_path_where_several_share_an_id() -> None:
    assert named("runs/x/v0", "runs/y/v0", "other/v0", "runs/v1", source=NATIVE) == [
        "x/v0",
        "y/v0",
        "other/v0",
        "v1",
    ]
    assert named("runs/v0", "other/v0") == ["v0", "other/v0"]


def test_run_that_is_named_twice_shares_its_name_with_nobody() -> None:
    assert named("runs/a", "runs/a") == ["a", "a"]


def test_name_that_is_no_text_is_written_out() -> None:
    assert named("runs/\udcff") == ["\\udcff"]
