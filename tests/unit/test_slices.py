"""Rows cut out of an upload, as they stood there: what retry.jsonl is made of."""

from collections.abc import Iterator

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from functions.batches.ledger import Entry
from functions.steps.slices import GAP, _cut, _runs

_rows = st.lists(
    st.tuples(st.binary(min_size=1, max_size=30), st.integers(0, 9), st.booleans()), max_size=12
)
NULL = msgspec.Raw(b"null")


def entry(at: int, size: int) -> Entry:
    return Entry(1, 1, at, size, NULL)


def blocks(body: bytes, start: int, size: int) -> Iterator[bytes]:
    return (body[at : at + size] for at in range(start, len(body), size))


@given(_rows, st.integers(1, 40))
def test_gives_each_chosen_row_on_a_line_whatever_the_block_size(
    rows: list[tuple[bytes, int, bool]], size: int
) -> None:
    body, chosen, expected = b"", [], b""
    for row, gap, wanted in rows:
        body += b" " * gap
        if wanted:
            chosen.append(entry(len(body), len(row)))
            expected += row + b"\n"
        body += row

    start = chosen[0].at if chosen else 0
    assert b"".join(_cut(blocks(body, start, size), start, chosen)) == expected


def test_a_row_longer_than_a_block_passes_in_pieces() -> None:
    pieces = list(_cut(blocks(b"x" * 100, 0, 10), 0, [entry(0, 100)]))

    assert max(map(len, pieces)) <= 11
    assert b"".join(pieces) == b"x" * 100 + b"\n"


@given(st.lists(st.tuples(st.integers(0, 3 * GAP), st.integers(1, 2 * GAP)), max_size=10))
def test_rows_that_lie_near_one_another_are_read_in_one_request(
    drawn: list[tuple[int, int]],
) -> None:
    entries, at = [], 0
    for gap, size in drawn:
        entries.append(entry(at + gap, size))
        at += gap + size

    runs = list(_runs(entries))

    assert [one for run in runs for one in run] == entries
    assert len(runs) == sum(gap > GAP for gap, _ in drawn[1:]) + bool(drawn)
