"""Rows are cut out of an upload unchanged."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from functions.readers.cutting import GAP, _cut_rows, _group_nearby

_rows = st.lists(
    st.tuples(st.binary(min_size=1, max_size=30), st.integers(0, 9), st.booleans()), max_size=12
)


def blocks(body: bytes, start: int, size: int) -> Iterator[bytes]:
    return (body[offset : offset + size] for offset in range(start, len(body), size))


@given(_rows, st.integers(1, 40))
def test_each_chosen_row_is_a_line_with_any_block_size(
    rows: list[tuple[bytes, int, bool]], size: int
) -> None:
    body, chosen, expected = b"", [], b""
    for row, gap, is_chosen in rows:
        body += b" " * gap
        if is_chosen:
            chosen.append((len(body), len(row)))
            expected += row + b"\n"
        body += row

    start = chosen[0][0] if chosen else 0
    assert b"".join(_cut_rows(blocks(body, start, size), start, chosen, b"\n")) == expected


def test_a_row_longer_than_a_block_is_read_in_pieces() -> None:
    pieces = list(_cut_rows(blocks(b"x" * 100, 0, 10), 0, [(0, 100)], b"\n"))

    assert max(map(len, pieces)) <= 11
    assert b"".join(pieces) == b"x" * 100 + b"\n"


@given(st.lists(st.tuples(st.integers(0, 3 * GAP), st.integers(1, 2 * GAP)), max_size=10))
def test_nearby_rows_are_read_in_one_request(
    drawn_rows: list[tuple[int, int]],
) -> None:
    offsets, sizes, end = [], [], 0
    for gap, size in drawn_rows:
        offsets.append(end + gap)
        sizes.append(size)
        end += gap + size

    groups = list(_group_nearby(offsets, sizes))

    assert [row for group in groups for row in group] == list(range(len(drawn_rows)))
    assert len(groups) == sum(gap > GAP for gap, _ in drawn_rows[1:]) + bool(drawn_rows)
