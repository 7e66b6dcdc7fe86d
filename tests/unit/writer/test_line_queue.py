"""What waits for the disk: in order, bounded, and never half a line in front of another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runstore.writer.line_queue import TOGETHER_BYTES, LineQueue

LINES = st.lists(st.binary(max_size=10).map(lambda b: b.replace(b"\n", b"") + b"\n"), min_size=1)


@given(LINES, st.data())
def test_bytes_come_out_in_order_however_short_the_writes_are(
    lines: list[bytes], data: st.DataObject
) -> None:
    queue, out = LineQueue(10_000), b""
    for line in lines:
        queue.put(line)
    while queue:
        size = data.draw(st.integers(1, len(queue.oldest())))
        out += queue.oldest()[:size]
        queue.written(size)
        assert queue.torn is not out.endswith(b"\n")
        assert queue.rows == len(lines) - out.count(b"\n")
    assert out == b"".join(lines)
    assert queue.dropped == 0


def test_full_memory_drops_and_counts_the_newest() -> None:
    queue = LineQueue(10)
    for line in (b"aaaa\n", b"bbbb\n", b"c\n"):
        queue.put(line)
    assert queue.dropped == 1
    queue.written(5)
    queue.put(b"d\n")
    assert queue.oldest() == b"bbbb\nd\n"


def test_rest_of_a_torn_line_is_given_up_alone() -> None:
    queue = LineQueue(100)
    queue.put(b"first\n")
    queue.put(b"second\n")
    queue.written(3)
    queue.give_up_torn()
    queue.give_up_torn()
    assert queue.oldest() == b"second\n"
    assert queue.dropped == 1


def test_rest_is_whole_behind_what_is_put_before_it() -> None:
    queue = LineQueue(100)
    queue.put_first(b"rest\n", torn=True)
    queue.put_first(b"head and ")
    queue.give_up_torn()
    assert queue.oldest() == b"head and rest\n"


def test_giving_up_counts_lines_not_entries() -> None:
    queue = LineQueue(100)
    queue.put_first(b"a\nb\n")
    queue.put(b"c\n")
    queue.give_up()
    assert queue.dropped == 3
    assert not queue


def test_short_lines_go_together_and_long_ones_alone() -> None:
    queue = LineQueue(10 * TOGETHER_BYTES)
    long = b"x" * TOGETHER_BYTES + b"\n"
    for line in (b"a\n", b"b\n", long, b"c\n"):
        queue.put(line)
    taken = []
    while queue:
        taken.append(queue.oldest())
        queue.written(len(taken[-1]))
    assert taken == [b"a\nb\n", long, b"c\n"]


def test_refusal_counts_what_waits_what_comes_and_what_else_is_lost() -> None:
    queue = LineQueue(100)
    queue.put(b"a\n")
    queue.refuse(lost=3)
    queue.put(b"b\n")
    assert (queue.dropped, queue.rows, bool(queue)) == (5, 0, False)


def test_rest_in_the_middle_of_several_lines_is_given_up_alone() -> None:
    queue = LineQueue(100)
    queue.put_first(b"first\nsecond\nthird\n")
    queue.written(8)
    queue.give_up_torn()
    assert queue.oldest() == b"third\n"
    assert (queue.dropped, queue.rows) == (1, 1)
