"""Results come in any order and are given back by row."""

import io
from tempfile import TemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.batches.spool import Spool

FIRST, ROWS = 41, 8
_puts = st.tuples(st.integers(FIRST, FIRST + ROWS - 1), st.binary(min_size=1, max_size=20))


@given(st.lists(st.one_of(_puts, st.integers(FIRST, FIRST + ROWS - 1)), max_size=30))
def test_gives_back_what_was_kept_in_whatever_order(
    steps: list[tuple[int, bytes] | int],
) -> None:
    kept: dict[int, bytes] = {}
    with TemporaryFile() as file:
        spool = Spool(file, FIRST, ROWS)
        for step in steps:
            if isinstance(step, tuple):
                spool.put(*step)
                kept[step[0]] = step[1]
            else:
                assert spool.get(step) == kept.get(step)
        for row in range(FIRST - 3, FIRST + ROWS + 3):
            assert (spool.get(row), spool.has(row)) == (kept.get(row), row in kept)


def test_rewound_it_has_forgotten_everything() -> None:
    file = io.BytesIO()
    spool = Spool(file, FIRST, ROWS)
    spool.put(FIRST, b"first")
    spool.rewind()

    assert (spool.get(FIRST), file.getvalue()) == (None, b"")
    spool.put(FIRST + 1, b"anew")
    assert (spool.has(FIRST), spool.get(FIRST + 1)) == (False, b"anew")


@pytest.mark.parametrize("row", [FIRST - 1, FIRST + ROWS])
def test_a_row_of_another_chunk_is_refused(row: int) -> None:
    spool = Spool(io.BytesIO(), FIRST, ROWS)

    with pytest.raises(IndexError, match=f"row {row} is none of this chunk's"):
        spool.put(row, b"x")
    assert not any(spool.has(own) for own in range(FIRST, FIRST + ROWS))
