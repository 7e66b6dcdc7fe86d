"""What waits for the disk: in order, bounded, and never half a line in front of another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runstore.line_queue import LineQueue

LINES = st.lists(st.binary(max_size=10).map(lambda b: b.replace(b"\n", b"") + b"\n"), min_size=1)


@given(LINES, st.data())
def test_bytes_come_out_in_order_however_short_the_writes_are(
    lines: list[bytes], data: st.DataObject
) -> None:
    queue, out = LineQueue(10_000), b""
    for line in lines:
        queue.put(line)
    while queue:
        size = data.draw(st.integers(1, len(queue.oldest)))
        out += queue.oldest[:size]
        whole = size == len(queue.oldest)
        queue.written(size)
        assert queue.torn is not whole
    assert out == b"".join(lines)
    assert queue.dropped == 0


def test_full_memory_drops_and_counts_the_newest() -> None:
    queue = LineQueue(10)
    for line in (b"aaaa\n", b"bbbb\n", b"c\n"):
        queue.put(line)
    assert queue.dropped == 1
    queue.written(5)
    queue.put(b"d\n")
    assert queue.oldest == b"bbbb\n"
    queue.written(5)
    assert queue.oldest == b"d\n"


def test_rest_of_a_torn_line_is_given_up_alone() -> None:
    queue = LineQueue(100)
    queue.put(b"first\n")
    queue.put(b"second\n")
    queue.written(3)
    queue.give_up_torn()
    queue.give_up_torn()
    assert queue.oldest == b"second\n"
    assert queue.dropped == 1


def test_rest_is_whole_behind_what_is_put_before_it() -> None:
    queue = LineQueue(100)
    queue.put_first(b"rest\n", torn=True)
    queue.put_first(b"head and ")
    queue.give_up_torn()
    assert queue.oldest == b"head and "


def test_giving_up_counts_lines_not_entries() -> None:
    queue = LineQueue(100)
    queue.put_first(b"a\nb\n")
    queue.put(b"c\n")
    queue.give_up()
    assert queue.dropped == 3
    assert not queue
