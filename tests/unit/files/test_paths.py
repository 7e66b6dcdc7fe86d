"""File names inside a run directory, and run ids."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.files.paths import (
    STREAMS,
    RunPaths,
    StreamFile,
    id_order,
    looks_like_run_id,
    new_run_id,
    slugify,
)

STREAM_FILES = st.builds(
    StreamFile,
    st.integers(1, 99_999),
    st.integers(0, 9_999),
    st.sampled_from(STREAMS),
    st.integers(0, 4096),
)


@given(STREAM_FILES)
def test_name_of_a_stream_file_says_all_about_it(file: StreamFile) -> None:
    assert StreamFile.parse(file.name) == file


@given(st.text())
def test_any_other_name_is_no_stream_file(name: str) -> None:
    file = StreamFile.parse(name)
    assert file is None or StreamFile.parse(file.name) == file


@pytest.mark.parametrize(
    "name",
    [
        "metrics.jsonl", "metrics-1.jsonl", "metrics-0000.jsonl", "metrics-0001.jsonl.tmp",
        ".metrics-0001.jsonl.Xy12", "metrics-0001.jsonl\n", "../metrics-0001.jsonl",
        "metrics-\u0660\u0660\u0660\u0661.jsonl", "notes-0001.jsonl",
    ],
)  # fmt: skip
def test_temporary_and_foreign_names_are_no_stream_files(name: str) -> None:
    assert StreamFile.parse(name) is None


def test_parts_sort_in_the_order_in_which_they_were_written() -> None:
    parts = ["0002", "0001.10", "0001", "0001.2"]
    names = [f"metrics-{part}.jsonl" for part in parts]
    files = sorted(filter(None, map(StreamFile.parse, names)))
    assert [file.name for file in files] == [
        "metrics-0001.jsonl", "metrics-0001.2.jsonl", "metrics-0001.10.jsonl", "metrics-0002.jsonl",
    ]  # fmt: skip


def test_names_of_the_format(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    assert paths.stream("metrics", 1).name == "metrics-0001.jsonl"
    assert paths.stream("metrics", 2, part=1, rank=3).name == "metrics.rank3-0002.1.jsonl"
    assert paths.document.name == "run.json"


@given(st.none() | st.text())
def test_run_id_is_a_safe_file_name_that_says_it_is_a_run(name: str | None) -> None:
    run_id = new_run_id(name, now=0.0)
    assert looks_like_run_id(run_id)
    assert re.fullmatch(r"19700101-000000-[a-z0-9_.+-]+", run_id)
    assert len(run_id) < 80


def test_run_ids_sort_by_time() -> None:
    ids = [new_run_id("x", now=now) for now in (1e9, 1e9 + 1, 2e9)]
    assert ids == sorted(ids)


def test_a_thousand_ids_of_one_second_differ() -> None:
    ids: list[str] = []
    threads = [
        threading.Thread(target=lambda: ids.extend(new_run_id("a", now=1e9) for _ in range(125)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 1000


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Digits CNN", "digits-cnn"), ("Größe/µ", "groe"), ("../../etc", "etc"), ("", ""),
        ("--x--", "x"), ("日本", ""), ("a" * 100, "a" * 40),
    ],
)  # fmt: skip
def test_slug(name: str, slug: str) -> None:
    assert slugify(name).startswith(slug)
    assert not re.search(r"[^a-z0-9_.+-]", slugify(name))


@pytest.mark.parametrize("name", ["runs", "20261120", "sweep-20261120-141502", "x"])
def test_ordinary_folder_does_not_look_like_a_run(name: str) -> None:
    assert not looks_like_run_id(name)


@given(st.lists(st.integers(0, 10**10), unique=True, min_size=2))
def test_ids_sort_by_their_millisecond_whatever_the_names(times_ms: list[int]) -> None:
    ids = {ms: new_run_id(f"name {-ms % 7}", now=ms / 1000 + 1e-5) for ms in times_ms}
    in_order = [ids[ms] for ms in sorted(ids)]
    assert sorted(in_order, key=id_order) == in_order
