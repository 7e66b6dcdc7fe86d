from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstore.files.line_index import BLOCK_BYTES, CHUNK_BYTES
from runstore.files.output_text import OutputText, Place, Search
from runstore.files.text_search import Needle


def never() -> bool:
    return False


def opened(run_dir: Path) -> OutputText:
    text = OutputText(run_dir)
    text.refresh()
    return text


def downwards(text: OutputText) -> list[bytes]:
    lines, place = [], text.top
    while (line := text.line(place)) is not None:
        lines.append(line.data)
        place = line.end
    return lines


def upwards(text: OutputText) -> list[bytes]:
    lines, place = [], text.end
    while (line := text.line_before(place)) is not None:
        lines.append(line.data)
        place = line.start
    return lines


def all_hits(search: Search, text: OutputText, way: int) -> list[Place]:
    """Return the hits as they are come by, until the first one comes again."""
    found: list[Place] = []
    at = Place(0, -1) if way > 0 else text.end
    while True:
        search.look(at, way)
        search.go_on(never)
        if search.hit is None or search.hit in found:
            return found
        found.append(search.hit)
        at = search.hit


# Lines around the sizes at which blocks and chunks end.
SIZES = st.lists(
    st.one_of(
        st.integers(0, 200),
        st.sampled_from([BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 5, CHUNK_BYTES]),
    ),
    max_size=8,
)


@given(sizes=SIZES, ends_whole=st.booleans())
def test_lines_are_the_same_from_above_and_from_below(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], ends_whole: bool
) -> None:
    run_dir = tmp_path_factory.mktemp("run")
    data = b"\n".join(b"x" * size for size in sizes) + b"\n" * ends_whole
    (run_dir / "output.log").write_bytes(data)
    text = opened(run_dir)
    lines = downwards(text)
    assert lines == upwards(text)[::-1]
    assert b"".join(lines) == data.replace(b"\n", b"")
    assert all(len(line) < 2 * BLOCK_BYTES for line in lines)
    text.count_lines(never)
    assert text.lines == data.count(b"\n") + bool(data and not data.endswith(b"\n"))
    text.close()


def test_line_has_the_number_that_an_editor_would_show(tmp_path: Path) -> None:
    (tmp_path / "output.1.log").write_text("".join(f"{n}\n" for n in range(1, 5_001)))
    (tmp_path / "output.log").write_text("".join(f"{n}\n" for n in range(5_001, 10_001)))
    text = opened(tmp_path)
    assert text.number_of(text.line_before(text.end).start) is None  # type: ignore[union-attr]
    text.count_lines(never)
    place = text.end
    for _ in range(6_000):
        line = text.line_before(place)
        assert line is not None
        place = line.start
        assert text.number_of(place) == int(line.data)
    text.close()


def test_place_stays_when_the_file_is_closed_and_earlier_parts_go(tmp_path: Path) -> None:
    for name in ("output.1.log", "output.2.log", "output.log"):
        (tmp_path / name).write_text(f"{name} a\n{name} b\n")
    text = opened(tmp_path)
    place = text.line_before(text.end).start  # type: ignore[union-attr]
    (tmp_path / "output.log").rename(tmp_path / "output.3.log")
    (tmp_path / "output.2.log").unlink()
    (tmp_path / "output.log").write_text("newest\n")
    text.refresh()
    line = text.line(place)
    assert line is not None and line.data == b"output.log b"
    assert downwards(text)[-1] == b"newest"
    assert b"output.2.log a" not in downwards(text)
    text.close()


def test_place_stays_when_a_file_is_renamed_in_the_middle_of_a_look(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_text("a\nb\n")
    text = opened(tmp_path)
    place = text.line_before(text.end).start  # type: ignore[union-attr]
    path.rename(tmp_path / "out of sight")
    path.write_text("newest\n")
    text.refresh()
    assert downwards(text) == [b"newest"]
    (tmp_path / "out of sight").rename(tmp_path / "output.1.log")
    text.refresh()
    assert downwards(text) == [b"a", b"b", b"newest"]
    line = text.line(place)
    assert line is not None and line.data == b"b"
    text.close()


@pytest.mark.parametrize("again", ["short\n", "another beginning, and longer than before\n"])
def test_file_that_was_written_anew_is_read_anew(tmp_path: Path, again: str) -> None:
    path = tmp_path / "output.log"
    path.write_text("what stood there\nbefore\n")
    text = opened(tmp_path)
    assert len(downwards(text)) == 2
    path.write_text(again)
    text.refresh()
    assert downwards(text) == [again.strip().encode()]
    text.close()


def test_torn_line_is_shown_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(b"whole\nhal")
    text = opened(tmp_path)
    assert downwards(text) == [b"whole", b"hal"]
    with path.open("ab") as file:
        file.write(b"f\nnext\n")
    text.refresh()
    assert downwards(text) == [b"whole", b"half", b"next"]
    text.close()


def test_what_is_no_regular_file_is_said_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "output.1.log")
    text = opened(tmp_path)
    assert text.problem == "output.1.log: not a regular file"
    assert text.line(text.top) is None
    (tmp_path / "output.log").write_text("the other part\n")
    text.refresh()
    assert downwards(text) == [b"the other part"]
    text.close()


def test_output_that_wandb_keeps_is_found_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "output.log").write_text("epoch 1\n")
    assert downwards(opened(tmp_path)) == [b"epoch 1"]


def test_run_that_is_removed_has_no_output(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "output.log").write_text("a\n")
    text = opened(run_dir)
    (run_dir / "output.log").unlink()
    run_dir.rmdir()
    text.refresh()
    assert text.problem and not text.parts


@given(
    gaps=st.lists(st.integers(0, CHUNK_BYTES // 2), min_size=1, max_size=8),
    word=st.sampled_from(["needle", "É", "naïve", "日本", "a.b"]),
)
def test_search_finds_every_occurrence_both_ways_and_counts_them(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[int], word: str
) -> None:
    run_dir = tmp_path_factory.mktemp("run")
    cased = [word.upper() if n % 2 else word.lower() for n in range(len(gaps))]
    data = "\n".join("." * gap + case for gap, case in zip(gaps, cased, strict=True)).encode()
    (run_dir / "output.1.log").write_bytes(data)
    (run_dir / "output.log").write_bytes(data)
    pattern = re.compile(f"{re.escape(word.lower())}|{re.escape(word.upper())}".encode())
    places = [m.start() for m in pattern.finditer(data)]
    text = opened(run_dir)
    expected = [Place(part, place) for part in text.parts for place in places]
    search = Search(text, Needle(word))
    assert all_hits(search, text, 1) == expected
    assert all_hits(search, text, -1) == expected[::-1]
    assert search.hits == len(expected)
    search.hit = expected[-1]
    assert search.number_of_hit() == len(expected)
    text.close()


def test_hit_across_the_end_of_what_was_counted_is_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(b"." * (CHUNK_BYTES - 3) + b"nee")
    text = opened(tmp_path)
    search = Search(text, Needle("needle"))
    search.go_on(never)
    assert search.hits == 0
    with path.open("ab") as file:
        file.write(b"dle and needle\n")
    text.refresh()
    search.go_on(never)
    assert search.hits == 2
    text.close()
